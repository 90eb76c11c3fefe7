"""Matrix functions: derivatives are those of differences, values and derivatives those of torch, real and complex."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

INF = float("inf")


def hermitian(e, a):
    return a + a.mH


def definite(e, a):
    """A positive-definite matrix."""
    return a @ a.mH + e.eye(a.shape[-1], dtype=a.dtype)


def below(a):
    """A lower triangle that is well away from singular."""
    return a.tril(-1) + (a.diagonal(0, -2, -1).abs() + 1).to(a.dtype).diag_embed()


def projectors(vectors):
    """What does not depend on the phases of columns: the matrices v v^H."""
    return vectors.mT.unsqueeze(-1) * vectors.mT.conj().unsqueeze(-2)


# fmt: off
SQUARE = {  # of two matrices (2, 3, 3), well conditioned
    "inv": lambda e, a, b: e.linalg.inv(a),
    "inv_ex": lambda e, a, b: e.linalg.inv_ex(a).inverse,
    "inverse": lambda e, a, b: a.inverse(),
    "det": lambda e, a, b: e.linalg.det(a),
    "logabsdet": lambda e, a, b: e.linalg.slogdet(a).logabsdet,
    "sign of det": lambda e, a, b: e.linalg.slogdet(a).sign * b[..., 0, 0],
    "logdet": lambda e, a, b: e.logdet(definite(e, a)),
    "solve": lambda e, a, b: e.linalg.solve(a, b),
    "solve from the right": lambda e, a, b: e.linalg.solve(a, b, left=False).resolve_conj(),
    "solve for a vector": lambda e, a, b: e.linalg.solve(a, b[0, 0]),
    "solve for vectors": lambda e, a, b: e.linalg.solve(a, b[..., 0]),
    "solve a batch against one": lambda e, a, b: e.linalg.solve(a[0], b),
    "solve_ex": lambda e, a, b: e.linalg.solve_ex(a, b).result,
    "solve_triangular": lambda e, a, b: e.linalg.solve_triangular(below(a), b, upper=False),
    "solve_triangular upper": lambda e, a, b: e.linalg.solve_triangular(below(a).mT, b, upper=True),
    "solve_triangular right": lambda e, a, b: e.linalg.solve_triangular(below(a), b, upper=False, left=False),
    "solve_triangular unit": lambda e, a, b: e.linalg.solve_triangular(a, b, upper=False, unitriangular=True),
    "solve_triangular unit upper right": lambda e, a, b: e.linalg.solve_triangular(
        a, b[:1], upper=True, left=False, unitriangular=True),
    "triangular_solve": lambda e, a, b: e.triangular_solve(b, below(a), upper=False, transpose=True).solution,
    "cholesky": lambda e, a, b: e.linalg.cholesky(definite(e, a)),
    "cholesky upper": lambda e, a, b: e.linalg.cholesky(definite(e, a), upper=True),
    "cholesky_ex": lambda e, a, b: e.linalg.cholesky_ex(definite(e, a)).L,
    "cholesky_inverse": lambda e, a, b: e.cholesky_inverse(below(a)),
    "cholesky_inverse upper": lambda e, a, b: e.cholesky_inverse(below(a).mH.resolve_conj(), upper=True),
    "cholesky_solve": lambda e, a, b: e.cholesky_solve(b, below(a)),
    "cholesky_solve upper": lambda e, a, b: e.cholesky_solve(b, below(a).mH.resolve_conj(), upper=True),
    "lu": lambda e, a, b: sum(e.linalg.lu(a)[1:]),
    "lu of a tall matrix": lambda e, a, b: e.linalg.lu(a[..., :2]).L + e.linalg.lu(a[..., :2]).U.sum(),
    "lu of a wide matrix": lambda e, a, b: e.linalg.lu(a[..., :2, :]).U + e.linalg.lu(a[..., :2, :]).L.sum(),
    "lu_factor": lambda e, a, b: e.linalg.lu_factor(a).LU,
    "lu_factor_ex": lambda e, a, b: e.linalg.lu_factor_ex(a[..., :2]).LU,
    "lu_solve": lambda e, a, b: e.linalg.lu_solve(*e.linalg.lu_factor(a), b),
    "lu_solve right": lambda e, a, b: e.linalg.lu_solve(*e.linalg.lu_factor(a), b, left=False).resolve_conj(),
    "lu_solve adjoint": lambda e, a, b: e.linalg.lu_solve(*e.linalg.lu_factor(a), b, adjoint=True),
    "lu_unpack": lambda e, a, b: sum(e.lu_unpack(*e.linalg.lu_factor(a))),
    "qr": lambda e, a, b: sum(e.linalg.qr(a)),
    "qr of a tall matrix": lambda e, a, b: e.linalg.qr(a[..., :2]).Q @ (e.linalg.qr(a[..., :2]).R + b[..., :2, :2]),
    "qr of a wide matrix": lambda e, a, b: e.linalg.qr(a[..., :2, :]).R + e.linalg.qr(a[..., :2, :]).Q.sum(),
    "R of a wide matrix": lambda e, a, b: e.linalg.qr(a[..., :2, :]).R,
    "Q of a wide matrix": lambda e, a, b: e.linalg.qr(a[..., :2, :]).Q,
    "complete qr of a wide matrix": lambda e, a, b: e.linalg.qr(a[..., :2, :], mode="complete").R,
    "householder_product": lambda e, a, b: e.linalg.householder_product(a[..., :2], b[..., 0, :2] / 4),
    "householder_product of fewer": lambda e, a, b: e.linalg.householder_product(a, b[..., 0, :1] / 4),
    "ormqr": lambda e, a, b: e.ormqr(a[..., :2], b[..., 0, :2] / 4, b),
    "ormqr right": lambda e, a, b: e.ormqr(a[..., :2], b[..., 0, :2] / 4, b, left=False).resolve_conj(),
    "ormqr transposed": lambda e, a, b: e.ormqr(a[..., :2], b[..., 0, :2] / 4, b, transpose=True),
    "eigvalsh": lambda e, a, b: e.linalg.eigvalsh(hermitian(e, a)),
    "eigvalsh upper": lambda e, a, b: e.linalg.eigvalsh(hermitian(e, a), UPLO="U"),
    "projectors of eigh": lambda e, a, b: projectors(e.linalg.eigh(hermitian(e, a)).eigenvectors) @ b.unsqueeze(-3),
    "eigh": lambda e, a, b: e.linalg.eigh(hermitian(e, a)).eigenvalues + e.linalg.eigh(hermitian(e, a)).eigenvectors.abs().sum(),
    "eigvals": lambda e, a, b: e.linalg.eigvals(a).abs(),
    "eig": lambda e, a, b: e.linalg.eig(a).eigenvectors.abs(),
    "exp through eig": lambda e, a, b: (lambda q: q[1] @ (q[0].exp().unsqueeze(-1) * e.linalg.inv(q[1])))(e.linalg.eig(a)),
    "svdvals": lambda e, a, b: e.linalg.svdvals(a),
    "svdvals of a tall matrix": lambda e, a, b: e.linalg.svdvals(a[..., :2]),
    "svd": lambda e, a, b: (lambda q: q.U @ (q.S.sin().to(a.dtype).unsqueeze(-1) * q.Vh))(e.linalg.svd(a)),
    "svd of a tall matrix": lambda e, a, b: (
        lambda q: projectors(q.U) + (q.S.sin().unsqueeze(-2) * q.U @ q.Vh).sum())(e.linalg.svd(a[..., :2], False)),
    "svd of a wide matrix": lambda e, a, b: (
        lambda q: projectors(q.Vh.mH) + (q.U.abs() * q.S.unsqueeze(-2)).sum())(e.linalg.svd(a[..., :2, :], False)),
    "torch.svd": lambda e, a, b: (lambda q: (q.U * q.S.sin().unsqueeze(-2)) @ q.V.mH)(e.svd(a)),
    "torch.svd without vectors": lambda e, a, b: e.svd(a, compute_uv=False).S,
    "pinv": lambda e, a, b: e.linalg.pinv(a),
    "pinv of a tall matrix": lambda e, a, b: e.linalg.pinv(a[..., :2]),
    "pinv of a wide matrix": lambda e, a, b: e.linalg.pinv(a[..., :2, :]),
    "pinv of a Hermitian matrix": lambda e, a, b: e.linalg.pinv(hermitian(e, a), hermitian=True),
    "pinv of a matrix of rank 2": lambda e, a, b: e.linalg.pinv(a[..., :2] @ b[..., :2, :]),
    "pinverse": lambda e, a, b: a[0, :, :2].pinverse(),
    "lstsq": lambda e, a, b: e.linalg.lstsq(a[..., :2], b).solution,
    "lstsq of a wide matrix": lambda e, a, b: e.linalg.lstsq(a[..., :2, :], b[..., :2, :]).solution,
    "lstsq for vectors": lambda e, a, b: e.linalg.lstsq(a[..., :2], b[..., 0], driver="gelsd").residuals,
    "matrix_exp": lambda e, a, b: e.linalg.matrix_exp(a),
    **{f"matrix_power {n}": lambda e, a, b, n=n: e.linalg.matrix_power(a, n) for n in (0, 1, 2, 5, -1, -3)},
    **{f"cond {p}": lambda e, a, b, p=p: e.linalg.cond(a, p) for p in (None, 2, -2, "nuc")},
    "tensorinv": lambda e, a, b: e.linalg.tensorinv(a[0, :2, :2].reshape(2, 1, 2), ind=2),
    "tensorsolve": lambda e, a, b: e.linalg.tensorsolve(a[0].reshape(3, 1, 3), b[0, :1].T),
    "multi_dot": lambda e, a, b: e.linalg.multi_dot([a[0, 0], b[0], a[1], b[1, 0]]),
    "vander": lambda e, a, b: e.linalg.vander(a, N=4),
    "vecdot": lambda e, a, b: e.linalg.vecdot(a, b, dim=1),
    "diagonal": lambda e, a, b: e.linalg.diagonal(a, offset=1),
    "cross": lambda e, a, b: e.linalg.cross(a, b[:1]),
    "cross along 1": lambda e, a, b: e.linalg.cross(a, b, dim=1),
    "svd_lowrank": lambda e, a, b: e.svd_lowrank(a[..., :2, :], q=2)[1],
    "pca_lowrank": lambda e, a, b: e.pca_lowrank(a.reshape(6, 3), q=3)[1],
}
NORMS = {
    **{f"vector_norm {p} {dim}": lambda e, a, p=p, dim=dim: e.linalg.vector_norm(a, p, dim)
       for p in (0.5, 1, 1.5, 2, 3, -1, INF, -INF) for dim in (None, 1, (0, -1))},
    "vector_norm keepdim": lambda e, a: e.linalg.vector_norm(a, 3, 1, True),
    **{f"matrix_norm {p}": lambda e, a, p=p: e.linalg.matrix_norm(a, p) for p in ("fro", "nuc", 1, -1, 2, -2, INF, -INF)},
    "matrix_norm along 0, 2": lambda e, a: e.linalg.matrix_norm(a, "nuc", (2, 0), keepdim=True),
    "norm": lambda e, a: e.linalg.norm(a),
    "norm of a matrix": lambda e, a: e.linalg.norm(a[0], 2),
    "norm of vectors": lambda e, a: e.linalg.norm(a, 3, 1),
    **{f"torch.norm {p}": lambda e, a, p=p: e.norm(a, p) for p in (2, 3, INF, "fro")},
    "torch.norm nuc": lambda e, a: a.norm("nuc", dim=(0, 1), keepdim=True),
    "torch.norm fro": lambda e, a: a.norm(dim=(0, 1)),
    **{f"renorm {p} {dim}": lambda e, a, p=p, dim=dim: e.renorm(a, p, dim, 1.7) for p in (1, 2, 3.5) for dim in (0, 1, -1)},
}
# fmt: on


def _matrices(dtype, count, seed=1):
    draw = np.random.default_rng(seed)
    shape = (2, 3, 3)
    real, imag = draw.standard_normal((count, *shape)), draw.standard_normal((count, *shape))
    return list(real + 1j * imag) if dtype is complex else list(real)


CASES = [pytest.param(name, f, count, id=name) for count, fs in ((2, SQUARE), (1, NORMS)) for name, f in fs.items()]


def _order(name, dtype):
    """How often a function is differentiated beside torch: once where its gradient is constant: torch then gives zeros that it
    cannot show."""
    bound = name.endswith(("1", "-1", "inf", "-inf")) or any(f"norm {p} " in name for p in ("1", "inf", "-inf"))
    constant = name in ("diagonal", "matrix_power 0", "matrix_power 1") or ("norm" in name and dtype is float and bound)
    return 1 if constant else 2


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(("name", "function", "count"), CASES)
def test_values_and_derivatives_are_those_of_torch(name, function, count, dtype):
    """Value, first and second derivative agree with torch's."""
    pytest.importorskip("torch").manual_seed(0)
    torch.manual_seed(0)
    same_as_torch(function, _matrices(dtype, count), order=_order(name, dtype), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(("name", "function", "count"), CASES)
def test_derivatives_are_those_of_differences(name, function, count, dtype):
    """First and second derivatives agree with differences of values along random directions."""

    def seeded(e, *matrices):
        torch.manual_seed(0)
        return function(e, *matrices)

    slopes_are_those_of_differences(seeded, _matrices(dtype, count))


COND = (1, -1, INF, -INF, "fro")


@pytest.mark.parametrize("p", COND)
def test_condition_numbers_of_norms(p):
    """cond with a norm has the value and the derivatives of |A| |A^-1|."""
    (a,) = _matrices(float, 1)
    norm = {"fro": lambda x: np.sqrt((x * x).sum((-1, -2)))}.get(p, lambda x: np.linalg.norm(x, p, (-2, -1)))
    np.testing.assert_allclose(
        torch.linalg.cond(torch.from_numpy(a), p).numpy(), norm(a) * norm(np.linalg.inv(a)), rtol=1e-12
    )
    slopes_are_those_of_differences(lambda e, x: e.linalg.cond(x, p), [a])
