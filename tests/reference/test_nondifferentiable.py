"""Operators around points without a derivative: away from them the derivatives are torch's; at them the rules' own."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as engine
from tests.reference.against import arrays, same_as_torch

INF = float("inf")
KINKED = {  # name: (function, shapes, order of derivatives)
    **{f"vector_norm {p}": (lambda e, a, p=p: e.linalg.vector_norm(a, p, dim=1), [(3, 4)], 2)
       for p in (0.5, 1.5, 2.0, 3.0, -1.0)},
    **{f"vector_norm {p}": (lambda e, a, p=p: e.linalg.vector_norm(a, p, dim=1), [(3, 4)], 1) for p in (1.0, INF, -INF)},
    **{f"cdist {p}": (lambda e, a, b, p=p: e.cdist(a, b, p), [(2, 3, 4), (2, 2, 4)], 1) for p in (1.0, 1.5, 2.0, INF)},
    **{f"pdist {p}": (lambda e, a, p=p: e.nn.functional.pdist(a, p), [(4, 3)], 1) for p in (1.0, 2.0, 3.0, INF)},
    "dist": (lambda e, a, b: e.dist(a, b, 3), [(3, 4), (4,)], 2),
    "pairwise_distance": (lambda e, a, b: e.nn.functional.pairwise_distance(a, b, keepdim=True), [(3, 4), (3, 4)], 2),
    "cosine_similarity": (lambda e, a, b: e.nn.functional.cosine_similarity(a, b), [(3, 4), (3, 4)], 2),
    "kthvalue": (lambda e, a: e.kthvalue(a, 2, 0, keepdim=True)[0], [(3, 4)], 1),
    "mode": (lambda e, a: a.round().mode(1).values + a.mode(1)[0], [(3, 4)], 1),
    "cummax": (lambda e, a: a.cummax(1)[0], [(3, 4)], 1),
    "cummin": (lambda e, a: e.cummin(a, 0).values, [(3, 4)], 1),
    "nanmedian": (lambda e, a: a.nanmedian() + a.nanmedian(1)[0], [(3, 4)], 1),
    "aminmax": (lambda e, a: e.aminmax(a, dim=0).max - e.aminmax(a).min, [(3, 4)], 1),
    "msort": (lambda e, a: a.msort() ** 2, [(3, 4)], 2),
    "fmax": (lambda e, a, b: e.fmax(a, b) * e.fmin(a, b), [(3, 4), (4,)], 2),
    "clamp by tensors": (lambda e, a, b: e.clamp(a, b - 0.5, b + 0.5), [(3, 4), (3, 4)], 1),
    "hypot": (lambda e, a, b: e.hypot(a, b), [(3, 4), (4,)], 2),
    "triplet_margin_loss": (lambda e, a, b, c: e.nn.functional.triplet_margin_loss(a, b, c, swap=True), [(3, 4)] * 3, 1),
    "cosine_embedding_loss": (lambda e, a, b: e.nn.functional.cosine_embedding_loss(a, b, e.tensor([1, -1, 1])), [(3, 4)] * 2, 1),
    "multi_margin_loss": (lambda e, a: e.nn.functional.multi_margin_loss(a, e.tensor([1, 0, 3]), p=2), [(3, 4)], 1),
    "hinge_embedding_loss": (lambda e, a: e.nn.functional.hinge_embedding_loss(a, e.tensor([1.0, -1.0]), 0.3), [(3, 2)], 1),
    "soft_margin_loss": (lambda e, a: e.nn.functional.soft_margin_loss(a, e.tensor([1.0, -1.0])), [(3, 2)], 2),
}  # fmt: skip


@pytest.mark.parametrize("name", KINKED)
def test_derivatives_away_from_kinks_are_those_of_torch(name):
    """Value and derivatives at drawn points."""
    function, shapes, order = KINKED[name]
    same_as_torch(function, arrays(1, *shapes), order=order, rtol=1e-7)


SPECIAL = {
    **{name: lambda e, a, n=name: getattr(e.special, n)(a.sigmoid())
       for name in ("sinc", "erfinv", "gammaln", "digamma", "i0", "i1", "logit", "ndtr", "ndtri", "log_ndtr", "erfcx", "entr")},
    "polygamma": lambda e, a: e.special.polygamma(2, a.exp()),
    "zeta": lambda e, a: e.special.zeta(2.5, a.exp()),
    "gammainc": lambda e, a: e.special.gammainc(e.tensor(2.5, dtype=e.float64), a.exp()),
    "gammaincc": lambda e, a: e.special.gammaincc(e.tensor(2.5, dtype=e.float64), a.exp()),
    "xlog1py": lambda e, a: e.special.xlog1py(a, a.exp()),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions_have_the_derivatives_of_torch(name):
    """Value, first and second derivatives."""
    same_as_torch(SPECIAL[name], arrays(2, (3, 3)), rtol=1e-6)


FACTORED = {
    "lu": lambda e, a: e.linalg.lu(a).L.sum() + (e.linalg.lu(a).U ** 3).sum(),
    "lu_factor": lambda e, a: e.linalg.lu_factor(a).LU ** 2,
}


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (2, 4), (4, 2), (2, 3, 2)])
@pytest.mark.parametrize("name", FACTORED)
def test_lu_has_the_derivatives_of_torch(name, shape):
    """Square, wide and tall matrices, and batches."""
    same_as_torch(FACTORED[name], arrays(3, shape), rtol=1e-7, atol=1e-7)


def test_cholesky_and_least_squares_have_the_derivatives_of_torch():
    """Batches, the upper factor, more rows than columns and fewer."""

    def positive(e, a):
        return a @ a.mT + 3 * e.eye(3, dtype=e.float64)

    same_as_torch(lambda e, a: e.linalg.cholesky(positive(e, a)), arrays(4, (2, 3, 3)))
    same_as_torch(lambda e, a: e.linalg.cholesky_ex(positive(e, a), upper=True)[0], arrays(4, (3, 3)))
    for shape, order in (((3, 3), 2), ((2, 4, 3), 2), ((2, 4), 1)):
        same_as_torch(
            lambda e, a, b: e.linalg.lstsq(a, b).solution, arrays(5, shape, (*shape[:-1], 2)), order=order, rtol=1e-6
        )


def gradient(function, values):
    """The gradient of the sum of function at `values`, as a list."""
    x = engine.tensor(values, dtype=engine.float64, requires_grad=True)
    return engine.autograd.grad(function(x).sum(), x)[0].tolist()


AT_KINKS = {
    "clamp at both bounds": (lambda x: x.clamp(0, 1), [0.0, 0.5, 1.0], [0.0, 1.0, 0.0]),
    "clamp in place": (lambda x: (x * 1).clamp_(min=0), [0.0, 0.5], [0.0, 1.0]),
    "hypot with 0": (lambda x: engine.hypot(x, x * 0), [0.0, 2.0], [0.0, 1.0]),
    "amax over both dimensions": (lambda x: x.amax((0, 1)), [[1.0, 1.0], [0.0, 1.0]], [[1 / 3, 1 / 3], [0.0, 1 / 3]]),
    "nuclear norm of rank 1": (lambda x: engine.linalg.matrix_norm(x, "nuc"), [[0.0, 0.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, 1.0]]),
    "half norm with a 0": (lambda x: engine.linalg.vector_norm(x, 0.5), [0.0, 2.0], [0.0, 1.0]),
    "ranking loss at the hinge": (
        lambda x: engine.nn.functional.margin_ranking_loss(x, x.detach(), engine.ones(2)), [1.0, 2.0], [0.0, 0.0]),
    "sinc at 0": (engine.sinc, [0.0], [0.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_KINKS)
def test_gradients_at_kinks_follow_the_rules(name):
    """The subgradient of least norm."""
    function, values, expected = AT_KINKS[name]
    np.testing.assert_allclose(gradient(function, values), expected, rtol=1e-12, atol=1e-12)


def test_the_second_derivative_of_sinc_at_zero():
    """sin(pi x) / (pi x) = 1 - (pi x)^2 / 6 + ..."""
    x = engine.tensor(0.0, dtype=engine.float64, requires_grad=True)
    (slope,) = engine.autograd.grad(engine.sinc(x), x, create_graph=True)
    (second,) = engine.autograd.grad(slope, x)
    np.testing.assert_allclose(second.item(), -(np.pi**2) / 3, rtol=1e-12)


def test_missing_derivatives_raise_where_they_are_reached_and_nowhere_else():
    """An input whose gradient nobody wants does not raise."""
    x = engine.ones(2, requires_grad=True)
    y = engine.heaviside(x, engine.ones(2)) + x
    with pytest.raises(RuntimeError, match="derivative for aten::heaviside is not implemented"):
        y.sum().backward()
    z = (x * 1).heaviside_(engine.ones(2))
    with pytest.raises(RuntimeError, match="derivative for aten::heaviside_ is not implemented"):
        z.sum().backward()
    (engine.heaviside(x.detach(), engine.ones(2)) * x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_masked_tensors_keep_their_mask():
    """Reductions skip what is masked out; gradients are masked likewise; masks of two operands agree."""
    data, mask = engine.tensor([[1.0, 2.0], [3.0, 4.0]]), engine.tensor([[True, False], [True, True]])
    m = engine.masked.masked_tensor(data, mask, requires_grad=True)
    assert [f().get_data().item() for f in (m.sum, m.amax, m.amin)] == [8.0, 4.0, 1.0]
    assert m.sum(1).get_data().tolist() == [1.0, 7.0]
    (m * 2).mean().backward()
    assert m.grad.get_mask().tolist() == mask.tolist()
    np.testing.assert_allclose(m.grad.to_tensor(0.0).tolist(), [[2 / 3, 0.0], [2 / 3, 2 / 3]], rtol=1e-6)
    with pytest.raises(TypeError, match="mask must have dtype bool"):
        engine.masked.masked_tensor(data, engine.ones(2, 2))
    with pytest.raises(ValueError, match=r"data.size\(\) must equal mask.size\(\)"):
        engine.masked.masked_tensor(data, mask[0])
    assert not engine.masked.is_masked_tensor(data)


def test_samples_stay_in_their_range():
    """Indices of multinomial are of positive weight and, without replacement, distinct; zeros give zeros."""
    engine.manual_seed(1)
    weights = engine.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]])
    drawn = engine.multinomial(weights, 2)
    assert [sorted(row) for row in drawn.tolist()] == [[1, 2], [0, 1]]
    assert set(engine.multinomial(weights[0], 100, replacement=True).tolist()) == {1, 2}
    assert engine.poisson(engine.zeros(2)).tolist() == [0.0, 0.0]
    assert engine.binomial(engine.tensor([3.0]), engine.tensor([1.0])).tolist() == [3.0]
    for call in (lambda: engine.multinomial(weights[0], 4), lambda: engine.multinomial(engine.zeros(2), 1),
                 lambda: engine.bernoulli(engine.tensor([2.0])), lambda: engine.poisson(engine.tensor([-1.0]))):  # fmt: skip
        with pytest.raises(RuntimeError):
            call()
