"""Taking apart: several views of one tensor, recorded as one node with several outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops.kinds import general
from reference_engine.ops.positions import _key, place
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import axis
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
