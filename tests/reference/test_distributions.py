"""Distributions: densities beside torch, samples by their derivatives and moments, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as T

CONTINUOUS = ["Normal", "Laplace", "Gumbel", "LogNormal", "Uniform"]
POINTS = [0.3, 1.7]


def _with_slopes(engine, function, *parameters):
    """What a function of parameters gives, and its gradients."""
    leaves = [engine.tensor(p, dtype=engine.float64, requires_grad=True) for p in parameters]
    y = function(engine.distributions, *leaves)
    return [
        x.tolist() for x in (y.detach(), *engine.autograd.grad(y.sum(), leaves, allow_unused=True)) if x is not None
    ]


def _same(function, *parameters):
    torch = pytest.importorskip("torch")
    ours, theirs = (_with_slopes(e, function(e), *parameters) for e in (T, torch))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("what", ["log_prob", "mean", "variance", "stddev", "entropy"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_densities_and_moments(name, what):
    """Values and slopes in both parameters are torch's."""

    def function(e):
        def call(D, a, b):
            found = getattr(getattr(D, name)(a, b), what)
            given = [e.tensor(POINTS, dtype=e.float64)] if what == "log_prob" else []
            return (found(*given) if callable(found) else found) + 0 * a * b

        return call

    _same(function, [0.0, 1.0], [1.0, 2.5])


# fmt: off
OTHERS = {
    "exponential":       (lambda e: lambda D, a: D.Exponential(a).log_prob(e.tensor(POINTS)), [1.0, 2.0]),
    "bernoulli":         (lambda e: lambda D, a: D.Bernoulli(a).log_prob(e.tensor([1.0, 0.0], dtype=e.float64)), [0.3, 0.2]),
    "bernoulli, logits": (lambda e: lambda D, a: D.Bernoulli(logits=a).log_prob(1 - 0 * a.detach()), [0.3, -0.2]),
    "categorical":       (lambda e: lambda D, a: D.Categorical(a).log_prob(e.tensor([1, 0])), [0.3, 0.2]),
    "categorical, logits": (lambda e: lambda D, a: D.Categorical(logits=a).log_prob(e.tensor([1, 0])), [0.3, 0.2]),
    "its entropy":       (lambda e: lambda D, a: D.Categorical(logits=a).entropy(), [0.3, 0.2]),
    "normal cdf":        (lambda e: lambda D, a: D.Normal(a, 2.0).cdf(e.tensor(POINTS)), [0.3, 0.2]),
    "normal icdf":       (lambda e: lambda D, a: D.Normal(a, 2.0).icdf(e.tensor([0.1, 0.7], dtype=e.float64)), [0.3, 0.2]),
    "KL bernoulli":      (lambda e: lambda D, a: D.kl_divergence(D.Bernoulli(a), D.Bernoulli(1 - a)), [0.3, 0.2]),
    "KL exponential":    (lambda e: lambda D, a: D.kl_divergence(D.Exponential(a), D.Exponential(1 + a)), [0.3, 0.2]),
}
# fmt: on


@pytest.mark.parametrize("name", OTHERS)
def test_other_densities(name):
    """The same for distributions of one parameter."""
    function, parameter = OTHERS[name]
    _same(function, parameter)


@pytest.mark.parametrize("name", ["Normal", "Laplace"])
def test_divergences_of_two_parameters(name):
    """KL and its slopes in all four parameters are torch's."""
    _same(lambda e: lambda D, a, b, c, d: D.kl_divergence(getattr(D, name)(a, b), getattr(D, name)(c, d)),
          [0.0, 1.0], [1.0, 2.0], [0.5, 0.6], [2.0, 0.7])  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_samples_have_the_moments_that_are_told(name):
    """Mean and deviation of many samples are near those of the distribution."""
    T.manual_seed(3)
    distribution = getattr(T.distributions, name)(T.tensor(0.25, dtype=T.float64), T.tensor(0.5, dtype=T.float64))
    drawn = np.array(distribution.sample((40_000,)).tolist())
    assert abs(drawn.mean() - distribution.mean.item()) < 0.02 * distribution.stddev.item() + 1e-3
    assert abs(drawn.std() / distribution.stddev.item() - 1) < 0.05


@pytest.mark.parametrize("name", ["Normal", "Laplace", "Gumbel"])
def test_paths_of_samples(name):
    """A sample moves with loc, and with scale by its distance from loc over scale."""
    loc, scale = T.tensor([1.0, 2.0], requires_grad=True), T.tensor([0.5, 3.0], requires_grad=True)
    y = getattr(T.distributions, name)(loc, scale).rsample((3,))
    y.sum().backward()
    assert loc.grad.tolist() == [3.0, 3.0]
    np.testing.assert_allclose(scale.grad.tolist(), ((y - loc) / scale).sum(0).tolist(), rtol=1e-5)


def test_shapes_and_records():
    """Parameters broadcast; samples are sample_shape + batch_shape; sample does not require grad."""
    normal = T.distributions.Normal(T.zeros(2, requires_grad=True), T.ones(3, 1))
    assert normal.batch_shape == (3, 2)
    assert normal.event_shape == ()
    assert normal.rsample((4,)).shape == (4, 3, 2)
    assert normal.rsample().requires_grad
    assert not normal.sample().requires_grad
    assert T.distributions.Categorical(T.ones(5, 3)).sample((2,)).shape == (2, 5)
    assert set(T.distributions.Bernoulli(0.5).sample((50,)).tolist()) == {0.0, 1.0}


# fmt: off
REFUSED = [
    (ValueError, "scale: -1.0.*constraint GreaterThan", lambda D: D.Normal(0.0, -1.0)),
    (ValueError, "LessThan", lambda D: D.Uniform(1.0, 0.0)),
    (ValueError, "Either `probs` or `logits`", lambda D: D.Bernoulli()),
    (ValueError, "support .Real", lambda D: D.Normal(0.0, 1.0).log_prob(T.tensor(float("nan")))),
    (ValueError, "not broadcastable", lambda D: D.Normal(T.zeros(2), 1.0).log_prob(T.zeros(3))),
    (NotImplementedError, "^$", lambda D: D.Bernoulli(0.5).rsample()),
    (NotImplementedError, "No KL", lambda D: D.kl_divergence(D.Normal(0.0, 1.0), D.Bernoulli(0.5))),
]
# fmt: on


@pytest.mark.parametrize(("error", "told", "call"), REFUSED)
def test_refusals(error, told, call):
    """Parameters and values outside of what a distribution allows are refused with what is wrong."""
    with pytest.raises(error, match=told):
        call(T.distributions)
