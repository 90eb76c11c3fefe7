"""`__torch_function__`: subclasses of Tensor and other classes that answer for functions."""

from __future__ import annotations

import importlib

import pytest

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


@pytest.fixture
def overrides(torch):
    """The engine's torch.overrides."""
    return importlib.import_module(f"{torch.__name__}.overrides")


def logging(torch):
    """A subclass that notes what it is asked."""

    class Logged(torch.Tensor):
        log = []

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.log.append((func.__name__, [t.__name__ for t in types]))
            return super().__torch_function__(func, types, args, kwargs or {})

    return Logged


CALLS = {
    "function": (lambda t, s, x: t.exp(s), "exp"),
    "method": (lambda t, s, x: s.exp(), "exp"),
    "operator": (lambda t, s, x: s + 1, "add"),
    "reflected operator": (lambda t, s, x: 2 - s, "__rsub__"),
    "of a plain tensor": (lambda t, s, x: x * s, "mul"),
    "second argument": (lambda t, s, x: t.add(x, s), "add"),
    "in a list": (lambda t, s, x: t.stack([x, s]), "stack"),
    "of nn.functional": (lambda t, s, x: t.nn.functional.gelu(s), "gelu"),
    "index": (lambda t, s, x: s[0], "__getitem__"),
    "property": (lambda t, s, x: s.T, "__get__"),
    "in place": (lambda t, s, x: s.add_(1), "add_"),
    "copy from": (lambda t, s, x: x.copy_(s), "copy_"),
    "creation": (lambda t, s, x: t.zeros_like(s), "zeros_like"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_subclass_is_asked_and_its_results_are_of_it(torch, name):
    """The function is told by its name, once; what it returns is of the subclass."""
    call, known_as = CALLS[name]
    kind = logging(torch)
    s, x = torch.ones(2, 2).as_subclass(kind), torch.ones(2, 2)
    kind.log.clear()
    result = call(torch, s, x)
    assert (type(result), kind.log) == (kind, [(known_as, ["Logged"])])


def test_gradients_go_through_subclasses(torch):
    """A subclass's history is that of the tensors that it is made of; gradients are plain."""

    class Sub(torch.Tensor):
        pass

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    s = x.as_subclass(Sub)
    y = (s * s).sum()
    assert (type(y), y.requires_grad) == (Sub, True)
    y.backward()
    assert (type(x.grad), x.grad.tolist()) == (torch.Tensor, [2.0, 4.0])
    layer = torch.nn.Linear(2, 1)
    assert type(layer(s)) is Sub
    assert type(layer.weight * 2) is torch.Tensor


def test_the_subclass_comes_before_its_base(torch):
    """Of two classes the more special one is asked first; of unrelated ones neither takes the other."""

    class Base(torch.Tensor):
        pass

    class Derived(Base):
        pass

    class Other(torch.Tensor):
        pass

    base, derived, other = (torch.ones(2).as_subclass(c) for c in (Base, Derived, Other))
    assert type(base + derived) is Derived
    assert type(torch.stack([base, derived])) is Derived
    assert type(base + torch.ones(2)) is Base
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = base + other
    with pytest.raises(TypeError, match=r"Multiple dispatch failed for 'torch.add'"):
        torch.add(base, other)


def test_nothing_is_asked_in_the_block(torch):
    """DisableTorchFunctionSubclass: functions run on a subclass as on a tensor, and give plain ones."""
    kind = logging(torch)
    s = torch.ones(2).as_subclass(kind)
    kind.log.clear()
    with torch._C.DisableTorchFunctionSubclass():
        assert type(s + 1) is torch.Tensor
    assert kind.log == []
    assert type(s + 1) is kind


def test_any_class_may_answer(torch, overrides):
    """An object that is no tensor answers for functions and operators of tensors, or refuses them."""
    handled = {}

    class Diagonal:
        def __init__(self, size, value):
            self.size, self.value = size, value

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func not in handled or not all(issubclass(t, (torch.Tensor, cls)) for t in types):
                return NotImplemented
            return handled[func](*args, **(kwargs or {}))

    handled[torch.mean] = lambda d: d.value / d.size
    handled[torch.add] = lambda a, b: "added"
    d = Diagonal(5, 2.0)
    assert torch.mean(d) == 0.4
    assert torch.add(d, torch.ones(1)) == torch.add(torch.ones(1), d) == "added"
    with pytest.raises(TypeError, match=r"Multiple dispatch failed for 'torch.mul'"):
        torch.mul(d, 3)
    with pytest.raises(TypeError, match=r"no implementation found for 'torch.nn.functional.relu'"):
        torch.nn.functional.relu(d)
    assert [overrides.is_tensor_like(v) for v in (d, torch.ones(1), 3.0)] == [True, True, False]


def test_functions_of_ones_own(torch, overrides):
    """has_torch_function and handle_torch_function make a function one that classes may answer for."""

    class Answers:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func.__name__

    def mine(x):
        if overrides.has_torch_function((x,)):
            return overrides.handle_torch_function(mine, (x,), x)
        return x * 2

    assert mine(Answers()) == "mine"
    assert mine(torch.ones(1)).tolist() == [2.0]


def test_operands_that_nobody_takes(torch):
    """The other operand's own operator is tried; else the error says what was given."""

    class Reflecting:
        def __radd__(self, other):
            return "reflected"

    assert torch.ones(1) + Reflecting() == "reflected"
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \*: 'Tensor' and 'object'"):
        _ = torch.ones(1) * object()
    with pytest.raises(TypeError, match=r"exp\(\): argument 'input' \(position 1\) must be Tensor, not object"):
        torch.exp(object())
    with pytest.raises(TypeError, match=r"mean\(\): argument 'input' \(position 1\) must be Tensor, not object"):
        torch.mean(object())
