"""Matrix functions: value as NumPy's, derivatives as central differences, over real and complex matrices."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import same_as_torch

INF = float("inf")
FUNCTIONS = {
    "inv": lambda e, a, b: e.linalg.inv(a),
    "det": lambda e, a, b: e.linalg.det(a),
    "logabsdet": lambda e, a, b: e.linalg.slogdet(a).logabsdet,
    "sign of det": lambda e, a, b: e.linalg.slogdet(a).sign * b[0, 0],
    "solve": lambda e, a, b: e.linalg.solve(a, b),
    "solve from the right": lambda e, a, b: e.linalg.solve(a, b, left=False),
    "solve for a vector": lambda e, a, b: e.linalg.solve(a, b[0]),
    "svdvals": lambda e, a, b: e.linalg.svdvals(a),
    "svdvals of a tall matrix": lambda e, a, b: e.linalg.svdvals(a[:, :2]),
    "projectors of svd": lambda e, a, b: (
        (lambda q: q.U[:, :1] @ q.U[:, :1].mH + q.Vh[:1].mH @ q.Vh[:1])(e.linalg.svd(a, full_matrices=False))
    ),
    "vecdot": lambda e, a, b: e.linalg.vecdot(a, b),
    **{f"matrix_norm {o}": lambda e, a, b, o=o: e.linalg.matrix_norm(a, o)
       for o in ("fro", "nuc", 1, -1, 2, -2, INF, -INF)},
}  # fmt: skip


def _matrices(dtype):
    draw = np.random.default_rng(1)
    shape = (2, 3, 3)
    real, imag = draw.standard_normal(shape), draw.standard_normal(shape)
    return list(real + 1j * imag) if dtype is complex else list(real)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_and_second_derivatives_are_those_of_differences(name, dtype):
    """gradcheck and gradgradcheck hold with both matrices as inputs."""
    function = FUNCTIONS[name]
    a, b = (torch.from_numpy(m.copy()).requires_grad_() for m in _matrices(dtype))

    def both(a, b):
        return function(torch, a, b) + 0 * b.real.sum()

    assert torch.autograd.gradcheck(both, (a, b))
    assert torch.autograd.gradgradcheck(both, (a, b))


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_of_torch(name, dtype):
    """Value and first derivative agree with torch's."""
    same_as_torch(FUNCTIONS[name], _matrices(dtype), order=1)


def test_det_of_a_singular_matrix_has_its_cofactors():
    """The gradient of det is the matrix of cofactors, whether or not the matrix has an inverse."""
    x = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(torch.linalg.det(x), x)[0].tolist() == [[4.0, -2.0], [-2.0, 1.0]]
    assert torch.autograd.gradgradcheck(torch.linalg.det, (x,))


def test_singular_and_oblong_matrices_are_refused():
    """inv and solve of a singular matrix raise LinAlgError, det of an oblong one RuntimeError."""
    singular = torch.ones(2, 2)
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        torch.linalg.inv(singular)
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        torch.linalg.solve(singular, singular)
    with pytest.raises(RuntimeError, match="must be batches of square matrices, but they are 2 by 3 matrices"):
        torch.linalg.det(torch.ones(2, 3))
