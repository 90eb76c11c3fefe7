"""Losses: slopes are those of differences, values and derivatives torch's; what CTC counts is counted by hand here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import reference_engine as torch
from reference_engine.nn import functional as F
from tests.reference.against import arrays, same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

REDUCTIONS = ("mean", "sum", "none")


def signs(e, *shape):
    draw = np.random.default_rng(3)
    return e.from_numpy(np.where(draw.random(shape) < 0.5, -1.0, 1.0))


def weights(e, *shape):
    return e.from_numpy(np.random.default_rng(4).random(shape) + 0.5)


# fmt: off
# Of x, y, z: three tensors of (3, 4).
LOSSES = {
    "mse":              lambda e, f, x, y, z, r: f.mse_loss(x, y, reduction=r) * z.sum(),
    "mse weighted":     lambda e, f, x, y, z, r: f.mse_loss(x, y, weight=z * z, reduction=r),
    "l1":               lambda e, f, x, y, z, r: f.l1_loss(x * z, y, reduction=r),
    "l1 weighted":      lambda e, f, x, y, z, r: f.l1_loss(x, y, weight=z * z, reduction=r),
    "smooth_l1":        lambda e, f, x, y, z, r: f.smooth_l1_loss(x, y, reduction=r, beta=0.7) * z.sum(),
    "smooth_l1 sharp":  lambda e, f, x, y, z, r: f.smooth_l1_loss(x * z, y, reduction=r, beta=0),
    "huber":            lambda e, f, x, y, z, r: f.huber_loss(x, y, reduction=r, delta=0.6) * z.sum(),
    "huber weighted":   lambda e, f, x, y, z, r: f.huber_loss(x, y, reduction=r, delta=0.6, weight=z * z),
    "kl_div":           lambda e, f, x, y, z, r: f.kl_div(x, y * y + z * z, reduction=r),
    "kl_div of logs":   lambda e, f, x, y, z, r: f.kl_div(x, y * z, reduction=r, log_target=True),
    "bce":              lambda e, f, x, y, z, r: f.binary_cross_entropy(x.sigmoid(), y.sigmoid(), reduction=r) * z.sum(),
    "bce weighted":     lambda e, f, x, y, z, r: f.binary_cross_entropy(x.sigmoid(), y.sigmoid(), weights(e, 3, 4), reduction=r),
    "bce of logits":    lambda e, f, x, y, z, r: f.binary_cross_entropy_with_logits(
        x, y, weights(e, 3, 4), pos_weight=weights(e, 4), reduction=r),
    "poisson":          lambda e, f, x, y, z, r: f.poisson_nll_loss(x * z, y, reduction=r),
    "poisson full":     lambda e, f, x, y, z, r: f.poisson_nll_loss(
        x * x + 0.1, y * y + z * z, log_input=False, full=True, reduction=r),
    "gaussian":         lambda e, f, x, y, z, r: f.gaussian_nll_loss(x, y, z * z + 0.1, reduction=r),
    "gaussian full":    lambda e, f, x, y, z, r: f.gaussian_nll_loss(x, y, z[:, 0] ** 2 + 0.1, full=True, reduction=r),
    "gaussian of one variance": lambda e, f, x, y, z, r: f.gaussian_nll_loss(x, y * z, 0.5, reduction=r),
    "soft_margin":      lambda e, f, x, y, z, r: f.soft_margin_loss(x * y * z, signs(e, 3, 4), reduction=r),
    "margin_ranking":   lambda e, f, x, y, z, r: f.margin_ranking_loss(x * z, y, signs(e, 3, 4), 0.3, reduction=r),
    "hinge_embedding":  lambda e, f, x, y, z, r: f.hinge_embedding_loss(x * y * z, signs(e, 3, 4), 0.5, reduction=r),
    "cosine_embedding": lambda e, f, x, y, z, r: f.cosine_embedding_loss(x, y * z, signs(e, 3), -0.5, reduction=r),
    "triplet":          lambda e, f, x, y, z, r: f.triplet_margin_loss(x, y, z, 2.0, reduction=r),
    "triplet swapped":  lambda e, f, x, y, z, r: f.triplet_margin_loss(x, y, z, 2.0, p=3, swap=True, reduction=r),
    "triplet of one's own": lambda e, f, x, y, z, r: f.triplet_margin_with_distance_loss(
        x, y, z, distance_function=lambda a, b: ((a - b) ** 2).sum(-1), margin=3.0, swap=True, reduction=r),
    "multilabel_soft_margin": lambda e, f, x, y, z, r: f.multilabel_soft_margin_loss(x, y * z, z[0] ** 2, reduction=r),
    "nll":              lambda e, f, x, y, z, r: f.nll_loss(x * y * z, e.tensor([1, 3, 0]), reduction=r),
    "cross_entropy":    lambda e, f, x, y, z, r: f.cross_entropy(
        x * y * z, e.tensor([1, -100, 0]), weights(e, 4), reduction=r, label_smoothing=0.2),
    "cross_entropy of shares": lambda e, f, x, y, z, r: f.cross_entropy(
        x, (y * z).softmax(1), weights(e, 4), reduction=r, label_smoothing=0.2),
    "cross_entropy in space": lambda e, f, x, y, z, r: f.cross_entropy(
        e.stack([x, y, z], 1), e.tensor([[0, 1, 2, 0], [2, 2, 1, 1], [0, 0, 2, 1]]), reduction=r, ignore_index=1),
    "linear_cross_entropy": lambda e, f, x, y, z, r: f.linear_cross_entropy(
        x, y, e.tensor([1, 2, 0]), linear_bias=z[:, 0], reduction=r),
    "linear_cross_entropy in space": lambda e, f, x, y, z, r: f.linear_cross_entropy(
        x, e.stack([y, z], 1), e.tensor([[1, 2], [2, 0], [0, 1]]), reduction=r),
}
ONCE = {  # torch has no second derivative
    "multi_margin":       lambda e, f, x, y, z, r: f.multi_margin_loss(
        x * y * z, e.tensor([1, 3, 0]), 2, 0.7, weights(e, 4), reduction=r),
    "multilabel_margin":  lambda e, f, x, y, z, r: f.multilabel_margin_loss(
        x * y * z, e.tensor([[1, 2, -1, 0], [3, -1, 1, 1], [-1, 0, 1, 2]]), reduction=r),
    "ctc":                lambda e, f, x, y, z, r: f.ctc_loss(
        e.stack([x, y, z, x * y, y * z], 0).log_softmax(2), e.tensor([[1, 2, 0], [3, 3, 0], [2, 0, 0]]),
        e.tensor([5, 4, 3]), e.tensor([2, 2, 1]), reduction=r),
    "ctc of joined targets": lambda e, f, x, y, z, r: f.ctc_loss(
        e.stack([x, y, z, x * y, y * z], 0).log_softmax(2), e.tensor([1, 2, 0, 0, 2]), (5, 5, 5), (2, 1, 2),
        blank=3, reduction=r),
}
# fmt: on


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", [*LOSSES, *ONCE])
def test_slopes_and_values(name, reduction):
    """First and second derivatives are those of differences; value and derivatives are torch's."""
    data = arrays(5, (3, 4), (3, 4), (3, 4))
    loss = {**LOSSES, **ONCE}[name]
    function = lambda e, x, y, z: loss(e, e.nn.functional, x, y, z, reduction)
    slopes_are_those_of_differences(function, data, second=name in LOSSES, forward="ctc" not in name, rtol=3e-6)
    same_as_torch(function, data, order=2 if name in LOSSES else 1)


