"""Factorizations of matrices, least squares, rank. The integer results beside them are never tracked.

LU and Cholesky have rules: with A = L L^H, dL = L Phi(L^-1 dA L^-H), Phi being the lower triangle with half the diagonal.
geqrf and the LDL factorization are recorded and have no derivative. Source: torch.linalg.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import get_lapack_funcs

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg import LinAlgError, constant_like, inv_op, mH, solve
from reference_engine.ops.matmul import product
from reference_engine.ops.registry import both
from reference_engine.ops.underivable import declared_missing, unrecorded
from reference_engine.tensor import Tensor, wrap


def each(function: Callable, *matrices: np.ndarray) -> tuple[np.ndarray, ...]:
    """function(*matrix) -> arrays, for every matrix of a batch, stacked."""
    batch = matrices[0].shape[:-2]
    rows = [m.reshape(-1, *m.shape[len(batch) :]) for m in matrices]
    results = [function(*parts) for parts in zip(*rows, strict=True)]
    return tuple(np.stack(column).reshape((*batch, *column[0].shape)) for column in zip(*results, strict=True))


def _lower(n: int, k: int, like: Any) -> Any:
    return constant_like(np.tril(np.ones((n, n)), k), like)


# --- LU ------------------------------------------------------------------------------------------------------------


def _lu_one(a: np.ndarray) -> tuple:
    (getrf,) = get_lapack_funcs(("getrf",), (a,))
    packed, pivots, info = getrf(a)
    m, n = a.shape
    k = min(m, n)
    order = np.arange(m)
    for i, p in enumerate(pivots):
        order[[i, p]] = order[[p, i]]
    permutation = np.zeros((m, m), a.dtype)
    permutation[order, np.arange(m)] = 1
    lower = np.tril(packed[:, :k], -1) + np.eye(m, k, dtype=a.dtype)
    return permutation, lower, np.triu(packed[:k]), np.asarray(pivots + 1, np.int32), np.asarray(info, np.int32)


def _lu_rule(gs: tuple, p: Any, low: Any, up: Any) -> tuple:
    """P L^-H [ tril(L^H gL, -1) + triu(gU U^H) ] U^-H for square factors; what lies beside or below a square block depends
    on it linearly, and its gradient is carried over first."""
    gl, gu = gs[1], gs[2]
    m, k, n = low.shape[-2], up.shape[-2], up.shape[-1]
    gl = low * 0 if gl is None else gl
    gu = up * 0 if gu is None else gu
    square_low, square_up, beside = low[..., :k, :], up[..., :k], None
    inner_l, inner_u = gl[..., :k, :], gu[..., :k]
    if n > k:  # U = [U1 U2]: A2 = P L U2
        beside = product(inv_op(mH(square_low)), gu[..., k:])
        inner_l = inner_l - product(beside, mH(up[..., k:]))
    below = None
    if m > k:  # L = [L1; L2]: A2 = L2 U
        below = product(gl[..., k:, :], inv_op(mH(square_up)))
        inner_u = inner_u - product(mH(low[..., k:, :]), below)
    strict = _lower(k, -1, low)
    middle = product(mH(square_low), inner_l) * strict + product(inner_u, mH(square_up)) * (1 - strict)
    whole = product(product(inv_op(mH(square_low)), middle), inv_op(mH(square_up)))
    cat = registry.functions["cat"] if isinstance(whole, Tensor) else np.concatenate
    if beside is not None:
        whole = cat([whole, beside], -1)
    if below is not None:
        whole = cat([whole, below], -2)
    return (product(p, whole),)


lu_op = general("linalg_lu", lambda x: each(_lu_one, x), joint=_lu_rule, inputs=("x",), outputs=("p", "low", "up", "pivots", "info"),
                nondifferentiable=("p", "pivots", "info"))  # fmt: skip

LU = namedtuple("LU", ("P", "L", "U"))
LUFactor = namedtuple("LUFactor", ("LU", "pivots"))
LUFactorEx = namedtuple("LUFactorEx", ("LU", "pivots", "info"))


def lu(A: Tensor, *, pivot: bool = True) -> LU:
    """(P, L, U) with A = P L U; P is constant. Source: torch.linalg.lu."""
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return LU(*lu_op(A)[:3])


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> LUFactorEx:
    """(LU, pivots, info): L below the diagonal, U on and above it. Source: torch.linalg.lu_factor_ex."""
    _, low, up, pivots, info = lu_op(A)
    m, k, n = low._array.shape[-2], low._array.shape[-1], up._array.shape[-1]
    pad = registry.functions["cat"]
    strict = low - wrap(np.eye(m, k, dtype=low._array.dtype))
    if n > k:
        strict = pad([strict, strict.new_zeros((*low._array.shape[:-1], n - k))], -1)
    if m > k:
        up = pad([up, up.new_zeros((*up._array.shape[:-2], m - k, n))], -2)
    if check_errors:
        _check("lu_factor_ex", info)
    return LUFactorEx(strict + up, pivots, info)


def lu_factor(A: Tensor, *, pivot: bool = True) -> LUFactor:
    """(LU, pivots). Source: torch.linalg.lu_factor."""
    return LUFactor(*lu_factor_ex(A, pivot=pivot)[:2])


def _check(name: str, info: Tensor) -> None:
    worst = int(info._array.max(initial=0))
    if worst:
        raise LinAlgError(f"linalg.{name}: The diagonal element {worst} is zero, the computation could not be completed because "
                          "the input matrix is singular.")  # fmt: skip


# --- Cholesky ------------------------------------------------------------------------------------------------------


def _cholesky_one(a: np.ndarray) -> tuple:
    (potrf,) = get_lapack_funcs(("potrf",), (a,))
    factor, info = potrf(a, lower=1, clean=1)
    return factor, np.asarray(info, np.int32)


def _cholesky_rule(gs: tuple, low: Any) -> tuple:
    n = low.shape[-1]
    half = _lower(n, -1, low) + constant_like(np.eye(n) / 2, low)
    inverse = inv_op(low)
    x = product(product(mH(inverse), product(mH(low), gs[0]) * half), inverse)
    return ((x + mH(x)) / 2,)


cholesky_op = general("linalg_cholesky_ex", lambda x: each(_cholesky_one, x), joint=_cholesky_rule, inputs=("x",),
                      outputs=("low", "info"), nondifferentiable=("info",))  # fmt: skip
Cholesky = namedtuple("Cholesky", ("L", "info"))


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Cholesky:
    """(L, info) with A = L L^H; info is the order of the first minor that is not positive. Source: torch.linalg.cholesky_ex."""
    low, info = cholesky_op(A)
    worst = int(info._array.max(initial=0))
    if check_errors and worst:
        raise LinAlgError("linalg.cholesky: The factorization could not be completed because the input is not positive-definite "
                          f"(the leading minor of order {worst} is not positive-definite).")  # fmt: skip
    return Cholesky(mH(low) if upper else low, info)


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with A = L L^H, for positive-definite A. Source: torch.linalg.cholesky."""
    return cholesky_ex(A, upper=upper, check_errors=True).L


