"""Matrix functions at their edges: singular, repeated and missing values, phases, shapes, types, errors."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import plain

INF = float("inf")
linalg = torch.linalg


def f64(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def gradient(function, x):
    return torch.autograd.grad(function(x), x)[0]


SINGULAR = [[1.0, 2.0], [2.0, 4.0]]


def test_det_of_a_singular_matrix_has_its_cofactors():
    """The gradient of det is the matrix of cofactors, whether or not the matrix has an inverse."""
    x = f64(SINGULAR)
    assert gradient(linalg.det, x).tolist() == [[4.0, -2.0], [-2.0, 1.0]]
    assert torch.autograd.gradgradcheck(linalg.det, (x,))


ERRORS = {
    "singular inv": (lambda: linalg.inv(torch.ones(2, 2)), linalg.LinAlgError, "linalg.inv: The diagonal element 2 is zero"),
    "singular in a batch": (lambda: linalg.inv(torch.stack([torch.eye(2), torch.ones(2, 2)])), linalg.LinAlgError,
                            r"\(Batch element 1\): The diagonal element 2 is zero"),
    "singular solve": (lambda: linalg.solve(torch.ones(2, 2), torch.ones(2)), linalg.LinAlgError, "is singular"),
    "not positive": (lambda: linalg.cholesky(-torch.eye(2)), linalg.LinAlgError,
                     "the leading minor of order 1 is not positive-definite"),
    "zero pivot": (lambda: linalg.lu_factor(torch.ones(2, 2)), RuntimeError, r"U\[2,2\] is zero"),
    "no pivoting": (lambda: linalg.lu(torch.eye(2), pivot=False), RuntimeError, "without pivoting is not implemented"),
    "oblong": (lambda: linalg.det(torch.ones(2, 3)), RuntimeError,
               "must be batches of square matrices, but they are 2 by 3 matrices"),
    "vector": (lambda: linalg.inv(torch.ones(3)), RuntimeError, "must have at least 2 dimensions"),
    "integers": (lambda: linalg.inv(torch.eye(2, dtype=torch.int64)), RuntimeError, "Expected a floating point .* Got Long"),
    "other dtype": (lambda: linalg.solve(torch.eye(2), torch.eye(2, dtype=torch.float64)), RuntimeError, "same dtype"),
    "shapes": (lambda: linalg.solve(torch.eye(2), torch.ones(3, 1)), RuntimeError, r"Incompatible shapes .* \(2x2 and 3x1\)"),
    "triangle": (lambda: linalg.eigh(torch.eye(2), UPLO="X"), RuntimeError, "to be 'L' or 'U', but got X"),
    "mode": (lambda: linalg.qr(torch.eye(2), mode="x"), RuntimeError, "unrecognized mode 'x'"),
    "order": (lambda: linalg.matrix_norm(torch.eye(2), 3), RuntimeError, "Order 3 not supported"),
    "same dims": (lambda: linalg.matrix_norm(torch.eye(2), dim=(0, 0)), RuntimeError, "dims must be different"),
    "empty": (lambda: linalg.vector_norm(torch.ones(0), INF), RuntimeError, "does not have an identity"),
    "driver": (lambda: linalg.lstsq(torch.eye(2), torch.eye(2), driver="x"), RuntimeError, "should be one of"),
    "power": (lambda: linalg.matrix_power(torch.eye(2), 1.0), TypeError, "must be int, not float"),
    "ind": (lambda: linalg.tensorinv(torch.eye(2), 0), RuntimeError, "strictly positive integer"),
    "one power": (lambda: linalg.vander(torch.ones(3), N=1), RuntimeError, "N must be greater than 1"),
    "wide reflections": (lambda: linalg.householder_product(torch.ones(2, 3), torch.ones(2)), RuntimeError,
                         "greater than or equal"),
    "few rows": (lambda: torch.lobpcg(torch.eye(3), k=2), ValueError, "smaller than 3 x"),
    "renorm": (lambda: torch.renorm(torch.ones(3), 2, 0, 1.0), RuntimeError, "at least 2 dimensions"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_refused(name):
    """Inputs that a function has no value for raise torch's type with its sense."""
    call, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        call()


def test_linalg_error_is_a_runtime_error():
    """Programs catch RuntimeError."""
    assert issubclass(linalg.LinAlgError, RuntimeError)


def test_info_reports_what_the_strict_forms_refuse():
    """inv_ex, solve_ex, cholesky_ex and lu_factor_ex give a number instead of an error, and no finite result."""
    ones = torch.ones(2, 2)
    inverse, solution = linalg.inv_ex(ones), linalg.solve_ex(ones, ones)
    assert inverse.info.item() == 2
    assert not inverse.inverse.isfinite().any()
    assert solution.info.item() == 2
    assert not solution.result.isfinite().all()
    assert linalg.cholesky_ex(torch.tensor([[1.0, 2.0], [2.0, 1.0]])).info.item() == 2
    assert linalg.lu_factor_ex(ones).info.item() == 2
    assert linalg.inv_ex(torch.stack([torch.eye(2), ones])).info.tolist() == [0, 2]


