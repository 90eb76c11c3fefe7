"""A tensor that holds a sparse array, and what may be asked of one. Source: torch docs "torch.sparse"."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.layouts import layout, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr, strided
from reference_engine.memory import kinds
from reference_engine.ops.shapes import axis
from reference_engine.sparse import operators as ops
from reference_engine.sparse.array import SparseArray
from reference_engine.tensor import Tensor, wrap

BY_ROW, BY_COLUMN = (sparse_csr, sparse_bsr), (sparse_csc, sparse_bsc)


class SparseTensor(Tensor):
    """A tensor of a sparse layout: in its type, operators that would read all elements are missing."""

    _array: SparseArray  # type: ignore[assignment]

    @property
    def layout(self) -> layout:
        return self._array.layout

    @property
    def is_sparse(self) -> bool:  # type: ignore[override]
        return self._array.layout is sparse_coo

    @property
    def is_sparse_csr(self) -> bool:
        return self._array.layout is sparse_csr

    def _of_layout(self, what: str, *kinds: Any) -> SparseArray:
        if self._array.layout not in kinds:
            raise RuntimeError(f"{what} expected sparse tensor layout {' or '.join(k.name for k in kinds)} but got "
                               f"{self._array.layout.name}")  # fmt: skip
        return self._array

    def is_coalesced(self) -> bool:
        """Whether every index occurs once. Source: torch.Tensor.is_coalesced."""
        return self._of_layout("is_coalesced", sparse_coo).coalesced

    def coalesce(self) -> Tensor:
        """The tensor with duplicates added up; itself where there are none. Source: torch.Tensor.coalesce."""
        return self if self._of_layout("coalesce", sparse_coo).coalesced else ops.coalesced(self)

    def _nnz(self) -> int:
        return self._array.stored // int(np.prod(self._array.block))

    def _checked_coalesced(self, what: str) -> SparseArray:
        array = self._array
        if array.layout is sparse_coo and not array.coalesced:
            raise RuntimeError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")
        return array

    def indices(self) -> Tensor:
        """The indices of a coalesced COO tensor. Source: torch.Tensor.indices."""
        self._of_layout("indices", sparse_coo)
        return wrap(self._checked_coalesced("indices").indices)

    def values(self) -> Tensor:
        """The stored values, memory shared; differentiable. Source: torch.Tensor.values."""
        array = self._checked_coalesced("values")
        found = ops.values_of(self, pattern=array)
        return found if array.block == (1, 1) and array.layout in (sparse_coo, *BY_ROW[:1], *BY_COLUMN[:1]) else found.reshape(
            -1, *array.block)  # fmt: skip

    def _indices(self) -> Tensor:
        return wrap(self._of_layout("_indices", sparse_coo).indices)

    def _values(self) -> Tensor:
        return wrap(self._of_layout("_values", sparse_coo).values)

    def _compressed(self, what: str, kinds: tuple, compressed: int) -> tuple[np.ndarray, np.ndarray]:
        array = self._of_layout(what, *kinds)
        blocks = array.indices[:, :: int(np.prod(array.block))] // np.array(array.block)[:, None]
        count = array.shape[compressed] // array.block[compressed]
        starts = np.concatenate([[0], np.cumsum(np.bincount(blocks[compressed], minlength=count))])
        return starts.astype(np.int64), blocks[1 - compressed]

    def crow_indices(self) -> Tensor:
        """Where each row's entries start. Source: torch.Tensor.crow_indices."""
        return wrap(self._compressed("crow_indices", BY_ROW, 0)[0])

    def col_indices(self) -> Tensor:
        """The column of each entry. Source: torch.Tensor.col_indices."""
        return wrap(self._compressed("col_indices", BY_ROW, 0)[1])

    def ccol_indices(self) -> Tensor:
        """Where each column's entries start. Source: torch.Tensor.ccol_indices."""
        return wrap(self._compressed("ccol_indices", BY_COLUMN, 1)[0])

    def row_indices(self) -> Tensor:
        """The row of each entry. Source: torch.Tensor.row_indices."""
        return wrap(self._compressed("row_indices", BY_COLUMN, 1)[1])

    def sparse_dim(self) -> int:
        """How many dimensions are indexed. Source: torch.Tensor.sparse_dim."""
        return len(self._array.indices)

    def dense_dim(self) -> int:
        """How many dimensions each entry has. Source: torch.Tensor.dense_dim."""
        return self._array.values.ndim - 1

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
        """All elements; the gradient is masked to the pattern unless masked_grad is False. Source: Tensor.to_dense."""
        found = ops.densify(self, masked=masked_grad is None or masked_grad)
        return found if dtype is None else found.to(dtype)

    def to_sparse(self, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None, **_: Any) -> Tensor:
        """The same elements in another sparse layout. Source: torch.Tensor.to_sparse."""
        kind = layout or sparse_coo
        return self if kind is self.layout else ops.relayout(self, kind=kind, block=tuple(blocksize or (1, 1)))

    def sum(self, dim: Any = None, *, dtype: Any = None) -> Tensor:
        """The sum of all elements, or over dimensions. Source: torch.sparse.sum."""
        return ops.sum_of(self, dim, dtype)

    def clone(self, *, memory_format: Any = None) -> Tensor:
        """A copy. Source: torch.clone."""
        return ops.copied(self)

    def t(self) -> Tensor:
        """The transpose of a matrix. Source: torch.t."""
        return ops.turned(self, a=0, b=1)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two indexed dimensions exchanged. Source: torch.transpose."""
        return ops.turned(self, a=axis(dim0, self._array.ndim), b=axis(dim1, self._array.ndim))

    def sparse_mask(self, mask: SparseTensor) -> Tensor:
        """The elements at another tensor's pattern. Source: torch.Tensor.sparse_mask."""
        return ops.masked_to(self, pattern=mask._array.coalesce())

    def tolist(self) -> Any:
        raise RuntimeError("Cannot access storage of a sparse tensor; use to_dense() first")

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {self.layout.name} layout tensor to numpy. Use Tensor.to_dense() first.")

    def is_contiguous(self, memory_format: Any = None) -> bool:
        raise RuntimeError("Tensors of sparse layouts do not have is_contiguous")

    def stride(self, dim: int | None = None) -> Any:
        raise RuntimeError("Sparse tensors do not have strides")

    def data_ptr(self) -> int:
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def __repr__(self) -> str:
        array = self._array
        parts = [f"indices={array.indices.tolist()}", f"values={array.values.tolist()}", f"size={tuple(array.shape)}",
                 f"nnz={self._nnz()}", f"layout={array.layout}"]  # fmt: skip
        parts += [f"dtype={self.dtype}"] * (self.dtype.name != "float32")
        parts += [f"grad_fn=<{type(self.grad_fn).__name__}>"] if self._edge else ["requires_grad=True"] * self._tracked
        return f"tensor({', '.join(parts)})"

    def __deepcopy__(self, memo: dict) -> Tensor:
        result = wrap(self._array.copy())
        result._tracked = self._tracked
        memo[id(self)] = result
        return result


