"""Piecewise linear activations and those that draw: corners, recorded gradients, slopes that were drawn."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from reference_engine.nn import functional as F
from tests.reference.against import arrays, same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

# fmt: off
GATES = {
    "leaky_relu": lambda e, x, w: e.nn.functional.leaky_relu(x * w, 0.2),
    "hardtanh":   lambda e, x, w: e.nn.functional.hardtanh(x * w, -0.5, 0.7),
    "relu6":      lambda e, x, w: e.nn.functional.relu6(x * w + 3),
    "threshold":  lambda e, x, w: e.nn.functional.threshold(x * w, 0.3, 2.0),
    "hardshrink": lambda e, x, w: e.nn.functional.hardshrink(x * w, 0.4),
    "softshrink": lambda e, x, w: e.nn.functional.softshrink(x * w, 0.4),
    "rrelu":      lambda e, x, w: e.nn.functional.rrelu(x * w),
    "prelu":      lambda e, x, w: e.nn.functional.prelu(x, w[0]),
    "prelu of one weight": lambda e, x, w: e.nn.functional.prelu(x, w[0, :1]),
    "prelu in space": lambda e, x, w: e.nn.functional.prelu(x.reshape(1, 3, 4), w[0, :3]),
    "hardsigmoid": lambda e, x, w: e.nn.functional.hardsigmoid(x * w * 3) * w,
    "hardswish":  lambda e, x, w: e.nn.functional.hardswish(x * w * 3),
    "glu":        lambda e, x, w: e.nn.functional.glu(x * w, 1),
    "normalize":  lambda e, x, w: e.nn.functional.normalize(x * w, 3.0, 0),
    "softmin":    lambda e, x, w: e.nn.functional.softmin(x * w, 1, dtype=e.float64),
}
ALONE = {  # of one tensor: slopes that x decides, and nothing else does
    "leaky_relu": F.leaky_relu, "hardtanh": F.hardtanh, "relu6": F.relu6, "hardshrink": F.hardshrink,
    "softshrink": F.softshrink, "threshold": lambda x: F.threshold(x, 0.1, 5.0), "rrelu": F.rrelu,
    "prelu": lambda x: F.prelu(x, torch.tensor(0.25)), "nll_loss": lambda x: F.nll_loss(x, torch.tensor(1)),
}
CORNERS = [  # (function, points, slopes)
    (F.hardtanh, [-1.0, 1.0], [0.0, 0.0]), (F.relu6, [0.0, 6.0], [0.0, 0.0]), (F.leaky_relu, [0.0], [0.01]),
    (F.hardshrink, [-0.5, 0.5], [0.0, 0.0]), (F.softshrink, [-0.5, 0.5], [0.0, 0.0]),
    (lambda x: F.threshold(x, 0.5, 3.0), [0.5], [0.0]), (F.hardsigmoid, [-3.0, 3.0], [0.0, 0.0]),
]
# fmt: on


@pytest.mark.parametrize("name", GATES)
def test_slopes_and_values(name):
    """First and second derivatives are those of differences; value and derivatives are torch's."""
    data = arrays(1, (3, 4), (3, 4))
    slopes_are_those_of_differences(GATES[name], data)
    if name == "hardsigmoid":  # torch multiplies by 1 / 6 in float32, and has no second derivative
        same_as_torch(GATES[name], data, order=1, rtol=1e-7, atol=1e-7)
    else:
        same_as_torch(GATES[name], data)


@pytest.mark.parametrize("name", ALONE)
def test_a_recorded_gradient_hangs_on_the_input(name):
    """Differentiated again it gives zeros, not an error, though the slope is constant almost everywhere."""
    x = torch.tensor([-0.7, 0.3, 0.9], requires_grad=True)
    (g,) = torch.autograd.grad(ALONE[name](x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(g.sum(), x)
    assert second.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("function", "points", "slopes"), CORNERS)
def test_corners(function, points, slopes):
    """At a bound the slope is 0, at a corner the smaller of both."""
    x = torch.tensor(points, requires_grad=True)
    function(x).sum().backward()
    assert x.grad.tolist() == pytest.approx(slopes)


def test_drawn_slopes():
    """rrelu in training: between the bounds, different from element to element, and the gradient's too; in place as well."""
    torch.manual_seed(0)
    x = torch.full((50,), -2.0, dtype=torch.float64, requires_grad=True)
    y = F.rrelu(x, 0.1, 0.4, training=True)
    (g,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(g.numpy(), y.detach().numpy() / -2, rtol=1e-15)
    assert 0.1 <= g.min() < g.max() < 0.4
    changed = F.rrelu_(x * 1, 0.1, 0.4, training=True)
    (g,) = torch.autograd.grad(changed.sum(), x)
    np.testing.assert_allclose(g.numpy(), changed.detach().numpy() / -2, rtol=1e-15)


def test_gumbel_samples():
    """Soft ones are on the simplex; hard ones one-hot, with the soft one's gradient; their frequencies are softmax's."""
    logits = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64).expand(4000, 3).clone().requires_grad_()
    torch.manual_seed(1)
    soft = F.gumbel_softmax(logits, tau=0.5)
    torch.manual_seed(1)
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    np.testing.assert_allclose(soft.detach().sum(1).numpy(), 1)
    assert set(hard.detach().numpy().ravel()) == {0.0, 1.0}
    w = torch.from_numpy(np.random.default_rng(0).random((4000, 3)))
    for a, b in zip(*(torch.autograd.grad((s * w).sum(), logits) for s in (soft, hard)), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_allclose(hard.detach().mean(0).numpy(), np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum(), atol=0.03)


def test_softmax_without_a_dimension_warns():
    """nn.functional.softmax then means the first dimension of 0, 1 or 3, else the second."""
    x = torch.arange(8.0).reshape(2, 2, 2)
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        y = F.softmax(x)
    assert torch.equal(y, F.softmax(x, 0))


@pytest.mark.parametrize(("kind", "message", "call"), [
    (RuntimeError, "Halving dimension must be even", lambda x: F.glu(x)),
    (RuntimeError, "glu does not support scalars", lambda x: F.glu(x[0])),
    (ValueError, "min_val cannot be greater", lambda x: F.hardtanh(x, 1, 0)),
    (RuntimeError, "lambda must be in range", lambda x: F.softshrink(x, -1.0)),
    (RuntimeError, "Mismatch of parameter numbers", lambda x: F.prelu(x, torch.ones(2))),
    (RuntimeError, "Lower bound should be", lambda x: F.rrelu(x, 0.5, 0.1)),
    (NotImplementedError, "\"elu_cpu\" not implemented for 'Long'", lambda x: F.elu(x.long())),
    (NotImplementedError, "not implemented for 'Long'", lambda x: F.softmax(x.long(), 0)),
])  # fmt: skip
def test_refused_arguments(kind, message, call):
    """What torch refuses raises with its words; softmax of integers takes a dtype."""
    with pytest.raises(kind) as caught:
        call(torch.ones(3))
    assert message in str(caught.value)
    assert F.softmax(torch.tensor([1, 1]), 0, dtype=torch.float32).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("function", [F.leaky_relu, F.elu])
def test_negative_slopes_in_place(function):
    """In place, what was negative cannot be told any more where the slope is negative: backward raises; not out of place."""
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad(function(x, -0.5).sum(), x)
    assert g[0] < 0
    changed = function(x * 1, -0.5, inplace=True)
    np.testing.assert_array_equal(changed.detach().numpy(), function(x, -0.5).detach().numpy())
    with pytest.raises(RuntimeError, match="backward calculation is triggered with a negative slope"):
        changed.sum().backward()
