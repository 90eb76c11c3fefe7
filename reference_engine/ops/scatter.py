"""Gather and scatter: elements chosen by index tensors. The transpose of a gather is a scatter that adds.

A 0-d tensor counts as a vector of one element, as its index does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.tensor import innermost
from reference_engine.ops import registry
from reference_engine.ops.also_saved import also_save, saves
from reference_engine.ops.indexing import _checked, _index_put_forward, _index_put_self, index_put
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.masking import masked
from reference_engine.ops.masks import fill_op, value_of
from reference_engine.ops.one_node import one_node
from reference_engine.ops.positions import _key, add_at, index_copy_out, key_along, take_positions
from reference_engine.ops.registry import both, function
from reference_engine.ops.shapes import axis, reshape_copy
from reference_engine.ops.underivable import unrecorded
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap

# --- indices -----------------------------------------------------------------------------------------------------


def as_vector(x: Tensor) -> Tensor:
    """A 0-d tensor as a vector of one element, any other itself."""
    return x if x._array.ndim else x.reshape(1)


def as_it_was(result: Tensor, x: Tensor) -> Tensor:
    """What as_vector's operators gave, 0-d again where x is."""
    return result if x._array.ndim else reshape_copy(result, shape=())


def _integers(index: Tensor, message: str) -> np.ndarray:
    if not index._array.size:
        return np.zeros(index._array.shape, np.int64)
    if index._array.dtype.kind not in "iu" or index._array.dtype.itemsize < 4:
        raise RuntimeError(message)
    return np.array(index._array)


def _inside(index: np.ndarray, size: int, dim: int, error: type[Exception] = RuntimeError, prefix: str = "") -> None:
    """Raises for an index outside [0, size)."""
    outside = index[(index < 0) | (index >= size)]
    if outside.size:
        raise error(f"{prefix}index {outside.flat[0]} is out of bounds for dimension {dim} with size {size}")


def _along(x: np.ndarray, dim: int, index: Tensor, name: str, role: str) -> tuple[tuple, np.ndarray]:
    """The key of an index that has as many dimensions as x, and the index."""
    where = np.atleast_1d(_integers(index, f"{name}(): Expected dtype int32/int64 for index"))
    if where.size and where.ndim != x.ndim:
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {role} tensor")
    if not where.size:
        return (), where
    if role == "input":
        _no_larger(where.shape, x.shape, dim)
    _inside(where, x.shape[dim], dim)
    return key_along(dim, where), where


def _no_larger(shape: tuple[int, ...], limits: tuple[int, ...], dim: int) -> None:
    for k, (n, m) in enumerate(zip(shape, limits, strict=True)):
        if k != dim and n > m:
            raise RuntimeError(f"Size does not match at dimension {k} expected index {list(shape)} to be no larger than self "
                               f"{list(limits)} apart from dimension {dim}")  # fmt: skip


# --- gather ------------------------------------------------------------------------------------------------------


def _sparse_gather_rule(g: Any, key: tuple, x_shape: tuple) -> Any:
    """The gradients at the places they come from, as a sparse tensor, one for each index."""
    from reference_engine.sparse.operators import make_coo

    places = np.stack([k.reshape(-1) for k in np.broadcast_arrays(*key)])
    return make_coo(g.reshape(-1), indices=places, shape=x_shape, coalesced=False)


gather_key = linear(
    "gather", lambda x, *, key: np.asarray(x[key]), lambda g, key, x_shape: add_at(g, key=key, shape=x_shape)
)
gather_sparsely = linear("gather", lambda x, *, key: np.asarray(x[key]), _sparse_gather_rule)


@both
@saves("index")
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Elements along a dimension at the indices given. Source: torch.gather."""
    if state.vmap_levels and innermost((index,)) is not None:
        from reference_engine.batching import by_elements

        return by_elements.gather(input, dim, index)
    d = axis(dim, input._array.ndim)
    x = as_vector(input)
    key, where = _along(x._array, d, index, "gather", "input")
    if not where.size:
        return index_copy_out(x.reshape(-1), key=(np.zeros(index._array.shape, np.int64),))
    result = (gather_sparsely if sparse_grad else gather_key)(x, key=key)
    return as_it_was(result, index)


@both
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Elements along a dimension; input and indices broadcast in the others. Source: torch.take_along_dim."""
    if indices._array.dtype != np.int64:
        raise RuntimeError("torch.take_along_dim(): dtype of indices should be Long but got "
                           f"{dtypes.type_name(indices.dtype)}")  # fmt: skip
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    x, i = input._array, indices._array
    if x.ndim != i.ndim:
        raise RuntimeError("torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
                           f"{x.ndim} dimensions for input, and {i.ndim} dimensions for indices")  # fmt: skip
    d = axis(dim, x.ndim)
    common = np.broadcast_shapes(*[(*s[:d], 1, *s[d + 1 :]) for s in (x.shape, i.shape)])
    sizes = [(*common[:d], s[d], *common[d + 1 :]) for s in (x.shape, i.shape)]
    return gather(input.expand(sizes[0]), d, wrap(np.where(i < 0, i + x.shape[d], i)).expand(sizes[1]))


