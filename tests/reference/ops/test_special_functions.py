"""Special functions and operators on floating point numbers: slopes are those of differences, values those of mpmath or torch."""

from __future__ import annotations

import inspect

import mpmath
import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

# fmt: off
# name: (function of engine and x, interval, the function in mpmath or None)
UNARY = {
    "entr":      (lambda e, x: e.special.entr(x),      (0.2, 3.0),  lambda m, x: -x * m.log(x)),
    "erfcx":     (lambda e, x: e.special.erfcx(x),     (-1.5, 3.0), lambda m, x: m.exp(x * x) * m.erfc(x)),
    "erfinv":    (lambda e, x: e.erfinv(x),            (-0.9, 0.9), lambda m, x: m.erfinv(x)),
    "i0":        (lambda e, x: e.special.i0(x),        (-3.0, 3.0), lambda m, x: m.besseli(0, x)),
    "i0e":       (lambda e, x: e.special.i0e(x),       (-3.0, 3.0), lambda m, x: m.exp(-abs(x)) * m.besseli(0, x)),
    "i1":        (lambda e, x: e.special.i1(x),        (-3.0, 3.0), lambda m, x: m.besseli(1, x)),
    "i1e":       (lambda e, x: e.special.i1e(x),       (-3.0, 3.0), lambda m, x: m.exp(-abs(x)) * m.besseli(1, x)),
    "lgamma":    (lambda e, x: e.lgamma(x),            (0.2, 4.0),  lambda m, x: m.loggamma(x)),
    "digamma":   (lambda e, x: e.digamma(x),           (0.3, 4.0),  lambda m, x: m.digamma(x)),
    "polygamma": (lambda e, x: e.polygamma(2, x),      (0.5, 4.0),  lambda m, x: m.polygamma(2, x)),
    "trigamma of negative numbers": (lambda e, x: e.polygamma(1, x), (-0.8, -0.2), lambda m, x: m.polygamma(1, x)),
    "mvlgamma":  (lambda e, x: e.mvlgamma(x, 3),       (1.5, 4.0),
                  lambda m, x: 1.5 * m.log(m.pi) + sum(m.loggamma(x - i / m.mpf(2)) for i in range(3))),
    "multigammaln": (lambda e, x: e.special.multigammaln(x, 1), (0.5, 4.0), lambda m, x: m.loggamma(x)),
    "log_ndtr":  (lambda e, x: e.special.log_ndtr(x),  (-6.0, 3.0), lambda m, x: m.log(m.ncdf(x))),
    "ndtr":      (lambda e, x: e.special.ndtr(x),      (-3.0, 3.0), lambda m, x: m.ncdf(x)),
    "ndtri":     (lambda e, x: e.special.ndtri(x),     (0.05, 0.95), lambda m, x: m.sqrt(2) * m.erfinv(2 * x - 1)),
    "logit":     (lambda e, x: e.special.logit(x),     (0.05, 0.95), lambda m, x: m.log(x / (1 - x))),
    "logit eps": (lambda e, x: e.logit(x, 0.3),        (0.35, 0.65), lambda m, x: m.log(x / (1 - x))),
    "expit":     (lambda e, x: e.special.expit(x),     (-3.0, 3.0), lambda m, x: 1 / (1 + m.exp(-x))),
    "sinc":      (lambda e, x: e.sinc(x),              (-3.0, 2.5), lambda m, x: m.sincpi(x)),
    "exp2":      (lambda e, x: e.special.exp2(x),      (-3.0, 3.0), lambda m, x: m.mpf(2) ** x),
    "deg2rad":   (lambda e, x: e.deg2rad(x),           (-3.0, 3.0), lambda m, x: x * m.pi / 180),
    "rad2deg":   (lambda e, x: e.rad2deg(x),           (-3.0, 3.0), lambda m, x: x * 180 / m.pi),
    "frexp":     (lambda e, x: e.frexp(x).mantissa,    (1.1, 1.9),  lambda m, x: x / 2),
    "nan_to_num": (lambda e, x: e.nan_to_num(x),       (-3.0, 3.0), lambda m, x: x),
    "copysign to a number": (lambda e, x: e.copysign(x, -2.0), (0.5, 3.0), lambda m, x: -x),
}
BINARY = {  # of x in (0.3, 3) and y in (0.4, 2.5)
    "logaddexp":  (lambda e, x, y: e.logaddexp(x, y),          lambda m, x, y: m.log(m.exp(x) + m.exp(y))),
    "logaddexp2": (lambda e, x, y: e.logaddexp2(x, y),         lambda m, x, y: m.log(2 ** x + 2 ** y, 2)),
    "xlogy":      (lambda e, x, y: e.special.xlogy(x, y),      lambda m, x, y: x * m.log(y)),
    "xlog1py":    (lambda e, x, y: e.special.xlog1py(x, y),    lambda m, x, y: x * m.log(1 + y)),
    "ldexp":      (lambda e, x, y: e.ldexp(x, y),              lambda m, x, y: x * 2 ** y),
    "copysign":   (lambda e, x, y: e.copysign(x, -y),          lambda m, x, y: -x),
    "zeta":       (lambda e, x, y: e.special.zeta(x.detach() + 1.5, y), lambda m, x, y: m.zeta(x + 1.5, y)),
    "gammainc":   (lambda e, x, y: e.special.gammainc(x.detach(), y),
                   lambda m, x, y: m.gammainc(x, 0, y, regularized=True)),
    "gammaincc":  (lambda e, x, y: e.special.gammaincc(x.detach(), y),
                   lambda m, x, y: m.gammainc(x, y, m.inf, regularized=True)),
    "xlogy of a number": (lambda e, x, y: e.xlogy(1.5, y) * x, lambda m, x, y: 1.5 * m.log(y) * x),
    "xlogy by a number": (lambda e, x, y: e.xlogy(x, 1.5) * y, lambda m, x, y: x * m.log(1.5) * y),
    "xlog1py by a number": (lambda e, x, y: e.special.xlog1py(x, 1.5) * y, lambda m, x, y: x * m.log(2.5) * y),
}
# fmt: on


