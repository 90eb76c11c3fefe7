"""Matrix functions: inverse, solution of linear systems, determinant, singular values, norms of matrices.

Rules are the textbook differentials read backwards: d(A^-1) = -A^-1 dA A^-1, d det A = tr(adj A dA), and for A = U S V^H
dS = Re diag(U^H dA V). Singular vectors are defined up to a phase; their rule holds for what does not depend on it.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.complex import conjugated
from reference_engine.ops.kinds import general
from reference_engine.ops.matmul import mT, product
from reference_engine.ops.reductions import vector_norm
from reference_engine.ops.registry import both, function
from reference_engine.tape.saved import type_name
from reference_engine.tensor import Tensor, wrap


class LinAlgError(RuntimeError):
    """A matrix has no such decomposition or inverse. Source: torch.linalg.LinAlgError."""


def mH(x: Any) -> Any:
    """The conjugate transpose, over arrays and tensors."""
    return mT(conjugated(x))


def constant_like(values: np.ndarray, like: Any) -> Any:
    """A constant in the dtype of `like`, an array or a tensor as `like` is."""
    if isinstance(like, Tensor):
        return wrap(values.astype(like._array.dtype))
    return values.astype(like.dtype)


def _square(name: str, x: Tensor) -> Tensor:
    if x._array.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if x._array.shape[-1] != x._array.shape[-2]:
        raise RuntimeError(f"linalg.{name}: A must be batches of square matrices, but they are {x._array.shape[-2]} by "
                           f"{x._array.shape[-1]} matrices")  # fmt: skip
    if x._array.dtype.kind not in "fc":
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got "
                           f"{type_name(x.dtype)[:-6]}")  # fmt: skip
    return x


def _inverse(x: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        raise LinAlgError("linalg.inv: The diagonal element is zero, the inversion could not be completed because the input matrix "
                          "is singular.") from None  # fmt: skip


def _solution(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise LinAlgError("torch.linalg.solve: The solver failed because the input matrix is singular.") from None


def _solve_rule_a(g: Any, a: Any, y: Any) -> Any:
    return -product(solve_op(mT(a), g), mT(y))


def _cofactors(x: Any) -> Any:
    """The matrix of cofactors, by minors, over arrays and tensors: exact for singular matrices too."""
    n = x.shape[-1]
    keep = [[j for j in range(n) if j != i] for i in range(n)]
    stack = registry.functions["stack"] if isinstance(x, Tensor) else np.stack
    rows = [stack([(-1) ** (i + j) * det_op(x[..., keep[i], :][..., keep[j]]) for j in range(n)], -1) for i in range(n)]
    return stack(rows, -2)


def _det_rule(g: Any, x: Any, y: Any) -> Any:
    value = y._array if isinstance(y, Tensor) else y
    g = g[..., None, None]
    return g * _cofactors(x) if np.equal(value, 0).any() else g * y[..., None, None] * mT(inv_op(x))


def _slogdet_rule(gs: tuple, x: Any, sign: Any) -> tuple:
    """log |det|: g A^-H. The sign of a complex determinant turns with Im tr(A^-1 dA); that of a real one is constant."""
    turn, log = gs
    factor = None if log is None else log[..., None, None]
    if turn is not None and (turn._array if isinstance(turn, Tensor) else turn).dtype.kind == "c":
        turned = 1j * (turn * conjugated(sign)).imag[..., None, None]
        factor = turned if factor is None else factor + turned
    return (None if factor is None else factor * mH(inv_op(x)),)


def _thin(x: np.ndarray) -> tuple:
    return np.linalg.svd(x, full_matrices=False)


def _diagonal(values: Any, like: Any) -> Any:
    """Matrices with `values` on their diagonals."""
    return values[..., None] * constant_like(np.eye(values.shape[-1]), like)


def _svd_rule(gs: tuple, x: Any, u: Any, s: Any, vh: Any) -> tuple:
    """With E_ij = s_j^2 - s_i^2 off the diagonal: U [ sk(U^H gU)/E S + S sk(V^H gV)/E + gS ] V^H, and the parts of gU and
    gV outside of the spaces that U and V span."""
    gu, gsv, gvh = gs
    squares = s * s
    gaps = squares[..., None, :] - squares[..., :, None]
    count = s.shape[-1]
    gaps = gaps + constant_like(np.eye(count), gaps)
    inner: Any = 0 if gsv is None else _diagonal(gsv, s)
    outer: Any = 0
    if gu is not None:
        own = product(mH(u), gu)
        inner = inner + (own - mH(own)) / gaps * s[..., None, :] * constant_like(1 - np.eye(count), s)
        if (own._array if isinstance(own, Tensor) else own).dtype.kind == "c":
            inner = inner + (own - mH(own)) / 2 * constant_like(np.eye(count), s) / s[..., None]
        outer = outer + product((gu - product(u, own)) / s[..., None, :], vh)
    if gvh is not None:
        own = product(vh, mH(gvh))
        inner = inner + s[..., :, None] * (own - mH(own)) / gaps * constant_like(1 - np.eye(count), s)
        outer = outer + product(u, (gvh - product(mH(own), vh)) / s[..., :, None])
    whole = product(product(u, inner + 0 * product(mH(u), u)), vh)
    return (whole + outer,)


def _svdvals_rule(g: Any, x: Any) -> Any:
    u, _, vh = svd_op(x)
    return product(u * g[..., None, :], vh)


# fmt: off
inv_op     = general("linalg_inv_ex",   _inverse,  lambda g, y: -product(product(mT(y), g), mT(y)), inputs=("x",))
solve_op   = general("_linalg_solve_ex", _solution, _solve_rule_a, lambda g, a: solve_op(mT(a), g), inputs=("a", "b"), node="LinalgSolveExBackward0")
det_op     = general("_linalg_det",     lambda x: np.asarray(np.linalg.det(x)), _det_rule, inputs=("x",), node="LinalgDetBackward0")
slogdet_op = general("_linalg_slogdet", lambda x: tuple(map(np.asarray, np.linalg.slogdet(x))), joint=_slogdet_rule, inputs=("x",), outputs=("sign", "logabsdet"), node="LinalgSlogdetBackward0", holomorphic=False)
svd_op     = general("_linalg_svd",     _thin, joint=_svd_rule, inputs=("x",), outputs=("u", "s", "vh"), node="LinalgSvdBackward0", holomorphic=False)
svdvals_op = general("linalg_svdvals",  lambda x: np.linalg.svd(x, compute_uv=False), _svdvals_rule, inputs=("x",), node="LinalgSvdBackward0", holomorphic=False)
# fmt: on

Slogdet = namedtuple("Slogdet", ("sign", "logabsdet"))
Svd = namedtuple("Svd", ("U", "S", "Vh"))


@both
def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices. Source: torch.linalg.inv."""
    return inv_op(_square("inv", input))