_index_select = linear(
    "index_select", lambda x, *, key: x[key], lambda g, key, x_shape: add_at(g, key=key, shape=x_shape)
)


@both
@saves("index")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Whole slices along a dimension. Source: torch.index_select."""
    d = axis(dim, input._array.ndim)
    if index._array.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    where = np.atleast_1d(_integers(index, "index_select(): Expected dtype int32 or int64 for index"))
    x = as_vector(input)
    if where.size and (where.min() < 0 or where.max() >= x._array.shape[d]):
        raise IndexError("index out of range in self")
    result = _index_select(x, key=_key(d, where))
    return as_it_was(result, input)


@both
@one_node("TakeBackward0", "input")
@saves("index")
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements by their number in C order. Source: torch.take."""
    return index_copy_out(input.reshape(-1), key=(_numbers(input, index, "take(): Expected a long tensor for index"),))


def _numbers(input: Tensor, index: Tensor, message: str) -> np.ndarray:
    numbers, size = _integers(index, message), input._array.size
    outside = numbers[(numbers < -size) | (numbers >= size)]
    if outside.size:
        raise IndexError(f"out of range: tried to access index {outside.flat[0]} on a tensor of {size} elements.")
    return numbers


# --- scatter -----------------------------------------------------------------------------------------------------

_scatter_op = general("scatter", _index_put_forward, _index_put_self, lambda g, key: index_copy_out(g, key=key),
                      inputs=("x", "v"), linear=True, holomorphic=False, saved_names=("self", "src"))  # fmt: skip


