"""Extremes and order: max, min, median, sort, topk and their indices.

At ties, amax, amin and the full max and min share the gradient evenly; along a dimension max and min give it to the
index they return. Source: torch docs of amax, max.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import return_types
from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import _into
from reference_engine.ops.kinds import general
from reference_engine.ops.masking import masked
from reference_engine.ops.positions import add_at, key_along
from reference_engine.ops.reductions import axes_of, check_not_empty, kept, restore
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import axis
from reference_engine.tensor import Tensor, wrap


def share_ties(g: Any, x: Any, y: Any, dims: tuple, x_shape: tuple) -> Any:
    array = x._array if isinstance(x, Tensor) else x
    extreme = (y._array if isinstance(y, Tensor) else y).reshape(kept(x_shape, dims))
    hits = (array == extreme) | (np.isnan(array) & np.isnan(extreme))
    share = (hits / np.add.reduce(hits, axis=dims, keepdims=True)).astype(array.dtype)
    g = restore(g, x_shape, dims)
    return masked(g * (wrap(share) if isinstance(g, Tensor) else share), hits)  # nan stays with the extremes


def share_equal(g: Any, x: Any, y: Any, dims: tuple, x_shape: tuple) -> Any:
    """share_ties by equality alone: nan is equal to nothing, so that nothing shares and every element gets nan."""
    array = x._array if isinstance(x, Tensor) else x
    hits = array == (y._array if isinstance(y, Tensor) else y).reshape(kept(x_shape, dims))
    count = np.add.reduce(hits, axis=dims, keepdims=True)
    with np.errstate(invalid="ignore"):
        share = (hits / count).astype(array.dtype)
    g = restore(g, x_shape, dims)
    return masked(g * (wrap(share) if isinstance(g, Tensor) else share), hits | (count == 0))


def rows_of(x: np.ndarray, dims: tuple) -> np.ndarray:
    """What is reduced over together as the last dimension."""
    rest = tuple(d for d in range(x.ndim) if d not in dims)
    return x.transpose(rest + tuple(dims)).reshape(
        *[x.shape[d] for d in rest], int(np.prod([x.shape[d] for d in dims]))
    )


def _median(x: np.ndarray, *, dims: tuple, keepdim: bool) -> np.ndarray:
    rows = np.sort(rows_of(x, dims), -1)  # nan last
    size = rows.shape[-1]
    if not size:
        return np.full(rows.shape[:-1], np.nan, x.dtype)
    return np.where(np.isnan(rows[..., -1]), rows[..., -1], rows[..., (size - 1) // 2])


# fmt: off
amax_dims = general("amax", lambda x, *, dims, keepdim: np.maximum.reduce(x, axis=dims, keepdims=keepdim), share_equal, saved_names=("self",))
amin_dims = general("amin", lambda x, *, dims, keepdim: np.minimum.reduce(x, axis=dims, keepdims=keepdim), share_equal, saved_names=("self",))
median_all = general("median", _median, share_ties, saved_names=("self",))
max_all   = general("max",  lambda x, *, dims, keepdim: np.maximum.reduce(x, axis=dims), share_ties, node="MaxBackward1", saved_names=("self",))
min_all   = general("min",  lambda x, *, dims, keepdim: np.minimum.reduce(x, axis=dims), share_ties, node="MinBackward1", saved_names=("self",))
# fmt: on


@both
def amax(input: Tensor, dim: Any = (), keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The maximum; ties share the gradient evenly. Source: torch.amax."""
    check_not_empty("amax", input, dim)
    return _into(amax_dims(input, dims=axes_of(dim, input._array.ndim), keepdim=keepdim), out, "amax")


