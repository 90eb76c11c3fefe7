"""Saved tensors that are changed in place where that is allowed."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


changes = st.lists(
    st.sampled_from(
        ["save", "save twice", "sine", "view times", "base of view", "assign", "itself", "fresh view", "no grad"]
    ),
    min_size=1,
    max_size=6,
)


def mutated(engine, program, *, allowed):
    """x's gradient of everything that was saved; allowed: changed in place, else computed on copies."""
    x = engine.tensor([0.25, 0.5, 0.75], dtype=engine.float64, requires_grad=True)
    y = x * 1
    total = y.sum()
    for name in program:
        if not allowed:
            y = y.clone()
        if name.startswith("save"):
            for _ in range(len(name.split())):
                total = total + (y * y).sum() + y.exp().sum()
        elif name == "sine":
            y.sin_()
        elif name == "view times":
            y[:2].mul_(3)
        elif name == "base of view":
            v = y.view(3)
            total = total + (v * v).sum()
            y = y if allowed else y.clone()
            y.add_(1)
        elif name == "assign":
            y[0] = 0.125
        elif name == "itself":
            y.mul_(y if allowed else y.clone())
        elif name == "fresh view":
            total = total + y[1:].pow(2).sum()
        else:
            with engine.no_grad():
                y.mul_(0.5)
    (total + (y * y).sum()).backward()
    return x.grad.tolist()


@given(changes)
@settings(max_examples=50)
def test_mutation_allowed_gives_the_gradients_of_copies(program):
    """Law: within the block, changing saved tensors in place gives the gradients of the program that copies first."""
    engine = reference_engine
    expected = mutated(engine, program, allowed=False)
    with engine.autograd.graph.allow_mutation_on_saved_tensors() as saved:
        found = mutated(engine, program, allowed=True)
        assert len(saved.original) == len(saved.cloned) == 0  # freed with the graph
    assert found == pytest.approx(expected)


def test_mutation_allowed_copies_once_per_version(torch):
    """Saving the same version again makes no second copy; a later version is a tensor of its own; both go with the graph."""
    with torch.autograd.graph.allow_mutation_on_saved_tensors() as saved:
        a = torch.ones(2, requires_grad=True).clone()
        b, c = a**2, a**2
        assert len(saved.original) == 1
        a.sin_()
        assert len(saved.cloned) == 1
        d = a**2
        a.sin_()
        assert len(saved.cloned) >= 2
        del b, c, d


def test_mutation_through_out_is_seen(torch):
    """out= is a change in place like any other."""
    with torch.autograd.graph.allow_mutation_on_saved_tensors() as saved:
        a, b = torch.ones(1, requires_grad=True), torch.full((1,), 3.0)
        y = a * b
        torch.sin(torch.zeros(1), out=b)
        assert len(saved.cloned) == 1
        y.backward()
    assert a.grad.tolist() == [3.0]


def test_mutation_allowed_ends_with_its_block(torch):
    """After the block, left by an exception or not, the version check is back and nothing is kept alive."""
    x = torch.ones(2, requires_grad=True)
    found = []

    def fails():
        with torch.autograd.graph.allow_mutation_on_saved_tensors() as saved:
            y = x.exp()
            found.extend([saved, weakref.ref(y)])
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    saved, kept = found
    assert len(saved.original) == 0
    assert kept() is None
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        pass
