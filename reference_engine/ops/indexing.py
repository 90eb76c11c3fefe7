"""Indexing. Numbers, slices, None and ... give views, step by step as torch records them; anything else gives copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.examplewise import change_each, for_each
from reference_engine.batching.tensor import innermost
from reference_engine.creation import tensor
from reference_engine.ops import registry
from reference_engine.ops.also_saved import also_save
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.kinds import NUMBERS, general
from reference_engine.ops.masking import masked
from reference_engine.ops.positions import index_copy_out, narrow_to, select_dim, slice_dim
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import alias, axis
from reference_engine.state import state
from reference_engine.tape.saved import type_name
from reference_engine.tape.views import check_inplace
from reference_engine.tensor import Tensor, wrap

KINDS = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got float)"


@both
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One index along a dimension, which goes away. Source: torch.select."""
    if input._array.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = axis(dim, input._array.ndim)
    size = input._array.shape[d]
    if not -size <= index < size:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(input._array.shape)} at "
                         f"dimension {d}")  # fmt: skip
    return select_dim(input, dim=d, index=index % size)


@both
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A range along a dimension. Source: torch.narrow."""
    if input._array.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, Tensor) and (start._array.ndim or start._array.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    d = axis(dim, input._array.ndim)
    size, start = input._array.shape[d], int(start)
    if not -size <= start <= size:
        raise IndexError(f"start out of range (expected to be in range of [-{size}, {size}], but got {start})")
    start = start + size if start < 0 else start
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return narrow_to(input, d, start, length)


def _getitem(self: Tensor, key: Any) -> Tensor:
    parts = list(key) if isinstance(key, tuple) else [key]
    if state.vmap_levels and innermost(parts) is not None:
        return for_each(_getitem, (self, key), {})
    if any(_advanced(p) for p in parts):
        return also_save(index_copy_out(self, key=_checked(self, parts)), parts)
    consumed = sum(1 for p in parts if p is not None and p is not Ellipsis)
    if consumed and not self._array.ndim:
        raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert "
                         "a 0-dim tensor to a number")  # fmt: skip
    if consumed > self._array.ndim:
        raise IndexError(f"too many indices for tensor of dimension {self._array.ndim}")
    result, dim = self, 0
    for part in parts:
        if part is Ellipsis:
            dim += self._array.ndim - consumed
        elif part is None:
            result = result.unsqueeze(dim)
            dim += 1
        elif isinstance(part, slice):
            result = _slice(result, dim, part)
            dim += 1
        else:
            result = _select(result, dim, _number(part))
    # torch gives an alias, never the tensor itself.
    return result if result is not self else alias(self)


def _slice(tensor: Tensor, dim: int, part: slice) -> Tensor:
    bounds = [None if b is None else _number(b) for b in (part.start, part.stop, part.step)]
    if bounds[2] is not None and bounds[2] <= 0:
        raise ValueError("step must be greater than zero")
    if bounds == [None, None, None] or bounds == [None, None, 1]:
        return tensor
    return slice_dim(tensor, dim=dim, part=slice(*bounds))


def _select(tensor: Tensor, dim: int, index: int) -> Tensor:
    size = tensor._array.shape[dim]
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")
    return select_dim(tensor, dim=dim, index=index % size)


def _number(part: Any) -> int:
    if isinstance(part, str):
        raise TypeError("new(): invalid data type 'str'")
    if not hasattr(part, "__index__"):
        raise IndexError(KINDS)
    return part.__index__()


def _advanced(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part._array.ndim > 0 or part._array.dtype.kind == "b"
    return isinstance(part, (list, tuple, np.ndarray, bool, range))


def _plain(part: Any) -> Any:
    if isinstance(part, Tensor):
        if part._array.dtype.kind not in "iub":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return np.array(part._array, bool if part._array.dtype == np.uint8 else None)  # a byte tensor is a mask
    if isinstance(part, slice):
        return slice(*[None if b is None else _number(b) for b in (part.start, part.stop, part.step)])
    if isinstance(part, (list, tuple, range)):
        return np.asarray(part, None if len(part) else np.int64)
    return part


def _checked(tensor: Tensor, parts: list) -> tuple:
    """The key with plain parts; raises where it reaches beyond the tensor."""
    key = tuple(_plain(p) for p in parts)
    consumed = [k for k in key if k is not None and k is not Ellipsis and not isinstance(k, bool)]
    dims = [k.ndim if isinstance(k, np.ndarray) and k.dtype == bool else 1 for k in consumed]
    shape = tensor._array.shape
    if sum(dims) > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    _check_masks(key, shape)
    if any(k is None or k is Ellipsis for k in key):
        return key  # NumPy's own check
    dim = 0
    for k, n in zip(consumed, dims, strict=True):
        if isinstance(k, np.ndarray) and k.dtype != bool and k.size:
            outside = k[(k >= shape[dim]) | (k < -shape[dim])]
            if outside.size:
                raise IndexError(f"index {outside.flat[0]} is out of bounds for dimension {dim} with size {shape[dim]}")
        dim += n
    return key


def _check_masks(key: tuple, shape: tuple[int, ...]) -> None:
    """Masks have the shape of the dimensions that they choose from; up to an ellipsis, where that is not known."""
    dim = 0
    for k in key:
        if k is Ellipsis:
            return
        if isinstance(k, np.ndarray) and k.dtype == bool:
            for at, n in enumerate(k.shape):
                if n != shape[dim + at]:
                    raise IndexError(f"The shape of the mask {list(k.shape)} at index {at} does not match the shape of the "
                                     f"indexed tensor {list(shape)} at index {dim + at}")  # fmt: skip
            dim += k.ndim
        elif k is not None and not isinstance(k, bool):
            dim += 1


def _check_value(target: Tensor, value: Any) -> None:
    if not isinstance(value, (Tensor, *NUMBERS, np.number, np.bool_)):
        raise TypeError(f"can't assign a {_type_name(value)} to a torch.{type_name(target.dtype)}")


def _type_name(value: Any) -> str:
    return "numpy.ndarray" if isinstance(value, np.ndarray) else type(value).__name__


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    parts = list(key) if isinstance(key, tuple) else [key]
    if state.vmap_levels and innermost(parts) is not None:
        change_each(_setitem, self, key, value)
        return
    if any(_advanced(p) for p in parts):
        assign(self, parts, value, accumulate=False)
        return
    if state.tracing and isinstance(value, NUMBERS):
        number = tensor(dtypes.plain_number(value, self.dtype), dtype=self.dtype)
        _getitem(self, key).fill_(number)
        return
    view = _getitem(self, key)
    if isinstance(value, Tensor):
        if not _goes_into(value._array.shape, view._array.shape):
            value.detach().expand(view._array.shape)  # raises
        if value._array.ndim > view._array.ndim:  # leading dimensions of size 1 are dropped, as torch does
            value = value.reshape(value._array.shape[value._array.ndim - view._array.ndim :])
        view.copy_(value)
    else:
        _check_value(self, value)
        view.fill_(value)


def _goes_into(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether values of a shape can be assigned to a place of another: leading dimensions of size 1 do not matter."""
    extra = max(len(shape) - len(target), 0)
    pairs = zip(shape[extra:][::-1], target[::-1], strict=False)
    return all(n == 1 for n in shape[:extra]) and all(n in (1, m) for n, m in pairs)


