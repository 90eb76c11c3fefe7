"""Modes below autograd: they see each operator once, may answer in its place, and leave derivatives alone."""

from __future__ import annotations

import importlib

import pytest

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


def mode(torch, answer):
    """A mode that answers by `answer(func, args, kwargs)`."""
    base = importlib.import_module(f"{torch.__name__}.utils._python_dispatch").TorchDispatchMode

    class Mode(base):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return answer(func, args, kwargs or {})

    return Mode()


def test_operators_come_by_their_names(torch):
    """Each operator is named as torch names it, overload included."""
    names = []

    def note(func, args, kwargs):
        names.append(str(func))
        return func(*args, **kwargs)

    x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])
    with mode(torch, note):
        ((x @ w).sin() * 2 + x.sum() - x.mean(0).sum() / w.pow(2).exp()).neg()
    assert names == [f"aten.{name}" for name in (
        "mm.default", "sin.default", "mul.Tensor", "sum.default", "add.Tensor", "mean.dim", "sum.default",
        "pow.Tensor_Scalar", "exp.default", "div.Tensor", "sub.Tensor", "neg.default")]  # fmt: skip


def test_derivatives_are_unchanged(torch):
    """A mode that only passes on changes no gradient, of views and in-place operations either."""

    def gradient(x):
        y = (x * 3).view(2, 1).sin()
        y.mul_(2)
        return torch.autograd.grad(y.transpose(0, 1).softmax(1).pow(2).sum(), x)[0]

    x = torch.tensor([0.5, -1.0], requires_grad=True)
    plain = gradient(x)
    with mode(torch, lambda func, args, kwargs: func(*args, **kwargs)):
        assert gradient(x).tolist() == plain.tolist()


def test_a_mode_may_answer_itself(torch):
    """What the mode returns is the operator's result; its gradient is the operator's."""
    x = torch.tensor([2.0], requires_grad=True)

    def double(func, args, kwargs):
        return func(*args, **kwargs) * 2 if func is torch.ops.aten.sin.default else func(*args, **kwargs)

    with mode(torch, double):
        y = x.sin()
    assert y.item() == pytest.approx(2 * 0.9092974)
    y.backward()
    assert x.grad.item() == pytest.approx(-0.4161468)


def test_the_innermost_mode_comes_first(torch):
    """Modes are told from the inside out, each outside of itself."""
    log = []

    def noting(name):
        def answer(func, args, kwargs):
            log.append(name)
            return func(*args, **kwargs)

        return answer

    with mode(torch, noting("outer")), mode(torch, noting("inner")):
        torch.tensor([1.0]).sin()
    assert log[-2:] == ["inner", "outer"]
    log.clear()
    torch.tensor([1.0]).sin()
    assert log == []


def test_overloads_are_one_object_each(torch):
    """torch.ops.aten.mul.Tensor is itself, can be called, and is unknown under a name that no operator has."""
    aten = torch.ops.aten
    assert aten.mul.Tensor is aten.mul.Tensor
    assert aten.mul.Tensor is not aten.add.Tensor
    assert str(aten.mul.Tensor) == "aten.mul.Tensor"
    assert aten.mul.Tensor(torch.tensor([2.0]), torch.tensor([3.0])).item() == 6.0
    with pytest.raises(AttributeError):
        aten.no_such_operator.default(torch.ones(1))


@pytest.mark.parametrize("name", ["sin", "exp"])
def test_what_a_mode_keeps_counts_changes_in_place(torch, name):
    """A mode that keeps a result sees by its version that the program changed it, saved by the node or not."""
    kept = []

    def keep(func, args, kwargs):
        result = func(*args, **kwargs)
        kept.append(result)
        return result

    x = torch.tensor([0.5], requires_grad=True)
    with mode(torch, keep):
        y = getattr(x, name)()
    before = kept[0]._version
    with torch.no_grad():
        y.mul_(2)
    assert kept[0]._version == before + 1
    if name == "exp":
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()
