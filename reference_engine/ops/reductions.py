"""Sums, means, products, norms, logarithms of sums of exponentials.

Norms have the subgradient 0 where they are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import _into
from reference_engine.ops.kinds import constant, general, linear
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import axis, broadcast
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions reduced over: all for None or (). A 0-d tensor counts as one of one dimension, and has none."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    dims = tuple(axis(d, ndim) for d in ((dim,) if not isinstance(dim, (tuple, list)) else dim))
    if len(dims) > 1 and len(set(dims)) < len(dims):
        raise RuntimeError(
            f"dim {next(d for d in dims if dims.count(d) > 1)} appears multiple times in the list of dims"
        )
    return dims if ndim else ()


def check_not_empty(name: str, x: Tensor, dim: Any, error: type[Exception] = RuntimeError) -> None:
    """Raises where a reduction that nothing has no value of would reduce no elements."""
    array = x._array
    if array.size:
        return
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        hint = " Specify the reduction dim with the 'dim' argument." if error is RuntimeError else ""
        raise error(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.{hint}")
    for d in axes_of(dim, array.ndim):
        if not array.shape[d]:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def kept(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with reduced dimensions kept as 1."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


def restore(g: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """A reduced value put back at its dimensions, ready to broadcast with `shape`; over arrays and tensors."""
    return g.reshape(kept(shape, dims))


def _sum_rule(g: Any, x_shape: tuple, dims: tuple) -> Any:
    return broadcast(restore(g, x_shape, dims) if g.shape else g, x_shape)


def _sum(x: np.ndarray, *, dims: tuple, keepdim: bool) -> np.ndarray:
    return np.add.reduce(x, axis=dims, keepdims=keepdim)


def _count(shape: tuple, dims: tuple) -> int:
    count = 1
    for d in dims:
        count *= shape[d]
    return count


def _mean(x: np.ndarray, *, dims: tuple, keepdim: bool) -> np.ndarray:
    count = _count(x.shape, dims)
    return np.true_divide(np.add.reduce(x, axis=dims, keepdims=keepdim), x.dtype.type(count))


def _mean_rule(g: Any, x_shape: tuple, dims: tuple) -> Any:
    return _sum_rule(g, x_shape, dims) / _count(x_shape, dims)


def in_dtype(x: Tensor, dtype: Any) -> Tensor:
    """A reduction's input in the dtype asked for; while a gradient is recorded it has to be one that can carry it."""
    wanted = dtypes.as_dtype(dtype)
    if wanted.category < dtypes.FLOATING and x.requires_grad and state.grad_enabled:
        raise RuntimeError(f"Autograd not support dtype: {dtypes.type_name(wanted)}")
    return x.to(wanted)


# fmt: off
sum_all  = linear("sum",  _sum,  _sum_rule)
sum_dims = linear("sum",  _sum,  _sum_rule, node="SumBackward1")
mean_all = linear("mean", _mean, _mean_rule)
mean_dims = linear("mean", _mean, _mean_rule, node="MeanBackward1")
# fmt: on


@both
def sum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None
) -> Tensor:
    """The sum over all or given dimensions; integers add up in int64. Source: torch.sum."""
    x = input if dtype is None else in_dtype(input, dtype)
    if dtype is None and x.dtype.category < dtypes.FLOATING:
        x = x.to(dtypes.int64)
    op = sum_all if dim is None else sum_dims
    result = op(x, dims=axes_of(dim, x._array.ndim), keepdim=keepdim)
    return result if out is None else _into(result, out, "sum")


@both
def mean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Tensor | None = None
) -> Tensor:
    """The mean over all or given dimensions. Source: torch.mean."""
    x = input if dtype is None else input.to(dtype)
    if x.dtype.category < dtypes.FLOATING:
        raise RuntimeError(f"mean(): could not infer output dtype. Input dtype must be either a floating point or "
                           f"complex dtype. Got: {_type(x)}")  # fmt: skip
    op = mean_all if dim is None else mean_dims
    result = op(x, dims=axes_of(dim, x._array.ndim), keepdim=keepdim)
    return result if out is None else _into(result, out, "mean")


def _type(x: Tensor) -> str:
    return {"int64": "Long", "int32": "Int", "bool": "Bool"}.get(x.dtype.name, x.dtype.name)


