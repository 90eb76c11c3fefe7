"""LU factorization with row exchanges, A = P L U, and what is computed from the packed factors.

For square A: dL = L strict_lower(F) and dU = upper(F) U with F = L^-1 P^T dA U^-1. A block beside or below the square one
depends on it linearly: U2 = L^-1 P^T A2, L2 = P^T A2 U^-1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg import kernels
from reference_engine.ops.linalg.checks import LU, LUFactor, LUFactorEx, Unpacked, implemented
from reference_engine.ops.linalg.checks import failed as failure_in
from reference_engine.ops.linalg.solving import fit
from reference_engine.ops.linalg.triangular import solved
from reference_engine.ops.linalg.words import (
    constant_like,
    joined,
    mH,
    mT,
    product,
    tri_lower,
    tri_upper,
    wrap,
)
from reference_engine.ops.out import with_out
from reference_engine.ops.registry import function
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor


def _factors(packed: Any) -> tuple[Any, Any]:
    """(L, U) out of the packed form, over arrays and tensors."""
    m, n = packed.shape[-2:]
    k = min(m, n)
    low = tri_lower(packed[..., :, :k], diagonal=-1) + constant_like(np.eye(m, k), packed)
    return low, tri_upper(packed[..., :k, :], diagonal=0)


def _rule(gs: tuple, LU: Any, exchange: np.ndarray) -> tuple:
    """P L^-H [ strict_lower(L^H gL) + upper(gU U^H) ] U^-H, after the blocks beside or below have passed theirs on."""
    g = gs[0]
    m, n = g.shape[-2:]
    k = min(m, n)
    low, up = _factors(LU)
    square_l, square_u = low[..., :k, :], up[..., :, :k]
    gl, gu = tri_lower(g[..., :k, :k], diagonal=-1), tri_upper(g[..., :k, :k], diagonal=0)
    beside = below = None
    if n > k:
        beside = solved(mH(square_l), g[..., :, k:], upper=True, unitriangular=True)
        gl = gl - tri_lower(product(beside, mH(up[..., :, k:])), diagonal=-1)
    if m > k:
        below = solved(mH(square_u), g[..., k:, :], upper=False, left=False)
        gu = gu - tri_upper(product(mH(low[..., k:, :]), below), diagonal=0)
    inner = tri_lower(product(mH(square_l), gl), diagonal=-1) + tri_upper(product(gu, mH(square_u)), diagonal=0)
    whole = solved(mH(square_u), solved(mH(square_l), inner, upper=True, unitriangular=True), upper=False, left=False)
    if beside is not None:
        whole = joined([whole, beside], -1)
    if below is not None:
        whole = joined([whole, below], -2)
    return (product(constant_like(exchange, whole), whole),)


def _forward(x: np.ndarray) -> tuple:
    packed, pivots, info = kernels.eliminate(x)
    return packed, pivots, info, kernels.permutation(pivots, x.shape[-2], x.dtype)


lu_op = general("linalg_lu_factor_ex", _forward, joint=_rule, inputs=("x",), outputs=("LU", "pivots", "info"), aux=("exchange",),
                nondifferentiable=("pivots", "info"), holomorphic=False)  # fmt: skip


# The matrices of permutations that pivots stand for: constants.
exchange_op = general("lu_exchange", lambda pivots, *, rows, dtype: kernels.permutation(pivots, rows, dtype), None,
                      inputs=("pivots",))  # fmt: skip


def _exchange(pivots: Tensor, like: Tensor) -> Tensor:
    return exchange_op(pivots, rows=like._array.shape[-2], dtype=like._array.dtype)


def _factored(name: str, A: Tensor, pivot: bool) -> tuple[Tensor, Tensor, Tensor]:
    if A._array.ndim < 2:
        raise RuntimeError(
            f"{name}: Expected tensor with 2 or more dimensions. Got size: {list(A._array.shape)} instead"
        )
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return lu_op(implemented("lu_cpu", A))


def _usable(info: Tensor) -> None:
    if (failure := failure_in(info)) is not None:
        number, where = failure
        raise RuntimeError(f"torch.linalg.lu_factor: {where}U[{number},{number}] is zero and using it on lu_solve would result "
                           "in a division by zero. If you still want to perform the factorization, consider calling "
                           "linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)")  # fmt: skip


@with_out
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """(P, L, U) with A = P L U; P is constant. Source: torch.linalg.lu."""
    packed, pivots, _ = _factored("linalg.lu", A, pivot)
    return LU(_exchange(pivots, A), *_factors(packed))


@with_out
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """(LU, pivots, info): L below the diagonal, U on and above it; info is the first zero pivot or 0.

    Source: torch.linalg.lu_factor_ex.
    """
    result = LUFactorEx(*_factored("torch.lu_factor", A, pivot))
    if check_errors:
        _usable(result.info)
    return result


@with_out
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """(LU, pivots); an error where U has a zero on its diagonal. Source: torch.linalg.lu_factor."""
    return LUFactor(*lu_factor_ex(A, pivot=pivot, check_errors=True)[:2])


@with_out
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A X = B (X A = B where not `left`; A^H instead of A where `adjoint`), from lu_factor's results.

    Source: torch.linalg.lu_solve.
    """
    fit("lu_solve", LU, B, left)
    if not left:  # X A = B is A^H X^H = B^H
        return mH(lu_solve(LU, pivots, mH(B), adjoint=not adjoint))
    exchange = _exchange(pivots, LU)
    if adjoint:
        inner = solved(mH(LU), solved(mH(LU), B, upper=False), upper=True, unitriangular=True)
        return product(exchange, inner)
    return solved(LU, solved(LU, product(mT(exchange), B), upper=False, unitriangular=True), upper=True)


def _old_lu(input: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> tuple:
    """(LU, pivots), or (LU, pivots, info). Source: torch.lu."""
    warn_once("lu", "torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex and will be removed "
              "in a future PyTorch release.", stacklevel=3)  # fmt: skip
    result = lu_factor_ex(input, pivot=pivot, check_errors=not get_infos)
    return tuple(result) if get_infos else tuple(result[:2])


def _old_lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with A X = input, from lu's results. Source: torch.lu_solve."""
    warn_once("lu_solve", "torch.lu_solve is deprecated in favor of torch.linalg.lu_solve and will be removed in a future "
              "PyTorch release.", stacklevel=4)  # fmt: skip
    return lu_solve(LU_data, LU_pivots, input)


@function
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) out of lu_factor's results; what is not asked for is empty. Source: torch.lu_unpack."""
    empty = wrap(np.zeros(0, LU_data._array.dtype))
    if unpack_pivots and LU_pivots._array.dtype != np.int32:
        raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\nNote: this "
                           "function is intended to be used with the output produced by torch.linalg.lu_factor")  # fmt: skip
    exchange = _exchange(LU_pivots, LU_data) if unpack_pivots else empty
    return Unpacked(exchange, *(_factors(LU_data) if unpack_data else (empty, empty)))


registry.publish("lu", _old_lu)
registry.publish("lu_solve", with_out(_old_lu_solve))
