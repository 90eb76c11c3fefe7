"""Custom functions: laws that hold for any, and edges of what they return, mark and keep."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


def function(torch, forward, backward, **attributes):
    """A Function class of these two methods."""
    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("Custom", (torch.autograd.Function,), {**methods, **attributes})


def keep(ctx, x):
    ctx.save_for_backward(x)
    return x * x


def square_rule(ctx, g):
    (x,) = ctx.saved_tensors
    return 2 * x * g


RULES = {
    "exp": (lambda x: x.exp(), lambda x: x.exp()),
    "sin": (lambda x: x.sin(), lambda x: x.cos()),
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "tanh": (lambda x: x.tanh(), lambda x: 1 - x.tanh() ** 2),
}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(RULES)), min_size=1, max_size=4), st.booleans())
def test_a_function_with_its_own_derivative_changes_nothing(names, boxed):
    """Operators wrapped as custom functions, in any composition, have the same first and second derivatives."""

    def wrapped(name):
        f, derivative = RULES[name]

        def forward(ctx, x):
            ctx.save_for_backward(x)
            return f(x)

        def backward(ctx, g):
            (g,) = g if boxed else (g,)
            return g * derivative(*ctx.saved_tensors)

        return function(reference_engine, forward, backward, boxed_grads_call=boxed).apply

    def derivatives(steps):
        x = reference_engine.tensor([0.25, 0.5, -0.75], dtype=reference_engine.float64, requires_grad=True)
        y = x
        for step in steps:
            y = step(y)
        (first,) = reference_engine.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = reference_engine.autograd.grad(first.sum(), x)
        return first, second

    for got, expected in zip(
        derivatives([wrapped(n) for n in names]), derivatives([RULES[n][0] for n in names]), strict=True
    ):
        assert reference_engine.allclose(got, expected, rtol=1e-9)


def test_the_context_is_the_node(torch):
    """What forward is given as ctx is y.grad_fn, in forward, in backward and in the graph; it keeps the graph alive."""
    seen = []

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(ctx)
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx)
            return g * 2

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    z = Twice.apply(x).sum()
    node = z.grad_fn.next_functions[0][0]
    z.backward(retain_graph=True)
    assert node is seen[0] is seen[1]
    assert type(node) is Twice._backward_cls
    assert isinstance(node, torch.autograd.graph.Node)
    node.note = 3
    alone = Twice.apply(x).grad_fn
    assert (alone.next_functions[0][0].variable is x, alone.saved_tensors[0] is x) == (True, True)
    seen.clear()
    del node
    assert z.grad_fn.next_functions[0][0].note == 3
    edge = torch.autograd.graph.GradientEdge(alone, 0)
    assert torch.autograd.grad(edge, x, torch.ones(2))[0].tolist() == [2.0, 2.0]


NAMES = ["shape", "dtype", "saved", "outputs", "edges", "role", "exact", "hooks", "free", "arrays", "tensors", "results",
         "kept", "function", "context", "sequence_number", "is_tensor_input", "x"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_may_be_used_on_the_context(torch, name):
    """What forward sets on ctx, backward reads, whatever it is called; the gradient is not disturbed."""
    got = []

    def forward(ctx, x):
        setattr(ctx, name, "mine")
        return x * 2

    def backward(ctx, g):
        got.append(getattr(ctx, name))
        return g * 2

    x = torch.ones(3, requires_grad=True)
    function(torch, forward, backward).apply(x).sum().backward()
    assert got == ["mine"]
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_attributes_set_on_the_node_are_seen_in_backward(torch):
    """y.grad_fn shows what ctx has, and what is set on it arrives in backward."""

    def forward(ctx, x):
        ctx.k = 2
        return x * 2

    x = torch.ones(1, requires_grad=True)
    y = function(torch, forward, lambda ctx, g: g * ctx.k).apply(x)
    assert y.grad_fn.k == 2
    y.grad_fn.k = 10
    y.backward()
    assert x.grad.tolist() == [10.0]
    with pytest.raises(AttributeError, match="nothing"):
        _ = y.grad_fn.nothing


def test_an_input_returned_as_it_is_comes_back_as_a_view(torch):
    """apply gives a view of it, not the object, with the custom backward; and it cannot be changed in place."""
    f = function(torch, lambda ctx, x: x, lambda ctx, g: g * 5)
    x = torch.ones(2, requires_grad=True)
    y = f.apply(x)
    assert y is not x
    assert y._base is x
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [5.0, 5.0]
    with pytest.raises(RuntimeError, match="created inside a custom Function"):
        f.apply(x * 1).add_(1)
    constant = torch.ones(2)
    assert f.apply(constant) is not constant
    assert not f.apply(constant).requires_grad


def test_several_views_cannot_be_changed_in_place(torch):
    """Views that one call returns together refuse changes in place, as those of any operator do."""
    f = function(torch, lambda ctx, x: (x[:1], x[1:]), lambda ctx, a, b: torch.cat([a, b]))
    leaf = torch.ones(2, requires_grad=True)
    first, second = f.apply(leaf * 1)
    (first + 2 * second).backward()
    assert leaf.grad.tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="returns multiple views"):
        first.add_(1)


def increment(ctx, x):
    x.add_(1)
    ctx.mark_dirty(x)
    return x


def test_a_dirty_view_changes_its_base(torch):
    """The custom backward applies to the changed part of the base; the rest keeps its gradient."""
    leaf = torch.ones(3, requires_grad=True)
    base = leaf * 1
    part = base[:2]
    function(torch, increment, lambda ctx, g: g * 3).apply(part)
    assert base.tolist() == [2.0, 2.0, 1.0]
    base.sum().backward()
    assert leaf.grad.tolist() == [3.0, 3.0, 1.0]


def test_a_dirty_view_is_the_only_output(torch):
    """A Function that changes a view in place returns nothing else; a view of a leaf is refused as anywhere."""

    def forward(ctx, x):
        return increment(ctx, x), x * 2

    leaf = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="cannot return more than one Tensor"):
        function(torch, forward, lambda ctx, a, b: a).apply((leaf * 1)[:1])
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        function(torch, increment, lambda ctx, g: g).apply(leaf[:1])


def test_a_dirty_output_that_was_saved_can_be_differentiated_twice(torch):
    """exp in place keeps its result: y' = y and y'' = y."""

    def forward(ctx, x):
        x.exp_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    f = function(torch, forward, lambda ctx, g: g * ctx.saved_tensors[0])
    leaf = torch.zeros(2, requires_grad=True)
    (first,) = torch.autograd.grad(f.apply(leaf * 1).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    assert first.tolist() == second.tolist() == [1.0, 1.0]


def test_marks_take_tensors_only(torch):
    """A number that is marked raises RuntimeError."""
    x = torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="mark_dirty can only accept variables"):
        function(torch, lambda ctx, x: (ctx.mark_dirty(3), x * 2)[1], square_rule).apply(x)
    with pytest.raises(RuntimeError, match="mark_non_differentiable only accepts variable arguments"):
        function(torch, lambda ctx, x: (ctx.mark_non_differentiable(3), x * 2)[1], square_rule).apply(x)