LINEAR = {"deg2rad", "rad2deg", "frexp", "nan_to_num", "copysign to a number"}


def points(interval, shape=(2, 3)):
    low, high = interval
    return np.linspace(low, high, int(np.prod(shape)) + 2)[1:-1].reshape(shape)


def exact(function, *arrays):
    """A function of mpmath at each element, to float64."""
    with mpmath.workdps(30):
        flat = [float(function(mpmath, *map(mpmath.mpf, xs))) for xs in zip(*(a.ravel() for a in arrays), strict=True)]
    return np.reshape(flat, arrays[0].shape)


@pytest.mark.parametrize("name", UNARY)
def test_values_of_one_tensor(name):
    """Values are mpmath's, in float64 and float32."""
    function, interval, oracle = UNARY[name]
    x = points(interval)
    np.testing.assert_allclose(function(torch, torch.from_numpy(x)).numpy(), exact(oracle, x), rtol=1e-12, atol=1e-14)
    single = x.astype(np.float32)
    result = function(torch, torch.from_numpy(single))
    assert result.dtype is torch.float32
    np.testing.assert_allclose(result.numpy(), exact(oracle, single.astype(np.float64)), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("name", UNARY)
def test_slopes_of_one_tensor(name):
    """First and second derivatives are those of differences, and torch's."""
    function, interval, _ = UNARY[name]
    slopes_are_those_of_differences(function, [points(interval)])
    order = 1 if name in LINEAR else 2
    for shape in ((2, 3), (), (0, 2)):
        same_as_torch(function, [points(interval, shape)], order=order)


@pytest.mark.parametrize("name", BINARY)
def test_values_and_slopes_of_two_tensors(name):
    """Values are mpmath's; derivatives are those of differences, and torch's, also where one is broadcast."""
    function, oracle = BINARY[name]
    x, y = points((0.3, 3.0)), points((0.4, 2.5))
    np.testing.assert_allclose(
        function(torch, torch.from_numpy(x), torch.from_numpy(y)).numpy(), exact(oracle, x, y), rtol=1e-12
    )
    if "detach" in inspect.getsource(function):
        slopes_are_those_of_differences(lambda e, b: function(e, e.from_numpy(x), b), [y], forward=name == "zeta")
        same_as_torch(lambda e, b: function(e, e.from_numpy(x), b), [y])
        return
    slopes_are_those_of_differences(function, [x, y])
    same_as_torch(function, [x, y])
    same_as_torch(function, [x, y[:, :1]])
    same_as_torch(function, [x[0], y])


@pytest.mark.parametrize("name", sorted(torch.special.untracked))
def test_functions_without_a_derivative(name):
    """Their results are torch's and have no history."""
    peer = pytest.importorskip("torch")
    x = points((0.2, 0.9))
    of = lambda e: getattr(e.special, name)(e.from_numpy(x), *([3] if "polynomial" in name else []))
    leaf = torch.from_numpy(x).requires_grad_()
    assert not getattr(torch.special, name)(leaf, *([3] if "polynomial" in name else [])).requires_grad
    np.testing.assert_allclose(of(torch).numpy(), of(peer).numpy(), rtol=1e-6)


def gradient(function, *data):
    leaves = [torch.tensor(d, dtype=torch.float64, requires_grad=True) for d in data]
    function(*leaves).sum().backward()
    return [x.grad.tolist() for x in leaves]


INF, NAN = float("inf"), float("nan")
# fmt: off
EXTREMES = [
    ("xlogy at 0", torch.xlogy, [[0.0, 0.0], [2.0, 0.0]], [[np.log(2), 0.0], [0.0, NAN]]),
    ("logaddexp far apart", torch.logaddexp, [[INF, 800.0], [1.0, -800.0]], [[1.0, 1.0], [0.0, 0.0]]),
    ("logaddexp2 far apart", torch.logaddexp2, [[INF, 2000.0], [1.0, -2000.0]], [[1.0, 1.0], [0.0, 0.0]]),
    ("logit moved to its bounds", lambda x: torch.logit(x, 0.25), [[0.0, 0.25, 0.5, 0.75, 1.0]],
     [[0.0, 16 / 3, 4.0, 16 / 3, 0.0]]),
    ("logit beyond [0, 1]", torch.logit, [[-0.5, 1.5]], [[NAN, NAN]]),
    ("sinc at 0", torch.sinc, [[0.0]], [[0.0]]),
    ("i1 at 0", torch.special.i1, [[0.0]], [[0.5]]),
    ("i1e at 0", torch.special.i1e, [[0.0]], [[0.5]]),
    ("digamma at a pole", torch.digamma, [[0.0]], [[INF]]),
    ("copysign of 0", torch.copysign, [[2.0, -2.0, 0.0, 2.0, 2.0], [-1.0, -1.0, -1.0, 0.0, -0.0]],
     [[-1.0, 1.0, 0.0, 1.0, -1.0], [0.0] * 5]),
    ("nan_to_num of what it replaces", torch.nan_to_num, [[NAN, INF, -INF, 1.0]], [[0.0, 0.0, 0.0, 1.0]]),
    ("nextafter", torch.nextafter, [[1.0, 2.0], [2.0, 2.0]], [[1.0, 0.0], [0.0, 0.0]]),
    ("power of a negative base", lambda x: (-2.0) ** (x + 0j), [[1.0]],
     [[float((np.log(-2 + 0j) * (-2)).real)]]),
]
# fmt: on


@pytest.mark.parametrize(("name", "function", "data", "expected"), EXTREMES, ids=[row[0] for row in EXTREMES])
def test_gradients_where_it_is_extreme(name, function, data, expected):
    """Bounds, zeros and infinities have the gradients that the definition, or its limit, gives them."""
    if "power" in name:
        x = torch.tensor(data[0], dtype=torch.float64, requires_grad=True)
        function(x).real.sum().backward()
        found = [x.grad.tolist()]
    else:
        found = gradient(function, *data)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_parts_of_a_number():
    """frexp's exponent is an int32 without a history; mantissa * 2^exponent is the number."""
    x = torch.tensor([3.0, -0.75, 0.0], requires_grad=True)
    mantissa, exponent = torch.frexp(x)
    assert exponent.dtype is torch.int32
    assert not exponent.requires_grad
    assert torch.ldexp(mantissa, exponent).tolist() == x.tolist()
    (g,) = torch.autograd.grad(mantissa.sum(), x)
    assert g.tolist() == [0.25, 1.0, 1.0]


def test_integers_and_half_precision():
    """Integers are computed in the default type; float16 stays float16."""
    assert torch.special.i0e(torch.tensor([1, 2])).dtype is torch.float32
    assert torch.logit(torch.tensor([0, 1])).tolist() == [-INF, INF]
    for function in (torch.erf, torch.sigmoid, torch.lgamma, torch.special.ndtr):
        assert function(torch.ones(2, dtype=torch.float16)).dtype is torch.float16


@pytest.mark.parametrize(("kind", "message", "call"), [
    (RuntimeError, "does not support negative n", lambda: torch.polygamma(-1, torch.ones(2))),
    (RuntimeError, "p has to be greater", lambda: torch.mvlgamma(torch.ones(2), 0)),
    (RuntimeError, "only supports floating-point", lambda: torch.frexp(torch.tensor([1]))),
    (NotImplementedError, '"hypot_cpu" not implemented for', lambda: torch.hypot(torch.tensor([1]), torch.tensor([2]))),
    (TypeError, "must be Tensor, not float", lambda: torch.atan2(torch.ones(2), 2.0)),
    (TypeError, "must be Tensor, not int", lambda: torch.maximum(1, torch.ones(2))),
    (NotImplementedError, '"entr_cpu" not implemented for', lambda: torch.special.entr(torch.ones(2) * 1j)),
    (RuntimeError, "alpha must not be", lambda: torch.add(torch.tensor([1]), torch.tensor([1]), alpha=0.5)),
    (RuntimeError, "expected dtype float for `end`", lambda: torch.lerp(torch.ones(2), torch.ones(2).double(), 0.5)),
    (RuntimeError, "Integer division with addcdiv", lambda: torch.addcdiv(
        torch.ones(2), torch.tensor([1, 2]), torch.tensor([1, 2]))),
    (RuntimeError, "fill_ only supports 0-dimension", lambda: torch.fill(torch.ones(2), torch.ones(2))),
])  # fmt: skip
def test_refused_arguments(kind, message, call):
    """What torch does not accept raises with its words."""
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


def test_powers_of_integers():
    """A negative exponent gives the reciprocal rounded towards 0, and raises where it is a number."""
    base, exponent = torch.tensor([2, 1, -1, -1]), torch.tensor([-1, -3, -3, -2])
    assert torch.pow(base, exponent).tolist() == [0, 1, -1, 1]
    assert (2 ** torch.tensor([3, -1])).tolist() == [8, 0]
    with pytest.raises(RuntimeError, match="Integers to negative integer powers"):
        base**-1
