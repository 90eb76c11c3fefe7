"""Inverse, solution of linear systems, determinant; their forms for tensors.

d(A^-1) = -A^-1 dA A^-1, d(A^-1 B) = A^-1 (dB - dA X), d det A = tr(adj A dA).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg import kernels
from reference_engine.ops.linalg.checks import Inverse, LinAlgError, SlogDet, Solution, failed, square
from reference_engine.ops.linalg.words import array_of, conjugated, is_complex, mH, mT, product
from reference_engine.ops.out import with_out
from reference_engine.ops.registry import both
from reference_engine.tensor import Tensor


def _inverse_of(x: Any) -> Any:
    """The inverse over arrays and tensors; not finite where x is singular."""
    return inv_op(x)[0] if isinstance(x, Tensor) else kernels.inverse(x)[0]


def _solved(a: Any, b: Any, *, left: bool = True) -> Any:
    """X with A X = B, or with X A = B, over arrays and tensors; not finite where A is singular."""
    return solve_op(a, b, left=left)[0] if isinstance(b, Tensor) else _solve_forward(a, b, left=left)[0]


def _solve_forward(a: np.ndarray, b: np.ndarray, *, left: bool) -> tuple:
    if left:
        return kernels.solution(a, b)
    x, info = kernels.solution(a.swapaxes(-1, -2), b.swapaxes(-1, -2))
    return np.ascontiguousarray(x.swapaxes(-1, -2)), info


def _solve_rule(gs: tuple, a: Any, y: Any, left: bool, needs: tuple) -> tuple:
    """gB = A^-H g and gA = -gB X^H; from the right gA = -X^H gB."""
    gb = _solved(mH(a), gs[0], left=left)
    if not needs[0]:
        return None, gb
    return -(product(gb, mH(y)) if left else product(mH(y), gb)), gb


def _cofactors(x: Any) -> Any:
    """The matrix of cofactors, by minors, over arrays and tensors: exact for singular matrices too."""
    n = x.shape[-1]
    keep = [[j for j in range(n) if j != i] for i in range(n)]
    stack = registry.functions["stack"] if isinstance(x, Tensor) else np.stack
    rows = [stack([(-1) ** (i + j) * det_op(x[..., keep[i], :][..., keep[j]]) for j in range(n)], -1) for i in range(n)]
    return stack(rows, -2)


def _det_rule(g: Any, x: Any, y: Any) -> Any:
    """The matrix of cofactors: det A A^-T for regular A."""
    g = g[..., None, None]
    if np.equal(array_of(y), 0).any() and x.shape[-1]:
        return g * _cofactors(x)
    return g * y[..., None, None] * mT(_inverse_of(x))


def _slogdet_rule(gs: tuple, x: Any, sign: Any) -> tuple:
    """log |det|: g A^-H. The sign of a complex determinant turns with Im tr(A^-1 dA); that of a real one is constant."""
    turn, log = gs
    factor = None if log is None else log[..., None, None]
    if turn is not None and is_complex(turn):
        turned = 1j * (conjugated(sign) * turn).imag[..., None, None]
        factor = turned if factor is None else factor + turned
    return (None if factor is None else factor * mH(_inverse_of(x)),)


# fmt: off
inv_op     = general("linalg_inv_ex",    kernels.inverse, lambda gs, inverse: -product(product(mH(inverse), gs[0]), mH(inverse)), inputs=("x",), outputs=("inverse", "info"), nondifferentiable=("info",), holomorphic=False)
solve_op   = general("_linalg_solve_ex", _solve_forward, joint=_solve_rule, inputs=("a", "b"), outputs=("y", "info"), nondifferentiable=("info",), node="LinalgSolveExBackward0", holomorphic=False)
det_op     = general("_linalg_det",      lambda x: np.asarray(np.linalg.det(x)), _det_rule, inputs=("x",), node="LinalgDetBackward0")
slogdet_op = general("_linalg_slogdet",  lambda x: tuple(map(np.asarray, np.linalg.slogdet(x))), joint=_slogdet_rule, inputs=("x",), outputs=("sign", "logabsdet"), node="LinalgSlogdetBackward0", holomorphic=False)
# fmt: on


def _invertible(info: Tensor) -> None:
    if (failure := failed(info)) is not None:
        number, where = failure
        raise LinAlgError(f"linalg.inv: {where}The diagonal element {number} is zero, the inversion could not be completed "
                          "because the input matrix is singular.")  # fmt: skip


@with_out
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """(inverse, info): info is not 0 where a matrix is singular, and its inverse infinite. Source: torch.linalg.inv_ex."""
    result = Inverse(*inv_op(square("inv", A)))
    if check_errors:
        _invertible(result.info)
    return result


@with_out
def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices; LinAlgError for a singular one. Source: torch.linalg.inv."""
    return inv_ex(A, check_errors=True).inverse


