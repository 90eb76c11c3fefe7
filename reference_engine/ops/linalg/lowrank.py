"""Leading singular values and eigenvalues: by a random sketch, as compositions of other operators.

N. Halko, P. Martinsson, J. Tropp, "Finding structure with randomness", 2009, algorithms 4.4 and 5.1.
Source: torch.svd_lowrank, torch.pca_lowrank, torch.lobpcg.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops.kinds import general
from reference_engine.ops.linalg.orthogonal import qr
from reference_engine.ops.linalg.spectral import eigh, svd
from reference_engine.ops.linalg.words import mH, product, symmetric
from reference_engine.ops.registry import function
from reference_engine.random import randn
from reference_engine.tensor import Tensor


def _range(A: Tensor, q: int, niter: int) -> Tensor:
    """Orthonormal columns that nearly span the q leading left singular vectors."""
    basis = qr(product(A, randn(A._array.shape[-1], q, dtype=A.dtype))).Q
    for _ in range(niter):
        basis = qr(product(mH(A), basis)).Q
        basis = qr(product(A, basis)).Q
    return basis


@function
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> tuple:
    """(U, S, V) of the q largest singular values of A, or of A - M. Source: torch.svd_lowrank."""
    rank = 6 if q is None else q
    m, n = A._array.shape[-2:]
    given = A if M is None else A - M
    if m < n:  # the longer side is sketched
        v, s, u = svd_lowrank(mH(given), rank, niter)
        return u, s, v
    basis = _range(given, rank, 2 if niter is None else niter)
    u, s, vh = svd(product(mH(basis), given), full_matrices=False)
    return product(basis, u), s, mH(vh)


@function
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple:
    """(U, S, V) of the q largest singular values of A, its columns centred first. Source: torch.pca_lowrank."""
    m, n = A._array.shape[-2:]
    rank = min(6, m, n) if q is None else q
    if not 0 <= rank <= min(m, n):
        raise ValueError(f"q(={rank}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, rank, niter)


def _refused(reason: str) -> Any:
    def rule(gs: tuple) -> Any:
        raise ValueError(reason)

    return rule


def _generalised(a: np.ndarray, b: np.ndarray | None, *, k: int, largest: bool) -> tuple:
    """The k extreme solutions of A x = e B x: those of L^-1 A L^-H for B = L L^H."""
    if b is None:
        values, vectors = np.linalg.eigh(a)
    else:
        low = np.linalg.inv(np.linalg.cholesky(b))
        adjoint = low.conj().swapaxes(-1, -2)
        values, vectors = np.linalg.eigh(low @ a @ adjoint)
        vectors = adjoint @ vectors
    chosen = slice(None, -k - 1, -1) if largest else slice(k)
    return values[..., chosen].copy(), vectors[..., chosen].copy()


_with_b = general("LOBPCGAutogradFunction", _generalised, joint=_refused("lobpcg.backward does not support backward with B != I yet."),
                  inputs=("a", "b"), outputs=("values", "vectors"), node="LOBPCGAutogradFunctionBackward")  # fmt: skip
_sparse = general("LOBPCGAutogradFunction", lambda a, *, dense, k, largest: _generalised(dense, None, k=k, largest=largest),
                  joint=_refused("lobpcg.backward does not support sparse input yet. Note that lobpcg.forward does though."),
                  inputs=("a",), outputs=("values", "vectors"), node="LOBPCGAutogradFunctionBackward")  # fmt: skip


@function
def lobpcg(A: Tensor, k: int | None = None, B: Tensor | None = None, X: Tensor | None = None, n: int | None = None,
           iK: Tensor | None = None, niter: int | None = None, tol: float | None = None, largest: bool | None = None,
           method: str | None = None, tracker: Any = None, ortho_iparams: Any = None, ortho_fparams: Any = None,
           ortho_bparams: Any = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(eigenvalues, eigenvectors): the k largest (or least) of A x = e B x, for Hermitian A and positive-definite B.

    Found by a full decomposition: what steers torch's iteration has no effect. A counts as (A + A^H) / 2 where it is tracked.
    Source: torch.lobpcg.
    """
    size = A._array.shape[-1]
    assert A._array.shape[-2] == size, f"A must be square, got shape {A.shape}"
    count = k if k is not None else 1 if X is None else X._array.shape[-1]
    if size < 3 * count:
        raise ValueError(f"LOBPCG algorithm is not applicable when the number of A rows (={size}) is smaller than 3 x the number "
                         f"of requested eigenpairs (={count})")  # fmt: skip
    descending = largest is not False
    if A.is_sparse:
        return _sparse(A, dense=A.detach().to_dense()._array, k=count, largest=descending)
    if B is not None:
        return _with_b(A, B, k=count, largest=descending)
    values, vectors = eigh(symmetric(A) if A.requires_grad else A)
    if descending:
        return values[..., -count:].flip(-1), vectors[..., -count:].flip(-1)
    return values[..., :count], vectors[..., :count]
