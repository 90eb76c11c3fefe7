"""Views that are told where to look: strides, sliding windows, and the same bytes as another dtype.

as_strided speaks of the storage, not of its input: element (i, j) is at offset + i * stride[0] + j * stride[1].
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.tensor import BatchedTensor
from reference_engine.memory import restride, storage_elements
from reference_engine.ops import registry
from reference_engine.ops.kinds import linear
from reference_engine.ops.positions import put_positions
from reference_engine.ops.registry import both, method
from reference_engine.ops.shapes import axis, dims_of, infer_size, view_as_shape
from reference_engine.tape.geometry import Geometry, positions
from reference_engine.tape.saved import type_name
from reference_engine.tape.views import check_inplace, move_retain
from reference_engine.tensor import Tensor


def _as_strided(x: np.ndarray, *, size: tuple, stride: tuple, offset: int, geometry: Geometry) -> np.ndarray:
    item = x.dtype.itemsize
    return restride(x, size, [s * item for s in stride], offset * item)


def _as_strided_transpose(g: Any, size: tuple, stride: tuple, offset: int, geometry: Geometry, x_shape: tuple) -> Any:
    item = geometry.item
    taken = Geometry(size, tuple(s * item for s in stride), offset * item, item)
    return put_positions(g, positions=positions(geometry, taken), shape=x_shape)


def _windows(x: np.ndarray, *, dim: int, size: int, step: int) -> np.ndarray:
    count = (x.shape[dim] - size) // step + 1
    shape = (*x.shape[:dim], count, *x.shape[dim + 1 :], size)
    strides = (*x.strides[:dim], x.strides[dim] * step, *x.strides[dim + 1 :], x.strides[dim])
    return np.ndarray(shape, x.dtype, x, strides=strides) if x.flags.contiguous else _within(x, shape, strides)


def _within(x: np.ndarray, shape: tuple, strides: tuple) -> np.ndarray:
    start = x.__array_interface__["data"][0] - storage_elements(x).__array_interface__["data"][0]
    return restride(x, shape, strides, start)


def _windows_transpose(g: Any, dim: int, size: int, step: int, x_shape: tuple) -> Any:
    numbered = np.arange(int(np.prod(x_shape))).reshape(x_shape)
    return put_positions(g, positions=_windows(numbered, dim=dim, size=size, step=step), shape=x_shape)


strided_view = linear("as_strided", _as_strided, _as_strided_transpose, inputs=("x",), view=True)
windows_view = linear("unfold", _windows, _windows_transpose, inputs=("x",), view=True)


@both
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the storage with the size, strides and offset given, in elements. Source: torch.as_strided."""
    size, stride = dims_of((size,)), dims_of((stride,))
    if isinstance(input, BatchedTensor):
        return _strided_examples(input, size, stride, storage_offset)
    if len(size) != len(stride):
        raise RuntimeError(f"mismatch in length of strides and shape: size has {len(size)}, stride has {len(stride)}")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    offset = input.storage_offset() if storage_offset is None else int(storage_offset)
    item, held = input._memory.dtype.itemsize, storage_elements(input._memory).size
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1 if 0 not in size else 0
    if last > held:
        raise RuntimeError(f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
                           f"{item} requiring a storage size of {last * item} are out of bounds for storage of size "
                           f"{held * item}")  # fmt: skip
    start = storage_elements(input._memory).__array_interface__["data"][0]
    geometry = Geometry.of(input._memory, start)
    return strided_view(input, size=size, stride=stride, offset=offset, geometry=geometry)


def _strided_examples(input: BatchedTensor, size: tuple, stride: tuple, storage_offset: int | None) -> Tensor:
    """The same view of each example, which reaches no further than the example's own elements."""
    start = input.storage_offset()
    offset = start if storage_offset is None else int(storage_offset)
    reach = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    limit = start + sum((n - 1) * s for n, s in zip(input.shape, input.stride(), strict=True))
    if 0 not in size and not start <= offset <= reach <= limit:
        raise RuntimeError(f"as_strided(sizes={list(size)}, strides={list(stride)}, storage_offset={offset}) inside vmap reaches "
                           "memory that is not the example's: as_strided's result may not be that of another example. Please "
                           "rewrite it with other view operators.")  # fmt: skip
    return strided_view(input, size=size, stride=stride, offset=offset, geometry=None)  # by its batching rule