registry.publish("cholesky", lambda input, upper=False: cholesky(input, upper=upper))

# --- with an info instead of an error ---------------------------------------------------------------------------------

Inverse = namedtuple("Inverse", ("inverse", "info"))
Solution = namedtuple("Solution", ("result", "info"))


def _singular(A: Tensor) -> Tensor:
    """The first diagonal element of U that is 0, counted from 1; 0 for regular matrices."""
    return wrap(each(_lu_one, A._array)[4])


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Inverse:
    """(inverse, info); for a singular matrix the inverse is infinite and info not 0. Source: torch.linalg.inv_ex."""
    info = _singular(A)
    if check_errors or not info._array.any():
        return Inverse(inv_op(A), info)
    return Inverse(A / wrap(np.zeros((), A._array.dtype)), info)  # type: ignore[operator]


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Solution:
    """(result, info); for a singular matrix the result is infinite and info not 0. Source: torch.linalg.solve_ex."""
    info = _singular(A)
    if check_errors or not info._array.any():
        return Solution(solve(A, B, left=left), info)
    return Solution(B / wrap(np.zeros((), B._array.dtype)), info)  # type: ignore[operator]


# --- least squares and rank -----------------------------------------------------------------------------------------

LeastSquares = namedtuple("LeastSquares", ("solution", "residuals", "rank", "singular_values"))


def _least_squares_rule(g: Any, a: Any, b: Any, y: Any, needs: tuple) -> tuple:
    """With M = (A^H A)^-1: gB = A M g, gA = (B - A X)(M g)^H - gB X^H. With fewer rows than columns and
    M = (A A^H)^-1: gB = M A g, gA = M B (g - A^H gB)^H - gB X^H."""
    if a.shape[-2] >= a.shape[-1]:
        step = product(inv_op(product(mH(a), a)), g)
        gb = product(a, step)
        return product(b - product(a, y), mH(step)) - product(gb, mH(y)), gb
    inverse = inv_op(product(a, mH(a)))
    gb = product(inverse, product(a, g))
    return product(product(inverse, b), mH(g - product(mH(a), gb))) - product(gb, mH(y)), gb


