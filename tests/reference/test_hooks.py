"""Hooks: laws of their order, and the edges that no case shows."""

from __future__ import annotations

import gc
import weakref
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


# Affine maps g -> a g + b; in another order they give another map.
maps = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=5)


def composed(pairs, start):
    """What a gradient becomes that passes through the maps in order."""
    return float(reduce(lambda g, pair: pair[0] * g + pair[1], pairs, start))


@given(maps)
@settings(max_examples=40)
def test_tensor_hooks_compose_in_order(pairs):
    """Law: k tensor hooks on a leaf, or on an intermediate, are the composition of their maps."""
    torch = reference_engine
    for leaf in (True, False):
        x = torch.tensor(2.0, requires_grad=True)
        t = x if leaf else x * 1
        for a, b in pairs:
            t.register_hook(lambda g, a=a, b=b: g * a + b)
        (t * 3).backward()
        assert x.grad.item() == composed(pairs, 3)


@given(maps, maps, maps)
@settings(max_examples=40)
def test_kinds_of_hooks_compose_in_their_order(on_tensor, before, after):
    """Law: tensor hooks, then pre-hooks, then the node, then hooks, whatever the order of registration."""
    torch = reference_engine
    x = torch.tensor(2.0, requires_grad=True)
    y = x * 5
    for a, b in after:
        y.grad_fn.register_hook(lambda gi, go, a=a, b=b: (gi[0] * a + b, gi[1]))
    for a, b in before:
        y.grad_fn.register_prehook(lambda go, a=a, b=b: (go[0] * a + b,))
    for a, b in on_tensor:
        y.register_hook(lambda g, a=a, b=b: g * a + b)
    y.backward()
    assert x.grad.item() == composed(after, 5 * composed(before, composed(on_tensor, 1)))


def test_hooks_are_shown_none_where_nothing_arrived(torch):
    """At a node with several outputs the hook of an unused one is called with None, and .grad stays None."""
    a, b = torch.ones(2, requires_grad=True).unbind()
    seen = []
    b.register_hook(lambda g: seen.append(g))
    b.retain_grad()
    a.backward()
    assert seen == [None]
    assert b.grad is None


def test_a_none_gradient_reaches_the_leaf(torch):
    """A custom backward that returns None leads to the leaf's hooks with None and leaves .grad alone."""

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return None

    x = torch.ones(1, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(("tensor", g)))
    x.register_post_accumulate_grad_hook(lambda p: seen.append(("accumulated", p.grad)))
    Nothing.apply(x).backward()
    assert seen == [("tensor", None), ("accumulated", None)]
    assert x.grad is None


def test_a_none_is_not_replaced(torch):
    """A node hook cannot put a gradient where an input has none."""
    y = torch.ones(1, requires_grad=True) * torch.ones(1)
    y.grad_fn.register_hook(lambda gi, go: (gi[0], gi[0]))
    with pytest.raises(RuntimeError, match="can't replace a None gradient"):
        y.backward()


def test_a_hook_without_a_name_is_unknown(torch):
    """The error about a callable object without __name__ calls it unknown."""

    class Hook:
        def __call__(self, g):
            return torch.ones(3)

    x = torch.ones(1, requires_grad=True)
    x.register_hook(Hook())
    with pytest.raises(RuntimeError, match="hook '<unknown>' has changed the size of value"):
        (x * 2).backward()


def test_hooks_registered_while_hooks_run_wait_for_the_next_pass(torch):
    """A tensor hook registered by a hook of the same tensor does not run in this pass; one removed still does."""
    x = torch.ones(1, requires_grad=True)
    log = []

    def first(g):
        log.append("first")
        second.remove()
        x.register_hook(lambda g: log.append("third"))

    x.register_hook(first)
    second = x.register_hook(lambda g: log.append("second"))
    y = x * 2
    y.backward(retain_graph=True)
    assert log == ["first", "second"]
    y.backward()
    assert log[2:4] == ["first", "third"]


