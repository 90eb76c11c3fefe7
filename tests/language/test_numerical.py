"""Numerical derivatives: right where a function is smooth, with an error that bounds what they are off, refused elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from conformance.arrays import decode
from conformance.language.numerical import Estimate, Numerical
from tests.language.programs import agreed, engine, run

WORDS = Numerical(engine())
X = [[0.3, -1.2, 2.0], [-0.4, 0.7, 0.01]]
FLAGS = [{}, {"elementwise": True}, {"analytic": True}, {"elementwise": True, "analytic": True}]


def off(estimate: Estimate, exact: np.ndarray) -> float:
    """How far an estimate is off; its own error must bound that."""
    gap = float(np.max(np.abs(decode(estimate.value) - exact), initial=0.0))
    assert gap <= estimate.value.error + 1e-13 * (1 + np.max(np.abs(exact), initial=0.0))
    return gap


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("name", ["exp", "sin", "tanh", "square"])
def test_elementwise_functions(name: str, flags: dict[str, bool]) -> None:
    """By every way of computing it the derivative of a smooth function is right to 1e-9."""
    exact = {"exp": np.exp, "sin": np.cos, "tanh": lambda x: 1 / np.cosh(x) ** 2, "square": lambda x: 2 * x}[name]
    x = torch.tensor(X, dtype=torch.float64)
    v = WORDS.direction(x)
    [found] = WORDS.vjp(getattr(torch, name), [x], v, **flags)
    assert off(found, v.numpy() * exact(np.array(X))) < 1e-9


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_broadcast_inputs(flags: dict[str, bool]) -> None:
    """Each input's derivative is summed over what broadcasting repeated."""
    x, y = torch.tensor(X, dtype=torch.float64), torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    v = WORDS.direction(x)
    dx, dy = WORDS.vjp(lambda x, y: x * y, [x, y], v, **flags)
    assert off(dx, v.numpy() * y.numpy()) < 1e-10
    assert off(dy, (v.numpy() * x.numpy()).sum(1, keepdims=True)) < 1e-10


def test_complex_inputs_and_outputs() -> None:
    """The gradient of a complex number is d/dRe + i d/dIm of Re sum(conj(v) y), for real outputs too."""
    z = torch.tensor([0.5 + 1j, -1 + 0.25j], dtype=torch.complex128)
    v = WORDS.direction(z)
    for flags in ({}, {"elementwise": True}):
        [found] = WORDS.vjp(torch.square, [z], v, **flags)
        assert off(found, v.numpy() * np.conj(2 * z.numpy())) < 1e-9
        w = WORDS.direction(torch.abs(z))
        [found] = WORDS.vjp(torch.abs, [z], w, **flags)
        assert off(found, w.numpy() * z.numpy() / np.abs(z.numpy())) < 1e-9


def test_several_outputs_and_tangents() -> None:
    """Cotangents come as a list; derivatives along tangents as a tuple, one for each output."""
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)

    def f(x):
        return torch.prod(x), torch.square(x)

    v = WORDS.direction(f(x))
    [found] = WORDS.vjp(f, [x], v)
    assert off(found, v[0].item() * 8 / x.numpy() + v[1].numpy() * 2 * x.numpy()) < 1e-9
    t = WORDS.direction(x, 1)
    first, second = WORDS.jvp(f, [x], [t])
    assert off(first, (t.numpy() * 8 / x.numpy()).sum()) < 1e-9
    assert off(second, 2 * x.numpy() * t.numpy()) < 1e-9


@pytest.mark.parametrize("shape", [(), (0, 3), (1,)])
def test_sizes(shape: tuple[int, ...]) -> None:
    """Without dimensions, without elements, with one element."""
    x = torch.ones(shape, dtype=torch.float64)
    for flags in FLAGS:
        [found] = WORDS.vjp(torch.exp, [x], torch.ones(shape, dtype=torch.float64), **flags)
        assert off(found, np.full(shape, np.e)) < 1e-10
    assert off(WORDS.jvp(torch.exp, [x], [x]), np.full(shape, np.e)) < 1e-10