@with_out
def det(A: Tensor) -> Tensor:
    """The determinant of square matrices. Source: torch.linalg.det."""
    return det_op(square("det", A))


@with_out
def slogdet(A: Tensor) -> Any:
    """(sign, logabsdet): the determinant's phase, and the logarithm of its modulus. Source: torch.linalg.slogdet."""
    return SlogDet(*slogdet_op(square("slogdet", A)))


@both
def logdet(input: Tensor) -> Tensor:
    """log det A: -inf for a singular matrix, nan for a negative determinant. Source: torch.logdet."""
    sign, log = slogdet_op(square("logdet", input, types="slogdet"))
    if sign.is_complex():
        return sign.log() + log
    return registry.functions["where"](sign.eq(-1), float("nan"), log)


def is_vector(a: Tensor, b: Tensor) -> bool:
    """Whether B holds vectors beside matrices A: one, or one for each matrix."""
    return b._array.ndim == 1 or (b._array.ndim == a._array.ndim - 1 and b._array.shape == a._array.shape[:-1])


def fit(name: str, A: Tensor, B: Tensor, left: bool) -> None:
    """Checks that A X = B, or X A = B, has matching shapes."""
    if A._array.shape[-1] != B._array.shape[-2 if left else -1]:
        raise RuntimeError(f"linalg.{name}: Incompatible shapes of A and B for the equation {'AX' if left else 'XA'} = B "
                           f"({A._array.shape[-2]}x{A._array.shape[-1]} and {B._array.shape[-2]}x{B._array.shape[-1]})")  # fmt: skip


@with_out
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """(result, info): info is not 0 where a matrix is singular, and its result not finite. Source: torch.linalg.solve_ex."""
    square("solve", A)
    if A.dtype is not B.dtype:
        names = [{"float32": "Float", "float64": "Double"}.get(x.dtype.name, str(x.dtype)) for x in (A, B)]
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but found A of type {names[0]} and B of "
                           f"type {names[1]} instead")  # fmt: skip
    vector = is_vector(A, B)
    right = B.unsqueeze(-1) if vector else B
    fit("solve", A, right, left)
    result, info = solve_op(A, right, left=left)
    if check_errors and (failure := failed(info)) is not None:
        raise LinAlgError(f"torch.linalg.solve: {failure[1]}The solver failed because the input matrix is singular.")
    return Solution(result.squeeze(-1) if vector else result, info)


@with_out
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (with X A = B where not `left`); B may be a vector. Source: torch.linalg.solve."""
    return solve_ex(A, B, left=left, check_errors=True).result


@with_out
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of the map that tensordot(A, ., A.ndim - ind) is. Source: torch.linalg.tensorinv."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    rows, columns = A._array.shape[:ind], A._array.shape[ind:]
    m, n = math.prod(rows), math.prod(columns)
    if m != n:
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but "
                           f"got {n} != {m}")  # fmt: skip
    return inv(A.reshape(m, n)).reshape((*columns, *rows))


@with_out
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B. Source: torch.linalg.tensorsolve."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A._array.ndim - len(dims), A._array.ndim)))
    n = B._array.ndim
    shape = A._array.shape[n:]
    columns, rows = math.prod(shape), math.prod(A._array.shape[:n])
    if columns != rows:
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
                           f"prod(self.shape[:other.ndim]), but got {columns} != {rows}")  # fmt: skip
    return solve(A.reshape(rows, columns), B.reshape(-1)).reshape(shape)


for _name, _function in {"inverse": inv, "det": det, "slogdet": slogdet}.items():
    registry.publish(_name, _function)
