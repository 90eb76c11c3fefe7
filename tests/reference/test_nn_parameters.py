"""Parameters and buffers: their initial values, clipping their gradients, and all of them as one vector."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import reference_engine as T


@pytest.mark.parametrize(("make", "bound"), [
    (lambda nn: nn.Linear(64, 200).weight, 1 / 8), (lambda nn: nn.Linear(64, 2000).bias, 1 / 8),
    (lambda nn: nn.Conv2d(4, 90, 4).weight, 1 / 8), (lambda nn: nn.Conv2d(4, 2000, 4).bias, 1 / 8),
    (lambda nn: nn.ConvTranspose2d(90, 4, 4).weight, 1 / 8), (lambda nn: nn.Bilinear(64, 8, 8).weight, 1 / 8),
])  # fmt: skip
def test_default_initialisation(make, bound):
    """Weights and biases are uniform within 1 / sqrt(fan_in), as torch's: extremes and deviation tell."""
    torch = pytest.importorskip("torch")
    T.manual_seed(1)
    for value in (make(T.nn), make(torch.nn)):
        values = value.detach().numpy()
        assert 0.98 * bound < np.abs(values).max() <= bound
        np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.05)


@pytest.mark.parametrize(("fill", "low", "high", "std"), [
    (lambda i, t: i.uniform_(t, -1.0, 3.0), -1, 3, 4 / np.sqrt(12)), (lambda i, t: i.normal_(t, 0.0, 2.0), -12, 12, 2.0),
    (lambda i, t: i.trunc_normal_(t, std=1.0), -2, 2, 0.8796), (lambda i, t: i.xavier_uniform_(t, gain=2.0), -0.35, 0.35, 0.2),
    (lambda i, t: i.xavier_normal_(t), -1, 1, 0.1), (lambda i, t: i.kaiming_normal_(t, nonlinearity="relu"), -1, 1, 0.1414),
    (lambda i, t: i.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"), -0.25, 0.25, 0.1414),
    (lambda i, t: i.constant_(t, 2.5), 2.5, 2.5, 0), (lambda i, t: i.zeros_(t), 0, 0, 0), (lambda i, t: i.ones_(t), 1, 1, 0),
])  # fmt: skip
def test_init(engine, fill, low, high, std):
    """Each filler fills in place and unrecorded, returns its tensor, and has the range and deviation documented."""
    t = engine.empty(100, 100, requires_grad=True)
    engine.manual_seed(3)
    assert fill(engine.nn.init, t) is t
    values = t.detach().numpy()
    assert values.min() >= low - 1e-6
    assert values.max() <= high + 1e-6
    assert abs(values.std() - std) <= 0.03 * std
    assert t.is_leaf


def test_structured_init(engine):
    """eye_, dirac_ and orthogonal_ give the identity, the identity convolution and orthonormal rows."""
    init = engine.nn.init
    assert init.eye_(engine.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = engine.randn(1, 3, 5, 5)
    kernel = init.dirac_(engine.empty(3, 3, 3, 3))
    assert bool((engine.nn.functional.conv2d(x, kernel, padding=1) == x).all())
    q = init.orthogonal_(engine.empty(3, 5)).numpy()
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-5)


# --- utilities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clip_grad_norm(engine, norm_type):
    """Gradients are scaled to the norm asked for, together; the norm before is returned."""
    ps = [
        engine.nn.Parameter(engine.zeros(2)),
        engine.nn.Parameter(engine.zeros(1)),
        engine.nn.Parameter(engine.zeros(1)),
    ]
    ps[0].grad, ps[1].grad = engine.tensor([3.0, 0.0]), engine.tensor([-4.0])
    expected = {2.0: 5.0, 1.0: 7.0, float("inf"): 4.0}[norm_type]
    total = engine.nn.utils.clip_grad_norm_(ps, 1.0, norm_type)
    assert total.item() == expected
    np.testing.assert_allclose([ps[0].grad[0].item(), ps[1].grad[0].item()], [3 / expected, -4 / expected], rtol=1e-5)
    engine.nn.utils.clip_grad_norm_(ps, 100.0, norm_type)
    np.testing.assert_allclose(ps[0].grad[0].item(), 3 / expected, rtol=1e-5)


def test_clip_grad_errors_and_values(engine):
    """A non-finite norm raises where asked to; clip_grad_value_ clamps elements."""
    p = engine.nn.Parameter(engine.zeros(2))
    p.grad = engine.tensor([float("nan"), 5.0])
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        engine.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    p.grad = engine.tensor([-7.0, 0.5])
    engine.nn.utils.clip_grad_value_([p], 1)
    assert p.grad.tolist() == [-1.0, 0.5]


def test_parameters_as_a_vector(engine):
    """parameters_to_vector is recorded; vector_to_parameters makes the data slices of the vector."""
    m = engine.nn.Linear(2, 1)
    v = engine.nn.utils.parameters_to_vector(m.parameters())
    assert v.shape == (3,)
    v.sum().backward()
    assert m.weight.grad.tolist() == [[1.0, 1.0]]
    engine.nn.utils.vector_to_parameters(engine.tensor([1.0, 2.0, 3.0]), m.parameters())
    assert (m.weight.tolist(), m.bias.tolist()) == ([[1.0, 2.0]], [3.0])


def test_parameter(engine):
    """A Parameter is a tracked leaf on the same memory; it prints, copies and is recognised as one."""
    x = engine.ones(2)
    p = engine.nn.Parameter(x)
    assert p.data_ptr() == x.data_ptr()
    assert p.requires_grad
    assert p.is_leaf
    assert not engine.nn.Parameter(x, requires_grad=False).requires_grad
    assert isinstance(p, engine.Tensor)
    assert isinstance(copy.deepcopy(p), engine.nn.Parameter)
    assert type(p * 2) is engine.Tensor
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"


def test_buffer(engine):
    """A Buffer assigned to a module is registered, persistent or not."""
    m = engine.nn.Module()
    m.a = engine.nn.Buffer(engine.ones(1))
    m.b = engine.nn.Buffer(engine.ones(1), persistent=False)
    assert list(m.state_dict()) == ["a"]
    assert [n for n, _ in m.named_buffers()] == ["a", "b"]