def test_a_node_hook_registered_by_a_prehook_runs(torch):
    """A node hook that a pre-hook of the node registers runs in the same pass."""
    y = torch.ones(1, requires_grad=True) * 2
    log = []
    y.grad_fn.register_prehook(lambda go: y.grad_fn.register_hook(lambda gi, go: log.append(gi[0].item())) and None)
    y.backward()
    assert log == [2.0]


def test_calling_a_node_runs_no_hooks(torch):
    """node(gradient) is the rule alone."""
    y = torch.ones(1, requires_grad=True) * 2
    y.grad_fn.register_prehook(lambda go: (go[0] * 10,))
    y.grad_fn.register_hook(lambda gi, go: (gi[0] * 10, gi[1]))
    assert y.grad_fn(torch.ones(1))[0].item() == 2.0


def test_hooks_take_part_in_a_recorded_pass(torch):
    """With create_graph what tensor, pre- and post-hooks did is differentiated again."""
    x = torch.tensor(2.0, requires_grad=True)
    y = x * x
    y.register_hook(lambda g: g * x)
    y.grad_fn.register_prehook(lambda go: (go[0] * x,))
    y.grad_fn.register_hook(lambda gi, go: (gi[0] * x, gi[1] * x))
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    assert g.item() == 32.0  # 2x * x^3 = 2 x^4
    assert torch.autograd.grad(g, x)[0].item() == 64.0  # 8 x^3


def test_a_gradient_changed_in_place_by_a_hook_is_the_changed_one(torch):
    """A tensor hook that changes its argument and returns None has changed the gradient, of any rank."""

    def double(g):
        g.mul_(2)

    for shape in ((), (3,)):
        x = torch.ones(shape, requires_grad=True)
        x.register_hook(double)
        (x * 3).sum().backward()
        assert (x.grad == 6).all()


def test_hooks_do_not_keep_a_graph_alive():
    """A graph with hooks of all kinds is freed by counting, without the collector."""
    torch = reference_engine
    gc.collect()
    gc.disable()
    try:
        x = torch.ones(1, requires_grad=True)
        y = x * 2
        y.retain_grad()
        y.register_hook(lambda g: g * 1)
        torch.autograd.graph.register_multi_grad_hook((x, y), lambda grads: None)
        y.grad_fn.register_hook(lambda gi, go: None)
        node = weakref.ref(y.grad_fn)
        tensor = weakref.ref(y)
        (y * 3).backward()
        del y
        assert tensor() is None
        assert node() is None
    finally:
        gc.enable()


