"""Elements chosen along a dimension by rank, by frequency or as running extremes, with their indices.

The value's gradient goes to the one index that is returned; indices are never tracked.
Source: torch docs of kthvalue, mode, cummax, aminmax.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import return_types
from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.one_node import one_node
from reference_engine.ops.order import amax, amin, picking, rows_of, share_ties, sort
from reference_engine.ops.positions import add_at, key_along
from reference_engine.ops.reductions import axes_of, check_not_empty
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import axis
from reference_engine.tensor import Tensor


@both
@one_node("AminmaxBackward0", "input")
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """Both extremes; ties share the gradient evenly. Source: torch.aminmax."""
    if dim is None and not input._array.size:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    dims = () if dim is None else dim
    return return_types.aminmax(amin(input, dims, keepdim), amax(input, dims, keepdim))


@both
def msort(input: Tensor) -> Tensor:
    """Sorted along the first dimension. Source: torch.msort."""
    return sort(input, 0).values


# --- one element by rank or frequency ----------------------------------------------------------------------------


_kthvalue = picking("kthvalue", lambda x, dim, k: np.take(np.argsort(x, dim, kind="stable"), k - 1, dim))


@both
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest (values, indices) along a dimension, counted from 1. Source: torch.kthvalue."""
    d = axis(dim, input._array.ndim)
    size = input._array.shape[d] if input._array.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    return return_types.kthvalue(*_kthvalue(input, dim=d, keepdim=keepdim, k=k))


def _most_frequent(x: np.ndarray, dim: int) -> np.ndarray:
    """The last index of the most frequent element, the smallest of these."""

    def of_row(row: np.ndarray) -> int:
        values, counts = np.unique(row, return_counts=True)
        return int(np.flatnonzero(row == values[counts.argmax()])[-1])

    return np.apply_along_axis(of_row, dim, x)


_mode = picking("mode", _most_frequent)


@both
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent (values, indices) along a dimension. Source: torch.mode."""
    check_not_empty("mode", input, dim)
    return return_types.mode(*_mode(input, dim=axis(dim, input._array.ndim), keepdim=keepdim))


# --- medians that pass over nan -----------------------------------------------------------------------------------


def _nanmedian(x: np.ndarray, *, dims: tuple, keepdim: bool) -> np.ndarray:
    rows = np.sort(rows_of(x, dims), -1)  # nan last
    if not rows.shape[-1]:
        return np.full(rows.shape[:-1], np.nan, x.dtype)
    middle = np.maximum((~np.isnan(rows)).sum(-1, keepdims=True) - 1, 0) // 2
    return np.take_along_axis(rows, middle, -1)[..., 0]


def _nanmedian_index(x: np.ndarray, dim: int) -> np.ndarray:
    counts = np.maximum((~np.isnan(x)).sum(dim), 1)
    ranked = np.argsort(x, dim, kind="stable")  # nan last
    return np.take_along_axis(ranked, np.expand_dims((counts - 1) // 2, dim), dim).squeeze(dim)


_nanmedian_all = general("nanmedian", _nanmedian, share_ties, saved_names=("self",))
_nanmedian_dim = picking("nanmedian", _nanmedian_index, node="NanmedianBackward1")


@both
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of what is not nan. Source: torch.nanmedian."""
    if dim is None:
        return _nanmedian_all(input, dims=axes_of(None, input._array.ndim), keepdim=False)
    return return_types.nanmedian(*_nanmedian_dim(input, dim=axis(dim, input._array.ndim), keepdim=keepdim))


# --- running extremes ---------------------------------------------------------------------------------------------


def _running(x: np.ndarray, *, dim: int, largest: bool) -> tuple:
    """Running extremes and the index of each: the last of equal ones; once nan, always nan."""
    if not x.ndim:
        return np.array(x), np.zeros((), np.int64), (...,)
    rows = np.moveaxis(x, dim, 0)
    indices = np.zeros(rows.shape, np.int64)
    best = rows[0].copy() if len(rows) else rows
    for i in range(1, len(rows)):
        row = rows[i]
        better = np.isnan(row) | (~np.isnan(best) & (row >= best if largest else row <= best))
        best = np.where(better, row, best)
        indices[i] = np.where(better, i, indices[i - 1])
    key = key_along(dim, np.moveaxis(indices, 0, dim))
    return x[key], np.moveaxis(indices, 0, dim).copy(), key


def _running_rule(gs: tuple, key: Any, x_shape: tuple) -> Any:
    return None if gs[0] is None else add_at(gs[0], key=key, shape=x_shape)


def _running_extreme(name: str, largest: bool) -> None:
    op = general(name, _running, _running_rule, inputs=("x",), outputs=("values", "indices"), aux=("key",),
                 nondifferentiable=("indices",))  # fmt: skip

    def call(input: Tensor, dim: int) -> Any:
        return getattr(return_types, name)(*op(input, dim=axis(dim, input._array.ndim), largest=largest))

    call.__name__ = name
    call.__doc__ = f"Running extremes (values, indices) along a dimension. Source: torch.{name}."
    registry.publish(name, call)


_running_extreme("cummax", True)
_running_extreme("cummin", False)
