"""Sums and means that pass over nan: such elements count for nothing and get gradient 0. Source: torch.nansum."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops.kinds import general
from reference_engine.ops.masking import masked
from reference_engine.ops.reductions import axes_of, in_dtype, restore
from reference_engine.ops.reductions import sum as total
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import broadcast
from reference_engine.tensor import Tensor, wrap


def _array(x: Any) -> np.ndarray:
    return x._array if isinstance(x, Tensor) else x


def _nansum(x: np.ndarray, *, dims: tuple, keepdim: bool) -> np.ndarray:
    return np.add.reduce(np.where(np.isnan(x), x.dtype.type(0), x), axis=dims, keepdims=keepdim)


def _rule(g: Any, x: Any, x_shape: tuple, dims: tuple) -> Any:
    return masked(broadcast(restore(g, x_shape, dims), x_shape), ~np.isnan(_array(x)))


nansum_op = general("nansum", _nansum, _rule, inputs=("x",), saved_names=("self",))


@both
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of what is not nan. Source: torch.nansum."""
    x = input if dtype is None else in_dtype(input, dtype)
    if x.is_complex():
        raise RuntimeError("nansum on CPU does not support complex inputs")
    if x.dtype.category < dtypes.FLOATING:
        return total(x, dim, keepdim)
    return nansum_op(x, dims=axes_of(dim, x._array.ndim), keepdim=keepdim)


@both
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of what is not nan. Source: torch.nanmean."""
    if input.dtype.category < dtypes.FLOATING:
        raise RuntimeError("nanmean(): expected input to have floating point or complex dtype but got "
                           f"{dtypes.type_name(input.dtype)}")  # fmt: skip
    dims = axes_of(dim, input._array.ndim)
    numbers = np.asarray(np.add.reduce(~np.isnan(input._array), axis=dims, keepdims=keepdim))
    summed = nansum(input, dim, keepdim, dtype=dtype)
    return summed / wrap(numbers.astype(summed._array.real.dtype))
