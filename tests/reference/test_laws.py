"""Laws of differentiation that hold for every program, checked on drawn ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine as torch

# Smooth on all of R and of moderate size, so that compositions neither overflow nor come near a kink.
UNARY = {
    "sin": lambda x: x.sin(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "atan": lambda x: x.atan(),
    "square": lambda x: 0.5 * x * x,
    "softplus": lambda x: (1 + x.sin().exp()).log(),
    "reciprocal": lambda x: 1 / (1 + x * x),
}
BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - 2 * b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (2 + b.cos()),
    "matrix": lambda a, b: (a.unsqueeze(1) * b.tanh()).mean(1),
}
# In-place changes of a vector of 4, each next to the same as a function without side effects.
CHANGES = {
    "mul whole": (lambda y, x: y.mul_(x), lambda y, x: y * x),
    "add first half": (lambda y, x: y[:2].add_(x[2:]), lambda y, x: torch.cat([y[:2] + x[2:], y[2:]])),
    "sin of every second": (
        lambda y, x: y[::2].sin_(),
        lambda y, x: torch.stack([y[0].sin(), y[1], y[2].sin(), y[3]]),
    ),
    "assign one": (lambda y, x: y.__setitem__(1, x[0] * x[3]), lambda y, x: torch.stack([y[0], x[0] * x[3], y[2], y[3]])),
    "zero one": (lambda y, x: y[3].zero_(), lambda y, x: torch.cat([y[:3], y[3:] * 0])),
    "through a matrix": (
        lambda y, x: y.view(2, 2).t()[0].mul_(x[:2]),
        lambda y, x: torch.stack([y[0] * x[0], y[1], y[2] * x[1], y[3]]),
    ),
    "from itself": (lambda y, x: y[1:3].add_(y[:2].clone()), lambda y, x: torch.cat([y[:1], y[1:3] + y[:2], y[3:]])),
    "by index list": (
        lambda y, x: y.__setitem__([0, 2], x[1:3]),
        lambda y, x: torch.stack([x[1], y[1], x[2], y[3]]),
    ),
    "masked": (
        lambda y, x: y.__setitem__(torch.tensor([True, False, False, True]), 0.5),
        lambda y, x: torch.cat([torch.full((1,), 0.5, dtype=torch.float64), y[1:3], torch.full((1,), 0.5, dtype=torch.float64)]),
    ),
    "copy": (lambda y, x: y[2:].copy_(x[:2]), lambda y, x: torch.cat([y[:2], x[:2]])),
    "several nodes": (
        lambda y, x: torch.nn.functional.selu(y[1:], inplace=True),
        lambda y, x: torch.cat([y[:1], torch.nn.functional.selu(y[1:])]),
    ),
    "several nodes, whole": (
        lambda y, x: y.addcmul_(y.clone(), x).lerp_(x, 0.25),
        lambda y, x: (y + y * x) + 0.25 * (x - (y + y * x)),
    ),
    "clamp": (lambda y, x: y.clamp_(-10, 10), lambda y, x: y.clamp(-10, 10)),
}  # fmt: skip

numbers = st.floats(-2, 2, allow_nan=False).map(lambda v: round(v, 3))
vectors = st.lists(numbers, min_size=4, max_size=4)
steps = st.lists(
    st.tuples(st.sampled_from(sorted(UNARY)), st.sampled_from(sorted(BINARY)), st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
    max_size=5,
)


def tensor(values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


def program(plan, xs):
    """Runs a drawn program: each step applies an operator to earlier results, with as much sharing as was drawn."""
    values = list(xs)
    for unary, binary, i, j in plan:
        values.append(BINARY[binary](UNARY[unary](values[i % len(values)]), values[-1 - j % len(values)]))
    return values[-1]


def grads(out, xs, seed=None, **options):
    found = torch.autograd.grad(out, xs, seed, allow_unused=True, **options)
    return [np.zeros(x.shape) if g is None else g.detach().numpy() for g, x in zip(found, xs, strict=True)]


def close(a, b, rtol=1e-10, atol=1e-11):
    for p, q in zip(a, b, strict=True):
        np.testing.assert_allclose(p, q, rtol=rtol, atol=atol)


laws = settings(max_examples=60, deadline=None)


@given(vectors, vectors, steps)
@laws
def test_gradients_of_drawn_programs_are_those_of_differences(a, b, plan):
    """Whatever is composed and shared, the gradient is the limit of difference quotients."""
    xs = [tensor(a, requires_grad=True), tensor(b, requires_grad=True)]
    out = program(plan, xs)
    direction = [np.cos(np.arange(4.0)), np.sin(1 + np.arange(4.0))]

    def value(h):
        return (
            program(plan, [tensor(np.add(v, h * d).tolist()) for v, d in zip((a, b), direction, strict=True)])
            .sum()
            .item()
        )

    found = sum(float((g * d).sum()) for g, d in zip(grads(out.sum(), xs), direction, strict=True))
    # Richardson's extrapolation of central differences: the error is of fourth order.
    coarse, fine = ((value(h) - value(-h)) / (2 * h) for h in (2e-3, 1e-3))
    assert found == pytest.approx((4 * fine - coarse) / 3, rel=1e-6, abs=1e-6)


@given(vectors, vectors, steps, vectors, vectors, numbers)
@laws
def test_backward_is_linear_in_the_cotangent(a, b, plan, u, v, k):
    """vjp(u + k v) = vjp(u) + k vjp(v)."""
    xs = [tensor(a, requires_grad=True), tensor(b, requires_grad=True)]
    out = program(plan, xs)
    together = grads(out, xs, tensor(u) + k * tensor(v), retain_graph=True) if out.requires_grad else [0]
    one, other = grads(out, xs, tensor(u), retain_graph=True), grads(out, xs, tensor(v))
    close(together, [p + k * q for p, q in zip(one, other, strict=True)], atol=1e-9)


@given(vectors, vectors, steps, steps)
@laws
def test_the_gradient_of_a_sum_is_the_sum_of_gradients(a, b, first, second):
    """One pass over f + g gives what passes over f and over g give together, shared parts counted right."""
    xs = [tensor(a, requires_grad=True), tensor(b, requires_grad=True)]
    f, g = program(first, xs).sum(), program(second, xs).sum()
    apart = [p + q for p, q in zip(grads(f, xs, retain_graph=True), grads(g, xs, retain_graph=True), strict=True)]
    close(grads(f + g, xs, retain_graph=True), apart)
    torch.autograd.backward([f, g])
    close([np.zeros(4) if x.grad is None else x.grad.numpy() for x in xs], apart)


@given(vectors, steps, st.permutations(range(4)))
@laws
def test_the_order_of_accumulation_does_not_matter(a, plan, order):
    """Backward passes of four losses add up to the same `.grad` in every order."""
    x = tensor(a, requires_grad=True)

    def accumulated(order):
        x.grad = None
        for k in order:
            program(plan, [x, x * (k + 1)]).sum().backward()
        return x.grad.numpy().copy()

    np.testing.assert_allclose(accumulated(order), accumulated(range(4)), rtol=1e-10, atol=1e-10)


@given(vectors, steps, st.integers(2, 4))
@laws
def test_n_passes_over_a_retained_graph_give_n_times_the_gradient(a, plan, n):
    """Passes leave a retained graph as it was; the last may free it, after which there is none."""
    x = tensor(a, requires_grad=True)
    out = program(plan, [x, x.sin()]).sum()
    once = grads(out, [x], retain_graph=True)[0]
    for k in range(n):
        out.backward(retain_graph=k + 1 < n)
    np.testing.assert_array_equal(x.grad.numpy(), sum([once] * (n - 1), start=once))
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()


@given(vectors, vectors, steps)
@laws
def test_the_chain_rule_holds_at_any_cut(a, b, plan):
    """Differentiating to an intermediate result, and from there to the leaves, is differentiating at once."""
    xs = [tensor(a, requires_grad=True), tensor(b, requires_grad=True)]
    middle = [xs[0] * xs[1], xs[0].sin() + xs[1]]
    out = program(plan, middle).sum()
    cut = torch.autograd.grad(out, middle, retain_graph=True, allow_unused=True, materialize_grads=True)
    close(grads(middle, xs, list(cut), retain_graph=True), grads(out, xs))


@given(vectors, steps)
@laws
def test_recorded_passes_give_the_same_gradients(a, plan):
    """create_graph changes what can follow, not the value; nor does it matter which inputs are asked for."""
    x, y = tensor(a, requires_grad=True), tensor(a[::-1], requires_grad=True)
    out = program(plan, [x, y]).sum()
    plain = grads(out, [x, y], retain_graph=True)
    close(grads(out, [x, y], create_graph=True), plain)
    close(grads(out, [y], retain_graph=True), plain[1:])
    out.backward()
    close([np.zeros(4) if t.grad is None else t.grad.numpy() for t in (x, y)], plain)


@given(vectors, vectors, steps)
@laws
def test_second_derivatives_are_differences_of_first_ones(a, v, plan):
    """Double backward times a vector is the derivative of the gradient along it."""
    x = tensor(a, requires_grad=True)

    def gradient(point):
        point = tensor(point, requires_grad=True)
        return grads(program(plan, [point, point.cos()]).sum(), [point])[0]

    (g,) = torch.autograd.grad(program(plan, [x, x.cos()]).sum(), x, create_graph=True)
    hv = grads(g, [x], tensor(v))[0] if g.requires_grad else np.zeros(4)
    coarse, fine = (
        (gradient((np.array(a) + h * np.array(v)).tolist()) - gradient((np.array(a) - h * np.array(v)).tolist()))
        / (2 * h)
        for h in (2e-3, 1e-3)
    )
    np.testing.assert_allclose(hv, (4 * fine - coarse) / 3, rtol=1e-5, atol=1e-5)


@given(vectors, vectors, vectors, steps)
@laws
def test_the_hessian_is_symmetric(a, u, v, plan):
    """u H v = v H u, so that backward over backward is the transpose of itself."""
    x = tensor(a, requires_grad=True)
    (g,) = torch.autograd.grad(program(plan, [x, x.cos()]).sum(), x, create_graph=True)
    if not g.requires_grad:
        return
    hu, hv = (grads(g, [x], tensor(w), retain_graph=True)[0] for w in (u, v))
    assert float(hu @ v) == pytest.approx(float(hv @ u), rel=1e-8, abs=1e-8)


shapes = st.lists(st.integers(1, 3), max_size=3)


@given(shapes, st.data())
@laws
def test_the_transpose_of_broadcasting_is_summing(shape, data):
    """The gradient for a broadcast input has its shape, and is the sum over the copies that were made of it."""
    small = [n if data.draw(st.booleans()) else 1 for n in shape][data.draw(st.integers(0, len(shape))) :]
    array = np.arange(1.0, 1 + int(np.prod(small))).reshape(small)
    x = torch.from_numpy(array).requires_grad_()
    weights = np.asarray(np.cos(np.arange(int(np.prod(shape)))).reshape(shape))
    for out in (x * torch.from_numpy(weights), torch.from_numpy(weights) * x):
        (g,) = torch.autograd.grad(out.sum(), x)
        copies = np.broadcast_to(np.arange(array.size).reshape(array.shape), weights.shape)
        expected = np.bincount(copies.ravel(), weights.ravel(), minlength=array.size).reshape(array.shape)
        assert tuple(g.shape) == array.shape
        np.testing.assert_allclose(g.numpy(), expected, rtol=1e-13, atol=1e-13)


@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=4), vectors)
@laws
def test_changes_in_place_differentiate_like_the_functional_program(names, a):
    """Value and first two derivatives of a program with in-place changes, of views too, are those without any."""

    def results(in_place):
        x = tensor(a, requires_grad=True)
        y = x * 1
        for name in names:
            change, pure = CHANGES[name]
            if in_place:
                change(y, x)
            else:
                y = pure(y, x)
        (g,) = torch.autograd.grad((y * y.sin()).sum(), x, create_graph=True, allow_unused=True, materialize_grads=True)
        return [y.detach().numpy(), g.detach().numpy(), *grads((g * g).sum(), [x])]

    close(results(True), results(False), rtol=1e-9, atol=1e-9)


@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=3), vectors)
@laws
def test_a_view_taken_before_a_change_sees_its_history(names, a):
    """A view of a changed base has the gradient of the same part of the functional result."""
    x = tensor(a, requires_grad=True)
    y = x * 1
    view, pure = y.view(2, 2)[:, 1], x * 1
    for name in names:
        CHANGES[name][0](y, x)
        pure = CHANGES[name][1](pure, x)
    close(grads((view**2).sum(), [x]), grads((pure.view(2, 2)[:, 1] ** 2).sum(), [x]))


@given(st.permutations(["a", "b", "c"]), st.booleans())
@laws
def test_roots_may_come_in_any_order(order, recorded):
    """backward of several roots is independent of their order, where one root is part of another's graph too."""
    x = tensor([0.3, -1.2, 0.7, 2.0], requires_grad=True)
    a = (x * x).sum()
    roots = {"a": a, "b": a * a, "c": (a + x.sin().sum()).exp() * 1e-3}
    (g,) = torch.autograd.grad([roots[k] for k in order], x, create_graph=recorded)
    value = float((x.detach() ** 2).sum())
    c = np.exp(value + np.sin(x.detach().numpy()).sum()) * 1e-3
    xs = x.detach().numpy()
    np.testing.assert_allclose(g.detach().numpy(), 2 * xs + 4 * value * xs + c * (2 * xs + np.cos(xs)), rtol=1e-12)


@pytest.mark.parametrize("keep", list(itertools.product([False, True], repeat=3)))
def test_only_tracked_inputs_receive(keep):
    """Exactly the leaves that require grad get a gradient, each the same whichever others do."""
    values = [0.4, -0.6, 1.1]
    leaves = [tensor(v, requires_grad=k) for v, k in zip(values, keep, strict=True)]
    out = leaves[0].sin() * leaves[1] + leaves[1] * leaves[2] * leaves[0]
    assert out.requires_grad is any(keep)
    if any(keep):
        out.backward()
    a, b, c = values
    expected = [np.cos(a) * b + b * c, np.sin(a) + c * a, a * b]
    for leaf, k, e in zip(leaves, keep, expected, strict=True):
        assert (leaf.grad is None) is not k
        assert not k or leaf.grad.item() == pytest.approx(e, rel=1e-14)
