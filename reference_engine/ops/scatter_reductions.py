"""Reductions at indices: scatter_reduce and index_reduce.

Every element of the source belongs to one place of the input. With include_self the input's element takes part in its
place's reduction; without it, it stays only where no source element arrives. With n elements at a place:

    sum     g to each                          prod       g times the product of the others, exact with zeros
    mean    g / n to each                      amax, amin g shared evenly by those that are equal to the result

An element of the input that does not take part gets gradient 0, and no share of an extreme. Source: torch.Tensor.scatter_reduce_, torch.Tensor.index_reduce_.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.also_saved import saves
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import general
from reference_engine.ops.masking import masked
from reference_engine.ops.one_node import one_node
from reference_engine.ops.positions import put_positions, take_positions
from reference_engine.ops.reductions import product_of_others
from reference_engine.ops.registry import both
from reference_engine.ops.scatter import _leading, as_it_was, as_vector, scatter_key, slices_key
from reference_engine.ops.shapes import mismatch, reshape_to
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor, wrap

ADDING: dict[str, Any] = {"sum": np.add, "mean": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}
REDUCTIONS = tuple(ADDING)


def _identity(reduce: str, dtype: np.dtype) -> Any:
    """What changes nothing in a reduction."""
    if reduce in ("amax", "amin"):
        sign = -1 if reduce == "amax" else 1
        if dtype.kind == "f":
            return dtype.type(sign * np.inf)
        limits = (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return dtype.type(limits[sign > 0])
    return dtype.type(1 if reduce == "prod" else 0)


def _takes_part(shape: tuple, places: np.ndarray, include_self: bool) -> np.ndarray:
    """Which elements of the input take part."""
    part = np.ones(int(np.prod(shape)), bool)
    if not include_self:
        part[places.ravel()] = False
    return part.reshape(shape)


def _counts(shape: tuple, places: np.ndarray, include_self: bool) -> np.ndarray:
    """How many elements each place reduces."""
    arrived = np.bincount(places.ravel(), minlength=int(np.prod(shape))).reshape(shape)
    return arrived + _takes_part(shape, places, include_self)


def _forward(x: np.ndarray, v: np.ndarray, *, places: np.ndarray, reduce: str, include_self: bool) -> np.ndarray:
    part = _takes_part(x.shape, places, include_self)
    result = np.where(part, x, _identity(reduce, x.dtype)).reshape(-1)
    ADDING[reduce].at(result, places.ravel(), _leading(v, places.shape).ravel())
    result = result.reshape(x.shape)
    if reduce != "mean":
        return result
    counts = _counts(x.shape, places, include_self)
    return (result / counts if x.dtype.kind in "fc" else result // counts).astype(x.dtype)


def _array(x: Any) -> np.ndarray:
    return x._array if isinstance(x, Tensor) else x


def _constant(values: np.ndarray, like: Any) -> Any:
    return wrap(values) if isinstance(like, Tensor) else values


def _over_counts(g: Any, places: np.ndarray, include_self: bool) -> Any:
    counts = _counts(g.shape, places, include_self).astype(_array(g).real.dtype)
    return g / _constant(counts, g)


def _ties(g: Any, x: Any, v: Any, y: Any, places: np.ndarray, include_self: bool) -> tuple:
    """g over the number of elements equal to the extreme, and which these are in the input and in the source."""
    mine = (_array(x) == _array(y)) & _takes_part(g.shape, places, include_self)
    at_places = _array(y).reshape(-1)[places]
    if at_places.shape != v.shape:
        raise mismatch(at_places.shape, v.shape)
    theirs = _array(v) == at_places
    count = mine + np.bincount(places.ravel(), theirs.ravel(), mine.size).reshape(mine.shape)
    return g / _constant(np.maximum(count, 1).astype(_array(g).dtype), g), mine, theirs


def _others(x: Any, v: Any, places: np.ndarray, include_self: bool) -> tuple:
    """Per place a row of its factors, padded with ones; for each factor the product of the others, and where each element
    of the source stands in it.
    """
    if v.shape != places.shape:
        raise mismatch(places.shape, v.shape)
    flat = places.ravel()
    order = np.argsort(flat, kind="stable")
    rank = np.empty(flat.size, np.int64)
    rank[order] = np.arange(flat.size) - np.searchsorted(flat[order], flat[order])
    width = 2 + int(rank.max(initial=0))
    part = _takes_part(x.shape, places, include_self)
    count = part.size
    cells = (flat * width + 1 + rank).reshape(places.shape)
    ones = np.ones((count, width), _array(x).dtype)
    ones.reshape(-1)[cells.ravel()] = 0
    ones[part.ravel(), 0] = 0
    own = put_positions(masked(x, part), positions=(np.arange(count) * width).reshape(part.shape), shape=(count, width))
    factors = own + put_positions(v, positions=cells, shape=(count, width)) + _constant(ones, x)
    return product_of_others(factors, (1,)), cells, width


def _rule_self(g: Any, x: Any, v: Any, y: Any, places: np.ndarray, reduce: str, include_self: bool) -> Any:
    part = _takes_part(g.shape, places, include_self)
    if reduce == "prod":
        others, _, width = _others(x, v, places, include_self)
        first = take_positions(others, positions=np.arange(part.size) * width)
        return masked(g * reshape_to(first, part.shape), part)
    if reduce in ("amax", "amin"):
        share, mine, _ = _ties(g, x, v, y, places, include_self)
        return masked(share, mine)
    share = _over_counts(g, places, include_self) if reduce == "mean" else g
    return share if part.all() else masked(share, part)


def _rule_source(g: Any, x: Any, v: Any, y: Any, places: np.ndarray, reduce: str, include_self: bool) -> Any:
    if reduce == "prod":
        others, cells, _ = _others(x, v, places, include_self)
        return take_positions(g, positions=places) * take_positions(others, positions=cells)
    if reduce in ("amax", "amin"):
        share, _, theirs = _ties(g, x, v, y, places, include_self)
        return masked(take_positions(share, positions=places), theirs)
    return take_positions(_over_counts(g, places, include_self) if reduce == "mean" else g, positions=places)


# Sums and means need no values of their inputs; the others do.
_options: dict[str, Any] = {"inputs": ("x", "v"), "saved_names": ("self", "src")}


def _linear_self(g: Any, places: np.ndarray, reduce: str, include_self: bool) -> Any:
    return _rule_self(g, None, None, None, places, reduce, include_self)


def _linear_source(g: Any, places: np.ndarray, reduce: str, include_self: bool) -> Any:
    return _rule_source(g, None, None, None, places, reduce, include_self)


# fmt: off
scatter_sums     = general("scatter_reduce", _forward, _linear_self, _linear_source, linear=True, **_options)
scatter_rest     = general("scatter_reduce", _forward, _rule_self, _rule_source, **_options)
index_sums       = general("index_reduce", _forward, _linear_self, _linear_source, forward_mode=False, **_options)
index_rest       = general("index_reduce", _forward, _rule_self, _rule_source, forward_mode=False, **_options)
# fmt: on


def _places(shape: tuple, key: Any) -> np.ndarray:
    return np.arange(int(np.prod(shape))).reshape(shape)[key]


@both
@one_node("ScatterReduceBackward0", "input", "src")
@saves("index")
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """src reduced into the places that the index names. Source: torch.scatter_reduce."""
    if reduce not in REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    x, source, key, used = scatter_key(input, dim, index, src, "scatter")
    if 0 in used:
        return input.clone()
    op = scatter_sums if reduce in ("sum", "mean") else scatter_rest
    result = op(x, source, places=_places(x._array.shape, key), reduce=reduce, include_self=include_self)
    return as_it_was(result, input)


@both
@saves("index")
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Slices of source reduced into those of input that the index names. Source: torch.Tensor.index_reduce_."""
    if reduce not in REDUCTIONS[1:]:
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    warn_once("index_reduce", "index_reduce() is in beta and the API may change at any time.")
    d, where = slices_key(input, dim, index, "index_reduce")
    x, v = as_vector(input), as_vector(source)
    if v._array.shape[d] != len(where):
        raise RuntimeError(f"index_reduce_(): Number of indices ({len(where)}) should be equal to source.size(dim): "
                           f"({v._array.shape[d]}), for dim: {d}")  # fmt: skip
    places = _places(x._array.shape, (*(slice(None),) * d, where))
    op = index_sums if reduce == "mean" else index_rest
    result = op(x, v, places=places, reduce=reduce, include_self=include_self)
    return as_it_was(result, input)


for _fn in (scatter_reduce, index_reduce):
    registry.publish(f"{_fn.__name__}_", in_place(_fn, f"{_fn.__name__}_"), module=False)