@both
def amin(input: Tensor, dim: Any = (), keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The minimum; ties share the gradient evenly. Source: torch.amin."""
    check_not_empty("amin", input, dim)
    return _into(amin_dims(input, dims=axes_of(dim, input._array.ndim), keepdim=keepdim), out, "amin")


def _pick(gs: tuple, key: Any, x_shape: tuple, dim: int, keepdim: bool) -> Any:
    g = gs[0]
    if g is None:
        return None
    if not x_shape:
        return add_at(g, key=key, shape=x_shape)
    g = g if keepdim else (g.unsqueeze(dim) if isinstance(g, Tensor) else np.expand_dims(g, dim))
    return add_at(g, key=key, shape=x_shape)


def picking(name: str, choose: Any, node: str | None = None) -> Any:
    """An operator that returns (values, indices) along a dimension: choose(x, dim, **options) gives the indices."""

    def forward(x: np.ndarray, *, dim: int, keepdim: bool, **options: Any) -> tuple:
        if x.ndim == 0:
            return np.array(x), np.zeros((), np.int64), (...,)
        indices = np.expand_dims(choose(x, dim, **options), dim)
        key = key_along(dim, indices)
        values = x[key]
        if not keepdim:
            values, indices = values.squeeze(dim), indices.squeeze(dim)
        return values, indices.astype(np.int64), key

    return general(name, forward, _pick, inputs=("x",), outputs=("values", "indices"), aux=("key",),
                   nondifferentiable=("indices",), saved_names=("self",), node=node)  # fmt: skip


def _nan_first(x: np.ndarray, dim: int, choose: Any) -> np.ndarray:
    if x.dtype.kind == "f" and np.isnan(x).any():
        nans = np.isnan(x)
        return np.where(nans.any(dim), nans.argmax(dim), choose(np.where(nans, -np.inf, x), dim))
    return choose(x, dim)


max_dim = picking("max", lambda x, dim: _nan_first(x, dim, np.argmax))
min_dim = picking("min", lambda x, dim: _nan_first(-x if x.dtype.kind != "b" else ~x, dim, np.argmax))


def _median_index(x: np.ndarray, dim: int) -> np.ndarray:
    """The index of the lower median; that of a nan where there is one."""
    middle = np.take(np.argsort(x, dim, kind="stable"), (x.shape[dim] - 1) // 2, dim)
    nans = np.isnan(x)
    return np.where(nans.any(dim), nans.argmax(dim), middle)


median_dim = picking("median", _median_index, node="MedianBackward1")


def _extreme(name: str, full: Any, along: Any, pairwise: str) -> None:
    def call(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if isinstance(dim, Tensor) or other is not None:
            return registry.functions[pairwise](input, other if other is not None else dim)
        check_not_empty(name, input, dim)
        if dim is None:
            return full(input, dims=axes_of(None, input._array.ndim), keepdim=False)
        return getattr(return_types, name)(*along(input, dim=axis(dim, input._array.ndim), keepdim=keepdim))

    call.__name__ = name
    call.__doc__ = (
        f"The {name} of all elements, (values, indices) along `dim`, or elementwise of two. Source: torch.{name}."
    )
    registry.publish(name, call)


_extreme("max", max_all, max_dim, "maximum")
_extreme("min", min_all, min_dim, "minimum")


@both
def median(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The lower median of all elements, or (values, indices) along `dim`. Source: torch.median."""
    if dim is None:
        return median_all(input, dims=tuple(range(input._array.ndim)), keepdim=False)
    return return_types.median(*median_dim(input, dim=axis(dim, input._array.ndim), keepdim=keepdim))


# --- order -------------------------------------------------------------------------------------------------------


def _order_forward(x: np.ndarray, *, dim: int, descending: bool, count: int | None) -> tuple:
    if x.ndim == 0:
        return np.array(x), np.zeros((), np.int64), (...,)
    if descending:
        flipped = np.flip(np.argsort(np.flip(x, dim), dim, kind="stable"), dim)
        indices = x.shape[dim] - 1 - flipped
    else:
        indices = np.argsort(x, dim, kind="stable")
    if count is not None:
        indices = indices[(slice(None),) * dim + (slice(count),)]
    key = key_along(dim, indices)
    return x[key], indices.astype(np.int64), key


def _order_rule(gs: tuple, key: Any, x_shape: tuple) -> Any:
    return None if gs[0] is None else add_at(gs[0], key=key, shape=x_shape)


# fmt: off
_sort = general("sort", _order_forward, _order_rule, inputs=("x",), outputs=("values", "indices"), aux=("key",), nondifferentiable=("indices",))
_topk = general("topk", _order_forward, _order_rule, inputs=("x",), outputs=("values", "indices"), aux=("key",), nondifferentiable=("indices",))
# fmt: on


@both
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) in order along a dimension. Source: torch.sort."""
    return return_types.sort(*_sort(input, dim=axis(dim, input._array.ndim), descending=descending, count=None))


@both
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (values, indices) along a dimension. Source: torch.topk."""
    return return_types.topk(*_topk(input, dim=axis(dim, input._array.ndim), descending=largest, count=k))


@both
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort. Source: torch.argsort."""
    return sort(input.detach(), dim, descending).indices


# --- never tracked -------------------------------------------------------------------------------------------------


def _arg(name: str, choose: Any) -> None:
    def call(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        check_not_empty(name, input, dim, IndexError)
        if dim is None or not input._array.ndim:
            axis(0 if dim is None else dim, input._array.ndim)
            found = wrap(np.asarray(choose(input._array.reshape(-1), 0)))
            return wrap(found._array.reshape((1,) * input._array.ndim)) if keepdim else found
        d = axis(dim, input._array.ndim)
        result = choose(input._array, d)
        return wrap(np.asarray(np.expand_dims(result, d) if keepdim else result))

    call.__name__ = name
    registry.publish(name, call)


_arg("argmax", lambda x, dim: _nan_first(x, dim, np.argmax))
_arg("argmin", lambda x, dim: _nan_first(-x, dim, np.argmax))