def test_a_complex_gradient_for_a_real_input_is_refused(torch):
    """The edge casts real gradients, and does not drop an imaginary part."""
    x = torch.ones(2, requires_grad=True)
    y = function(torch, lambda ctx, x: x * 2, lambda ctx, g: torch.complex(g, g)).apply(x)
    with pytest.raises(RuntimeError):
        y.sum().backward()
    assert x.grad is None


def test_a_gradient_that_backward_keeps_is_not_accumulated_into(torch):
    """A tensor that backward returns again and again keeps its values when .grad grows."""
    constant = torch.full((2,), 3.0)
    f = function(torch, lambda ctx, x: x * 2, lambda ctx, g: constant)
    x = torch.ones(2, requires_grad=True)
    for _ in range(2):
        f.apply(x).sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]
    assert constant.tolist() == [3.0, 3.0]


def test_saved_tensors_outside_of_backward(torch):
    """They are empty while forward runs, readable through the node, and an error once the graph was freed."""
    inside = []

    def forward(ctx, x):
        result = keep(ctx, x)
        inside.append(ctx.saved_tensors)
        return result

    x = torch.ones(2, requires_grad=True)
    y = function(torch, forward, square_rule).apply(x)
    assert inside == [()]
    assert y.grad_fn.saved_tensors[0] is x
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        _ = y.grad_fn.saved_tensors


