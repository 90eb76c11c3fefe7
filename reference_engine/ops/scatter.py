"""Gather and scatter, masks and diagonals: elements chosen by index tensors. The transpose of a gather is a scatter."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.indexing import _index_put_forward, _index_put_self
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import constant, general, linear
from reference_engine.ops.positions import _key, add_at, index_copy_out, key_along, put_positions
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import axis
from reference_engine.tensor import Tensor, wrap


def _gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    d = axis(dim, input._array.ndim)
    return gather_key(input, key=key_along(d, np.array(index._array)))


gather_key = linear(
    "gather", lambda x, *, key: np.asarray(x[key]), lambda g, key, x_shape: add_at(g, key=key, shape=x_shape)
)


@both
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Elements along a dimension at the indices given. Source: torch.gather."""
    return _gather(input, dim, index)


@both
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Elements along a dimension; indices broadcast. Source: torch.take_along_dim."""
    if dim is None:
        return _gather(input.reshape(-1), 0, indices.reshape(-1))
    return _gather(input, dim, indices)


@both
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Whole slices along a dimension. Source: torch.index_select."""
    d = axis(dim, input._array.ndim)
    return _index_select(input, key=_key(d, np.atleast_1d(np.array(index._array))))


_index_select = linear(
    "index_select", lambda x, *, key: x[key], lambda g, key, x_shape: add_at(g, key=key, shape=x_shape)
)


def _scatter_parts(input: Tensor, dim: int, index: Tensor, src: Any) -> tuple[tuple, Any]:
    d = axis(dim, input._array.ndim)
    key = key_along(d, np.array(index._array))
    if isinstance(src, Tensor):
        src = src[tuple(slice(n) for n in index._array.shape)]
    else:
        src = wrap(np.full(index._array.shape, src, input._array.dtype))
    return key, src


_scatter_op = general("scatter", _index_put_forward, _index_put_self, lambda g, key: index_copy_out(g, key=key),
                      inputs=("x", "v"), saved_names=("self", "src"))  # fmt: skip


@both
def scatter(input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """Elements at the indices replaced by src. Source: torch.scatter."""
    key, source = _scatter_parts(input, dim, index, src)
    return _scatter_op(input, source, key=key, accumulate=False)


@both
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """src added at the indices. Source: torch.scatter_add."""
    key, source = _scatter_parts(input, dim, index, src)
    return _scatter_op(input, source, key=key, accumulate=True)


@both
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """Slices of source added at the indices. Source: torch.index_add."""
    d = axis(dim, input._array.ndim)
    return _scatter_op(
        input, source * alpha if alpha != 1 else source, key=_key(d, np.array(index._array)), accumulate=True
    )


@both
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Slices replaced by those of source. Source: torch.index_copy."""
    d = axis(dim, input._array.ndim)
    return _scatter_op(input, source, key=_key(d, np.array(index._array)), accumulate=False)


@both
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Slices filled with one value. Source: torch.index_fill."""
    d = axis(dim, input._array.ndim)
    value = value if isinstance(value, Tensor) else wrap(np.asarray(value, input._array.dtype))
    return _scatter_op(input, value, key=_key(d, np.array(index._array)), accumulate=False)


@both
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements by their number in C order. Source: torch.take."""
    return index_copy_out(input.reshape(-1), key=(np.array(index._array),))


@both
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds. Source: torch.masked_fill."""
    from reference_engine.ops.elementwise import where

    value = value if isinstance(value, Tensor) else wrap(np.asarray(value, input._array.dtype))
    return where(mask, value, input)


@both
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one dimension. Source: torch.masked_select."""
    return index_copy_out(input, key=(np.array(np.broadcast_to(mask._array, input._array.shape)),))


def _nonzero(x: np.ndarray) -> np.ndarray:
    return np.stack(np.nonzero(x), -1) if x.ndim else np.zeros((int(bool(x)), 0), np.int64)


@both
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of the elements that are not 0. Source: torch.nonzero."""
    indices = wrap(_nonzero(input._array))
    return tuple(indices.unbind(1)) if as_tuple else indices


def _diagonal_transpose(g: Any, offset: int, dim1: int, dim2: int, x_shape: tuple) -> Any:
    positions = np.diagonal(np.arange(int(np.prod(x_shape))).reshape(x_shape), offset, dim1, dim2)
    return put_positions(g, positions=positions, shape=x_shape)


def _diagonal(x: np.ndarray, *, offset: int, dim1: int, dim2: int) -> np.ndarray:
    view = np.diagonal(x, offset, dim1, dim2)
    view.flags.writeable = x.flags.writeable  # NumPy gives it read-only
    return view


diagonal_view = linear("diagonal", _diagonal, _diagonal_transpose, view=True)


@both
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of a diagonal, as the last dimension. Source: torch.diagonal."""
    n = input._array.ndim
    return diagonal_view(input, offset=offset, dim1=axis(dim1, n), dim2=axis(dim2, n))


@both
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix with this diagonal. Source: torch.diag."""
    if input._array.ndim == 2:
        return diagonal_view(input, offset=diagonal, dim1=0, dim2=1).clone()
    n = input._array.shape[0] + abs(diagonal)
    positions = np.diagonal(np.arange(n * n).reshape(n, n), diagonal)
    return put_positions(input, positions=positions, shape=(n, n))


@both
def diag_embed(input: Tensor, offset: int = 0) -> Tensor:
    """The last dimension as the diagonal of matrices. Source: torch.diag_embed."""
    n = input._array.shape[-1] + abs(offset)
    shape = (*input._array.shape[:-1], n, n)
    positions = np.diagonal(np.arange(int(np.prod(shape))).reshape(shape), offset, -2, -1)
    return put_positions(input, positions=positions, shape=shape)


registry.publish(
    "isin", constant("isin", lambda elements, test_elements: np.isin(elements, test_elements)), method=False
)

for _fn in (index_copy, index_fill):
    registry.publish(f"{_fn.__name__}_", in_place(_fn, f"{_fn.__name__}_"), module=False)
