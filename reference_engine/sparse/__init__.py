"""torch.sparse, and the constructors of sparse tensors. Source: torch docs "torch.sparse"."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.creation import as_tensor
from reference_engine.layouts import sparse_csc, sparse_csr
from reference_engine.sparse import operators
from reference_engine.sparse.array import SparseArray
from reference_engine.sparse.tensor import SparseTensor, install
from reference_engine.tensor import Tensor, wrap

install()


def _finished(result: Tensor, requires_grad: bool) -> Tensor:
    return result.detach().requires_grad_() if requires_grad else result


def sparse_coo_tensor(indices: Any = None, values: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None,
                      requires_grad: bool = False, check_invariants: Any = None, is_coalesced: bool | None = None,
                      ) -> Tensor:  # fmt: skip
    """A COO tensor of values at indices; differentiable in the values. Source: torch.sparse_coo_tensor."""
    if values is None:  # sparse_coo_tensor(size)
        size = size or indices
        wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
        return wrap(
            SparseArray(np.zeros((len(size), 0), np.int64), np.zeros(0, wanted.numpy), tuple(size), coalesced=True)
        )
    places = np.array(as_tensor(indices)._array, np.int64)
    data = as_tensor(values, dtype=dtype)
    if data._array.ndim == 0:
        data = data.reshape(1)
    rest = data._array.shape[1:]
    shape = tuple(int(n) for n in size) if size is not None else (*(int(n) + 1 for n in places.max(1)), *rest)
    for d, n in enumerate(shape[: len(places)]):
        if places.shape[1] and (places[d].max() >= n or places[d].min() < 0):
            raise RuntimeError(f"size is inconsistent with indices: for dim {d}, size is {n} but found index "
                               f"{int(places[d].max())}")  # fmt: skip
    result = operators.make_coo(data, indices=places, shape=shape, coalesced=bool(is_coalesced))
    return _finished(result, requires_grad)


def _compressed(kind: Any, by: int) -> Any:
    def make(starts: Any, others: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False, check_invariants: Any = None) -> Tensor:  # fmt: skip
        begins, inner = (np.array(as_tensor(x)._array, np.int64) for x in (starts, others))
        outer = np.repeat(np.arange(len(begins) - 1), np.diff(begins))
        indices = np.stack((outer, inner) if by == 0 else (inner, outer))
        found = (len(begins) - 1, int(inner.max()) + 1 if inner.size else 0)
        shape = tuple(size) if size is not None else found if by == 0 else found[::-1]
        result = operators.fill_pattern(as_tensor(values, dtype=dtype), pattern=SparseArray(
            indices, np.zeros(len(inner), np.float32), shape, kind))  # fmt: skip
        return _finished(result, requires_grad)

    make.__name__, make.__doc__ = f"{kind.name}_tensor", f"A {kind.name} tensor. Source: torch.{kind.name}_tensor."
    return make


sparse_csr_tensor, sparse_csc_tensor = _compressed(sparse_csr, 0), _compressed(sparse_csc, 1)


def sum(input: Tensor, dim: Any = None, dtype: Any = None) -> Tensor:
    """The sum of a sparse tensor; its gradient has entries at the specified positions only. Source: torch.sparse.sum."""
    return operators.sum_of(input, dim, dtype)


def mm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """A product whose gradient is masked to the pattern of sparse operands. Source: torch.sparse.mm."""
    return operators.multiply(mat1, mat2)


def addmm(mat: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1.0, alpha: Any = 1.0) -> Tensor:
    """beta * mat + alpha * (mat1 @ mat2). Source: torch.sparse.addmm."""
    return beta * mat + alpha * operators.multiply(mat1, mat2)


def smm(input: Tensor, mat: Tensor) -> Tensor:
    """The product of a sparse and a dense matrix as a sparse one; not differentiable. Source: torch.smm."""
    return operators.smm_op(input, mat)


def hspmm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """The product of a sparse and a dense matrix as a hybrid one; not differentiable. Source: torch.hspmm."""
    return operators.hspmm_op(mat1, mat2)


__all__ = ["SparseTensor", "addmm", "mm", "sum"]