lstsq_op = general("linalg_lstsq", lambda a, b: each(lambda p, q: (np.linalg.lstsq(p, q, rcond=None)[0].astype(p.dtype),), a, b)[0],
                   joint=_least_squares_rule, inputs=("a", "b"), holomorphic=False)  # fmt: skip


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """The X that makes |A X - B| least, with residuals, rank and singular values where the driver gives them.

    Source: torch.linalg.lstsq.
    """
    vector = B._array.ndim == A._array.ndim - 1
    right = B.unsqueeze(-1) if vector else B
    solution = lstsq_op(A, right)
    empty = wrap(np.zeros(0, A._array.real.dtype))
    ranks = np.linalg.matrix_rank(A._array)
    m, n = A._array.shape[-2:]
    residuals = empty
    if m > n and (ranks == n).all() and driver != "gelsy":
        difference = A.matmul(solution) - right
        residuals = (difference.abs() ** 2).sum(-2)
    rank = wrap(np.asarray(ranks, np.int64)) if driver != "gels" else wrap(np.zeros(0, np.int64))
    values = wrap(np.linalg.svd(A._array, compute_uv=False)) if driver in ("gelsd", "gelss") else empty
    return LeastSquares(solution.squeeze(-1) if vector else solution, residuals, rank, values)


def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """How many singular values exceed max(atol, rtol times the largest); never tracked. Source: torch.linalg.matrix_rank."""
    values = np.linalg.svd(A._array, compute_uv=False)
    largest = values.max(-1, initial=0)
    atol = tol if tol is not None else atol
    if rtol is None:
        rtol = max(A._array.shape[-2:]) * np.finfo(A._array.dtype).eps if atol is None or atol == 0 else 0.0
    limit = np.maximum(0.0 if atol is None else atol, rtol * largest)
    return wrap(np.asarray((values > limit[..., None]).sum(-1), np.int64))


# --- recorded, without a derivative --------------------------------------------------------------------------------


def _geqrf_one(a: np.ndarray) -> tuple:
    (geqrf,) = get_lapack_funcs(("geqrf",), (a,))
    return geqrf(a)[:2]


def _ldl_one(a: np.ndarray) -> tuple:
    (sytrf,) = get_lapack_funcs(("sytrf",), (a,))
    packed, pivots, info = sytrf(a, lower=1)
    return np.tril(packed), np.asarray(pivots, np.int32), np.asarray(info, np.int32)


def _ldl_solve(ld: np.ndarray, b: np.ndarray, *, pivots: np.ndarray) -> np.ndarray:
    def one(packed: np.ndarray, right: np.ndarray, order: np.ndarray) -> tuple:
        (sytrs,) = get_lapack_funcs(("sytrs",), (packed,))
        return (sytrs(packed, order, right, lower=1)[0],)

    batch = ld.shape[:-2]
    return each(one, ld, np.broadcast_to(b, (*batch, *b.shape[-2:])), pivots)[0]


_geqrf = general("geqrf", lambda x: each(_geqrf_one, x), declared_missing("geqrf"), inputs=("x",), outputs=("a", "tau"))
_ldl = unrecorded("linalg_ldl_factor_ex", lambda x: each(_ldl_one, x), ("x",), outputs=("ld", "pivots", "info"),
                  nondifferentiable=("pivots", "info"))  # fmt: skip
_ldl_solve_op = unrecorded("linalg_ldl_solve", _ldl_solve, ("ld", "b"))

Geqrf = namedtuple("Geqrf", ("a", "tau"))
LDL = namedtuple("LDL", ("LD", "pivots"))
LDLEx = namedtuple("LDLEx", ("LD", "pivots", "info"))


@both
def geqrf(input: Tensor) -> Geqrf:
    """(a, tau): Householder's QR, packed; without a derivative. Source: torch.geqrf."""
    return Geqrf(*_geqrf(input))


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> LDLEx:
    """(LD, pivots, info): A = L D L^T, packed; without a derivative. Source: torch.linalg.ldl_factor_ex."""
    result = LDLEx(*_ldl(A))
    if check_errors:
        _check("ldl_factor_ex", result.info)
    return result


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> LDL:
    """(LD, pivots). Source: torch.linalg.ldl_factor."""
    return LDL(*ldl_factor_ex(A, hermitian=hermitian)[:2])


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with L D L^T X = B; without a derivative. Source: torch.linalg.ldl_solve."""
    return _ldl_solve_op(LD, B, pivots=np.array(pivots._array))
