"""Forward mode: tangents are directional derivatives, for every kind of operator, at every level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine as torch
from reference_engine.func import jvp

fw = torch.autograd.forward_ad

UNARY = {
    "exp": lambda x: x.exp(), "sin_times": lambda x: x.sin() * x, "reshape": lambda x: x.reshape(3, 2) @ x,
    "transpose": lambda x: x.t() * 2, "slice": lambda x: x[:, 1:] * x[:, :2], "index": lambda x: x[[1, 0, 1]] ** 2,
    "sum_keepdim": lambda x: x / (x * x).sum(1, keepdim=True), "mean": lambda x: x.mean(0) * x, "prod": lambda x: x.prod(1),
    "max": lambda x: x.max(1).values, "amax": lambda x: x.amax(), "sort": lambda x: x.sort(1)[0] * x,
    "logsumexp": lambda x: x.logsumexp(1), "softmax": lambda x: x.softmax(1), "log_softmax": lambda x: x.log_softmax(0),
    "norm": lambda x: x.norm(), "var": lambda x: x.var(1), "cumsum": lambda x: x.cumsum(1) * x, "cumprod": lambda x: x.cumprod(1),
    "cat": lambda x: torch.cat([x, x * x], 1), "stack": lambda x: torch.stack([x, x.exp()]).prod(0),
    "split": lambda x: sum(part * k for k, part in enumerate(x.split(1, 1), 1)), "unbind": lambda x: x.unbind(0)[1] * x,
    "expand": lambda x: x[0].expand(4, 3) * x.sum(), "where": lambda x: torch.where(x > 0, x * x, x.exp()),
    "clamp": lambda x: x.clamp(-0.5, 0.5) * x, "abs": lambda x: x.abs() * x, "pow": lambda x: (x * x + 1) ** x,
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x), "linear": lambda x: torch.nn.functional.linear(x, x.exp()),
    "gelu": lambda x: torch.nn.functional.gelu(x), "layer_norm": lambda x: torch.nn.functional.layer_norm(x, (3,)),
    "masked_fill": lambda x: x.masked_fill(x > 0, 2.0) * x, "gather": lambda x: x.gather(1, torch.tensor([[0, 2], [1, 1]])),
    "conv": lambda x: torch.nn.functional.conv1d(x[None], x[:, None, :2].exp(), groups=2),
    "mse": lambda x: torch.nn.functional.mse_loss(x, x.flip(1) ** 2), "to": lambda x: x.to(torch.float64) * x,
    "complex": lambda x: (torch.complex(x, x * x) * (1 + 2j)).abs(), "inplace": lambda x: x.clone().mul_(x).add_(x.exp()),
}  # fmt: skip


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values.tolist(), dtype=torch.float64)


def differences(f, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The directional derivative by central differences, extrapolated."""
    at = lambda h: np.array(f(tensor(x + h * t)).tolist())
    slope = lambda h: (at(h) - at(-h)) / (2 * h)
    return (4 * slope(1e-3) - slope(2e-3)) / 3