def _index_put_forward(x: np.ndarray, v: np.ndarray, *, key: Any, accumulate: bool) -> np.ndarray:
    result = np.array(x)
    if accumulate:
        np.add.at(result, key, v)
    else:
        result[key] = v
    return result


def _index_put_self(g: Any, v_shape: tuple, key: Any, accumulate: bool) -> Any:
    if accumulate:
        return g
    mask = np.ones(g.shape, bool)
    mask[key] = False
    return masked(g, mask)


index_put = general(
    "index_put", _index_put_forward, _index_put_self, lambda g, key: index_copy_out(g, key=key),
    inputs=("x", "v"), linear=True, holomorphic=False, saved_names=("self", "values"),
)  # fmt: skip


def assign(target: Tensor, parts: list, value: Any, *, accumulate: bool) -> Tensor:
    """target[parts] = value (or +=), in place and recorded."""
    key = _checked(target, parts)
    check_inplace(target)
    _check_value(target, value)
    if not isinstance(value, Tensor):
        value = wrap(np.asarray(dtypes.plain_number(value, target.dtype), target._array.dtype))
    place = target._array[key].shape
    if not _goes_into(value._array.shape, place):
        raise RuntimeError(f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to indexing result of "
                           f"shape {list(place)}")  # fmt: skip
    return overwrite(target, lambda alias: also_save(index_put(alias, value, key=key, accumulate=accumulate), parts))


@both
def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """self[indices] = values, or += with accumulate. Source: torch.Tensor.index_put_."""
    return assign(self, [slice(None) if i is None else i for i in indices], values, accumulate=accumulate)


registry.methods["__getitem__"] = _getitem
registry.methods["__setitem__"] = _setitem