@pytest.mark.parametrize("flags", [{}, {"elementwise": True}], ids=str)
@pytest.mark.parametrize(("name", "at"), [("abs", 1e-5), ("sqrt", 1e-6), ("floor", 0.9999)])
def test_where_a_function_is_not_smooth_there_is_no_derivative(name: str, at: float, flags: dict[str, bool]) -> None:
    """Differences that do not converge raise ArithmeticError: no derivative is blamed for them."""
    x = torch.tensor([1.4, at], dtype=torch.float64)
    with pytest.raises(ArithmeticError, match="do not converge"):
        WORDS.vjp(getattr(torch, name), [x], WORDS.direction(x), **flags)
    with pytest.raises(ArithmeticError, match="do not converge"):
        WORDS.jvp(getattr(torch, name), [x], [WORDS.direction(x)])


def test_single_precision_is_refused() -> None:
    """A difference in float32 would be worth nothing."""
    with pytest.raises(TypeError, match="float64"):
        WORDS.vjp(torch.exp, [torch.ones(2)], torch.ones(2))


def test_directions_are_fixed_and_far_from_zero() -> None:
    """The same numbers each time, between 0.5 and 1.5 in size; tensors of a list get numbers of their own."""
    x = torch.zeros(200, dtype=torch.float64)
    numbers = WORDS.direction(x).numpy()
    assert np.array_equal(numbers, WORDS.direction(x).numpy())
    sizes, negative = np.abs(numbers), int((numbers < 0).sum())
    assert (sizes.min() >= 0.5, sizes.max() <= 1.5) == (True, True)
    assert 50 < negative < 150
    first, second = WORDS.direction([x, x])
    assert not np.array_equal(first.numpy(), second.numpy())
    assert WORDS.direction(torch.zeros(2, dtype=torch.complex64)).dtype == torch.complex64


def test_inner_products() -> None:
    """The real part, with the left side conjugated, over lists too; shapes agree."""
    z = torch.tensor([1 + 2j, 3.0], dtype=torch.complex128)
    assert decode(WORDS.inner_product(z, z * 1j).value) == 0.0
    assert decode(WORDS.inner_product([z, z], [z, torch.zeros_like(z)]).value) == 14.0
    along = WORDS.jvp(torch.sin, [z], [z])
    assert WORDS.inner_product(z, along).value.error == pytest.approx(along.value.error * np.abs(z.numpy()).sum())
    with pytest.raises(ValueError, match="shapes"):
        WORDS.inner_product(z, z[0])


def test_rounding_is_in_relation_to_the_largest_element() -> None:
    """An element near zero may be off as much as a large one; a thousand terms may be off more than ten; no more."""
    wide = torch.tensor([100.0, 0.0], dtype=torch.float64)
    like, terms = torch.zeros(2), torch.zeros(1024)
    assert WORDS.rounded(wide, like, []).value.error == pytest.approx(1e-5 * 100)
    assert WORDS.rounded(wide, like, [terms]).value.error == pytest.approx(1e-5 * 100 * 4)
    first, second = WORDS.rounded((wide, wide), (like, like.to(torch.float16)), [like])
    assert second.value.error == pytest.approx(400 * first.value.error)
    whole = torch.tensor([1, 2])
    assert WORDS.rounded(whole, whole, []) is whole


PROGRAM = """
    x = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    y = torch.exp(x) {sign} 0.001 * torch.square(x.detach())
    v = direction(y)
    y.backward(v)
    [expected] = numerical_vjp(lambda x: torch.exp(x), [x], v)
    assert x.grad {scale} == expected and expected == x.grad {scale} and [x.grad {scale}] == [expected]
"""


def test_in_a_program() -> None:
    """`==` allows for the error of a numerical derivative and no more; it is no part of the final state."""
    assert agreed(PROGRAM.format(sign="+", scale="")) == [True, True, True]
    assert agreed(PROGRAM.format(sign="+", scale="* 1.0000001")) == [False]
    assert "expected" not in run(PROGRAM.format(sign="+", scale="")).state
