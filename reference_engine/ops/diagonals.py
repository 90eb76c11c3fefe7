"""Diagonals, and tensors of which a part is replaced: the part is what a view of it would show.

Law of the *_scatter operators: op_scatter(x, src, ...) is a copy of x in which op(x, ...) shows src. The replaced part of x
gets gradient 0, src gets what op shows of the gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops.indexing import select
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.masking import masked
from reference_engine.ops.masks import masked_fill
from reference_engine.ops.one_node import one_node
from reference_engine.ops.positions import put_positions, take_positions
from reference_engine.ops.registry import both, method
from reference_engine.ops.shapes import axis, dims_of
from reference_engine.ops.strided import as_strided
from reference_engine.tensor import Tensor, wrap
from reference_engine.tensor import wrap as tensor_of

masked_fill_ = in_place(masked_fill, "masked_fill_")


def _numbered(shape: tuple[int, ...]) -> np.ndarray:
    """The number of each element in C order."""
    return np.arange(int(np.prod(shape))).reshape(shape)


def _diagonal_transpose(g: Any, offset: int, dim1: int, dim2: int, x_shape: tuple) -> Any:
    return put_positions(g, positions=np.diagonal(_numbered(x_shape), offset, dim1, dim2), shape=x_shape)


def _diagonal(x: np.ndarray, *, offset: int, dim1: int, dim2: int) -> np.ndarray:
    view = np.diagonal(x, offset, dim1, dim2)
    view.flags.writeable = x.flags.writeable  # NumPy gives it read-only
    return view


diagonal_view = linear("diagonal", _diagonal, _diagonal_transpose, view=True)


@both
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of a diagonal, as the last dimension. Source: torch.diagonal."""
    n = input._array.ndim
    first, second = axis(dim1, n), axis(dim2, n)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return diagonal_view(input, offset=offset, dim1=first, dim2=second)


@both
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or a matrix with this diagonal. Source: torch.diag."""
    n = input._array.ndim
    if n == 2:
        return diagonal_view(input, offset=diagonal, dim1=0, dim2=1).clone()
    if n != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {n}D")
    return diag_embed(input, diagonal)


@both
@one_node("DiagEmbedBackward0", "input")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as the diagonals of matrices in two new dimensions. Source: torch.diag_embed."""
    n = input._array.ndim + 1
    first, second = axis(dim1, n), axis(dim2, n)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = input._array.shape[-1] + abs(offset)
    shape = list(input._array.shape[:-1])
    for d in sorted((first, second)):
        shape.insert(d, size)
    positions = np.diagonal(_numbered(tuple(shape)), offset, first, second)
    return put_positions(input, positions=positions, shape=tuple(shape))


@both
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements on its diagonal. Source: torch.diagflat."""
    return diag_embed(input.reshape(-1), offset)


@method
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """The main diagonal filled with a value; with `wrap` it goes on below a square. Source: torch.Tensor.fill_diagonal_."""
    shape = self._array.shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    mask = np.zeros(shape, bool)
    np.fill_diagonal(mask, True, wrap=wrap)
    return masked_fill_(self, tensor_of(mask), fill_value)


# --- a part replaced ---------------------------------------------------------------------------------------------


def _replaced(x: np.ndarray, v: np.ndarray, *, positions: np.ndarray) -> np.ndarray:
    result = x.copy().reshape(-1)
    result[positions] = v
    return result.reshape(x.shape)


def _kept(g: Any, positions: np.ndarray) -> Any:
    """The gradient where nothing was replaced."""
    mask = np.ones(int(np.prod(g.shape)), bool)
    mask[positions.ravel()] = False
    return masked(g, mask.reshape(g.shape))


replace_op = general("slice_scatter", _replaced, _kept, lambda g, positions: take_positions(g, positions=positions),
                     inputs=("x", "v"), linear=True, holomorphic=False, saved_names=("self", "src"))  # fmt: skip


def _replace(input: Tensor, src: Tensor, part: Tensor) -> Tensor:
    """`input` with the elements whose numbers `part` holds replaced by src."""
    if part.shape != src.shape:
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
                           f"{list(part.shape)}")  # fmt: skip
    return replace_op(input, src, positions=np.array(part._array))


def _numbers_of(input: Tensor) -> Tensor:
    return wrap(_numbered(input._array.shape))


@both
@one_node("SelectScatterBackward0", "input", "src")
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """`input` with one index along a dimension replaced. Source: torch.select_scatter."""
    return _replace(input, src, select(_numbers_of(input), dim, index))


@both
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
                  step: int = 1) -> Tensor:  # fmt: skip
    """`input` with a range along a dimension replaced. Source: torch.slice_scatter."""
    key = (*(slice(None),) * axis(dim, input._array.ndim), slice(start, end, step))
    return _replace(input, src, wrap(_numbered(input._array.shape)[key]))


@both
@one_node("DiagonalScatterBackward0", "input", "src")
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """`input` with a diagonal replaced. Source: torch.diagonal_scatter."""
    return _replace(input, src, diagonal(_numbers_of(input), offset, dim1, dim2))


@both
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """`input` with what as_strided shows of it replaced. Source: torch.as_strided_scatter."""
    return _replace(
        input, src, as_strided(_numbers_of(input), dims_of((size,)), dims_of((stride,)), storage_offset or 0)
    )