def drawn(seed: int, shape: tuple[int, ...] = (2, 3)) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    return g.uniform(0.2, 1.4, shape) * g.choice([-1, 1], shape), g.standard_normal(shape)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_tangent_is_the_directional_derivative(name: str, seed: int) -> None:
    """The tangent of f(dual) agrees with central differences of f along the direction."""
    f, (x, t) = UNARY[name], drawn(seed)
    out, pushed = jvp(f, (tensor(x),), (tensor(t),))
    assert pushed.shape == out.shape
    assert pushed.dtype is out.dtype
    np.testing.assert_allclose(pushed.tolist(), differences(f, x, t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", UNARY)
def test_forward_over_reverse_is_reverse_over_reverse(name: str) -> None:
    """The tangent of a gradient, the gradient of a tangent and a second backward give the same Hessian times vector."""
    f, (x, t) = UNARY[name], drawn(3)
    loss = lambda z: f(z).square().sum()
    leaf = tensor(x).requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    (wanted,) = (
        torch.autograd.grad(first, leaf, tensor(t), materialize_grads=True) if first.requires_grad else (leaf * 0,)
    )
    with fw.dual_level():
        (gradient,) = torch.autograd.grad(loss(fw.make_dual(leaf, tensor(t))), leaf)
        tangent = fw.unpack_dual(gradient).tangent
    np.testing.assert_allclose(tangent.tolist(), wanted.tolist(), rtol=1e-8, atol=1e-8)
    (reverse,) = torch.autograd.grad(jvp(loss, (leaf,), (tensor(t),))[1], leaf)
    np.testing.assert_allclose(reverse.tolist(), wanted.tolist(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", UNARY)
def test_nested_levels_give_second_derivatives(name: str) -> None:
    """jvp of jvp along one direction is the second directional derivative."""
    f, (x, t) = UNARY[name], drawn(4)
    once = lambda z: jvp(f, (z,), (tensor(t),))[1]
    pushed = jvp(once, (tensor(x),), (tensor(t),))[1]
    np.testing.assert_allclose(pushed.tolist(), differences(once, x, t), rtol=1e-7, atol=1e-7)


def test_levels_are_not_confused() -> None:
    """d/dx (x d/dy (x + y)) is 1: the inner derivative does not see the outer perturbation."""
    one = torch.tensor(1.0)
    inner = lambda x: jvp(lambda y: x + y, (one,), (one,))[1]
    assert jvp(lambda x: x * inner(x), (one,), (one,))[1].item() == 1.0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["mul_", "add_", "slice", "zero", "exp_", "copy"]), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_in_place_changes_keep_tangents_true(steps: list[str], seed: int) -> None:
    """Any sequence of changes in place, through views or not, leaves the tangents that out-of-place code has."""

    def f(x: torch.Tensor) -> torch.Tensor:
        y, before = x * 1, x[:1]
        view = y[:, 1:]
        for step in steps:
            if step == "mul_":
                y.mul_(before)
            elif step == "add_":
                view.add_(y[:, :2].sin())
            elif step == "slice":
                y[0] = y[1] * 0.5
            elif step == "zero":
                view[0].zero_()
            elif step == "exp_":
                view.mul_(0.1).exp_()
            else:
                view.copy_(x[:, :2])
        return y + view.sum()

    x, t = drawn(seed)
    pushed = jvp(f, (tensor(x),), (tensor(t),))[1]
    np.testing.assert_allclose(pushed.tolist(), differences(f, x, t), rtol=1e-6, atol=1e-6)


def test_a_base_gets_the_tangent_written_through_a_view() -> None:
    """A plain base has the tangent that was written into a view of it, zeros elsewhere; other views see it."""
    base = torch.zeros(3)
    other = base[1:]
    with fw.dual_level():
        base[:2].copy_(fw.make_dual(torch.ones(2), torch.tensor([5.0, 7.0])))
        assert fw.unpack_dual(base).tangent.tolist() == [5.0, 7.0, 0.0]
        assert fw.unpack_dual(other).tangent.tolist() == [7.0, 0.0]


def test_tangents_die_with_their_level() -> None:
    """Leaving a level frees its tangents, also of tensors that live on."""
    import weakref

    with fw.dual_level():
        dual = fw.make_dual(torch.ones(2), torch.ones(2))
        tangent = fw.unpack_dual(dual * 3).tangent
        kept = dual * 3
        reference = weakref.ref(fw.unpack_dual(kept).tangent)
        del tangent
        assert reference() is not None
    assert reference() is None
    assert kept.tolist() == [3.0, 3.0]


def test_a_constant_that_is_put_in_has_no_tangent() -> None:
    """fill_, padding and assigned numbers are affine: the tangent is 0 where the constant stands."""
    with fw.dual_level():
        dual = fw.make_dual(torch.ones(2), torch.tensor([5.0, 7.0]))
        padded = torch.nn.functional.pad(dual, (1, 1), value=3.0)
        assert padded.tolist() == [3.0, 1.0, 1.0, 3.0]
        assert fw.unpack_dual(padded).tangent.tolist() == [0.0, 5.0, 7.0, 0.0]
        dual[0] = 4.0
        assert fw.unpack_dual(dual).tangent.tolist() == [0.0, 7.0]
        assert fw.unpack_dual(dual.fill_(2.0)).tangent.tolist() == [0.0, 0.0]


def test_accumulated_gradients_have_no_tangent() -> None:
    """Inside a level `.grad` is added to in place, as outside, and has no tangent; what grad returns has one."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with fw.dual_level():
        dual = fw.make_dual(x, torch.tensor([1.0, 0.0]))
        (dual**3).sum().backward()
        first = x.grad
        (gradient,) = torch.autograd.grad((dual**3).sum(), x)
        assert fw.unpack_dual(gradient).tangent.tolist() == [6.0, 0.0]
        (dual**3).sum().backward()
        assert x.grad is first
        assert fw.unpack_dual(x.grad).tangent is None
    assert first.tolist() == [6.0, 24.0]