@both
def det(input: Tensor) -> Tensor:
    """The determinant of square matrices. Source: torch.linalg.det."""
    return det_op(_square("det", input))


@both
def slogdet(input: Tensor) -> Slogdet:
    """(sign, logabsdet): the determinant's phase, and the logarithm of its modulus. Source: torch.linalg.slogdet."""
    return Slogdet(*slogdet_op(_square("slogdet", input)))


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (with X A = B where not `left`); B may be a vector. Source: torch.linalg.solve."""
    _square("solve", A)
    if A.dtype is not B.dtype:
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but found A of type {A.dtype} and B of "
                           f"type {B.dtype} instead")  # fmt: skip
    if B._array.ndim == 1 or B._array.shape == A._array.shape[:-1]:
        return solve_op(A, B.unsqueeze(-1)).squeeze(-1)
    return solve_op(A, B) if left else mT(solve_op(mT(A), mT(B)))


def svd(A: Tensor, full_matrices: bool = True) -> Svd:
    """(U, S, Vh) with A = U diag(S) Vh. Source: torch.linalg.svd."""
    if full_matrices and A._array.shape[-1] != A._array.shape[-2]:
        if A.requires_grad:
            raise RuntimeError("svd_backward: Setting compute_uv to false in torch.svd doesn't compute singular "
                               "matrices, and hence we cannot compute backward. Please use torch.svd(compute_uv=True)")  # fmt: skip
        return Svd(*(Tensor._adopt(part) for part in np.linalg.svd(A._array)))
    return Svd(*svd_op(A))


def svdvals(A: Tensor) -> Tensor:
    """The singular values, in descending order; real also for complex A. Source: torch.linalg.svdvals."""
    return svdvals_op(A)


def _positive(values: Tensor) -> Tensor:
    """Singular values, those that are 0 up to rounding without a slope: the subgradient of least norm of their sum."""
    size = values._array
    cutoff = np.finfo(size.dtype).eps * size.shape[-1] * size.max(-1, keepdims=True, initial=0)
    return registry.functions["where"](wrap(size > cutoff), values, values.detach())


def matrix_norm(A: Tensor, ord: Any = "fro", dim: tuple[int, int] = (-2, -1), keepdim: bool = False) -> Tensor:
    """A norm of the matrices along two dimensions: "fro", "nuc", or 1, 2, inf and their negatives, which take the least.

    Source: torch.linalg.matrix_norm.
    """
    if ord == "fro":
        return vector_norm(A, 2, dim, keepdim)
    n = A._array.ndim
    rows, columns = (d % n for d in dim)
    if ord in ("nuc", 2, -2):
        values = svdvals(A.permute(*(d for d in range(n) if d not in (rows, columns)), rows, columns))
        result = _positive(values).sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
    elif ord in (1, -1, float("inf"), float("-inf")):
        along, other = (rows, columns) if ord in (1, -1) else (columns, rows)
        sums = A.abs().sum(along, True)
        result = (sums.amax if ord > 0 else sums.amin)((along, other))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return result.unsqueeze(min(rows, columns)).unsqueeze(max(rows, columns)) if keepdim else result


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The 2-norm of all elements; with `ord`, that of vectors or, over two dimensions, of matrices.

    Source: torch.linalg.norm.
    """
    x = A if dtype is None else A.to(dtype)
    if ord is None:
        return vector_norm(x, 2, dim, keepdim)
    if isinstance(dim, int) or (dim is None and x._array.ndim == 1) or (dim is not None and len(dim) == 1):
        return vector_norm(x, ord, dim, keepdim)
    if dim is None and x._array.ndim != 2:
        raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                           f"{x._array.ndim}D.")  # fmt: skip
    return matrix_norm(x, ord, dim or (0, 1), keepdim)


@function
def frobenius_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The root of the sum of squares. Source: torch.norm, "fro"."""
    return vector_norm(input, 2, dim, keepdim)


@function
def nuclear_norm(input: Tensor, dim: tuple[int, int] = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of the singular values. Source: torch.norm, "nuc"."""
    return matrix_norm(input, "nuc", dim, keepdim)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sum of conj(x) * y along a dimension. Source: torch.linalg.vecdot."""
    return (x.conj() * y).sum(dim)
