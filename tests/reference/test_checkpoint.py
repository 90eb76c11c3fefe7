"""Checkpointing: where the regions are makes no difference to derivatives; what runs again, and what is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


STEPS = {
    "sin": lambda t, w: t.sin(), "exp": lambda t, w: (t * 0.5).exp(), "weight": lambda t, w: t * w,
    "cube": lambda t, w: t**3 * 0.1, "norm": lambda t, w: t / (t.norm() + 1), "softmax": lambda t, w: t.softmax(0),
    "in place": lambda t, w: (t + 1).mul_(w), "view": lambda t, w: t.view(3, 1).transpose(0, 1).sum(0) + t,
}  # fmt: skip

# A program is a list of steps, some of which are regions with programs of their own.
programs = st.recursive(
    st.sampled_from(sorted(STEPS)), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=7
)


def run(torch, program, t, w, *, checkpointed):
    """The program's value; its inner lists are checkpointed regions, or plain."""
    if isinstance(program, str):
        return STEPS[program](t, w)

    def region(u):
        for step in program:
            u = run(torch, step, u, w, checkpointed=checkpointed)
        return u

    return torch.utils.checkpoint.checkpoint(region, t, use_reentrant=False) if checkpointed else region(t)


def derivatives(torch, program, *, checkpointed):
    x = torch.tensor([0.25, 0.5, -0.75], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([1.5, -0.5, 2.0], dtype=torch.float64, requires_grad=True)
    y = (run(torch, program, x, w, checkpointed=checkpointed) * w).sum()
    first = torch.autograd.grad(y, (x, w), create_graph=True, materialize_grads=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first) + 0 * x.sum(), (x, w), materialize_grads=True)
    return [value.tolist() for value in (y, *first, *second)]


@settings(max_examples=40, deadline=None)
@given(programs)
def test_regions_change_no_derivative(program):
    """Law: values, first and second derivatives are those of the plain program, however regions are nested."""
    plain = derivatives(reference_engine, program, checkpointed=False)
    regions = derivatives(reference_engine, program, checkpointed=True)
    assert regions == plain


@settings(max_examples=15, deadline=None)
@given(programs)
def test_regions_are_those_of_torch(program):
    """The same programs on torch: the derivatives agree."""
    theirs = pytest.importorskip("torch")
    ours, expected = (derivatives(e, program, checkpointed=True) for e in (reference_engine, theirs))
    for a, b in zip(ours, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-9)


def test_nested_regions_recompute_once_each(torch):
    """A region within a region runs again with the outer one, and once more for its own saved tensors."""
    runs = []

    def inner(name):
        def f(t):
            runs.append(name)
            return t.sin().sin()

        return f

    def outer(t):
        runs.append("outer")
        a = torch.utils.checkpoint.checkpoint(inner("first"), t, use_reentrant=False)
        return torch.utils.checkpoint.checkpoint(inner("second"), a, use_reentrant=False).exp()

    x = torch.tensor([0.3], requires_grad=True)
    torch.utils.checkpoint.checkpoint(outer, x, use_reentrant=False).backward()
    assert runs == ["outer", "first", "second", "outer", "first", "second", "second", "first"]


def test_the_variants_nest_in_each_other(torch):
    """Either variant works within either."""
    expected = None
    for outer in (True, False):
        for inner in (True, False):
            x = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)

            def region(t, inner=inner):
                return torch.utils.checkpoint.checkpoint(torch.sin, (t * 2).exp(), use_reentrant=inner) * 2

            if not inner or not outer:
                torch.utils.checkpoint.checkpoint(region, x, use_reentrant=outer).backward()
                expected = expected or x.grad.item()
                assert x.grad.item() == pytest.approx(expected, rel=1e-12)


def test_reading_saved_attributes_recomputes_each_time(torch):
    """Outside of backward each reading of a saved tensor is a recomputation of its own."""
    runs = []

    def f(t):
        runs.append(1)
        return t.exp()

    x = torch.tensor(5.0, requires_grad=True)
    y = torch.utils.checkpoint.checkpoint(f, x, use_reentrant=False)
    assert y.grad_fn._saved_result.item() == y.item()
    assert y.grad_fn._saved_result.item() == y.item()
    assert len(runs) == 3
    y.backward()
    assert len(runs) == 4