def alignments(labels, steps, classes, blank=0):
    """All paths of `steps` labels and blanks that read `labels` once repetitions and then blanks are dropped."""
    for path in itertools.product(range(classes), repeat=steps):
        read = [c for c, _ in itertools.groupby(path) if c != blank]
        if read == labels:
            yield path


@pytest.mark.parametrize("labels", [[1, 2], [2, 2], [1], []])
def test_ctc_sums_over_alignments(labels):
    """The loss is minus the log of the summed probability of all alignments."""
    logits = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3))).log_softmax(1)
    p = np.exp(logits.numpy())
    total = sum(np.prod([p[t, c] for t, c in enumerate(path)]) for path in alignments(labels, 4, 3))
    targets = torch.tensor(labels, dtype=torch.int64)
    loss = F.ctc_loss(logits, targets, torch.tensor(4), torch.tensor(len(labels)), reduction="sum")
    np.testing.assert_allclose(loss.item(), -np.log(total), rtol=1e-12)


def test_ctc_without_an_alignment():
    """Too few steps: an infinite loss with gradient nan, or zeros where asked; twice is refused."""
    logits = torch.zeros(2, 1, 3, dtype=torch.float64).log_softmax(2).requires_grad_()
    told = (torch.tensor([[1, 2, 1]]), torch.tensor([2]), torch.tensor([3]))
    loss = F.ctc_loss(logits, *told, reduction="sum")
    assert loss.item() == float("inf")
    assert torch.autograd.grad(loss, logits)[0].isnan().all()
    none = F.ctc_loss(logits, *told, reduction="sum", zero_infinity=True)
    (g,) = torch.autograd.grad(none, logits, create_graph=True)
    assert none.item() == 0
    assert not g.any()
    with pytest.raises(RuntimeError, match="_ctc_loss_backward is not implemented"):
        g.sum().backward()


