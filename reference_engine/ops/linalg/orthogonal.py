"""QR factorization, and products of Householder's reflections H = 1 - tau v v^H.

For A = Q R with independent columns: gA = [ gQ + Q copyltu(R gR^H - gQ^H Q) ] R^-H, where copyltu mirrors the lower triangle
(S. Walter, L. Lehmann, "Algorithmic differentiation of linear algebra functions", 2010). More columns than rows:
R = [R1 R2], R2 = Q^H A2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg.checks import QR, Geqrf, floating, matrices
from reference_engine.ops.linalg.triangular import solved
from reference_engine.ops.linalg.words import (
    conjugated,
    constant_like,
    diagonal,
    joined,
    mH,
    on_diagonal,
    product,
    real,
    tri_lower,
)
from reference_engine.ops.out import with_out
from reference_engine.ops.registry import both
from reference_engine.ops.underivable import declared_missing
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor

TALL = "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."
ONLY_R = (
    "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use linalg.qr(A, mode='reduced') "
    "if you are going to differentiate through linalg.qr."
)


def _qr(x: np.ndarray, *, mode: str) -> tuple:
    if mode == "r":
        return np.zeros(0, x.dtype), np.asarray(np.linalg.qr(x, "r"))
    q, r = np.linalg.qr(x, mode)
    return q, r


def _copyltu(x: Any) -> Any:
    low = tri_lower(x, diagonal=-1)
    return low + mH(low) + on_diagonal(real(diagonal(x)))


def _qr_rule(gs: tuple, Q: Any, R: Any, mode: str, x_shape: tuple) -> tuple:
    m, n = x_shape[-2:]
    if mode == "r":
        raise RuntimeError(ONLY_R)
    if mode == "complete" and m > n:
        raise RuntimeError(TALL)
    gq, gr = gs
    k = min(m, n)
    beside = None
    if gr is not None and n > k:
        beside = product(Q, gr[..., :, k:])
        more = product(product(Q, R[..., :, k:]), mH(gr[..., :, k:]))
        gq, gr = more if gq is None else gq + more, gr[..., :, :k]
    inner: Any = 0
    if gr is not None:
        inner = product(R[..., :, :k], mH(gr))
    if gq is not None:
        inner = inner - product(mH(gq), Q)
    total = product(Q, _copyltu(inner))
    total = total if gq is None else gq + total
    result = solved(mH(R[..., :, :k]), total, upper=False, left=False)
    if n > k:
        beside = constant_like(np.zeros((*x_shape[:-1], n - k)), result) if beside is None else beside
        result = joined([result, beside], -1)
    return (result,)


qr_op = general("linalg_qr", _qr, joint=_qr_rule, inputs=("x",), outputs=("Q", "R"), holomorphic=False)


@with_out
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """(Q, R) with A = Q R: Q's columns are orthonormal, R is upper triangular. Source: torch.linalg.qr."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or "
                           "'complete'")  # fmt: skip
    return QR(*qr_op(floating("qr", matrices("qr", A)), mode=mode))


@with_out
def _old_qr(input: Tensor, some: bool = True) -> Any:
    """(Q, R); Q is square where not `some`. Source: torch.qr."""
    warn_once("qr", "torch.qr is deprecated in favor of torch.linalg.qr and will be removed in a future PyTorch release.\n"
              "The boolean parameter 'some' has been replaced with a string parameter 'mode'.", stacklevel=4)  # fmt: skip
    return qr(input, mode="reduced" if some else "complete")


# --- reflections -----------------------------------------------------------------------------------------------------


def _vectors(x: Any) -> Any:
    """The vectors v: below the diagonal those of x, on it 1."""
    return tri_lower(x, diagonal=-1) + constant_like(np.eye(*x.shape[-2:]), x)


def _column(v: Any, i: int) -> Any:
    return v[..., :, i : i + 1]


def _reflected(v: Any, factor: Any, c: Any) -> Any:
    """(1 - factor v v^H) C."""
    return c - product(factor * v, product(mH(v), c))


