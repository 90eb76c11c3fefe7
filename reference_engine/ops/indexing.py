"""Indexing. Numbers, slices, None and ... give views, step by step as torch records them; anything else gives copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.registry import both, method
from reference_engine.ops.shapes import axis, mismatch
from reference_engine.ops.types import alias
from reference_engine.tape.views import check_inplace
from reference_engine.tensor import Tensor, wrap


def _put(g: np.ndarray, *, positions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    flat = np.zeros(int(np.prod(shape)), np.asarray(g).dtype)
    np.add.at(flat, positions.ravel(), np.broadcast_to(g, positions.shape).ravel())
    return flat.reshape(shape)


def _pad(g: np.ndarray, *, key: Any, shape: tuple[int, ...]) -> np.ndarray:
    result = np.zeros(shape, np.asarray(g).dtype)
    result[key] = g
    return result


def _add_at(g: np.ndarray, *, key: Any, shape: tuple[int, ...]) -> np.ndarray:
    result = np.zeros(shape, np.asarray(g).dtype)
    np.add.at(result, key, g)
    return result


def _key(dim: int, part: Any) -> tuple:
    return (*(slice(None),) * dim, part)


# fmt: off
#                     value                                                         transpose
take_positions = linear("take_positions",
                      lambda x, *, positions: np.asarray(x).reshape(-1)[positions], lambda g, positions, x_shape: put_positions(g, positions=positions, shape=x_shape), node="TakeBackward0")
put_positions  = linear("put_positions", _put,                                      lambda g, positions: take_positions(g, positions=positions), inputs=("x",), node="PutBackward0")
place          = linear("place", _pad,                                              lambda g, key: take_key(g, key=key), inputs=("x",), node="SliceBackward0")
take_key       = linear("take_key", lambda x, *, key: x[key],                       lambda g, key, x_shape: place(g, key=key, shape=x_shape), view=True, node="SliceBackward0")
select_dim     = linear("select", lambda x, *, dim, index: x[_key(dim, index)] if x.ndim > 1 else x[index : index + 1].reshape(()),
                                                                                    lambda g, dim, index, x_shape: place(g, key=_key(dim, index), shape=x_shape), view=True)
slice_dim      = linear("slice", lambda x, *, dim, part: x[_key(dim, part)],        lambda g, dim, part, x_shape: place(g, key=_key(dim, part), shape=x_shape), view=True)
index_copy_out = linear("index", lambda x, *, key: np.asarray(x[key]),              lambda g, key, x_shape: add_at(g, key=key, shape=x_shape))
add_at         = linear("index_put_zeros", _add_at,                                 lambda g, key: index_copy_out(g, key=key), inputs=("x",), node="IndexPutBackward0")
# fmt: on


def narrow_to(g: Any, dim: int, start: int, length: int) -> Any:
    """A range along one dimension, over arrays and tensors."""
    part = slice(start, start + length)
    return slice_dim(g, dim=dim, part=part) if isinstance(g, Tensor) else g[_key(dim, part)]


def select_at(g: Any, dim: int, index: int) -> Any:
    """One index along a dimension, over arrays and tensors."""
    return select_dim(g, dim=dim, index=index) if isinstance(g, Tensor) else g[_key(dim, index)]


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
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A range along a dimension. Source: torch.narrow."""
    d = axis(dim, input._array.ndim)
    size = input._array.shape[d]
    start = int(start) % size if start < 0 else int(start)
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return narrow_to(input, d, start, length)


def _getitem(self: Tensor, key: Any) -> Tensor:
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(_advanced(p) for p in parts):
        return index_copy_out(self, key=tuple(_plain(p) for p in parts))
    consumed = sum(1 for p in parts if p is not None and p is not Ellipsis)
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
    return part.__index__()


