"""Norms of vectors and matrices.

The p-norm of x has the gradient sgn(x) |x|^(p-1) / y^(p-1). Where a norm is 0, and where an element is 0 and p < 1, torch's
subgradient is 0; the largest and the least element share the gradient of a tie evenly.
Source: torch.linalg.vector_norm, matrix_norm, norm; torch.norm, torch.renorm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise import where
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg.spectral import svdvals
from reference_engine.ops.linalg.words import array_of, constant_like, masked
from reference_engine.ops.one_node import one_node
from reference_engine.ops.out import with_out
from reference_engine.ops.reductions import axes_of, restore
from reference_engine.ops.registry import function
from reference_engine.ops.shapes import axis
from reference_engine.tensor import Tensor, wrap

INF = float("inf")


def _forward(x: np.ndarray, *, ord: float, dims: tuple, keepdim: bool) -> np.ndarray:
    size = np.abs(x)
    over: dict[str, Any] = {"axis": dims, "keepdims": keepdim}
    if ord == INF:
        return np.maximum.reduce(size, **over, initial=0 if not size.size else None)
    if ord == -INF:
        return np.minimum.reduce(size, **over)
    if ord == 0:
        return np.add.reduce((size != 0).astype(size.dtype), **over)
    if ord == 1:
        return np.add.reduce(size, **over)
    if ord == 2:
        return np.sqrt(np.add.reduce(size * size, **over))
    return np.add.reduce(size**ord, **over) ** (1.0 / ord)


def _rule(g: Any, x: Any, y: Any, ord: float, dims: tuple, x_shape: tuple) -> Any:
    if ord == 0:
        return None  # a number of elements: left undefined, which stands for zero
    g, y = restore(g, x_shape, dims), restore(y, x_shape, dims)
    present = array_of(y) != 0
    safe = y + constant_like(
        ~present, y
    )  # 1 where the norm is 0: its reciprocal stays finite, in higher derivatives too
    if ord == 2:
        return masked(g / safe, present) * x
    size, sign = (x.abs(), x.sgn()) if isinstance(x, Tensor) else (np.abs(x), np.sign(x))
    if ord in (INF, -INF):
        peaks = (array_of(size) == array_of(y)) | (np.isnan(array_of(size)) & np.isnan(array_of(y)))
        share = peaks / np.add.reduce(peaks, axis=dims, keepdims=True)
        return sign * (g * constant_like(share, size))
    if ord == 1:
        return sign * g
    if ord < 2:
        there = array_of(size) != 0
        power = masked((size + constant_like(~there, size)) ** (ord - 1), there)
    else:
        power = size ** (ord - 1)
    return sign * power * masked(g / safe ** (ord - 1), present)


vector_norm_op = general("linalg_vector_norm", _forward, _rule, inputs=("x",), holomorphic=False, saved_names=("self",))


def _norm_input(name: str, x: Tensor, dtype: Any) -> Tensor:
    if dtype is not None:
        wanted, kind = dtypes.as_dtype(dtype), "complex" if x.is_complex() else "real"
        if wanted.is_complex != x.is_complex():
            raise RuntimeError(
                f"linalg.{name}: dtype should be {kind} for {kind} inputs, but got {dtypes.type_name(wanted)}"
            )
        x = x.to(wanted)
    if x._array.dtype.kind not in "fc":
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got "
                           f"{dtypes.type_name(x.dtype)}")  # fmt: skip
    return x


@with_out
def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum |x|^ord)^(1/ord) over all or given dimensions; the largest |x| for inf, the least for -inf, the number of
    elements that are not 0 for 0. Source: torch.linalg.vector_norm.
    """
    x = _norm_input("vector_norm", x, dtype)
    dims = axes_of(dim, x._array.ndim)
    if not all(x._array.shape[d] for d in dims) and (ord < 0 or ord == INF):
        raise RuntimeError(f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the operation does not "
                           "have an identity")  # fmt: skip
    return vector_norm_op(x, ord=ord, dims=dims, keepdim=keepdim)


