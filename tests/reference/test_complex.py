"""Complex numbers: gradients against central differences over real and imaginary parts, and what has no complex form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine as torch
from tests.reference.against import same_as_torch

# Operators of one complex input, each analytic or smooth on the drawn domain (away from 0 and from the branch cuts).
UNARY = {
    **{name: lambda z, name=name: getattr(z, name)() for name in (
        "abs", "angle", "sgn", "conj", "conj_physical", "resolve_conj", "exp", "exp2", "expm1", "log", "log2", "log10",
        "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
        "tanh", "asinh", "acosh", "atanh", "sigmoid", "neg", "positive", "sum", "prod", "mean", "var", "norm",
        "clone", "ravel")},
    "std": lambda z: (z * torch.tensor([1.0, -1j])).std(),
    "real": lambda z: z.real,
    "imag": lambda z: z.imag,
    "view_as_real": torch.view_as_real,
    "round trip by pairs": lambda z: torch.view_as_complex(torch.view_as_real(z) * 2),
    "round trip by parts": lambda z: torch.complex(z.real * z.imag, z.real),
    "round trip by polar": lambda z: torch.polar(z.abs(), z.angle() * 2),
    "conjugate's parts": lambda z: z.conj().real * z.conj().imag,
    "cumsum": lambda z: z.cumsum(0),
    "cumprod": lambda z: z.cumprod(0),
    "norm of order 1": lambda z: z.norm(1),
    "norm of order 3": lambda z: z.norm(3),
    "power 3": lambda z: z**3,
    "power 0": lambda z: z**0,
    "power -1.5": lambda z: z**-1.5,
    "power of a number": lambda z: (1 + 2j) ** z,
    "complex exponent": lambda z: z ** (0.5 - 1j),
    "division of a number": lambda z: (2 - 1j) / z,
    "index": lambda z: z[[0, 0, 1]],
    "in place": lambda z: (z * 1).mul_(2j).add_(z, alpha=1 - 1j),
    "parts in place": lambda z: _parts_in_place(z * 1),
    "cast to real": lambda z: z.real.to(torch.complex128),
}  # fmt: skip
BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: torch.sub(a, b, alpha=2),
    "rsub": lambda a, b: torch.rsub(a, b, alpha=2),
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "logaddexp": torch.logaddexp,
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=2),
    "addcdiv": lambda a, b: torch.addcdiv(a, a, b, value=2),
    "lerp": lambda a, b: torch.lerp(_complex(a), _complex(b), 0.3),
    "where": lambda a, b: torch.where(torch.tensor([True, False]), a, b),
    "cat": lambda a, b: torch.cat([a, b]),
    "stack": lambda a, b: torch.stack([a, b]),
    "dot": lambda a, b: torch.dot(_complex(a), _complex(b)),
    "vdot": lambda a, b: torch.vdot(_complex(a), _complex(b)),
    "outer": torch.outer,
    "matmul": lambda a, b: torch.outer(_complex(a), _complex(b)) @ _complex(a).conj(),
    "in place": lambda a, b: (_complex(a) * 1).mul_(b),
}
ORDERED = {
    "<": lambda z: z < z,
    ">=": lambda z: z >= 1,
    "real < complex number": lambda z: z.real < 1j,
    "sorted": lambda z: sorted([z[0], z[1]]),
    **{name: lambda z, name=name: getattr(z, name)() for name in (
        "max", "min", "amax", "amin", "argmax", "argmin", "sort", "argsort", "median", "unique", "relu", "relu_",
        "floor", "ceil", "trunc", "round", "frac", "sign", "signbit", "erf")},
    "max along": lambda z: z.max(0),
    "median along": lambda z: z.median(0),
    "topk": lambda z: z.topk(1),
    "maximum": lambda z: torch.maximum(z, z),
    "minimum": lambda z: torch.minimum(z.real, z),
    "clamp": lambda z: z.clamp(0, 1),
    "clamp_": lambda z: z.clone().clamp_(0, 1),
    "lt_": lambda z: z.clone().lt_(0),
    "atan2": lambda z: torch.atan2(z, z),
    "fmod": lambda z: torch.fmod(z, 2),
    "%": lambda z: z % 2,
    "//": lambda z: z // 2,
    "div": lambda z: torch.div(z, 2, rounding_mode="floor"),
    "softmax": lambda z: z.view(2, 1).softmax(0),
    **{name: lambda z, name=name: getattr(torch.nn.functional, name)(z) for name in (
        "gelu", "elu", "leaky_relu", "hardtanh", "relu6", "softplus", "logsigmoid")},
    "mse_loss": lambda z: torch.nn.functional.mse_loss(z, z),
    "abs_": lambda z: z.clone().abs_(),
    "float()": lambda z: float(z[0]),
    "int()": lambda z: int(z[0]),
    "polar of complex": lambda z: torch.polar(z.real, z),
    "complex of two types": lambda z: torch.complex(z.real, z.real.double()),
}  # fmt: skip


def _complex(x):
    return x.to(torch.complex128)


def _parts_in_place(z):
    z.real.mul_(3)
    z.imag.mul_(0.5)
    z.conj().mul_(1j)
    z.imag = z.real * 2
    return z


def _pairs(x):
    """A result as real numbers, and inner products of it."""
    x = x.resolve_conj()
    return np.atleast_1d(x.detach().numpy()).view(np.float64).ravel()


coordinates = st.floats(0.2, 0.9).map(lambda v: round(v, 3))
points = st.lists(st.builds(complex, coordinates, coordinates), min_size=2, max_size=2)
directions = st.lists(st.builds(complex, *[st.floats(-1, 1).map(lambda v: round(v, 3))] * 2), min_size=2, max_size=2)
laws = settings(max_examples=6, deadline=None)


def _adjoint_law(function, data, steps, seed):
    """<g, J t> = <J^H g, t> over the real numbers, J t by central differences and J^H g by autograd."""
    leaves = [torch.from_numpy(np.array(x)).requires_grad_() for x in data]
    out = function(*leaves)
    draw = np.random.default_rng(seed)
    g = draw.standard_normal(tuple(out.shape))
    if out.is_complex():
        g = g + 1j * draw.standard_normal(tuple(out.shape))
    grads = torch.autograd.grad(out, leaves, torch.from_numpy(np.asarray(g)), allow_unused=True)
    for leaf, grad in zip(leaves, grads, strict=True):
        assert grad is None or grad.dtype is leaf.dtype  # a real leaf receives a real gradient

    def value(h):
        moved = [torch.from_numpy(np.array(x) + h * np.array(t)) for x, t in zip(data, steps, strict=True)]
        return _pairs(function(*moved))

    def quotient(h):
        return np.dot((value(h) - value(-h)) / (2 * h), np.atleast_1d(g).view(np.float64).ravel())

    expected = (4 * quotient(5e-4) - quotient(1e-3)) / 3
    found = sum(
        np.real(np.vdot(grad.resolve_conj().numpy(), t))
        for grad, t in zip(grads, steps, strict=True)
        if grad is not None
    )
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", UNARY)
@given(points, directions, st.integers(0, 99))
@laws
def test_one_complex_input(name, point, direction, seed):
    """The gradient is the adjoint of the derivative over the real numbers."""
    _adjoint_law(UNARY[name], [point], [direction], seed)


@pytest.mark.parametrize("kinds", ["complex complex", "complex real", "real complex"])
@pytest.mark.parametrize("name", BINARY)
@given(points, points, directions, directions, st.integers(0, 99))
@laws
def test_two_inputs_real_or_complex(name, kinds, a, b, ta, tb, seed):
    """The same for two inputs, where a real one has real directions and a real gradient."""
    data, steps = [a, b], [ta, tb]
    for i, kind in enumerate(kinds.split()):
        if kind == "real":
            data[i], steps[i] = np.real(data[i]).tolist(), np.real(steps[i]).tolist()
    _adjoint_law(BINARY[name], data, steps, seed)


@pytest.mark.parametrize("name", UNARY)
def test_second_derivatives_are_those_of_differences(name):
    """gradgradcheck holds at a complex point."""
    z = torch.tensor([0.3 + 0.8j, 0.7 - 0.4j], dtype=torch.complex128, requires_grad=True)
    weight = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda z, weight: UNARY[name](z) * weight, (z, weight))


@pytest.mark.parametrize("name", BINARY)
def test_values_and_derivatives_are_those_of_torch(name):
    """Value and first derivatives of two complex inputs agree with torch's."""
    real_torch = pytest.importorskip("torch")

    def function(engine, a, b):
        if engine is real_torch:
            return _as_torch(name, real_torch)(a, b)
        return BINARY[name](a, b)

    same_as_torch(function, [np.array([0.3 + 0.8j, 0.7 - 0.4j]), np.array([1.1 - 0.2j, -0.6 + 0.5j])], order=1)


