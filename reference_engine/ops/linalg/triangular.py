"""Triangular systems and Cholesky's factorization, with what is computed from its factor.

With A = L L^H and Phi(X) the lower triangle of X with half its diagonal: dL = L Phi(L^-1 dA L^-H).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg import kernels
from reference_engine.ops.linalg.checks import CholeskyEx, LinAlgError, Triangular, failed, implemented, square
from reference_engine.ops.linalg.solving import fit
from reference_engine.ops.linalg.words import constant_like, eye_like, mH, mT, product, symmetric, tri_lower, tri_upper
from reference_engine.ops.one_node import one_node
from reference_engine.ops.out import with_out
from reference_engine.ops.registry import both
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor


def _forward(a: np.ndarray, b: np.ndarray, *, upper: bool, left: bool, unitriangular: bool) -> np.ndarray:
    if left:
        return kernels.substitute(a, b, upper=upper, unit=unitriangular)
    x = kernels.substitute(a.swapaxes(-1, -2), b.swapaxes(-1, -2), upper=not upper, unit=unitriangular)
    return np.ascontiguousarray(x.swapaxes(-1, -2))


def _rule(g: Any, a: Any, y: Any, upper: bool, left: bool, unitriangular: bool, needs: tuple) -> tuple:
    """As for any system, gB = A^-H g and gA = -gB X^H, and of that the triangle that is read."""
    gb = solved(mH(a), g, upper=not upper, left=left, unitriangular=unitriangular)
    if not needs[0]:
        return None, gb
    ga = -(product(gb, mH(y)) if left else product(mH(y), gb))
    return (tri_upper(ga, diagonal=int(unitriangular)) if upper else tri_lower(ga, diagonal=-int(unitriangular))), gb


triangular_op = general("linalg_solve_triangular", _forward, joint=_rule, inputs=("a", "b"), holomorphic=False)


def solved(a: Any, b: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X with A X = B, or with X A = B, for triangular A, over arrays and tensors."""
    return triangular_op(a, b, upper=upper, left=left, unitriangular=unitriangular)


def _adapted(name: str, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    if B._array.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor B must have at least 2 dimensions.")
    square(name, A)
    common = dtypes.promote_types(A.dtype, B.dtype)
    return A.to(common), B.to(common)


@with_out
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X with A X = B (with X A = B where not `left`) for triangular A, of which only that triangle is read.

    Source: torch.linalg.solve_triangular.
    """
    A, B = _adapted("solve_triangular", A, B)
    fit("solve_triangular", A, B, left)
    return solved(A, B, upper=upper, left=left, unitriangular=unitriangular)


@both
def triangular_solve(input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False) -> Any:  # fmt: skip
    """(solution of A X = input, a copy of A). Source: torch.triangular_solve."""
    warn_once("triangular_solve", "torch.triangular_solve is deprecated in favor of torch.linalg.solve_triangular and will be "
              "removed in a future PyTorch release.", stacklevel=3)  # fmt: skip
    A, input = _adapted("triangular_solve", A, input)
    matrix, upper = (mT(A), not upper) if transpose else (A, upper)
    batch = np.broadcast_shapes(A._array.shape[:-2], input._array.shape[:-2])
    result = solved(matrix, input, upper=upper, unitriangular=unitriangular)
    return Triangular(result, A.expand((*batch, *A._array.shape[-2:])).clone())


# --- Cholesky --------------------------------------------------------------------------------------------------------


def _cholesky(x: np.ndarray, *, upper: bool) -> tuple:
    low, info = kernels.cholesky(x.conj().swapaxes(-1, -2) if upper else x)
    return (np.ascontiguousarray(low.conj().swapaxes(-1, -2)) if upper else low), info


def _cholesky_rule(gs: tuple, L: Any, upper: bool) -> tuple:
    """gA = L^-H sym(Phi(L^H gL)) L^-1, the gradient among Hermitian matrices: it fills both triangles."""
    low, g = (mH(L), mH(gs[0])) if upper else (L, gs[0])
    half = constant_like(np.tri(low.shape[-1], k=-1) + np.eye(low.shape[-1]) / 2, low)
    inner = symmetric(product(mH(low), g) * half)
    return (solved(low, solved(mH(low), inner, upper=True), upper=False, left=False),)


cholesky_op = general("linalg_cholesky_ex", _cholesky, joint=_cholesky_rule, inputs=("x",), outputs=("L", "info"),
                      nondifferentiable=("info",), holomorphic=False)  # fmt: skip


def _definite(name: str, info: Tensor) -> None:
    if (failure := failed(info)) is not None:
        order, where = failure
        raise LinAlgError(f"{name}: {where}The factorization could not be completed because the input is not "
                          f"positive-definite (the leading minor of order {order} is not positive-definite).")  # fmt: skip


@with_out
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info) with A = L L^H from A's lower triangle (`upper`: L^H from its upper one); info is the order of the first
    leading minor that is not positive. Source: torch.linalg.cholesky_ex.
    """
    result = CholeskyEx(*cholesky_op(square("cholesky", A), upper=upper))
    if check_errors:
        _definite("linalg.cholesky", result.info)
    return result


@with_out
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with A = L L^H; LinAlgError where A is not positive-definite. Source: torch.linalg.cholesky."""
    return cholesky_ex(A, upper=upper, check_errors=True).L


@with_out
def old_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """L with A = L L^H. Source: torch.cholesky."""
    warn_once("cholesky", "torch.cholesky is deprecated in favor of torch.linalg.cholesky and will be removed in a future "
              "PyTorch release.", stacklevel=4)  # fmt: skip
    factor, info = cholesky_op(square("cholesky", input), upper=upper)
    _definite("cholesky", info)
    return factor


@with_out
@one_node("CholeskyInverseBackward0", "input")
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A = L L^H from its factor. Source: torch.cholesky_inverse."""
    if input._array.ndim < 2 or input._array.shape[-1] != input._array.shape[-2]:
        shape = " by ".join(map(str, input._array.shape[-2:]))
        raise RuntimeError(f"cholesky_inverse: A must be batches of square matrices, but they are {shape} matrices")
    inverse = solved(mH(input) if upper else input, eye_like(input), upper=False)
    return product(mH(inverse), inverse)


@with_out
@one_node("CholeskySolveBackward0", "input", "L")
def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = input, given the factor of A = L L^H. Source: torch.cholesky_solve."""
    for name, x in (("b", input), ("u", L)):
        if x._array.ndim < 2:
            raise RuntimeError(f"{name} should have at least 2 dimensions, but has {x._array.ndim} dimensions instead")
    rows, columns = input._array.shape[-2:]
    if L._array.shape[-1] != rows:
        raise RuntimeError(f"Incompatible matrix sizes for cholesky_solve: each A matrix is {L._array.shape[-2]} by "
                           f"{L._array.shape[-1]} but each b matrix is {rows} by {columns}")  # fmt: skip
    low = mH(L) if upper else L
    return solved(mH(low), solved(low, implemented("cholesky_solve_cpu", input), upper=False), upper=True)


registry.publish("cholesky", old_cholesky)
registry.publish("cholesky_inverse", cholesky_inverse)
registry.publish("cholesky_solve", cholesky_solve)
