"""Eigenvalues and singular values, with their vectors.

Vectors are defined up to a phase (a sign for real ones): their gradients hold for what does not depend on it, and over the
complex numbers a gradient that does is refused. Where values coincide the vectors have no derivative, and their gradient is
not finite; that of the values is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg import kernels
from reference_engine.ops.linalg.checks import SVD, Eig, Eigh, OldSVD, floating, implemented, matrices, square
from reference_engine.ops.linalg.solving import solve_op
from reference_engine.ops.linalg.words import (
    array_of,
    conjugated,
    constant_like,
    diagonal,
    eye_like,
    is_complex,
    mH,
    on_diagonal,
    product,
    real,
    skew,
)
from reference_engine.ops.out import with_out
from reference_engine.tensor import Tensor, wrap


def _refuse_phase(turning: Any, name: str, vectors: str, ending: str) -> None:
    """Raises where a complex loss changes with the phases of the vectors; `turning` is i times its slope along them."""
    if not np.allclose(diagonal(array_of(turning)).imag, 0, atol=1e-2):
        raise RuntimeError(f"{name}: The {vectors} in the complex case are specified up to multiplication by e^{{i phi}}. The "
                           f"specified loss function depends on this {ending}")  # fmt: skip


ILL_DEFINED = "quantity, so it is ill-defined."


def _gaps(values: Any) -> Any:
    """E_ij = v_j - v_i, and 1 on the diagonal."""
    return values[..., None, :] - values[..., :, None] + eye_like(values)


# --- Hermitian matrices ----------------------------------------------------------------------------------------------


def _eigh(x: np.ndarray, *, UPLO: str) -> tuple:
    return tuple(np.linalg.eigh(x, UPLO))


def _eigh_rule(gs: tuple, values: Any, vectors: Any) -> tuple:
    """V [ diag(gL) + skew(V^H gV) / E ] V^H: the gradient among Hermitian matrices, it fills both triangles."""
    gl, gv = gs
    if gv is None:
        return (product(vectors * gl[..., None, :], mH(vectors)),)
    turned = skew(product(mH(vectors), gv))
    if is_complex(turned):
        _refuse_phase(turned, "linalg_eigh_backward", "eigenvectors", ILL_DEFINED)
    inner = turned * constant_like(1 - np.eye(turned.shape[-1]), turned) / _gaps(values)
    if gl is not None:
        inner = inner + on_diagonal(gl)
    return (product(product(vectors, inner), mH(vectors)),)


eigh_op = general("linalg_eigh", _eigh, joint=_eigh_rule, inputs=("x",), outputs=("values", "vectors"),
                  saved_names=("A",), holomorphic=False)  # fmt: skip


def _hermitian(A: Tensor, UPLO: str) -> tuple[Tensor, Tensor]:
    if A._array.dtype.kind not in "fc":
        implemented("linalg_eigh_cpu", A)
    square("eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return eigh_op(A, UPLO=UPLO.upper())


@with_out
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """(eigenvalues, ascending; eigenvectors) of Hermitian matrices, of which one triangle is read. Source: torch.linalg.eigh."""
    return Eigh(*_hermitian(A, UPLO))


@with_out
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of Hermitian matrices, ascending. Source: torch.linalg.eigvalsh."""
    return _hermitian(A, UPLO)[0]


# --- any square matrices ---------------------------------------------------------------------------------------------


def _eig(x: np.ndarray) -> tuple:
    values, vectors = np.linalg.eig(x)
    kind = np.result_type(x.dtype, np.complex64)
    return values.astype(kind), vectors.astype(kind)


def _eig_rule(gs: tuple, values: Any, vectors: Any) -> tuple:
    """V^-H [ diag(gL) + (V^H gV - V^H V diag(Re V^H gV)) / conj(E) ] V^H, for columns of V of norm 1."""
    gl, gv = gs
    inner: Any = None
    if gv is not None:
        own = product(mH(vectors), gv)
        _refuse_phase(own, "linalg_eig_backward", "eigenvectors", ILL_DEFINED)
        own = own - product(mH(vectors), vectors) * real(diagonal(own))[..., None, :]
        inner = own * constant_like(1 - np.eye(own.shape[-1]), own) / conjugated(_gaps(values))
    if gl is not None:
        inner = on_diagonal(gl) if inner is None else inner + on_diagonal(gl)
    right = product(inner, mH(vectors))
    adjoint = mH(vectors)
    return (
        solve_op(adjoint, right, left=True)[0] if isinstance(right, Tensor) else kernels.solution(adjoint, right)[0],
    )