def _prod_rule(g: Any, x: Any, y: Any, dims: tuple, x_shape: tuple) -> Any:
    """g times the product of the others, without dividing by zeros."""
    if _count(x_shape, dims) == 1:
        return restore(g, x_shape, dims)
    g, y = restore(g, x_shape, dims), restore(y, x_shape, dims)
    array = x._array if isinstance(x, Tensor) else x
    zeros = np.equal(array, 0)
    if not zeros.any():
        return g * y / x
    others = product_of_others(x, dims)
    return g * others


def product_of_others(x: Any, dims: tuple) -> Any:
    """For each element the product of the others along `dims`: products from the left times products from the right."""
    front = tuple(d for d in range(x.ndim) if d not in dims)
    order = front + dims
    shape = tuple(x.shape[d] for d in order)
    count = _count(x.shape, dims)
    flat = (x.permute(order) if isinstance(x, Tensor) else x.transpose(order)).reshape((-1, count))
    columns = [flat[:, i] for i in range(count)]
    one = columns[0] * 0 + 1
    left, right = [one], [one]
    for i in range(count - 1):
        left.append(left[-1] * columns[i])
        right.append(right[-1] * columns[count - 1 - i])
    products = [a * b for a, b in zip(left, reversed(right), strict=True)]
    stacked = registry.functions["stack"](products, 1) if isinstance(x, Tensor) else np.stack(products, 1)
    back = tuple(int(i) for i in np.argsort(order))
    stacked = stacked.reshape(shape)
    return stacked.permute(back) if isinstance(x, Tensor) else stacked.transpose(back)


def _prod(x: np.ndarray, *, dims: tuple, keepdim: bool) -> np.ndarray:
    return np.multiply.reduce(x, axis=dims, keepdims=keepdim, dtype=x.dtype)


prod_all = general("prod", _prod, _prod_rule, saved_names=("self",))
prod_dims = general("prod", _prod, _prod_rule, saved_names=("self",), node="ProdBackward1")


@both
def prod(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over all dimensions or one. Source: torch.prod."""
    x = input if dtype is None else in_dtype(input, dtype)
    if dtype is None and x.dtype.category < dtypes.FLOATING:
        x = x.to(dtypes.int64)
    return (prod_all if dim is None else prod_dims)(x, dims=axes_of(dim, x._array.ndim), keepdim=keepdim)


# --- variance, logsumexp: compositions --------------------------------------------------------------------


@both
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log of the sum of exponentials, computed stably. Source: torch.logsumexp."""
    x = input if input.dtype.category >= dtypes.FLOATING else input.to(dtypes.get_default_dtype())
    return _logsumexp(x, dims=axes_of(dim, x._array.ndim), keepdim=keepdim)


def _logsumexp_forward(x: np.ndarray, *, dims: tuple, keepdim: bool) -> np.ndarray:
    peak = np.maximum.reduce(x.real, axis=dims, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0).astype(x.real.dtype)
    with np.errstate(divide="ignore"):  # of nothing: minus infinity
        result = np.log(np.add.reduce(np.exp(x - peak), axis=dims, keepdims=True)) + peak
    return result if keepdim else result.reshape([n for i, n in enumerate(x.shape) if i not in dims])


def _logsumexp_rule(g: Any, x: Any, y: Any, dims: tuple, x_shape: tuple) -> Any:
    g, y = restore(g, x_shape, dims), restore(y, x_shape, dims)
    exp = registry.TENSOR_WORDS["exp"] if isinstance(x, Tensor) else np.exp
    return g * exp(x - y)


_logsumexp = general("logsumexp", _logsumexp_forward, _logsumexp_rule, saved_names=("self",))


# --- never tracked ---


def _logical(name: str, ufunc: Any) -> None:
    def call(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return wrap(np.asarray(ufunc.reduce(input._array, axis=axes_of(dim, input._array.ndim), keepdims=keepdim)))

    call.__name__ = name
    registry.publish(name, call)


_logical("all", np.logical_and)
_logical("any", np.logical_or)
registry.publish(
    "count_nonzero",
    constant("count_nonzero", lambda input, dim=None: np.count_nonzero(input, axis=axes_of(dim, input.ndim))),
)