def test_hooks_on_outputs_of_one_node_stay_with_their_values(torch):
    """Of two outputs one is changed in place: its earlier hook and the other's run with the old node's gradients."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            return a * 2 + b * 3

    for function in (Twice.apply, torch.var_mean):
        _check_two_outputs(*function(x))


def _check_two_outputs(a, b):
    log = []
    a.register_hook(lambda g: log.append(("a", g.max().item())))
    b.register_hook(lambda g: log.append(("b", g.max().item())))
    a.mul_(2)
    a.register_hook(lambda g: log.append(("new a", g.max().item())))
    (a + b * 3).sum().backward()
    assert sorted(log) == [("a", 2.0), ("b", 3.0), ("new a", 1.0)]


def test_hooks_of_views_stay_with_their_old_history(torch):
    """A hook on a view from before its base was changed does not run; one registered after does."""
    base = torch.tensor([1.0], requires_grad=True).clone()
    view = base[:]
    log = []
    view.register_hook(lambda g: log.append("old"))
    base.mul_(2)
    assert view.grad_fn is not None  # torch renews a view's history when asked for it
    view.register_hook(lambda g: log.append(g.item()))
    view.sum().backward()
    assert log == [1.0]


def test_retain_grad_follows_a_view_whose_base_was_changed(torch):
    """The retained .grad of a view is the gradient of its value after its base was changed in place."""
    x = torch.ones(2, requires_grad=True)
    base = x * 1
    view = base[:1]
    view.retain_grad()
    base.mul_(3)
    (view * 2).sum().backward()
    assert view.grad.tolist() == [2.0]
    assert x.grad.tolist() == [6.0, 0.0]


def test_a_node_tells_what_comes_to_it(torch):
    """_input_metadata has shape, dtype and device of each gradient; the repr has the name."""
    node = (torch.ones(2, 3, dtype=torch.float64, requires_grad=True) * 2).grad_fn
    (metadata,) = node._input_metadata
    assert tuple(metadata.shape) == (2, 3)
    assert metadata.dtype is torch.float64
    assert metadata.device.type == "cpu"
    assert repr(node).startswith("<MulBackward0 object at 0x")


def test_retain_grad_does_not_keep_the_tensor(torch):
    """A tensor that retains its gradient dies with its last reference all the same."""
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    reference = weakref.ref(y)
    z = y / 2
    del y
    assert reference() is None
    z.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_how_often_hooks_run_depends_on_what_is_asked(torch):
    """(tensor, pre, post) hook calls of a -> b -> c when grad or backward asks for b, for both, and for all."""
    a = torch.tensor(1.0, requires_grad=True)
    b = a * 2
    c = b * 2
    counts = {"tensor": 0, "pre": 0, "post": 0}

    def counting(kind):
        def hook(*args):
            counts[kind] += 1

        return hook

    for t in (a, b):
        t.register_hook(counting("tensor"))
    for node in (b.grad_fn, b.grad_fn.next_functions[0][0]):
        node.register_prehook(counting("pre"))
        node.register_hook(counting("post"))

    def taken(ask):
        counts.update(tensor=0, pre=0, post=0)
        ask()
        return tuple(counts.values())

    assert taken(lambda: torch.autograd.grad(c, b, retain_graph=True)) == (1, 0, 0)
    assert taken(lambda: torch.autograd.grad(c, (a, b), retain_graph=True)) == (2, 1, 1)
    assert taken(lambda: c.backward(retain_graph=True)) == (2, 2, 2)
    assert taken(lambda: c.backward(inputs=(a, b), retain_graph=True)) == (2, 2, 2)


class TestSeveralTensors:
    """Hooks over several tensors."""

    def test_an_error_in_a_pass_leaves_nothing_behind(self):
        """After a pass that failed half-way the next one starts counting anew."""
        torch = reference_engine

        class Fails(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, g):
                raise ValueError("fails")

        leaves = [torch.ones(2, requires_grad=True) for _ in range(4)]
        first, failing = leaves[0] * 2, Fails.apply(leaves[2])
        log = []
        watched = (first, leaves[1], failing, leaves[3])
        torch.autograd.graph.register_multi_grad_hook(watched, lambda gs: log.append([g is not None for g in gs]))
        out = (first * leaves[1]).sum()
        with pytest.raises(ValueError, match="fails"):
            torch.autograd.grad(failing.sum() + out, [leaves[2], leaves[1]], retain_graph=True)
        log.clear()
        for inputs, expected in (
            ((first, leaves[1]), [True, True, False, False]),
            ((first,), [True, False, False, False]),
            ((leaves[1], leaves[3]), [False, True, False, False]),
        ):
            out.backward(inputs=inputs, retain_graph=True)
            assert log.pop() == expected
            assert log == []

    def test_outputs_of_one_node_count_each(self):
        """Two outputs of one node, of which one is used: the hook runs with None for the other."""
        torch = reference_engine
        a, b = torch.ones(2, requires_grad=True).unbind()
        log = []
        torch.autograd.graph.register_multi_grad_hook((a, b), lambda gs: log.append([g is not None for g in gs]))
        a.backward()
        assert log == [[True, False]]

    def test_passes_inside_one_another_count_apart(self):
        """A pass started by a hook of another does not disturb what the outer one has collected."""
        torch = reference_engine
        a = torch.ones(1, requires_grad=True)
        b = a * 2
        c = b * 3
        log = []

        def note(grads):
            log.append([None if g is None else g.item() for g in grads])

        torch.autograd.graph.register_multi_grad_hook((a, b), note)
        inner = a * 7
        b.register_hook(lambda g: inner.backward(retain_graph=True))
        (c * 1).backward()
        assert log == [[7.0, None], [6.0, 3.0]]
        assert a.grad.item() == 13.0
