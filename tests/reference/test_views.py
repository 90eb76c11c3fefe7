"""Laws of views: what they show, where gradients go, and that changes in place are changes of the base."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_engine as torch
from reference_engine.tape.geometry import Geometry, positions

# Chains of views of a (2, 3, 4) tensor, by the name of what they start with.
VIEWS = {
    "transpose": lambda x: x.transpose(0, 2)[1],
    "slice": lambda x: x[:, 1:, ::2],
    "select": lambda x: x[1].t()[2:],
    "diagonal": lambda x: x.diagonal(0, 0, 2)[1:],
    "unfold": lambda x: x.unfold(2, 2, 2)[..., 1],
    "view": lambda x: x.view(6, 4)[2:5].unsqueeze(1),
    "as_strided": lambda x: x.as_strided((3, 2), (4, 12), 1),
    "permute": lambda x: x.permute(2, 0, 1).narrow(0, 1, 2).squeeze(),
    "split": lambda x: x.tensor_split((1, 3), 2)[1],
}
views = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def base(dtype=torch.float64):
    return torch.arange(24, dtype=dtype).reshape(2, 3, 4).clone()


@views
def test_the_gradient_counts_positions(view):
    """The gradient of w . view(x) is w where the view looks and 0 elsewhere: the transpose, tested by a dot product."""
    x = base().requires_grad_()
    y = view(x)
    w = torch.arange(y.numel(), dtype=torch.float64).reshape(y.shape) + 1
    (g,) = torch.autograd.grad(y, x, w)
    v = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4).cos()
    assert torch.allclose((g * v).sum(), (w * view(v)).sum())


@views
def test_a_write_through_the_view_is_a_write_to_the_base(view):
    """Only elements that the view shows change."""
    x = base()
    seen = np.zeros(24, bool)
    seen[np.asarray(view(x)).ravel().astype(int)] = True
    view(x).fill_(-1.0)
    assert ((x == -1.0).numpy().ravel() == seen).all()


@views
def test_changes_in_place_are_right_twice(view):
    """gradcheck and gradgradcheck hold for a change of a view in place that is not linear."""

    def function(x):
        y = x * 1
        part = view(y)
        part.mul_(part.detach() * 0 + 2).add_(view(x) ** 2)
        return y.sin()

    x = (base() / 10).requires_grad_()
    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


COMPLEX_VIEWS = {
    "real": lambda z: z.real,
    "imag": lambda z: z.imag[1:],
    "view_as_real": lambda z: torch.view_as_real(z)[:, 1],
    "conj": lambda z: z.conj()[1:],
    "conj of a part": lambda z: z[1:].conj().real,
}


@pytest.mark.parametrize("view", COMPLEX_VIEWS.values(), ids=COMPLEX_VIEWS)
def test_changes_through_parts_of_complex_tensors(view):
    """A change in place through a real or conjugate view of a complex tensor is differentiated right."""

    def function(z):
        w = z * z
        view(w).mul_(3.0)
        return torch.view_as_real(w * w)

    z = torch.tensor([1 + 2j, -0.5 + 0.3j, 2 - 1j], dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(function, (z,))
    assert torch.autograd.gradgradcheck(function, (z,))


@given(st.data())
def test_positions_find_the_element_again(data):
    """For any strided view, base.ravel()[positions] is the view."""
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    array = np.arange(int(np.prod(shape))).reshape(shape)
    key = tuple(slice(data.draw(st.integers(0, n - 1)), None, data.draw(st.sampled_from([1, 2, -1]))) for n in shape)
    view = array[key].T
    assert (array.ravel()[positions(Geometry.of(array), Geometry.of(view))] == view).all()


def test_positions_outside_of_the_base_are_marked():
    """as_strided beyond its input reaches elements that receive no gradient from it."""
    x = torch.arange(6.0)
    part = x[2:].detach().requires_grad_()
    y = part.as_strided((4,), (1,), 1)
    assert y.tolist() == [1.0, 2.0, 3.0, 4.0]
    (g,) = torch.autograd.grad(y.sum(), part)
    assert g.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_a_conjugate_view_is_no_copy():
    """conj shares memory both ways, also of a view of it; resolving it copies."""
    z = torch.tensor([[1 + 2j, 3.0]])
    h = z.H
    assert h.is_conj()
    assert h.data_ptr() == z.data_ptr()
    h[1, 0] = 1 + 1j
    assert z[0, 1].item() == 1 - 1j
    z[0, 0] = 5j
    assert h[0, 0].item() == -5j
    resolved = h.resolve_conj()
    assert not resolved.is_conj()
    assert resolved.data_ptr() != z.data_ptr()
    assert not h.conj().is_conj()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: torch.zeros(2, 3).as_strided((4, 4), (1, 1)), "out of bounds for storage"),
        (lambda: torch.zeros(4).unfold(0, 5, 1), "maximum size"),
        (lambda: torch.zeros(4).hsplit(3), "not divisible"),
        (lambda: torch.zeros(2, 3).split_with_sizes([1, 2]), "sum exactly to 2"),
        (lambda: torch.zeros(()).view(torch.float64), "cannot be 0"),
        (lambda: torch.view_as_complex(torch.zeros(3)), "last dimension of size 2"),
    ],
)
def test_impossible_views_say_why(change, words):
    """A view that cannot be is refused with torch's words."""
    with pytest.raises(RuntimeError, match=words):
        change()


def test_history_does_not_come_through_a_view_made_without_grad_mode():
    """Neither the view nor its base had a history: an operand's is refused all the same."""
    x = torch.zeros(4)
    with torch.no_grad():
        v = x[:2]
    with pytest.raises(RuntimeError, match="no_grad mode"):
        v.copy_(torch.ones(2, requires_grad=True))
    assert x.tolist() == [0.0] * 4
    v.add_(1)
    assert x.tolist() == [1.0, 1.0, 0.0, 0.0]
