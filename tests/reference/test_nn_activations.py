"""Activations and losses beside torch: modules with their options, values, derivatives, in-place forms."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as T
from tests.reference.against import arrays, same_as_torch

ACTIVATIONS = {
    "ReLU": {}, "ReLU6": {}, "LeakyReLU": {"negative_slope": 0.2}, "ELU": {"alpha": 1.5}, "CELU": {"alpha": 1.5}, "SELU": {},
    "SiLU": {}, "Mish": {}, "Sigmoid": {}, "Tanh": {}, "LogSigmoid": {}, "Softplus": {"beta": 2.0, "threshold": 1.5},
    "Softsign": {}, "Softshrink": {"lambd": 0.3}, "Hardshrink": {"lambd": 0.3}, "Tanhshrink": {},
    "Hardtanh": {"min_val": -0.5, "max_val": 0.7}, "Hardsigmoid": {}, "Hardswish": {}, "Softmax": {"dim": 1},
    "Softmin": {"dim": 0},
    "LogSoftmax": {"dim": 1}, "GLU": {"dim": 1}, "GELU": {}, "Threshold": {"threshold": 0.2, "value": 3.0}, "PReLU": {},
}  # fmt: skip
IN_PLACE = ["ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "SiLU", "Mish", "Hardtanh", "Hardsigmoid", "Hardswish",
            "Threshold"]  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_agrees_with_torch(name):
    """Value and derivatives to second order of each module with its options."""
    # torch has no second derivative of hardsigmoid, and in float64 divides by 6 in float32 for the first.
    order, rtol = (1, 1e-7) if name == "Hardsigmoid" else (2, 1e-9)
    same_as_torch(
        lambda e, x: getattr(e.nn, name)(**ACTIVATIONS[name]).double()(x * x - 1),
        arrays(2, (4, 6)),
        order=order,
        rtol=rtol,
    )


def test_tanh_approximation_of_gelu():
    """GELU's tanh form, too."""
    same_as_torch(lambda e, x: e.nn.GELU(approximate="tanh")(x), arrays(2, (4, 6)))


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_activation_agrees_with_torch(name):
    """inplace=True changes the tensor itself, once, and differentiates as the other form does."""
    torch = pytest.importorskip("torch")
    (data,) = arrays(4, (4, 6))
    found = []
    for e in (T, torch):
        x = e.from_numpy(data.copy()).requires_grad_()
        y = x * 2
        version = y._version
        result = getattr(e.nn, name)(**ACTIVATIONS[name], inplace=True)(y)
        assert result is y
        assert y._version == version + 1
        (y * y).sum().backward()
        found.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_in_place_on_a_leaf_is_refused():
    """A tracked leaf is not changed in place by an activation either."""
    for e in (T, pytest.importorskip("torch")):
        with pytest.raises(
            RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"
        ):
            e.nn.functional.elu_(e.ones(2, requires_grad=True))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_options_are_torch_s(name):
    """Options are accepted by position and by name, unknown ones refused."""
    torch = pytest.importorskip("torch")
    options = ACTIVATIONS[name]
    assert repr(getattr(T.nn, name)(*options.values())) == repr(getattr(torch.nn, name)(**options))
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        getattr(T.nn, name)(*options.values(), nothing=1)


def classes(e):
    """Targets that are class numbers."""
    return e.tensor([1, 0, 2, -100])


def shares(e):
    """Targets between 0 and 1."""
    return e.from_numpy(np.random.default_rng(5).random((4, 3)))


LOSSES = [
    ("MSELoss", {}, shares), ("L1Loss", {}, shares), ("SmoothL1Loss", {"beta": 0.4}, shares),
    ("HuberLoss", {"delta": 0.4}, shares),
    ("BCEWithLogitsLoss", {}, shares), ("KLDivLoss", {}, shares), ("KLDivLoss", {"log_target": True}, shares),
    ("CrossEntropyLoss", {}, classes), ("CrossEntropyLoss", {"label_smoothing": 0.2}, classes),
    ("CrossEntropyLoss", {"ignore_index": 2}, lambda e: e.tensor([1, 0, 2, 1])), ("CrossEntropyLoss", {}, shares),
    ("NLLLoss", {}, classes),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "options", "target"), LOSSES)
def test_loss_agrees_with_torch(name, options, target, reduction):
    """Value and derivatives to second order, under every reduction."""
    same_as_torch(
        lambda e, x: getattr(e.nn, name)(**options, reduction=reduction)(x * x - 1, target(e)), arrays(6, (4, 3))
    )


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"])
def test_weighted_loss_agrees_with_torch(name):
    """A weight per class, or per element, is a buffer and counts as torch's does."""
    weight = np.array([0.5, 2.0, 1.5])
    target = classes if name in ("CrossEntropyLoss", "NLLLoss") else shares

    def function(e, x):
        loss = getattr(e.nn, name)(weight=e.from_numpy(weight.copy()))
        assert [n for n, _ in loss.named_buffers()] == ["weight"]
        return loss(x.sigmoid() if name == "BCELoss" else x * x, target(e))

    same_as_torch(function, arrays(7, (4, 3)))


def test_positive_weight():
    """pos_weight scales the positive part of BCEWithLogitsLoss."""
    weight = np.array([0.5, 2.0, 1.5])
    same_as_torch(
        lambda e, x: e.nn.BCEWithLogitsLoss(pos_weight=e.from_numpy(weight.copy()))(x, shares(e)), arrays(8, (4, 3))
    )


def test_bilinear_agrees_with_torch():
    """Value and derivatives to second order in all four arguments."""
    same_as_torch(lambda e, *xs: e.nn.functional.bilinear(*xs), arrays(9, (2, 5, 3), (2, 5, 4), (2, 3, 4), (2,)))


def test_batchmean_of_kl_div():
    """reduction="batchmean" divides by the batch."""
    same_as_torch(lambda e, x: e.nn.KLDivLoss(reduction="batchmean")(x, shares(e)), arrays(6, (4, 3)), order=1)