def test_a_regular_matrix_in_a_batch_keeps_its_inverse():
    """A singular matrix spoils its own results only."""
    batch = torch.stack([2 * torch.eye(2), torch.ones(2, 2)])
    assert linalg.inv_ex(batch).inverse[0].tolist() == [[0.5, 0.0], [0.0, 0.5]]
    assert linalg.solve_ex(batch, torch.ones(2, 1)).result[0].tolist() == [[0.5], [0.5]]


NOT_FINITE = {
    "vectors of repeated singular values": (lambda a: linalg.svd(a).U[0].sum(), np.eye(2)),
    "vectors of repeated eigenvalues": (lambda a: linalg.eigh(a).eigenvectors[0].sum(), np.eye(2)),
    "eigenvectors of a double eigenvalue": (lambda a: linalg.eig(a).eigenvectors.abs().sum(), np.eye(2)),
    "lu of a singular matrix": (lambda a: linalg.lu(a).L.sum(), np.ones((2, 2))),
    "logdet of a singular matrix": (torch.logdet, np.ones((2, 2))),
    "U of a tall matrix of rank 1": (lambda a: linalg.svd(a, False).U.sum(), np.array([[2.0, 0], [0, 0], [0, 0]])),
}  # fmt: skip
FINITE = {
    "repeated singular values": (lambda a: linalg.svdvals(a).sum(), np.eye(2)),
    "repeated eigenvalues": (lambda a: linalg.eigvalsh(a).sum(), np.eye(2)),
    "eigenvalues of a defective matrix": (lambda a: linalg.eigvals(a).real.sum(), np.array([[1.0, 1], [0, 1]])),
    "U of a square matrix of rank 1": (lambda a: linalg.svd(a).U.sum(), np.array([[2.0, 0], [0, 0]])),
    "pinv of a singular matrix": (lambda a: linalg.pinv(a).sum(), np.ones((2, 2))),
    "det of zeros": (linalg.det, np.zeros((3, 3))),
}  # fmt: skip


@pytest.mark.parametrize(("function", "at", "finite"),
                         [(f, x, False) for f, x in NOT_FINITE.values()] + [(f, x, True) for f, x in FINITE.values()],
                         ids=[*NOT_FINITE, *FINITE])  # fmt: skip
def test_where_gradients_are_finite(function, at, finite):
    """Values have gradients where vectors have none; a gradient that does not exist is not finite, and no error."""
    assert bool(gradient(function, f64(at)).isfinite().all()) is finite


