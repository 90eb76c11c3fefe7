"""Operators between dense and sparse. All linear; masking to a pattern is a projection, its own transpose.

A gradient of a sparse tensor may itself come dense: the rules read both. `pattern` is the sparse array whose indices an
operator keeps. Source: torch docs "torch.sparse"; torch.sparse.mm, gradient support.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.layouts import sparse_coo, sparse_csr
from reference_engine.ops.kinds import Operator, general, linear
from reference_engine.ops.matmul import mT
from reference_engine.ops.matmul import product as matrix_product
from reference_engine.sparse.array import SparseArray, from_dense
from reference_engine.tensor import Tensor


def _at(x: Any, indices: np.ndarray) -> np.ndarray:
    return x.at(indices) if isinstance(x, SparseArray) else x[tuple(indices)]


def _pattern(x: Any) -> SparseArray:
    """The coalesced pattern of a sparse tensor or array."""
    array: Any = x._array if isinstance(x, Tensor) else x
    return array.coalesce()


def dense(g: Any) -> Any:
    """A gradient with all its elements, over arrays and tensors."""
    if isinstance(g, Tensor):
        return densify(g, masked=False) if _is_sparse(g) else g
    return g.todense() if isinstance(g, SparseArray) else g


def _of_pattern(g: Any, pattern: SparseArray) -> Any:
    """Values as a sparse tensor or array of this pattern."""
    return fill_pattern(g, pattern=pattern)


def _densify_rule(g: Any, x: Any, masked: bool) -> Any:
    pattern = _pattern(x)
    return (
        masked_to(dense(g), pattern=pattern) if masked else sparsify(dense(g), kind=pattern.layout, block=pattern.block)
    )


def _sum_rule(g: Any, x: Any) -> Any:
    return spread(g, pattern=_pattern(x))


# fmt: off
make_coo: Operator = linear("sparse_coo_tensor", lambda v, *, indices, shape, coalesced: SparseArray(indices, v, shape, coalesced=coalesced),
                                                                                    lambda g, indices: pick(g, indices=indices), inputs=("v",), node="SparseCooTensorWithDimsAndTensorsBackward0")
pick: Operator = linear("pick",        lambda x, *, indices: _at(x, indices),         lambda g, indices, x_shape: make_coo(g, indices=indices, shape=x_shape, coalesced=False), inputs=("x",))
densify      = general("to_dense",   lambda x, *, masked: x.todense(),              _densify_rule, inputs=("x",), saved_names=("self",))
sparsify     = linear("to_sparse",   lambda x, *, kind, block: from_dense(x, kind, block), lambda g: dense(g), inputs=("x",), saved_names=("self",))
relayout     = linear("to_sparse",   lambda x, *, kind, block: x.in_layout(kind, block), lambda g: g, inputs=("x",), saved_names=("self",))
masked_to    = linear("sparse_mask", lambda x, *, pattern: pattern.with_values(_at(x, pattern.indices)), lambda g: dense(g), inputs=("x",), saved_names=("self",))
fill_pattern = linear("sparse_values", lambda v, *, pattern: pattern.with_values(v), lambda g, pattern: pick(g, indices=pattern.indices), inputs=("v",))
values_of    = linear("values",      lambda x, *, pattern: x.values,                lambda g, pattern: _of_pattern(g, pattern), inputs=("x",), saved_names=("self",))
coalesced    = linear("coalesce",    lambda x: x.coalesce(),                        lambda g: g, saved_names=("self",))
copied       = linear("clone",       lambda x: x.copy(),                            lambda g: g, saved_names=("self",))
turned: Operator = linear("transpose",   lambda x, *, a, b: x.swapaxes(a, b),           lambda g, a, b: turned(g, a=a, b=b) if _is_sparse(g) else g.swapaxes(a, b), inputs=("x",), saved_names=("self",))
total        = general("sum",        lambda x: x.values.sum(dtype=x.dtype),         _sum_rule, inputs=("x",), saved_names=("self",))
spread       = linear("sparse_sum_grad", lambda g, *, pattern: pattern.with_values(np.full(pattern.values.shape, g, pattern.dtype)),
                                                                                    lambda g: dense(g).sum(), inputs=("g",))
sum_dims     = general("sparse_sum", lambda x, *, dims: _sum_dims(x, dims),         lambda g, x, dims: _sum_dims_rule(g, x, dims), inputs=("x",), saved_names=("self",))
# fmt: on


def _is_sparse(g: Any) -> bool:
    return isinstance(g._array if isinstance(g, Tensor) else g, SparseArray)


def _sum_dims(x: SparseArray, dims: tuple[int, ...]) -> Any:
    kept = [d for d in range(len(x.indices)) if d not in dims]
    values = x.values.sum(tuple(d - len(x.indices) + 1 for d in dims if d >= len(x.indices)))
    shape = tuple(n for d, n in enumerate(x.shape) if d not in dims)
    if not kept:
        return values.sum(0)
    return SparseArray(x.indices[kept], values, shape).coalesce()


def _sum_dims_rule(g: Any, x: Any, dims: tuple[int, ...]) -> Any:
    pattern = _pattern(x)
    kept = [d for d in range(len(pattern.indices)) if d not in dims]
    if pattern.values.ndim > 1:
        raise NotImplementedError("the gradient of torch.sparse.sum over some dimensions of a hybrid tensor")
    return _of_pattern(pick(g, indices=pattern.indices[kept]), pattern)


def sum_of(x: Tensor, dim: Any, dtype: Any) -> Tensor:
    """The sum over all or given dimensions."""
    x = x if dtype is None else x.to(dtype)
    if dim is None:
        return total(x)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return sum_dims(x, dims=tuple(d % x._array.ndim for d in dims))


# --- products that mask the gradient to the pattern ------------------------------------------------------------------


def _layout(x: Any) -> str:
    array = x._array if isinstance(x, Tensor) else x
    names = {"sparse_coo": "Sparse", "sparse_csr": "SparseCsr", "sparse_csc": "SparseCsc", "sparse_bsr": "SparseBsr"}
    return names.get(array.layout.name, "SparseBsc") if isinstance(array, SparseArray) else "Strided"


def _masked_product_rule(g: Any, a: Any, b: Any) -> Any:
    """d/da of a @ b at the entries of a. COO and CSR times dense, and COO times COO, have one."""
    kinds = _layout(a), _layout(b)
    if kinds not in (("Sparse", "Strided"), ("SparseCsr", "Strided"), ("Sparse", "Sparse")):
        raise RuntimeError(f"sparse_addmm_sparse_backward: unsupported combination of layouts, grad: {_layout(g)}, mat1: "
                           f"{kinds[0]}, mat2: {kinds[1]}")  # fmt: skip
    return masked_to(matrix_product(g, mT(b)), pattern=_pattern(a))


def _second_product_rule(g: Any, a: Any, b: Any) -> Any:
    gradient = matrix_product(mT(a), g)
    return masked_to(gradient, pattern=_pattern(b)) if _is_sparse(b) else gradient


masked_mm = general("sparse_addmm", lambda a, b: np.matmul(a, b), _masked_product_rule, _second_product_rule,
                    saved_names=("mat1", "mat2"))  # fmt: skip
sparse_sparse_mm = general("sparse_sparse_matmul", lambda a, b: np.matmul(a, b), _masked_product_rule, _second_product_rule,
                           saved_names=("self", "other"))  # fmt: skip


def _without(name: str) -> Any:
    def rule(g: Any) -> Any:
        raise RuntimeError(f"derivative for aten::{name} is not implemented")

    return rule


smm_op = general("smm", lambda a, b: from_dense(np.matmul(a, b)), _without("sspaddmm"), _without("sspaddmm"),
                 node="NotImplemented")  # fmt: skip
hspmm_op = general("hspmm", lambda a, b: _hybrid(np.matmul(a, b)), _without("hspmm"), _without("hspmm"),
                   node="NotImplemented")  # fmt: skip


def _hybrid(x: np.ndarray) -> SparseArray:
    """A matrix as a sparse column of dense rows."""
    rows = np.flatnonzero(x.any(1))
    return SparseArray(rows[None], x[rows], x.shape, coalesced=True)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a @ b with gradients masked to the patterns of sparse operands. RuntimeError for a mix of COO and CSR."""
    if a._array.shape[-1] != b._array.shape[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and "
                           f"{b.shape[0]}x{b.shape[1]})")  # fmt: skip
    if not (_is_sparse(a) and _is_sparse(b)):
        return masked_mm(a, b)
    if a.layout is not b.layout or a.layout not in (sparse_coo, sparse_csr):
        raise RuntimeError(f"torch.sparse.mm: the product of layouts {a.layout} and {b.layout} is not supported")
    return sparse_sparse_mm(a, b)
