"""The tape as a data structure: no cycles, no recursion, threads apart, passes that can be repeated."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine as torch

LENGTH = 100_000


def graphs():
    """Programs that record every kind of node; each takes a leaf of shape (3,) and gives a scalar."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = 2 * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * 2 + 0 * (x + y)

    def changed(x):
        y = x * 1
        y[1:].mul_(x[0])
        return y.exp().sum()

    def view_kept(x):
        y = x * 1
        v = y[:2]
        y.mul_(2)
        return (v * v).sum()

    def stacked(x):
        a, b, c = x.unbind()
        return torch.cat([torch.stack([a, b]), x]).prod() * c

    def hooked(x):
        y = x * 2
        y.register_hook(lambda g: g * 2)
        y.retain_grad()
        return y.sum()

    return {
        "elementwise": lambda x: (x.exp() * x.tanh() + x**2).sum(),
        "saved output": lambda x: x.exp().sqrt().sigmoid().sum(),
        "in place on a view": changed,
        "view of a changed base": view_kept,
        "several outputs": stacked,
        "custom function": lambda x: Twice.apply(x).sum(),
        "hooks": hooked,
        "reductions": lambda x: x.var() + x.norm() + x.cumsum(0).prod() + x.max(),
        "matrices": lambda x: (x.outer(x) @ x).sum(),
        "sorted": lambda x: x.sort().values[0] * x.topk(2).values.sum(),
    }


@pytest.mark.parametrize("backward", ["none", "freeing", "retaining", "recorded"])
@pytest.mark.parametrize("name", graphs())
def test_a_dropped_graph_leaves_no_cycle(name, backward):
    """Reference counting alone frees a graph, whatever was recorded and however it was run through."""
    build = graphs()[name]
    x = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    gc.collect()
    y = build(x)
    node = weakref.ref(y.grad_fn)
    if backward in ("freeing", "retaining"):
        y.backward(retain_graph=backward == "retaining")
    elif backward == "recorded":
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        del g
    del y
    assert node() is None
    assert gc.collect() == 0


def test_the_collector_sees_a_cycle_where_there_is_one():
    """The check above can fail: a hook that holds its own tensor is a cycle, which counting does not free."""
    gc.collect()
    x = torch.tensor(1.0, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g, itself=y: g + 0 * itself.detach())
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is not None
    assert gc.collect() > 0
    assert node() is None


def test_a_chain_of_100_000_operators_runs_backward_and_is_freed():
    """Neither the backward pass nor dropping the graph recurses: depth is bounded by memory alone."""
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    y = x
    for _ in range(LENGTH // 2):
        y = -(y * 1.0)
    first = weakref.ref(y.grad_fn)
    y.backward(retain_graph=True)
    assert x.grad.item() == 1.0
    y.backward()
    assert x.grad.item() == 2.0
    del y
    assert first() is None


def test_a_long_chain_is_freed_without_having_run():
    """A graph that no backward pass came through is freed without recursion too, in-place changes included."""
    x = torch.zeros(2, requires_grad=True)
    y = x * 1
    for _ in range(10_000):
        y[:1].add_(1)
        y.mul_(1.0)
    first = weakref.ref(y.grad_fn)
    del y
    assert first() is None


def test_a_long_chain_through_a_recorded_pass():
    """A recorded pass over 5,000 operators does not recurse, nor does the pass over what it recorded."""
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    y = x
    for _ in range(5_000):
        y = y * x
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    assert g.item() == 5_001
    assert torch.autograd.grad(g, x)[0].item() == 5_001 * 5_000


def test_nodes_hold_no_output():
    """A tensor that nothing but its own graph could reach dies with its last name."""
    x = torch.ones(2, requires_grad=True)
    middle = x.exp()
    watched = weakref.ref(middle)
    end = middle.sum()
    del middle
    assert watched() is None
    end.backward()
    assert x.grad.tolist() == pytest.approx([np.e] * 2)


@given(st.lists(st.sampled_from(["no_grad", "enable_grad", "inference_mode", "off", "on"]), max_size=6))
@settings(max_examples=30, deadline=None)
def test_grad_mode_belongs_to_a_thread(modes):
    """Whatever modes a thread enters, another thread starts recording, and each mode ends as it began."""
    seen = []

    def enter(rest):
        if not rest:
            thread = threading.Thread(
                target=lambda: seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            )
            thread.start()
            thread.join()
            return
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        context = {"off": lambda: torch.set_grad_enabled(False), "on": lambda: torch.set_grad_enabled(True)}.get(
            rest[0]
        ) or getattr(torch, rest[0])
        with context():
            enter(rest[1:])
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before

    enter(modes)
    assert seen == [(True, False)]


def test_threads_record_graphs_of_their_own():
    """Four threads that build and run graphs over one leaf at the same time each add exactly their gradient."""
    x = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    errors = []

    def work(k):
        try:
            for _ in range(50):
                (x * k).sum().backward()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2, 3, 4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert x.grad.tolist() == [500.0] * 50


@given(st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_sequence_numbers_are_a_topological_order(width, depth):
    """A node's number exceeds those of all nodes that made its inputs."""
    layer = [torch.ones(2, requires_grad=True) for _ in range(width)]
    for level in range(depth):
        layer = [layer[i] * layer[(i + level) % width] + layer[i].sum() for i in range(width)]
    todo, seen = [sum(t.sum() for t in layer).grad_fn], set()
    while todo:
        node = todo.pop()
        for following, _ in node.next_functions:
            if following is not None and type(following).__name__ != "AccumulateGrad":
                assert following._sequence_nr() < node._sequence_nr()
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
    assert seen


def test_modes_are_restored_by_a_pass_that_fails():
    """An error inside a pass leaves grad mode as it was, and what was not reached can run again."""

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise ZeroDivisionError("on purpose")

    x = torch.ones(2, requires_grad=True)
    y = x * 3
    with pytest.raises(ZeroDivisionError):
        Fails.apply(y).sum().backward()
    assert torch.is_grad_enabled()
    assert x.grad is None
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
