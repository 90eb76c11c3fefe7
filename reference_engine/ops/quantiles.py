"""Quantiles: between the two order statistics around rank q (n - 1), or one of them.

The gradient goes to these two with the weights of the interpolation; with the linear one q has a derivative too, their
difference times n - 1. Where a slice holds nan, its quantile is nan (nanquantile: the rank counts the others only).
Source: torch.quantile, torch.nanquantile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops.masks import masked_fill
from reference_engine.ops.order import sort
from reference_engine.ops.registry import both
from reference_engine.ops.scatter import gather
from reference_engine.ops.shapes import axis, movedim
from reference_engine.tensor import Tensor, wrap

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _check(name: str, x: Tensor, q: Any, interpolation: str) -> Tensor:
    """q as a tensor; RuntimeError where it, the input or the interpolation is none that a quantile has."""
    if interpolation not in INTERPOLATIONS:
        raise RuntimeError(f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
                           f"{interpolation}")  # fmt: skip
    if not x._array.size:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if x.dtype.name not in ("float32", "float64"):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        return wrap(np.asarray(q, x._array.dtype))
    if q._array.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if q.dtype is not x.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if not ((q._array >= 0) & (q._array <= 1)).all():
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return q


def _at(ordered: Tensor, index: np.ndarray) -> Tensor:
    return gather(ordered, -1, wrap(index.astype(np.int64)))


def _interpolated(ordered: Tensor, rank: Tensor, interpolation: str) -> Tensor:
    """The values at ranks (broken numbers) of rows in order."""
    r = rank._array
    if interpolation == "lower":
        return _at(ordered, np.floor(r))
    if interpolation == "higher":
        return _at(ordered, np.ceil(r))
    if interpolation == "nearest":
        return _at(ordered, np.rint(r))
    low, high = _at(ordered, np.floor(r)), _at(ordered, np.ceil(r))
    weight: Any = 0.5 if interpolation == "midpoint" else rank - wrap(np.floor(r))
    return low + (high - low) * weight


def _quantile(name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str) -> Tensor:
    q = _check(name, input, q, interpolation)
    n = input._array.ndim
    d = None if dim is None else axis(dim, n)
    x = input.reshape(-1) if d is None or n == 0 else movedim(input, d, -1)
    ordered = sort(x, -1).values
    size, nans = x._array.shape[-1], np.isnan(x._array)
    rows = q.reshape((1,) * (x._array.ndim - 1) + (-1,)).expand(*x._array.shape[:-1], q._array.size)
    if name == "nanquantile":
        counts = np.maximum((~nans).sum(-1, keepdims=True) - 1, 0)
        rank = rows * wrap(counts.astype(x._array.dtype))
    else:
        rank = masked_fill(rows * (size - 1), wrap(np.asarray(nans.any(-1, keepdims=True))), size - 1)
    result = _interpolated(ordered, rank, interpolation)
    if keepdim:
        places = range(n) if d is None else [d] if n else []
        for d in places:
            result = result.unsqueeze_(d)
    return (result.unsqueeze_(0).transpose_(0, -1) if q._array.ndim else result).squeeze_(-1)


@both
def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Tensor:  # fmt: skip
    """The q-quantiles of all elements or along a dimension; a vector q gives a leading one. Source: torch.quantile."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@both
def nanquantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
                interpolation: str = "linear") -> Tensor:  # fmt: skip
    """quantile of what is not nan. Source: torch.nanquantile."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)