kinds[SparseArray] = SparseTensor


def to_sparse(self: Tensor, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None, **_: Any) -> Tensor:
    """The elements that are not 0, in a sparse layout. Source: torch.Tensor.to_sparse."""
    if isinstance(self, SparseTensor):
        return self.to_sparse(sparse_dim, layout=layout, blocksize=blocksize)
    if sparse_dim not in (None, self._array.ndim):
        raise NotImplementedError("to_sparse with dense dimensions")
    return (
        self if layout is strided else ops.sparsify(self, kind=layout or sparse_coo, block=tuple(blocksize or (1, 1)))
    )


def _converter(kind: layout) -> Any:
    def convert(self: Tensor, *block: Any, dense_dim: Any = None) -> Tensor:
        return to_sparse(self, layout=kind, blocksize=block[0] if block else None)

    convert.__name__, convert.__doc__ = f"to_{kind.name}", f"The elements that are not 0 as {kind.name}."
    return convert


def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """Itself: it is dense. Source: torch.Tensor.to_dense."""
    return self if dtype is None else self.to(dtype)


def sparse_mask(self: Tensor, mask: SparseTensor) -> Tensor:
    """The elements at a sparse tensor's pattern. Source: torch.Tensor.sparse_mask."""
    return ops.masked_to(self, pattern=mask._array.coalesce())


def install() -> None:
    """Hangs the conversions onto Tensor."""
    for kind in (sparse_csr, sparse_csc, sparse_bsr, sparse_bsc):
        setattr(Tensor, f"to_{kind.name}", _converter(kind))
    for method in (to_sparse, to_dense, sparse_mask):
        if method.__name__ not in vars(Tensor):
            setattr(Tensor, method.__name__, method)
    Tensor.is_sparse_csr = False  # type: ignore[attr-defined]