def _householder(x: np.ndarray, tau: np.ndarray) -> np.ndarray:
    v, result = _vectors(x), np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape)
    for i in reversed(range(tau.shape[-1])):
        result = _reflected(_column(v, i), tau[..., i, None, None], result)
    return np.array(result)


def _householder_rule(g: Any, x: Any, tau: Any, y: Any) -> tuple:
    """Through the reflections one by one. Of Q = H_1 .. H_k 1 only the product is kept: K = (H_1 .. H_i-1)^H g (H_i+1 .. H_k)^H
    follows from g Q^H by undoing reflections, whose inverse is 1 - s v v^H, s = tau / (tau |v|^2 - 1): none for
    tau = 1 / |v|^2. Then gtau = -v^H K v and gv = -(conj(tau) K v + tau K^H v).
    """
    v, count = _vectors(x), tau.shape[-1]
    inner = product(g, mH(y))
    columns, factors = [], []
    for i in range(count):
        own, scale = _column(v, i), tau[..., i, None, None]
        undone = scale / (scale * real(product(mH(own), own)) - 1)
        inner = mH(_reflected(own, undone, mH(inner)))
        forward, backward = product(inner, own), product(mH(inner), own)
        factors.append(-product(mH(own), forward)[..., 0])
        columns.append(-(conjugated(scale) * forward + scale * backward))
        inner = _reflected(own, conjugated(scale), inner)
    rest = x.shape[-1] - count
    if rest:
        columns.append(constant_like(np.zeros((*x.shape[:-1], rest)), x))
    gx = tri_lower(joined(columns, -1), diagonal=-1) if columns else x * 0
    return gx, joined(factors, -1) if factors else tau * 0


householder_op = general(
    "linalg_householder_product", _householder, joint=_householder_rule, inputs=("x", "tau"), holomorphic=False
)


@with_out
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of H_1 H_2 .. H_k, H_i = 1 - tau_i v_i v_i^H; v_i stands below the diagonal of A.

    Differentiable but for tau_i = 1 / |v_i|^2. Source: torch.linalg.householder_product.
    """
    name = "torch.linalg.householder_product"
    if A._array.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    m, n = A._array.shape[-2:]
    if m < n:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if n < tau._array.shape[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if A.dtype is not tau.dtype:
        raise RuntimeError(f"{name}: tau dtype {tau.dtype} does not match input dtype {A.dtype}")
    return householder_op(A, tau)


@with_out
def _ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q C, or C Q where not `left`, with the square Q of Householder's reflections (Q^H where `transpose`).

    Source: torch.ormqr.
    """
    rows = other._array.shape[-2 if left else -1]
    if tau._array.shape[-1] != min(rows, input._array.shape[-1]):
        side = -2 if left else -1
        raise RuntimeError(f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{side}], input.shape[-1])")
    if input._array.shape[-2] != rows:
        raise RuntimeError(f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2]")
    if not left:  # C Q = (Q^H C^H)^H
        return mH(_ormqr(input, tau, mH(other), transpose=not transpose))
    v, count, result = _vectors(input), tau._array.shape[-1], other
    for i in range(count) if transpose else reversed(range(count)):
        factor = tau[..., i, None, None]
        result = _reflected(_column(v, i), conjugated(factor) if transpose else factor, result)
    return result


def _geqrf(x: np.ndarray) -> tuple:
    packed, tau = np.linalg.qr(x, "raw")
    return np.ascontiguousarray(packed.swapaxes(-1, -2)), tau


_geqrf_op = general("geqrf", _geqrf, declared_missing("geqrf"), inputs=("x",), outputs=("a", "tau"))


@both
def geqrf(input: Tensor) -> Any:
    """(a, tau): R, and below it the vectors of Householder's reflections; without a derivative. Source: torch.geqrf."""
    return Geqrf(*_geqrf_op(floating("geqrf", input)))


registry.publish("qr", _old_qr)
registry.publish("orgqr", householder_product)
registry.publish("ormqr", _ormqr)