def test_chunks_are_consumed():
    """With options, gradients are those without, have no graph, and backward runs once, unless it may run again."""
    data = [torch.from_numpy(a).requires_grad_() for a in arrays(1, (4, 3), (5, 3))]
    target = torch.tensor([0, 1, 2, 3])
    plain = torch.autograd.grad(F.linear_cross_entropy(*data, target), data)
    loss = F.linear_cross_entropy(*data, target, options=torch.nn.LinearCrossEntropyOptions())
    found = torch.autograd.grad(loss, data, create_graph=True)
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.numpy())
        assert not a.requires_grad
    with pytest.raises(RuntimeError, match="chunked backward called twice"):
        loss.backward()
    twice = F.linear_cross_entropy(*data, target, options=torch.nn.LinearCrossEntropyOptions(allow_retain_graph=True))
    twice.backward(retain_graph=True)
    twice.backward()
    np.testing.assert_allclose(data[0].grad.numpy(), 2 * plain[0].numpy())


def test_a_bounded_variance_keeps_its_gradient():
    """gaussian_nll_loss bounds the variance in the value only; the gradient is that of the formula at the bound."""
    variance = torch.tensor([1e-9], dtype=torch.float64, requires_grad=True)
    F.gaussian_nll_loss(torch.ones(1), torch.zeros(1), variance, eps=1e-2, reduction="sum").backward()
    np.testing.assert_allclose(variance.grad.item(), 0.5 * (1e2 - 1e4), rtol=1e-6)


def test_all_ignored():
    """The mean of no losses is nan, its gradient 0."""
    x = torch.zeros(2, 2, requires_grad=True)
    loss = F.cross_entropy(x, torch.tensor([-100, -100]))
    loss.backward()
    assert loss.isnan()
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


IGNORED = -100


@pytest.mark.parametrize(("targets", "weight", "value", "slope"), [
    ([IGNORED, 1], None, -2.0, [[0, 0], [0, -1]]),
    ([IGNORED, 1], [math.nan, 0.5], -2.0, [[0, 0], [0, -1]]),
    ([IGNORED, 0], [math.nan, 1.0], math.nan, [[0, 0], [math.nan, 0]]),
    ([1, 1], [1.0, 0.0], math.nan, [[0, math.nan], [0, math.nan]]),  # the mean of nothing
    ([0, 1], [-1.0, 1.0], math.inf, [[math.inf, 0], [0, -math.inf]]),  # divided by no weight at all
])  # fmt: skip
def test_what_is_ignored_counts_for_nothing(targets, weight, value, slope):
    """An ignored row has loss and gradient 0 whatever stands in it or in the weights; the others are divided by their weight."""
    x = torch.tensor([[-math.inf if targets[0] == IGNORED else 3.0, 0.0], [1.0, 2.0]], requires_grad=True)
    loss = F.nll_loss(x, torch.tensor(targets), None if weight is None else torch.tensor(weight))
    loss.backward()
    np.testing.assert_array_equal(loss.item(), value)
    np.testing.assert_array_equal(x.grad.numpy(), slope)


