"""Taking apart: several views of one tensor, recorded as one node with several outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.positions import _key, narrow_to, place
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import axis, own_axis
from reference_engine.tensor import Tensor


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


def _ranges(x: np.ndarray, *, dim: int, bounds: tuple) -> tuple:
    return tuple(x[_key(dim, slice(a, b))] for a, b in bounds)


def _ranges_transpose(gs: tuple, dim: int, bounds: tuple, x_shape: tuple) -> Any:
    return _pieces(gs, x_shape, [_key(dim, slice(a, b)) for a, b in bounds])


# fmt: off
split_dim   = general("split",            _ranges, _ranges_transpose, inputs=("x",), view=True, saved_names=("self",))
sized_split = general("split_with_sizes", _ranges, _ranges_transpose, inputs=("x",), view=True, saved_names=("self",))
unsafe      = general("unsafe_split",     _ranges, _ranges_transpose, inputs=("x",), linear=True, saved_names=("self",))
# fmt: on


@both
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """A view for each index along a dimension. Source: torch.unbind."""
    return _as_tuple(unbind_dim(input, dim=own_axis(dim, input._array.ndim)))


def _equal_bounds(tensor: Tensor, step: int, dim: int) -> tuple[tuple[int, int], ...]:
    if step < 0 or (step == 0 and tensor._array.shape[dim]):
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
    size = tensor._array.shape[dim]
    return tuple((i, min(i + step, size)) for i in range(0, max(size, 1), max(step, 1)))


@both
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive views of given sizes along a dimension. Source: torch.split."""
    if not isinstance(split_size_or_sections, int):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    d = axis(dim, tensor._array.ndim)
    return _as_tuple(split_dim(tensor, dim=d, bounds=_equal_bounds(tensor, split_size_or_sections, d)))


@both
def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Consecutive views of the sizes given, which sum to the dimension's. Source: torch.Tensor.split_with_sizes."""
    d = axis(dim, input._array.ndim)
    size = input._array.shape[d]
    ends = [int(e) for e in np.cumsum([int(n) for n in split_sizes])]
    if (ends[-1] if ends else 0) != size:
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at "
                           f"dimension {d}), but got split_sizes={list(split_sizes)}")  # fmt: skip
    starts = [0, *ends][: len(ends)]
    return _as_tuple(sized_split(input, dim=d, bounds=tuple(zip(starts, ends, strict=True))))


@both
def unsafe_split(tensor: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """split without tracking that the pieces are views. Source: torch.unsafe_split."""
    d = axis(dim, tensor._array.ndim)
    return _as_tuple(unsafe(tensor, dim=d, bounds=_equal_bounds(tensor, split_size, d)))


def _chunk_size(input: Tensor, chunks: int, dim: int) -> int:
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    return max(-(-input._array.shape[axis(dim, input._array.ndim)] // chunks), 1)


@both
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal size. Source: torch.chunk."""
    return split(input, _chunk_size(input, chunks, dim), dim)


@both
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """chunk without tracking that the pieces are views. Source: torch.unsafe_chunk."""
    return unsafe_split(input, _chunk_size(input, chunks, dim), dim)


@both
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of nearly equal size, the first ones larger, or between indices. Source: torch.tensor_split."""
    d = axis(dim, input._array.ndim)
    size = input._array.shape[d]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        if indices_or_sections <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {indices_or_sections}")
        small, larger = divmod(size, indices_or_sections)
        ends = list(np.cumsum([small + (i < larger) for i in range(indices_or_sections)]))
    else:
        ends = [*(slice(int(i)).indices(size)[1] for i in indices_or_sections), size]
    starts = [0, *ends[:-1]]
    return tuple(narrow_to(input, d, int(a), max(int(b) - int(a), 0)) for a, b in zip(starts, ends, strict=True))


def _along(name: str, ndim: int, dim_of: Any) -> None:
    def cut(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input._array.ndim < ndim:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {ndim} dimension, but got a tensor with "
                               f"{input._array.ndim} dimensions!")  # fmt: skip
        dim = dim_of(input._array.ndim)
        size = input._array.shape[dim]
        if isinstance(indices_or_sections, str):
            raise TypeError(f"{name}() received an invalid combination of arguments - got (Tensor, str)")
        if isinstance(indices_or_sections, int) and (not indices_or_sections or size % indices_or_sections):
            raise RuntimeError(f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
                               f"{size} is not divisible by the split_size {indices_or_sections}!")  # fmt: skip
        return tensor_split(input, indices_or_sections, dim)

    cut.__name__, cut.__doc__ = name, f"tensor_split along a fixed dimension. Source: torch.{name}."
    registry.publish(name, cut)


_along("hsplit", 1, lambda ndim: 0 if ndim == 1 else 1)
_along("vsplit", 2, lambda ndim: 0)
_along("dsplit", 3, lambda ndim: 2)


def _as_tuple(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