def _two(name: str, x: Tensor, dim: Any) -> tuple[int, int]:
    """The two dimensions that matrices lie along."""
    if x._array.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if len(dim) != 2:
        raise RuntimeError(f"linalg.{name}: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    rows, columns = (axis(d, x._array.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    return rows, columns


def _positive(values: Tensor) -> Tensor:
    """Singular values, those that are 0 up to rounding without a slope: the subgradient of least norm of their sum."""
    size = values._array
    cutoff = np.finfo(size.dtype).eps * size.shape[-1] * size.max(-1, keepdims=True, initial=0)
    return where(wrap(size > cutoff), values, values.detach())


def _extreme(values: Tensor, largest: bool, dims: tuple[int, ...]) -> Tensor:
    """The largest or least; of nothing, 0 is the largest."""
    if largest and not all(values._array.shape[d] for d in dims):
        return values.sum(dims)
    return values.amax(dims) if largest else values.amin(dims)


@with_out
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A norm of matrices: "fro", "nuc" (the sum of the singular values), 2 (the largest), -2 (the least), 1 and -1 (the
    largest and least sum of a column), inf and -inf (of a row). Source: torch.linalg.matrix_norm.
    """
    x = _norm_input("matrix_norm", A, dtype)
    rows, columns = _two("matrix_norm", x, dim)
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        values = svdvals(x.movedim((rows, columns), (-2, -1)))
        result = _positive(values).sum(-1) if ord == "nuc" else _extreme(values, ord > 0, (-1,))
    elif ord in (1, -1, INF, -INF):
        along, other = (rows, columns) if ord in (1, -1) else (columns, rows)
        sums = vector_norm(x, 1, along, True)
        result = _extreme(sums, ord > 0, (along, other))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return result.unsqueeze(min(rows, columns)).unsqueeze(max(rows, columns)) if keepdim else result


@with_out
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The 2-norm of all elements; with `ord`, that of vectors or, over two dimensions, of matrices.

    Source: torch.linalg.norm.
    """
    dims = (dim,) if isinstance(dim, int) else dim
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype)
    if dims is not None and len(dims) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
    if dims is None and A._array.ndim not in (1, 2):
        raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                           f"{A._array.ndim}D.")  # fmt: skip
    if (A._array.ndim if dims is None else len(dims)) == 1:
        return vector_norm(A, ord, dims, keepdim, dtype=dtype)
    return matrix_norm(A, ord, dims or (0, 1), keepdim, dtype=dtype)


@with_out
def _old_norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """A p-norm of vectors, over all or given dimensions; "fro" and "nuc" are norms of matrices. Source: torch.norm."""
    dims = (dim,) if isinstance(dim, int) else dim
    if isinstance(p, str):
        if p == "fro" and (dims is None or len(dims) <= 2):
            return vector_norm(input, 2, dims, keepdim, dtype=dtype)
        return matrix_norm(input, p, tuple(range(input._array.ndim)) if dims is None else dims, keepdim, dtype=dtype)
    return vector_norm(input, 2 if p is None else p, dims, keepdim, dtype=dtype)


@function
def frobenius_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The root of the sum of squares. Source: torch.norm, "fro"."""
    return vector_norm(input, 2, dim, keepdim)


@function
def nuclear_norm(input: Tensor, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of the singular values. Source: torch.norm, "nuc"."""
    return matrix_norm(input, "nuc", dim, keepdim)


@function
def norm_except_dim(v: Tensor, pow: Any = 2, dim: int = 0) -> Tensor:
    """The norm over all dimensions but one, which are kept as 1; of all elements for dim -1. Source: torch.norm_except_dim."""
    if dim == -1:
        return vector_norm(v, pow)
    return vector_norm(v, pow, tuple(d for d in range(v._array.ndim) if d != axis(dim, v._array.ndim)), True)


@with_out
@one_node("RenormBackward0", "input")
def renorm(input: Tensor, p: Any, dim: int, maxnorm: Any) -> Tensor:
    """Each slice along `dim` whose p-norm exceeds maxnorm scaled down to it; the others unchanged. Source: torch.renorm."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if input._array.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input._array.ndim} dimensions")
    (kept,) = axes_of(dim, input._array.ndim)
    norms = vector_norm(input, p, tuple(d for d in range(input._array.ndim) if d != kept), True)
    return input * where(norms._array > maxnorm, maxnorm / (norms + 1e-7), 1.0)


registry.publish("norm", _old_norm)
registry.publish("renorm", renorm)
registry.publish("renorm_", in_place(renorm, "renorm_"), module=False)