def _leading(v: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What of a source is used: as much as the index is large."""
    return v[tuple(slice(n) for n in shape)] if v.ndim else v


def _scatter_forward(x: np.ndarray, v: np.ndarray, *, key: Any, accumulate: bool, used: tuple) -> np.ndarray:
    return _index_put_forward(x, _leading(v, used), key=key, accumulate=accumulate)


# The rule is documented for sources of the index's shape only: a larger one gets a gradient of the wrong shape.
_scatter_src = general("scatter", _scatter_forward, _index_put_self, lambda g, key: index_copy_out(g, key=key),
                       inputs=("x", "v"), linear=True, holomorphic=False, saved_names=("self", "src"))  # fmt: skip
_scatter_add = general("scatter_add", _scatter_forward, lambda g: g, lambda g, key: index_copy_out(g, key=key),
                       inputs=("x", "v"), linear=True, holomorphic=False, saved_names=("self", "src"))  # fmt: skip


def scatter_key(input: Tensor, dim: int, index: Tensor, src: Any, name: str) -> tuple[Tensor, Tensor, tuple, tuple]:
    """input, src, the key of the places, and the shape of what is written; RuntimeError where they do not fit."""
    d = axis(dim, input._array.ndim)
    x = as_vector(input)
    if isinstance(src, Tensor) and index._array.size and as_vector(src)._array.ndim != max(index._array.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    key, where = _along(x._array, d, index, name, "self")
    if not isinstance(src, Tensor):
        return x, wrap(np.full(where.shape, src, x._array.dtype)), key, where.shape
    src = as_vector(src)
    if src.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    if where.size:
        pairs = zip(where.shape, x._array.shape, src._array.shape, strict=True)
        if any((n > m and k != d) or n > s for k, (n, m, s) in enumerate(pairs)):
            raise RuntimeError(f"Expected index {list(where.shape)} to be no larger than self {list(x.shape)} apart from "
                               f"dimension {d} and to be no larger size than src {list(src.shape)}")  # fmt: skip
    return x, src, key, where.shape


def _scattered(op: Any, input: Tensor, dim: int, index: Tensor, src: Any, name: str, **options: Any) -> Tensor:
    x, source, key, used = scatter_key(input, dim, index, src, name)
    if 0 in used:
        return input.clone()
    result = op(x, source, key=key, used=used, **options)
    return as_it_was(result, input)


def _reduced(x: np.ndarray, v: np.ndarray, *, key: Any, used: tuple, multiply: bool) -> np.ndarray:
    result = np.array(x)
    (np.multiply if multiply else np.add).at(result, key, _leading(v, used))
    return result


_scatter_reducing = unrecorded("scatter", _reduced, ("x", "v"))


@both
@saves("index")
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None) -> Tensor:  # fmt: skip
    """Elements at the indices replaced by src; added or multiplied with `reduce`, then without a derivative.

    Source: torch.scatter.
    """
    source = value if src is None else src
    if reduce is None:
        return _scattered(_scatter_src, input, dim, index, source, "scatter", accumulate=False)
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if isinstance(source, Tensor):
        warnings.warn("The reduce argument of torch.scatter with Tensor src is deprecated and will be removed in a future "
                      "PyTorch release. Use torch.scatter_reduce instead for more reduction options.", UserWarning,
                      stacklevel=2)  # fmt: skip
    return _scattered(_scatter_reducing, input, dim, index, source, "scatter", multiply=reduce == "multiply")


@both
@saves("index")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """src added at the indices. Source: torch.scatter_add."""
    return _scattered(_scatter_add, input, dim, index, src, "scatter", accumulate=True)


# --- whole slices ------------------------------------------------------------------------------------------------


def slices_key(input: Tensor, dim: int, index: Tensor, name: str, error: type[Exception] = RuntimeError,
               prefix: str = "") -> tuple[int, np.ndarray]:  # fmt: skip
    """The dimension and the vector of indices along it."""
    d = axis(dim, input._array.ndim)
    where = np.atleast_1d(_integers(index, f"{name}(): Expected dtype int32/int64 for index"))
    if where.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    _inside(where, as_vector(input)._array.shape[d], d, error, prefix)
    return d, where


def _slices(input: Tensor, source: Tensor, d: int, where: np.ndarray, accumulate: bool) -> Tensor:
    result = _scatter_op(as_vector(input), as_vector(source), key=_key(d, where), accumulate=accumulate)
    return as_it_was(result, input)


@both
@one_node("IndexAddBackward0", "input", "source")
@saves("index")
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """Slices of source added at the indices. Source: torch.index_add."""
    d, where = slices_key(input, dim, index, "index_add")
    if as_vector(source)._array.shape[d] != len(where):
        raise RuntimeError(f"index_add_(): Number of indices ({len(where)}) should be equal to source.size(dim): "
                           f"({as_vector(source)._array.shape[d]}), for dim: {d}")  # fmt: skip
    rest = [(*v._array.shape[:d], *v._array.shape[d + 1 :]) for v in (as_vector(input), as_vector(source))]
    if rest[0] != rest[1]:
        raise RuntimeError("source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape "
                           f"= {list(input.shape)} source.shape = {list(source.shape)}")  # fmt: skip
    return _slices(input, source * alpha if alpha != 1 else source, d, where, True)


@both
@one_node("IndexCopyBackward0", "input", "source")
@saves("index")
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Slices replaced by those of source. Source: torch.index_copy."""
    d, where = slices_key(input, dim, index, "index_copy_", IndexError, "index_copy_(): ")
    if as_vector(source)._array.shape[d] != len(where):
        raise IndexError(f"index_copy_(): Number of indices ({len(where)}) should be equal to source.size(dim) "
                         f"({as_vector(source)._array.shape[d]})")  # fmt: skip
    return _slices(input, source, d, where, False)


@both
@one_node("IndexFillBackward0", "input", "value", others={2: "IndexFillBackward1"})
@saves("index")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Slices filled with one value. Source: torch.index_fill."""
    d = axis(dim, input._array.ndim)
    where = np.atleast_1d(_integers(index, "index_fill_(): Expected dtype int64 for index."))
    size = as_vector(input)._array.shape[d]
    outside = where[(where < -size) | (where >= size)]
    if outside.size:
        raise IndexError(f"index {outside.flat[0]} is out of bounds for dimension {d} with size {size}")
    mask = np.zeros(as_vector(input)._array.shape, bool)
    mask[_key(d, where)] = True
    return fill_op(input, value_of(value, input, "index_fill_"), mask=mask.reshape(input._array.shape))


# --- by number, by several indices -------------------------------------------------------------------------------


def _put_forward(x: np.ndarray, v: np.ndarray, *, places: np.ndarray, accumulate: bool) -> np.ndarray:
    return _index_put_forward(x.reshape(-1), v, key=(places,), accumulate=accumulate).reshape(x.shape)


def _put_self(g: Any, places: np.ndarray, accumulate: bool) -> Any:
    if accumulate:
        return g
    mask = np.ones(int(np.prod(g.shape)), bool)
    mask[places] = False
    return masked(g, mask.reshape(g.shape))


put_op = general("put", _put_forward, _put_self, lambda g, places: take_positions(g, positions=places), inputs=("x", "v"),
                 linear=True, holomorphic=False, saved_names=("self", "source"))  # fmt: skip


@both
@saves("index")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Elements, by their number in C order, replaced by those of source or added to. Source: torch.Tensor.put_."""
    numbers = _numbers(input, index, "put_(): Expected a long tensor for index").reshape(-1)
    if source._array.size != numbers.size:
        raise IndexError("put_(): Expected source and index to have the same number of elements, but got source.numel() = "
                         f"{source._array.size}, index.numel() = {numbers.size}")  # fmt: skip
    return put_op(input, source.reshape(-1), places=numbers % max(input._array.size, 1), accumulate=accumulate)


def put_at(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """input with input[indices] = values, or += with accumulate. Source: torch.Tensor.index_put_."""
    key = _checked(input, [slice(None) if i is None else i for i in indices])
    return also_save(index_put(input, values, key=key, accumulate=accumulate), indices)


registry.publish("index_put", put_at)


@function
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is one of others; never tracked. Source: torch.isin."""
    own, others = (x._array if isinstance(x, Tensor) else np.asarray(x) for x in (elements, test_elements))
    return wrap(np.asarray(np.isin(own, others, invert=invert)))


def _in_place_forms(*functions: Callable) -> None:
    for fn in functions:
        registry.publish(f"{fn.__name__}_", in_place(fn, f"{fn.__name__}_"), module=False)


_in_place_forms(index_copy, index_fill, put, scatter, scatter_add, index_add)