def _as_torch(name, engine):
    """The table's function with `torch` bound to another engine."""
    import types

    scope = {**globals(), "torch": engine}
    scope["_complex"] = types.FunctionType(_complex.__code__, scope)
    found = BINARY[name]
    code = getattr(found, "__code__", None)
    if found is getattr(torch, name, None):
        return getattr(engine, name)
    return types.FunctionType(code, scope)


@pytest.mark.parametrize("name", ORDERED)
def test_what_has_no_complex_form_raises_as_in_torch(name):
    """Error type and message agree with torch's."""
    real_torch = pytest.importorskip("torch")
    messages = []
    for engine in (torch, real_torch):
        z = engine.tensor([1 + 2j, 3 - 1j])
        with pytest.raises((RuntimeError, TypeError)) as error:
            _with(ORDERED[name], engine)(z)
        messages.append((error.type, str(error.value)))
    assert messages[0] == messages[1]


def _with(function, engine):
    import types

    return types.FunctionType(function.__code__, {**globals(), "torch": engine}, None, function.__defaults__)


def test_complex_types_promote():
    """The part's type of a complex result is that of the widest tensor; Python numbers bring no width."""
    half, single, double = torch.complex32, torch.complex64, torch.complex128
    z = {d: torch.ones(1, dtype=d) for d in (half, single, double)}
    x = {d: torch.ones(1, dtype=d) for d in (torch.float16, torch.float32, torch.float64)}
    assert (z[half] * z[single]).dtype is single
    assert (z[single] * z[double]).dtype is double
    assert (z[single] * x[torch.float64]).dtype is double
    assert (z[half] * x[torch.float16]).dtype is half
    assert (x[torch.float64] * 1j).dtype is double
    assert (x[torch.float32] * 1j).dtype is single
    assert (z[single] * 2.0).dtype is single
    assert z[half].abs().dtype is torch.float16
    assert torch.complex(x[torch.float16], x[torch.float16]).dtype is half
    assert z[double].real.dtype is torch.float64