def _advanced(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part._array.ndim > 0 or part._array.dtype.kind == "b"
    return isinstance(part, (list, tuple, np.ndarray, bool))


def _plain(part: Any) -> Any:
    if isinstance(part, Tensor):
        return np.array(part._array)
    if isinstance(part, slice):
        return slice(*[None if b is None else _number(b) for b in (part.start, part.stop, part.step)])
    return np.asarray(part) if isinstance(part, (list, tuple)) else part


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    parts = list(key) if isinstance(key, tuple) else [key]
    if any(_advanced(p) for p in parts):
        assign(self, tuple(_plain(p) for p in parts), value, accumulate=False)
        return
    view = _getitem(self, key)
    if isinstance(value, Tensor):
        if value._array.ndim > view._array.ndim:  # leading dimensions of size 1 are dropped, as torch does
            value = value.reshape(value._array.shape[value._array.ndim - view._array.ndim :])
        view.copy_(value)
    else:
        view.fill_(value)


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
    inside = index_copy_out(g, key=key) if isinstance(g, Tensor) else g[key]
    mask = np.ones(g.shape, bool)
    mask[key] = False
    del inside
    return g * (wrap(mask) if isinstance(g, Tensor) else mask)


index_put = general(
    "index_put", _index_put_forward, _index_put_self, lambda g, key: index_copy_out(g, key=key),
    inputs=("x", "v"), saved_names=("self", "values"),
)  # fmt: skip


def assign(target: Tensor, key: Any, value: Any, *, accumulate: bool) -> Tensor:
    """target[key] = value (or +=), in place and recorded."""
    check_inplace(target)
    if not isinstance(value, Tensor):
        value = wrap(np.asarray(value, target._array.dtype))
    return overwrite(target, lambda alias: index_put(alias, value, key=key, accumulate=accumulate))


@method
def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """self[indices] = values, or += with accumulate. Source: torch.Tensor.index_put_."""
    return assign(self, tuple(_plain(i) for i in indices), values, accumulate=accumulate)


registry.methods["__getitem__"] = _getitem
registry.methods["__setitem__"] = _setitem

# --- copying into, filling -------------------------------------------------------------------------------------


def _copied(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    try:
        source = np.broadcast_to(v, x.shape)
    except ValueError:
        raise mismatch(x.shape, v.shape) from None
    return np.array(source.real if source.dtype.kind == "c" and x.dtype.kind != "c" else source, x.dtype)


copy_from = general("copy", _copied, lambda g: g * 0, lambda g: g,
                     inputs=("x", "v"), node="CopyBackwards", saved_names=("self", "src"))  # fmt: skip
_fill = linear("fill", lambda x, *, value: np.full_like(x, value), lambda g: g * 0, node="FillBackward0")


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Overwritten with src's values; gradient goes to src alone. Source: torch.Tensor.copy_."""
    check_inplace(self)
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    return overwrite(self, lambda alias: copy_from(alias, src))


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Overwritten with one value. Source: torch.Tensor.fill_."""
    check_inplace(self)
    if isinstance(value, Tensor):
        return overwrite(self, lambda alias: copy_from(alias, value))
    return overwrite(self, lambda alias: _fill(alias, value=value))


@method
def zero_(self: Tensor) -> Tensor:
    """Overwritten with zeros. Source: torch.Tensor.zero_."""
    check_inplace(self)
    return overwrite(self, lambda alias: _zero(alias))


_zero = linear("zero", lambda x: np.zeros_like(x), lambda g: g * 0)

# --- taking apart ------------------------------------------------------------------------------------------------


def _pieces(gs: tuple, shape: tuple[int, ...], keys: list[Any]) -> Any:
    total: Any = None
    for g, key in zip(gs, keys, strict=True):
        if g is not None:
            piece = place(g, key=key, shape=shape)
            total = piece if total is None else total + piece
    return total


def _unbind(x: np.ndarray, *, dim: int) -> tuple:
    return tuple(x[_key(dim, slice(i, i + 1))].squeeze(dim) for i in range(x.shape[dim]))


unbind_dim = general(
    "unbind", _unbind,
    lambda gs, dim, x_shape: _pieces(gs, x_shape, [_key(dim, i) for i in range(len(gs))]),
    inputs=("x",), view=True, saved_names=("self",),
)  # fmt: skip
split_dim = general(
    "split", lambda x, *, dim, bounds: tuple(x[_key(dim, slice(a, b))] for a, b in bounds),
    lambda gs, dim, bounds, x_shape: _pieces(gs, x_shape, [_key(dim, slice(a, b)) for a, b in bounds]),
    inputs=("x",), view=True, saved_names=("self",),
)  # fmt: skip


@both
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """A view for each index along a dimension. Source: torch.unbind."""
    return _as_tuple(unbind_dim(input, dim=axis(dim, input._array.ndim)))


@both
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive views of given sizes along a dimension. Source: torch.split."""
    d = axis(dim, tensor._array.ndim)
    size = tensor._array.shape[d]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        ends = [min(i + step, size) for i in range(0, max(size, 1), step)]
    else:
        ends = [int(e) for e in np.cumsum(split_size_or_sections)]
        if ends and ends[-1] != size:
            raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at "
                               f"dimension {d}), but got split_sizes={list(split_size_or_sections)}")  # fmt: skip
    bounds = tuple(zip([0, *ends[:-1]], ends, strict=True))
    return _as_tuple(split_dim(tensor, dim=d, bounds=bounds))


@both
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal size. Source: torch.chunk."""
    size = input._array.shape[axis(dim, input._array.ndim)]
    return split(input, max(-(-size // chunks), 1), dim)


def _as_tuple(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