def test_vectors_beyond_the_smaller_dimension_are_ignored():
    """Columns of U and rows of Vh beyond min(m, n) have gradient 0."""
    a = f64([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert not gradient(lambda x: linalg.svd(x).U[:, 2:].sum(), a).any()
    assert not gradient(lambda x: linalg.svd(x.T).Vh[2:].sum(), a).any()
    assert not gradient(lambda x: torch.svd(x, some=False).U[:, 2:].sum(), a).any()


COMPLEX = [[2.0, 1j], [0.5, 3.0]]


@pytest.mark.parametrize(("vectors", "message"), [
    (lambda a: linalg.svd(a).U, "depends on this phase term"),
    (lambda a: linalg.svd(a).Vh, "depends on this phase term"),
    (lambda a: linalg.eigh(a + a.mH).eigenvectors, "linalg_eigh_backward"),
    (lambda a: linalg.eig(a).eigenvectors, "linalg_eig_backward"),
])  # fmt: skip
def test_losses_that_depend_on_a_phase_are_refused(vectors, message):
    """The phases of complex vectors are arbitrary: a loss that depends on them has no gradient; one that does not has."""
    a = torch.tensor(COMPLEX, dtype=torch.complex128, requires_grad=True)
    with pytest.raises(RuntimeError, match=message):
        (vectors(a) * torch.tensor([[1.0, 2j], [3.0, 1j]])).imag.sum().backward()
    assert gradient(lambda x: vectors(x).abs().sum(), a).isfinite().all()


def test_only_one_triangle_is_read_and_the_gradient_is_symmetric():
    """eigvalsh and cholesky read one triangle, and give the gradient of the symmetric matrix."""
    for function in (lambda x: linalg.eigvalsh(x)[0], lambda x: linalg.cholesky(x).sum()):
        one, both = (gradient(function, f64(x)) for x in ([[2.0, 9.0], [1.0, 3.0]], [[2.0, 1.0], [1.0, 3.0]]))
        assert torch.allclose(one, both)
        assert torch.allclose(one, one.T)
    upper = gradient(lambda x: linalg.cholesky(x, upper=True).sum(), f64([[2.0, 1.0], [9.0, 3.0]]))
    assert torch.allclose(upper, upper.T)


def test_solve_triangular_reads_one_triangle():
    """The gradient is 0 in the other triangle, and on the diagonal of a unit triangle."""
    b = torch.tensor([[2.0], [8.0]], dtype=torch.float64)
    a = f64([[2.0, 5.0], [1.0, 4.0]])
    g = gradient(lambda x: linalg.solve_triangular(x, b, upper=False).sum(), a)
    assert [x != 0 for x in plain(g).ravel()] == [True, False, True, True]
    unit = gradient(lambda x: linalg.solve_triangular(x, b, upper=False, unitriangular=True).sum(), a)
    assert unit.tolist() == [[0.0, 0.0], [-2.0, 0.0]]


def test_qr_says_where_it_has_no_derivative():
    """A complete Q of a tall matrix, and R alone, raise in backward."""
    a = f64([[2.0, 1.0], [1.0, 3.0], [0.0, 1.0]])
    with pytest.raises(RuntimeError, match="not differentiable when mode='complete'"):
        linalg.qr(a, mode="complete").Q.sum().backward()
    with pytest.raises(RuntimeError, match="depends on Q"):
        linalg.qr(a, mode="r").R.sum().backward()
    linalg.qr(f64(np.ones((2, 2)))).Q.sum().backward()


def test_reflections_without_an_inverse_have_no_gradient():
    """householder_product's gradient undoes reflections; for tau = 1 / |v|^2 there is nothing to undo."""
    for tau, finite in ((0.5, False), (0.25, True)):
        a, t = f64([[1.0], [1.0]]), f64([tau])
        ga, gt = torch.autograd.grad(linalg.householder_product(a, t).sum(), (a, t))
        assert bool(ga.isfinite().all() and gt.isfinite().all()) is finite


@pytest.mark.parametrize("order", [0.5, 1, 1.5, 2, 3, INF, -INF, -1, 0])
def test_norms_of_zeros_have_gradient_zero(order):
    """torch's subgradient at 0 is 0."""
    x = f64([0.0, 0.0])
    g = torch.autograd.grad(linalg.vector_norm(x, order), x, materialize_grads=True)[0]
    assert g.tolist() == [0.0, 0.0]


def test_ties_share():
    """Norms that pick an extreme split the gradient among those that reach it."""
    assert gradient(lambda x: linalg.vector_norm(x, INF), f64([2.0, -2.0, 1.0])).tolist() == [0.5, -0.5, 0.0]
    assert gradient(lambda x: linalg.matrix_norm(x, 1), f64([[1.0, -2.0], [3.0, 2.0]])).tolist() == [
        [0.5, -0.5],
        [0.5, 0.5],
    ]
    assert gradient(lambda x: linalg.matrix_norm(x, 2), f64(np.eye(2))).tolist() == [[0.5, 0.0], [0.0, 0.5]]


def test_renorm_leaves_what_is_short_enough():
    """Below the limit renorm is the identity; above it the norm becomes the limit."""
    x = f64([[0.3, 0.4], [3.0, 4.0]])
    y = torch.renorm(x, 2, 0, 1.0)
    assert y[0].tolist() == [0.3, 0.4]
    assert abs(y[1].norm().item() - 1) < 1e-6
    assert gradient(lambda v: torch.renorm(v, 2, 0, 1.0)[0].sum(), x).tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert torch.renorm(torch.zeros(2, 2), 2, 0, 0.0).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert torch.ones(2, 2).renorm_(1, 0, 1.0).sum().item() == pytest.approx(2.0)


def test_identities_of_powers_and_exponentials():
    """A^0 is the identity with gradient 0; the derivative of exp at 0 is the identity map."""
    a = f64([[2.0, 0.0], [0.0, 4.0]])
    assert linalg.matrix_power(a, 0).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert not gradient(lambda x: linalg.matrix_power(x, 0).sum(), a).any()
    zero, w = f64(np.zeros((2, 2))), torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    linalg.matrix_exp(zero).backward(w)
    assert torch.allclose(zero.grad, w)


def test_least_squares_gives_what_its_driver_does():
    """gels has no rank, gelsd singular values, gelsy no residuals; what has no derivative is not tracked."""
    a, b = f64([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    result = linalg.lstsq(a, b, driver="gelsd")
    assert result.residuals.requires_grad
    assert not result.rank.requires_grad
    assert not result.singular_values.requires_grad
    assert result.rank.item() == 2
    assert result.singular_values.shape == (2,)
    assert linalg.lstsq(a, b).residuals.shape == (0,)
    assert linalg.lstsq(a, b, driver="gels").rank.shape == (0,)


def test_rank_counts_what_exceeds_the_tolerance():
    """The default tolerance is relative; atol and rtol replace it."""
    a = torch.diag(torch.tensor([1.0, 1e-3, 1e-9], dtype=torch.float64))
    assert [
        linalg.matrix_rank(a).item(),
        linalg.matrix_rank(a, atol=1e-6).item(),
        linalg.matrix_rank(a, rtol=0.1).item(),
    ] == [3, 2, 1]
    assert linalg.matrix_rank(a, hermitian=True).item() == 3
    assert linalg.matrix_rank(torch.stack([a, 0 * a])).tolist() == [3, 0]


def test_condition_of_a_singular_matrix_is_infinite():
    """inf, in any norm."""
    for p in (1, INF, "fro"):
        assert linalg.cond(torch.ones(2, 2), p).item() == INF


EMPTY = {
    "det": (linalg.det, (0, 0), ()), "inv": (linalg.inv, (2, 0, 0), (2, 0, 0)), "svdvals": (linalg.svdvals, (0, 3), (0,)),
    "pinv": (linalg.pinv, (2, 0), (0, 2)), "lu_factor": (lambda x: linalg.lu_factor(x).LU, (0, 3, 3), (0, 3, 3)),
    "cholesky": (linalg.cholesky, (0, 2, 2), (0, 2, 2)), "matrix_exp": (linalg.matrix_exp, (0, 0), (0, 0)),
    "qr": (lambda x: linalg.qr(x).R, (0, 3), (0, 3)), "eigvalsh": (linalg.eigvalsh, (0, 0), (0,)),
    "norm": (linalg.norm, (0, 3), ()), "solve": (lambda x: linalg.solve(x, x), (0, 2, 2), (0, 2, 2)),
    "cond": (linalg.cond, (3, 0, 0), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_empty_matrices(name):
    """Nothing in, nothing out, and a gradient of the input's shape."""
    function, shape, expected = EMPTY[name]
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    y = function(x)
    assert y.shape == expected
    if y.requires_grad:
        assert torch.autograd.grad(y.sum(), x)[0].shape == shape


def test_results_are_written_where_asked():
    """out= takes one tensor, or one for each result."""
    a = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    into = torch.empty(2, 2)
    assert linalg.inv(a, out=into) is into
    assert into.tolist() == [[0.5, 0.0], [0.0, 0.25]]
    sign, log = torch.empty(()), torch.empty(())
    assert linalg.slogdet(a, out=(sign, log)).sign is sign
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        linalg.inv(a.requires_grad_(), out=torch.empty(2, 2))


def test_float32_stays_float32():
    """Results and gradients have the input's precision; norms and singular values of complex numbers are real."""
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    for function in (linalg.inv, linalg.det, linalg.svdvals, linalg.cholesky, linalg.eigvalsh, linalg.pinv, linalg.matrix_exp,
                     lambda x: linalg.vector_norm(x, 3), lambda x: linalg.lu_factor(x).LU, lambda x: linalg.qr(x).Q):  # fmt: skip
        y = function(a)
        assert y.dtype is torch.float32
        assert torch.autograd.grad(y.sum(), a)[0].dtype is torch.float32
    c = torch.eye(2, dtype=torch.complex64)
    assert linalg.svdvals(c).dtype is linalg.vector_norm(c).dtype is torch.float32
    assert linalg.eig(a).eigenvalues.dtype is torch.complex64


def test_lobpcg_differentiates_plain_problems_only():
    """The leading eigenvalues with a symmetric gradient; a second matrix or a sparse one raises in backward."""
    d = torch.diag(torch.arange(1.0, 13.0, dtype=torch.float64))
    a = d.clone().requires_grad_()
    values, vectors = torch.lobpcg(a, k=2)
    assert values.tolist() == pytest.approx([12.0, 11.0])
    assert vectors.shape == (12, 2)
    assert torch.autograd.grad(values[0], a)[0][11, 11].item() == pytest.approx(1.0)
    assert torch.lobpcg(a, k=1, largest=False)[0].item() == pytest.approx(1.0)
    b = 2 * torch.eye(12, dtype=torch.float64)
    for run in (lambda: torch.lobpcg(a, k=1, B=b), lambda: torch.lobpcg(d.to_sparse().requires_grad_(), k=1)):
        with pytest.raises(ValueError, match=r"lobpcg.backward does not support"):
            run()[0].sum().backward()
    assert torch.lobpcg(a, k=1, B=b)[0].item() == pytest.approx(6.0)