eig_op = general("linalg_eig", _eig, joint=_eig_rule, inputs=("x",), outputs=("values", "vectors"), holomorphic=False)


@with_out
def eig(A: Tensor) -> Any:
    """(eigenvalues, eigenvectors of norm 1) of square matrices, always complex. Source: torch.linalg.eig."""
    return Eig(*eig_op(square("eig", A)))


@with_out
def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of square matrices, always complex. Source: torch.linalg.eigvals."""
    return eig_op(square("eigvals", A))[0]


# --- singular values -------------------------------------------------------------------------------------------------


def _svd(x: np.ndarray, *, full_matrices: bool) -> tuple:
    return tuple(np.linalg.svd(x, full_matrices=full_matrices))


def _svd_rule(gs: tuple, U: Any, S: Any, Vh: Any, x_shape: tuple) -> tuple:
    """With E_ij = s_j^2 - s_i^2 and sk the skew part: U [ 2 sk(U^H gU)/E S + 2 S sk(V^H gV)/E + diag(gS) ] V^H, and what gU
    and gV have outside of the spaces that U and V span. Complex vectors turn together: i Im diag(U^H gU) / S is added.

    Vectors beyond the smaller dimension span nothing of A: their gradients are ignored.
    """
    gu, gsv, gvh = gs
    m, n = x_shape[-2:]
    k = min(m, n)
    U, Vh = U[..., :, :k], Vh[..., :k, :]
    if gu is None and gvh is None:
        return (product(U * gsv[..., None, :], Vh),)
    off_gaps = constant_like(1 - np.eye(k), S) / _gaps(S * S)
    inner = [] if gsv is None else [on_diagonal(gsv)]
    outer, turning = [], []
    if gu is not None:
        own = product(mH(U), gu[..., :, :k])
        turning.append(skew(own))
        inner.append(2 * turning[-1] * off_gaps * S[..., None, :])
        if is_complex(own):
            inner.append(on_diagonal(diagonal(turning[-1]) / S))
        if m > k:
            outer.append(product((gu[..., :, :k] - product(U, own)) / S[..., None, :], Vh))
    if gvh is not None:
        own = product(Vh, mH(gvh[..., :k, :]))
        turning.append(skew(own))
        inner.append(2 * S[..., :, None] * off_gaps * turning[-1])
        if n > k:
            outer.append(product(U, (gvh[..., :k, :] - product(mH(own), Vh)) / S[..., :, None]))
    if is_complex(own):
        _refuse_phase(_total(turning), "svd_backward", "singular vectors", "phase term, making it ill-defined.")
    return (_total([product(product(U, _total(inner)), Vh), *outer]),)


def _total(terms: list) -> Any:
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


svd_op = general("_linalg_svd", _svd, joint=_svd_rule, inputs=("x",), outputs=("U", "S", "Vh"), node="LinalgSvdBackward0",
                 saved_names=("A",), holomorphic=False)  # fmt: skip


def _decomposed(A: Tensor, full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:
    return svd_op(floating("svd", matrices("svd", A)), full_matrices=full_matrices)


@with_out
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """(U, S, Vh) with A = U diag(S) Vh, S descending; U and Vh are square where asked. Source: torch.linalg.svd."""
    _no_driver("svd", driver)
    return SVD(*_decomposed(A, full_matrices))


@with_out
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, descending; real also for complex A. Source: torch.linalg.svdvals."""
    _no_driver("svd", driver)
    return _decomposed(A, False)[1]


def _no_driver(name: str, driver: str | None) -> None:
    if driver is not None:
        raise RuntimeError(f"torch.linalg.{name}: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER "
                           "backend.")  # fmt: skip


@with_out
def _old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with A = U diag(S) V^H; without `compute_uv` zeros stand for U and V. Source: torch.svd."""
    if compute_uv:
        u, s, vh = _decomposed(input, not some)
        return OldSVD(u, s, mH(vh))
    *batch, m, n = input._array.shape
    u, v = (wrap(np.zeros((*batch, size, size), input._array.dtype)) for size in (m, n))
    return OldSVD(u, svdvals(input), v)


registry.publish("svd", _old_svd)
