"""torch.masked: operators over the elements where a mask holds (True: the element takes part).

What is masked out is replaced by what changes nothing in the operator (0 in a sum, 1 in a product, minus infinity in a
maximum or a softmax) and gets gradient 0. Where nothing takes part the result is that of nothing. Source: torch.masked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.linalg.norms import vector_norm
from reference_engine.ops.masks import fill_op
from reference_engine.ops.reductions import axes_of
from reference_engine.tensor import Tensor, wrap

f = registry.functions
INFINITY = float("inf")


def _least(x: Tensor) -> Any:
    """What no element of x's type is less than."""
    kind = x._array.dtype
    return -INFINITY if kind.kind in "fc" else np.iinfo(kind).min if kind.kind in "iu" else False


def _greatest(x: Tensor) -> Any:
    kind = x._array.dtype
    return INFINITY if kind.kind in "fc" else np.iinfo(kind).max if kind.kind in "iu" else True


def _mask_of(x: Tensor, mask: Tensor | None) -> np.ndarray | None:
    """The mask in the shape of x; ValueError where it does not broadcast to it."""
    if mask is None:
        return None
    if mask._array.ndim > x._array.ndim:
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    return np.array(np.broadcast_to(mask._array.astype(bool), x._array.shape))


def _filled(x: Tensor, mask: Tensor | None, value: Any) -> Tensor:
    """x with `value` where it is masked out."""
    where = _mask_of(x, mask)
    return x if where is None else fill_op(x, wrap(np.asarray(value, x._array.dtype)), mask=~where)


def _typed(x: Tensor, dtype: Any, *, summing: bool = False, floating: bool = False) -> Tensor:
    """x in the dtype asked for; by default integers as int64 where they are summed, as floats where a mean is taken."""
    if dtype is not None:
        return x.to(dtype)
    if summing and x.dtype.category < dtypes.FLOATING:
        return x.to(dtypes.int64)
    return x.to(dtypes.get_default_dtype()) if floating and x.dtype.category < dtypes.FLOATING else x


def _count(x: Tensor, mask: Tensor | None, dim: Any, keepdim: bool) -> np.ndarray:
    """How many elements take part in each reduction."""
    where = _mask_of(x, mask)
    taking_part = np.ones(x._array.shape, bool) if where is None else where
    return np.asarray(np.add.reduce(taking_part, axis=axes_of(dim, x._array.ndim), keepdims=keepdim))


def _constant(values: np.ndarray, like: Tensor) -> Tensor:
    return wrap(values.astype(like._array.real.dtype))


# --- reductions --------------------------------------------------------------------------------------------------


def sum(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Source: torch.masked.sum."""
    return f["sum"](_filled(_typed(input, dtype, summing=True), mask, 0), dim, keepdim)


def prod(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The product over all or several dimensions. Source: torch.masked.prod."""
    x = _filled(_typed(input, dtype, summing=True), mask, 1)
    for d in sorted(axes_of(dim, x._array.ndim), reverse=True):
        x = f["prod"](x, d, keepdim)
    return x


def amax(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Source: torch.masked.amax."""
    x = _typed(input, dtype)
    return f["amax"](_filled(x, mask, _least(x)), axes_of(dim, x._array.ndim), keepdim)


def amin(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Source: torch.masked.amin."""
    x = _typed(input, dtype)
    return f["amin"](_filled(x, mask, _greatest(x)), axes_of(dim, x._array.ndim), keepdim)


def argmax(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The index, in the input's own type. Source: torch.masked.argmax."""
    x = _typed(input, dtype)
    return f["argmax"](_filled(x, mask, _least(x)), dim, keepdim).to(x.dtype)


def argmin(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The index, in the input's own type. Source: torch.masked.argmin."""
    x = _typed(input, dtype)
    return f["argmin"](_filled(x, mask, _greatest(x)), dim, keepdim).to(x.dtype)


def mean(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Source: torch.masked.mean."""
    x = _typed(input, dtype, floating=True)
    return sum(x, dim, keepdim=keepdim, mask=mask) / _constant(_count(x, mask, dim, keepdim), x)


def median(
    input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Source: torch.masked.median."""
    x = _typed(input, dtype, floating=True)
    if mask is not None and np.isnan(x._array).any():
        raise ValueError("masked median expected no fully masked out rows or NaNs in the input")
    return f["nanmedian"](_filled(x, mask, float("nan")), dim, keepdim).values


def logsumexp(
    input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """In the input's own type, or the one asked for. Source: torch.masked.logsumexp."""
    x = _typed(input, dtype, floating=True)
    result = f["logsumexp"](_filled(x, mask, -INFINITY), axes_of(dim, x._array.ndim), keepdim)
    return result.to(input.dtype if dtype is None else dtype)


def norm(input: Tensor, ord: Any = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Source: torch.masked.norm."""
    x = _filled(_typed(input, dtype, floating=True), mask, INFINITY if ord < 0 else 0)
    return vector_norm(x, ord, axes_of(dim, x._array.ndim), keepdim)


def _spread(
    input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool, dtype: Any, mask: Tensor | None
) -> Tensor:
    if unbiased is not None and correction is not None:
        raise ValueError("Only one of unbiased and correction may be given")
    less = (1 if correction is None else correction) if unbiased is None else int(unbiased)
    x = _typed(input, dtype, floating=True)
    centred = _filled(x, mask, 0) - mean(x, axes_of(dim, x._array.ndim), keepdim=True, mask=mask)
    squares = centred * centred.conj()
    free = np.maximum(_count(x, mask, dim, keepdim) - less, 0)
    return sum(squares, dim, keepdim=keepdim, mask=mask) / _constant(free, x)


def var(input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
        dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Source: torch.masked.var."""
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask)


def std(input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
        dtype: Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Source: torch.masked.std."""
    return f["sqrt"](_spread(input, dim, unbiased, correction, keepdim, dtype, mask))


# --- of the input's shape ----------------------------------------------------------------------------------------


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Source: torch.masked.cumsum."""
    return f["cumsum"](_filled(_typed(input, dtype, summing=True), mask, 0), dim)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Source: torch.masked.cumprod."""
    return f["cumprod"](_filled(_typed(input, dtype, summing=True), mask, 1), dim)


def _normalizing(name: str, fill: float) -> Callable:
    def call(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
        function = registry.functions.get(name) or _softmin
        return function(_filled(_typed(input, dtype), mask, fill), dim)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Source: torch.masked.{name}."
    return call


def _softmin(x: Tensor, dim: int) -> Tensor:
    return f["softmax"](-x, dim)


softmax, log_softmax = _normalizing("softmax", -INFINITY), _normalizing("log_softmax", -INFINITY)
softmin = _normalizing("softmin", INFINITY)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Divided by the norm, or by eps where that is less. Source: torch.masked.normalize."""
    x = _typed(input, dtype)
    size = f["clamp_min"](norm(x, ord, dim, keepdim=True, mask=mask), eps)
    return _filled(x, mask, 0) / size


def logaddexp(input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Tensor | None = None,
              other_mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Source: torch.masked.logaddexp."""
    parts = [_filled(_typed(x, dtype), m, -INFINITY) for x, m in ((input, input_mask), (other, other_mask))]
    return f["logaddexp"](*parts)


NAMES = (amax, amin, argmax, argmin, cumprod, cumsum, log_softmax, logaddexp, logsumexp, mean, median, norm, normalize, prod,
         softmax, softmin, std, sum, var)  # fmt: skip