def test_saved_tensors_of_a_custom_function_are_read_once(torch):
    """ctx.saved_tensors of a function in a region is for one reading; the second is an error that says so."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            (x,), (again,) = ctx.saved_tensors, ctx.saved_tensors
            return g * 2 * x / again

    x = torch.tensor([1.0], requires_grad=True)
    y = torch.utils.checkpoint.checkpoint(lambda t: Twice.apply(t.sin()), x, use_reentrant=False)
    with pytest.raises(torch.utils.checkpoint.CheckpointError, match="already unpacked once"):
        y.backward()


def test_inputs_changed_in_place_are_noticed(torch):
    """The arguments of a region are saved tensors: a change in place before backward is an error."""
    x = torch.tensor([1.0, 2.0], requires_grad=True) * 1
    y = torch.utils.checkpoint.checkpoint(lambda t: t.exp().sin(), x, use_reentrant=False)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_hooks_around_a_region_are_given_its_inputs_only(torch):
    """Saved-tensor hooks around a region pack its arguments; those inside pack what its operations save."""
    log = []

    def hooks():
        return torch.autograd.graph.saved_tensors_hooks(
            lambda t: (log.append("pack"), t)[1], lambda t: (log.append("unpack"), t)[1]
        )

    def inside(t):
        with hooks():
            return t.exp().sin()

    x = torch.tensor([1.0], requires_grad=True)
    with hooks():
        y = torch.utils.checkpoint.checkpoint(lambda t: t.exp().sin(), x, use_reentrant=False)
    y.backward()
    assert log == ["pack", "unpack"]
    log.clear()
    torch.utils.checkpoint.checkpoint(inside, x, use_reentrant=False).backward()
    assert log == ["pack", "pack", "unpack", "unpack"]


def test_an_error_in_the_second_run_is_the_functions_own(torch):
    """What the function raises when it runs again comes out of backward, and the next backward tries anew."""
    runs = []

    def f(t):
        runs.append(1)
        if len(runs) == 2:
            raise ValueError("second")
        return t.sin()

    x = torch.tensor([1.0], requires_grad=True)
    y = torch.utils.checkpoint.checkpoint(f, x, use_reentrant=False)
    with pytest.raises(ValueError, match="second"):
        y.backward(retain_graph=True)
    assert x.grad is None
    y.backward()
    assert x.grad.item() == pytest.approx(0.5403023)


def test_except_clauses_do_not_stop_a_run_from_stopping():
    """A function that catches every Exception is stopped early all the same."""
    after = []

    def f(t):
        try:
            h = t.sin().exp()
        except Exception:
            h = t
        after.append(1)
        return h

    x = reference_engine.tensor([2.0], requires_grad=True)
    reference_engine.utils.checkpoint.checkpoint(f, x, use_reentrant=False).backward()
    assert len(after) == 1


def test_autocasting_holds_in_the_second_run(torch):
    """Operations run again in the types of the first run, also where backward lies outside of the region of autocast."""
    for use_reentrant in (True, False):
        seen = []

        def f(t, seen=seen):
            product = t @ t
            seen.append(product.dtype)
            return product.float().sin()

        x = torch.ones(2, 2, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = torch.utils.checkpoint.checkpoint(f, x, use_reentrant=use_reentrant, early_stop=False)
        y.sum().backward()
        assert seen == [torch.bfloat16, torch.bfloat16]


def test_a_forward_that_fails_leaves_no_hooks(torch):
    """An exception out of a checkpointed function leaves saving as it was."""
    x = torch.tensor([1.0], requires_grad=True)
    with pytest.raises(ZeroDivisionError):
        torch.utils.checkpoint.checkpoint(lambda t: t.sin() * (1 / 0), x, use_reentrant=False)
    assert x.sin().grad_fn._saved_self is x


@pytest.mark.parametrize("kept", [True, False])
def test_selective_checkpointing_changes_no_derivative(torch, kept):
    """Whatever is kept, of operators with auxiliary results and views too, derivatives are the plain ones."""
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.ReLU(), torch.nn.Softmax(-1))
    x = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()

    def f(t):
        return net(t.view(2, 6).transpose(0, 1).reshape(3, 4)).pow(2)

    f(x).sum().backward()
    plain, x.grad = x.grad, None
    policies = torch.utils.checkpoint.CheckpointPolicy
    policy = policies.MUST_SAVE if kept else policies.MUST_RECOMPUTE
    contexts = torch.utils.checkpoint.create_selective_checkpoint_contexts
    torch.utils.checkpoint.checkpoint(
        f, x, use_reentrant=False, context_fn=lambda: contexts(lambda ctx, op, *args, **kwargs: policy)
    ).sum().backward()
    assert x.grad.tolist() == plain.tolist()


def test_what_several_rules_read_is_unpacked_once(torch):
    """An operator whose two rules read the same saved tensor, as division's do, unpacks it once in a pass."""
    log = []
    a, b = (torch.tensor([v], requires_grad=True) for v in (3.0, 2.0))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: (log.append(t.item()), t)[1]):
        y = a / b
    y.backward()
    assert sorted(log) == [2.0, 3.0]
    assert (a.grad.item(), b.grad.item()) == (0.5, -0.75)