@pytest.mark.parametrize(("kind", "message", "call"), [
    (RuntimeError, "ignore_index is not supported", lambda x, t: F.cross_entropy(x, x.softmax(1), ignore_index=1)),
    (RuntimeError, "label_smoothing must be between", lambda x, t: F.cross_entropy(x, t, label_smoothing=2.0)),
    (ValueError, "Expected input batch_size (2) to match", lambda x, t: F.nll_loss(x, t[:1])),
    (IndexError, "Target 7 is out of bounds", lambda x, t: F.nll_loss(x, t + 7)),
    (RuntimeError, "between 0 and 1", lambda x, t: F.binary_cross_entropy(x + 2, x)),
    (ValueError, "different to the input size", lambda x, t: F.binary_cross_entropy(x.sigmoid(), x[0])),
    (ValueError, "var has negative", lambda x, t: F.gaussian_nll_loss(x, x, -1.0)),
    (ValueError, "incorrect size", lambda x, t: F.gaussian_nll_loss(x, x, torch.ones(3))),
    (ValueError, "margin must be greater than 0", lambda x, t: F.triplet_margin_loss(x, x, x, margin=0)),
    (RuntimeError, "same number of dimensions", lambda x, t: F.triplet_margin_loss(x, x, x[0])),
    (ValueError, "Weights and input must have", lambda x, t: F.mse_loss(x, x, weight=x[0])),
    (RuntimeError, "negative values for beta", lambda x, t: F.smooth_l1_loss(x, x, beta=-1)),
    (RuntimeError, "non-positive values for delta", lambda x, t: F.huber_loss(x, x, delta=0)),
    (ValueError, "q is not a valid value for reduction", lambda x, t: F.kl_div(x, x, reduction="q")),
    (RuntimeError, "Integral inputs not supported", lambda x, t: F.kl_div(t, t)),
    (RuntimeError, "not differentiable with respect to argument 'target'",
     lambda x, t: F.soft_margin_loss(x, x.clone().requires_grad_())),
    (RuntimeError, "inconsistent target size", lambda x, t: F.multilabel_margin_loss(x, t)),
    (RuntimeError, "blank must be in label range", lambda x, t: F.ctc_loss(x, t, [2], [2], blank=9)),
    (RuntimeError, "input_lengths must be of size batch_size", lambda x, t: F.ctc_loss(x, t, [2, 2], [2])),
    (RuntimeError, "value at most 2", lambda x, t: F.ctc_loss(x, t, [3], [2])),
    (RuntimeError, "All input tensors should have same dimension", lambda x, t: F.margin_ranking_loss(x, x[0], x)),
    (RuntimeError, "2D input tensors", lambda x, t: F.cosine_embedding_loss(x[0], x, t)),
])  # fmt: skip
def test_refused_arguments(kind, message, call):
    """What torch refuses raises with its words."""
    x, t = torch.tensor([[0.1, 0.2, -0.3], [0.4, -0.5, 0.6]]), torch.tensor([0, 2])
    with pytest.raises(kind) as caught:
        call(x, t)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "arguments"), [
    ("kl_div", (0,)), ("binary_cross_entropy_with_logits", (None, None, 2)), ("poisson_nll_loss", (True, False, 1e-8, 1)),
])  # fmt: skip
def test_numbered_reductions(name, arguments):
    """torch's own forms take 0, 1, 2 for none, mean, sum."""
    function = lambda e, x, y: getattr(e, name)(x, y.sigmoid(), *arguments)
    same_as_torch(function, arrays(2, (2, 3), (2, 3)))


def test_adaptive_softmax_agrees_with_torch():
    """Value and gradients of the loss, log-probabilities and predictions, with torch's parameters; the loss rests on log_prob."""
    peer = pytest.importorskip("torch")
    theirs = peer.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0, head_bias=True, dtype=peer.float64)
    ours = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0, head_bias=True, dtype=torch.float64)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    (data,) = arrays(3, (5, 8))
    found = []
    for e, module in ((torch, ours), (peer, theirs)):
        x = e.from_numpy(data.copy()).requires_grad_()
        output, loss = module(x, e.tensor([0, 4, 9, 2, 5]))
        loss.backward()
        grads = [p.grad.numpy() for p in module.parameters()]
        found.append(
            [
                output.detach().numpy(),
                x.grad.numpy(),
                *grads,
                module.log_prob(x).detach().numpy(),
                module.predict(x).numpy(),
            ]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[0][-2][range(5), [0, 4, 9, 2, 5]], found[0][0])
    with pytest.raises(RuntimeError, match="Target values should be in"):
        ours(torch.zeros(1, 8, dtype=torch.float64), torch.tensor([10]))