def test_functional_products_take_complex_inputs():
    """jacobian, vjp and hvp of functions of complex inputs follow the convention: conj for J, 2 for |z|^2."""
    z = torch.tensor([1 + 2j, 0.5 - 1j], dtype=torch.complex128)
    f = torch.autograd.functional
    _, pulled = f.vjp(lambda z: z * z, z, torch.ones(2, dtype=torch.complex128))
    assert pulled.tolist() == (2 * z.conj()).tolist()
    assert f.vjp(lambda z: (z * z.conj()).real.sum(), z)[1].tolist() == (2 * z).tolist()


def test_functional_products_imply_no_complex_vector():
    """Where v is left out it is 1 for a real output or input, and refused for a complex one, as backward() does."""
    f, z = torch.autograd.functional, torch.tensor([1j])
    with pytest.raises(RuntimeError, match="only for real scalar outputs but got torch"):
        f.vjp(lambda z: z.sum(), z)
    assert f.vjp(lambda z: z.abs().sum(), z)[1].tolist() == [1j]


def test_complex_numbers_do_not_go_into_real_tensors():
    """A number with an imaginary part does not fit into a real tensor; without one it does."""
    x = torch.zeros(2)
    with pytest.raises(RuntimeError, match="value cannot be converted to type float without overflow"):
        x.fill_(1j)
    assert x.fill_(2 + 0j).tolist() == [2.0, 2.0]


def test_the_type_of_complex_numbers_at_default_precision_is_not_shown():
    """complex64 is implied where float32 is the default, complex128 is shown."""
    assert repr(torch.tensor(0.5 + 1.5j)) == "tensor(0.5000+1.5000j)"
    assert "complex128" in repr(torch.tensor(1j, dtype=torch.complex128))