def test_cleared_tensors_stay_cleared(torch):
    """With clear_saved_tensors_on_access a retained graph cannot be run again: what it saved was read."""
    x = torch.ones(2, requires_grad=True)
    y = function(torch, keep, square_rule, clear_saved_tensors_on_access=True).apply(x).sum()
    y.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can only be accessed once"):
        y.backward()


def test_saving_an_input_that_setup_context_sees_returned_is_refused(torch):
    """It would be saved with the history from before the call; torch says to return a view of it."""

    class Same(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="returned as-is as output is being saved for backward"):
        Same.apply(torch.ones(1, requires_grad=True))


def test_inference_tensors_cannot_be_saved(torch):
    """save_for_backward refuses them as operators do."""
    with torch.inference_mode():
        z = torch.ones(1)

    def forward(ctx, x, z):
        ctx.save_for_backward(z)
        return x * 2

    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        function(torch, forward, lambda ctx, g: (g, None)).apply(torch.ones(1, requires_grad=True), z)


def test_an_error_in_forward_restores_the_grad_mode(torch):
    """Grad mode is on again after forward raised."""
    with pytest.raises(ZeroDivisionError):
        function(torch, lambda ctx, x: 1 / 0, square_rule).apply(torch.ones(1, requires_grad=True))
    assert torch.is_grad_enabled()


def test_backward_may_apply_functions_and_run_backward(torch):
    """A backward that records a graph of its own and runs it is a recomputation."""

    def forward(ctx, x):
        ctx.x = x.detach()
        return x**2

    def backward(ctx, g):
        with torch.enable_grad():
            x = ctx.x.requires_grad_()
            (x**2).backward(g)
        return x.grad

    x = torch.full((2,), 3.0, requires_grad=True)
    function(torch, forward, backward).apply(x).sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]


def test_the_same_output_twice(torch):
    """One tensor returned in two places is one output: its gradient arrives in the last place."""

    def forward(ctx, x):
        y = x * 2
        return y, y

    x = torch.ones(1, requires_grad=True)
    first, second = function(torch, forward, lambda ctx, a, b: 2 * (a + b)).apply(x)
    assert first is second
    assert second.output_nr == 1
    (first + second).backward()
    assert x.grad.tolist() == [4.0]


def test_keyword_arguments_take_their_places(torch):
    """A tensor given by keyword is an input like any other: backward has a gradient for it, in its place."""
    product = function(torch, lambda ctx, x, y, k=1: x * y * k, lambda ctx, g: (g * 3, g * 5))
    x, y = (torch.tensor([v], requires_grad=True) for v in (1.0, 2.0))
    product.apply(x, y=y).backward()
    assert (x.grad.item(), y.grad.item()) == (3.0, 5.0)
    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 3, got 2\)"):
        product.apply(x, y=y, k=2).backward()


def described(node):
    """A graph as text."""
    return f"{type(node).__name__}({', '.join(described(n) if n else 'None' for n, _ in node.next_functions)})"


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_recorded_gradients_are_copies_in_the_graph(torch):
    """A leaf's recorded .grad is a copy of what arrived; once_differentiable shows as Error, leading to the inputs."""
    once = torch.autograd.function.once_differentiable
    product = function(torch, lambda ctx, x, y: x * y, once(lambda ctx, g: (g * 2, g * 3)))
    x, y, seed = (torch.tensor([v, v], requires_grad=True) for v in (1.0, 2.0, 1.0))
    product.apply(x, y).backward(seed, create_graph=True)
    assert described(x.grad.grad_fn) == "CopyBackwards(None, Error(AccumulateGrad(), AccumulateGrad()))"
    x.grad = y.grad = None


def test_the_gradient_of_a_full_sum_is_one_expansion(torch):
    """The recorded gradient of sum() expands the incoming one, with no reshaping before."""
    x = torch.ones(2, 3, requires_grad=True)
    seed = torch.tensor(2.0, requires_grad=True)
    (g,) = torch.autograd.grad(x.sum(), x, seed, create_graph=True)
    assert described(g.grad_fn) == "ExpandBackward0(AccumulateGrad())"