@method
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` along a dimension, as a new last one. Source: torch.Tensor.unfold."""
    if self._array.ndim == 0:
        if size > 1:
            raise RuntimeError(f"maximum size for tensor at dimension 0 is 1 but size is {size}")
        return self.view(1).expand(size)
    d = axis(dimension, self._array.ndim)
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if size > self._array.shape[d]:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {self._array.shape[d]} but size is {size}")
    return windows_view(self, dim=d, size=int(size), step=int(step))


@method
def view(self: Tensor, *shape: Any, dtype: Any = None, size: Any = None) -> Tensor:
    """The same memory in another shape, or read as another dtype. Source: torch.Tensor.view."""
    if len(shape) == 1 and isinstance(shape[0], dtypes.dtype):
        dtype, shape = shape[0], ()
    if dtype is not None:
        return _view_dtype(self, dtypes.as_dtype(dtype))
    shape = tuple(size) if size is not None else shape
    return view_as_shape(self, shape=infer_size(dims_of(shape), self._array.size))


def reread(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The same bytes as another type."""
    return array.view(dtype)


def _view_dtype(tensor: Tensor, target: dtypes.dtype) -> Tensor:
    present = tensor.dtype
    if present.is_narrow != target.is_narrow or (target.is_narrow and present is not target):
        raise NotImplementedError(f"view from {present} to {target}: the bits of {target} are not stored")
    if present.itemsize != target.itemsize:
        _check_resize(tensor, present, target)
    # Not differentiable, hence no view for autograd; changes of either are counted for both.
    alias = tensor.detach()
    alias._array = reread(tensor._array, target.numpy)
    return alias


def _check_resize(tensor: Tensor, present: dtypes.dtype, target: dtypes.dtype) -> None:
    """Raises where the last dimension cannot be cut or joined into elements of another size."""
    what = f"to view {type_name(present)[:-6]} as {type_name(target)[:-6]} (different element sizes)"
    if tensor._array.ndim == 0:
        raise RuntimeError(f"self.dim() cannot be 0 {what}")
    if tensor.stride(-1) != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {what}, but got {tensor.stride(-1)}")
    ratio, rest = divmod(target.itemsize, present.itemsize)
    if ratio <= 1 and not rest:
        return
    if target.itemsize < present.itemsize:
        return
    checks = [("size(-1)", tensor.shape[-1]), ("storage_offset()", tensor.storage_offset())]
    checks += [(f"stride({i})", tensor.stride(i)) for i in range(tensor._array.ndim - 1)]
    for name, value in checks:
        if value % ratio:
            raise RuntimeError(f"self.{name} must be divisible by {ratio} {what}, but got {value}")


@method
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view in another tensor's shape."""
    return view(self, *other._array.shape)


# --- views of itself, in place ------------------------------------------------------------------------------------


# The node of each that changes a tensor itself, by that of the one that gives a view.
IN_PLACE = {
    "AsStridedBackward0": "AsStridedBackward1", "SqueezeBackward0": "SqueezeBackward3", "SqueezeBackward1": "SqueezeBackward4",
    "SqueezeBackward2": "SqueezeBackward5", "TBackward0": "TBackward1", "TransposeBackward0": "TransposeBackward1",
    "UnsqueezeBackward0": "UnsqueezeBackward1",
}  # fmt: skip


@cache
def _kind_in_place(kind: type) -> type:
    return type(IN_PLACE[kind.__name__], (kind,), {"__module__": kind.__module__})


def _name_in_place(node: Any) -> None:
    if type(node).__name__ in IN_PLACE:
        node.__class__ = _kind_in_place(type(node))


def _in_place_view(name: str) -> None:
    """`x.t_()`: x becomes its own view. The memory stays; shape, strides and history change."""

    def change(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_inplace(self)
        if isinstance(self, BatchedTensor):  # what it holds becomes what the view holds
            self._value = getattr(self, name)(*args, **kwargs)._value
            return self
        result = getattr(self, name)(*args, **kwargs)
        self._bump_version()
        if result._edge is not None:
            _name_in_place(result._edge[0])
            move_retain(self, result._edge)
            self._hooks = None
        self._array, self._edge = result._array, result._edge
        if result._tangents is not None:
            self._tangents = result._tangents
        return self

    change.__name__, change.__doc__ = f"{name}_", f"{name}, in place."
    registry.publish(f"{name}_", change, module=False)


for _name in ("t", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze", "as_strided"):
    _in_place_view(_name)
