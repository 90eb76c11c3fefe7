"""Every elementwise operator of the registry: its rule, its dtype, its in-place form, its derivative's derivative."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import reference_engine as torch
from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import Elementwise

# Sample points, away from kinks and inside the domain, where [-0.9, 0.9] \ 0 is not.
DOMAINS = {
    "acosh": (1.2, 3.0), "log": (0.3, 3.0), "log2": (0.3, 3.0), "log10": (0.3, 3.0), "sqrt": (0.3, 3.0),
    "rsqrt": (0.3, 3.0), "reciprocal": (0.3, 3.0), "xlogy": (0.3, 3.0), "_pow": (0.3, 2.0), "hypot": (0.3, 3.0),
    "atan2": (0.3, 3.0), "_logit": (0.1, 0.9), "_entr": (0.3, 3.0), "_ndtri": (0.1, 0.9), "lgamma": (0.3, 3.0),
    "digamma": (0.5, 3.0),
}  # fmt: skip


def operators():
    """All elementwise operators that are in use and have a derivative, by name."""
    found = {}
    for module_of in (registry.TENSOR_WORDS, registry.functions, registry.methods):
        for call in module_of.values():
            op = getattr(call, "operator", None)
            if isinstance(op, Elementwise) and op.node.__name__ != "NotImplemented":
                found[op.name] = call
    return dict(sorted(found.items()))


OPERATORS = operators()
PARTIALS = [
    (name, i) for name, call in OPERATORS.items() for i, p in enumerate(call.operator.partials) if p is not None
]
IN_PLACE = sorted(
    name[:-1] for name, fn in registry.methods.items()
    if name.endswith("_") and not name.endswith("__") and name[:-1] in OPERATORS
    and name not in ("acosh_", "asinh_", "atanh_")  # without a derivative: test_python_values.py
)  # fmt: skip


def samples(name, dtype=np.float64, seed=0):
    """Arguments of an operator: arrays of shape (2, 3), no two of them near a tie."""
    low, high = DOMAINS.get(name, (-0.9, 0.9))
    draw = np.random.default_rng(seed)
    arrays = []
    for k in range(len(OPERATORS[name].operator.partials)):
        points = np.linspace(low, high, 8)[[0, 1, 2, 5, 6, 7]] + 0.013 * (k + 1)
        arrays.append(draw.permutation(points).reshape(2, 3).astype(dtype))
    return arrays


def leaves(arrays):
    return [torch.from_numpy(a.copy()).requires_grad_(a.dtype.kind == "f") for a in arrays]


def grads(out, xs, seed, **options):
    return torch.autograd.grad(out, [x for x in xs if x.requires_grad], torch.from_numpy(seed), **options)


def tracked(arrays):
    return [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]


def test_the_table_is_found():
    """The tests below go over the whole table, not over an empty one."""
    assert len(OPERATORS) >= 45
    assert {"exp", "mul", "_div", "tanh", "erf", "atan2", "relu"} <= set(OPERATORS)
    assert len(IN_PLACE) >= 25


@pytest.mark.parametrize(("name", "index"), PARTIALS)
def test_partials_are_the_limits_of_difference_quotients(name, index):
    """The rule of each input times g is the derivative of the ufunc along that input, element by element."""
    arrays = samples(name)
    ufunc = OPERATORS[name].operator.ufunc
    g = np.cos(np.arange(6.0)).reshape(2, 3)

    def moved(h):
        return ufunc(*[a + h if i == index else a for i, a in enumerate(arrays)])

    coarse, fine = ((moved(h) - moved(-h)) / (2 * h) for h in (2e-3, 1e-3))
    expected = g * (4 * fine - coarse) / 3
    xs = leaves(arrays)
    found = dict(zip(tracked(arrays), grads(OPERATORS[name](*xs), xs, g), strict=True))[index]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERATORS)
def test_rules_return_the_dtype_of_their_input(name, dtype):
    """Arrays and NumPy scalars of float32 stay float32 in every rule: the edge does not look (`Node.exact`)."""
    for arrays in (samples(name, dtype), [np.array(a[0, 0]) for a in samples(name, dtype)]):
        xs = leaves(arrays)
        out = OPERATORS[name](*xs)
        assert out._array.dtype == dtype
        node, wanted = out.grad_fn, tuple(a.dtype.kind == "f" for a in arrays)
        for g in (np.ones(out.shape, dtype), np.ones(out.shape, dtype)[()]):
            for result in node.arrays((g,), wanted):
                assert result is None or result.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_rule_over_arrays_is_the_rule_over_tensors(name, dtype):
    """A plain pass and a recorded one give the same numbers, of the same type."""
    arrays = samples(name, dtype)
    g = np.cos(np.arange(6.0)).reshape(2, 3).astype(dtype)
    xs = leaves(arrays)
    out = OPERATORS[name](*xs)
    plain, recorded = grads(out, xs, g, retain_graph=True), grads(out, xs, g, create_graph=True)
    for p, r in zip(plain, recorded, strict=True):
        assert p.dtype is r.dtype is torch.from_numpy(g).dtype
        np.testing.assert_allclose(p.numpy(), r.detach().numpy(), rtol=4 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_short_path_is_the_long_one(name):
    """Saved-tensor hooks, which send an operator its long way, change neither values nor gradients."""
    arrays = samples(name)
    g = np.cos(np.arange(6.0)).reshape(2, 3)
    xs, ys = leaves(arrays), leaves(arrays)
    short = OPERATORS[name](*xs)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        long = OPERATORS[name](*ys)
    assert type(short.grad_fn) is type(long.grad_fn)
    np.testing.assert_array_equal(short.detach().numpy(), long.detach().numpy())
    for p, r in zip(grads(short, xs, g), grads(long, ys, g), strict=True):
        np.testing.assert_array_equal(p.numpy(), r.numpy())


@pytest.mark.parametrize("name", OPERATORS)
def test_second_derivatives_are_differences_of_first_ones(name):
    """The gradient of a recorded gradient is its difference quotient, for g and for every input."""
    arrays = samples(name)
    v = [np.sin(1.0 + np.arange(6.0) + i).reshape(2, 3) for i in range(len(arrays))]
    g = np.cos(np.arange(6.0)).reshape(2, 3)

    def first(h):
        xs = leaves([a if a.dtype.kind == "b" else a + h * d for a, d in zip(arrays, v, strict=True)])
        return [p.numpy() for p in grads(OPERATORS[name](*xs), xs, g)]

    xs = leaves(arrays)
    seed = torch.from_numpy(g).requires_grad_()
    wanted = [x for x in xs if x.requires_grad]
    out = OPERATORS[name](*xs)
    found = torch.autograd.grad(out, wanted, seed, create_graph=True)
    weights = [np.cos(2.0 + np.arange(6.0) + i).reshape(2, 3) for i in range(len(found))]
    total = sum((p * torch.from_numpy(w)).sum() for p, w in zip(found, weights, strict=True))
    second = (
        torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True) if total.requires_grad else []
    )
    along = sum(float((s.numpy() * v[i]).sum()) for s, i in zip(second, tracked(arrays), strict=bool(second)))
    coarse, fine = (
        sum(((p - q) * w).sum() for p, q, w in zip(first(h), first(-h), weights, strict=True)) / (2 * h)
        for h in (2e-3, 1e-3)
    )
    assert along == pytest.approx((4 * fine - coarse) / 3, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_is_out_of_place(name):
    """x.op_() has the values and the gradients of x.op(), counts one version, and is the tensor itself."""
    arrays = samples(name)
    g = np.cos(np.arange(6.0)).reshape(2, 3)
    xs, ys = leaves(arrays), leaves(arrays)
    first, second = xs[0] * 1, ys[0] * 1
    out = getattr(first, name)(*xs[1:])
    changed = getattr(second, f"{name}_")(*ys[1:])
    assert changed is second
    assert second._version == 1
    np.testing.assert_array_equal(out.detach().numpy(), second.detach().numpy())
    assert type(out.grad_fn).__name__ == type(second.grad_fn).__name__
    for p, r in zip(grads(out, xs, g), grads(second, ys, g), strict=True):
        np.testing.assert_array_equal(p.numpy(), r.numpy())


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_on_a_column_is_out_of_place(name):
    """On a strided view, the base's gradient is the operator's in that column, and passes elsewhere unchanged."""
    arrays = samples(name)
    g = np.cos(np.arange(6.0)).reshape(2, 3)
    xs, ys = leaves(arrays), leaves(arrays)
    column = getattr(xs[0][:, 1], name)(*[x[:, 1] for x in xs[1:]])
    expected = torch.stack([xs[0][:, 0], column, xs[0][:, 2]], 1)
    base = ys[0] * 1
    getattr(base[:, 1], f"{name}_")(*[y[:, 1] for y in ys[1:]])
    np.testing.assert_array_equal(expected.detach().numpy(), base.detach().numpy())
    for p, r in zip(grads(expected, xs, g), grads(base, ys, g), strict=True):
        np.testing.assert_array_equal(p.numpy(), r.numpy())


@pytest.mark.parametrize("name", [n for n, c in OPERATORS.items() if len(c.operator.partials) == 2])
def test_broadcast_inputs_get_sums(name):
    """A column and a row give the gradients of their expanded copies, summed."""
    a, b = samples(name)
    column, row = a[:, :1], b[:1]
    g = np.cos(np.arange(6.0)).reshape(2, 3)
    xs = leaves([column, row])
    found = grads(OPERATORS[name](*xs), xs, g)
    full = leaves([np.broadcast_to(column, (2, 3)).copy(), np.broadcast_to(row, (2, 3)).copy()])
    copies = grads(OPERATORS[name](*full), full, g)
    np.testing.assert_allclose(found[0].numpy(), copies[0].numpy().sum(1, keepdims=True), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(found[1].numpy(), copies[1].numpy().sum(0, keepdims=True), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", [n for n, c in OPERATORS.items() if set(c.operator.partials) == {"0"}])
def test_piecewise_constant_operators_give_zero_even_for_infinite_gradients(name):
    """The derivative is zero, not zero times the gradient that arrives."""
    arrays = samples(name)
    xs = leaves(arrays)
    g = np.full((2, 3), [np.inf, np.nan, -np.inf])
    for options in ({"retain_graph": True}, {"create_graph": True}):
        for found in grads(OPERATORS[name](*xs), xs, g, **options):
            np.testing.assert_array_equal(found.detach().numpy(), np.zeros((2, 3)))


@pytest.mark.parametrize("name", [n for n in OPERATORS if not n.startswith("_") and n in registry.functions])
def test_functions_and_methods_are_the_same_operator(name):
    """torch.op and Tensor.op take the same tensors and give the same values."""
    xs = [torch.from_numpy(a) for a in samples(name)]
    function = registry.functions[name](*xs)
    assert np.array_equal(function.numpy(), getattr(xs[0], name)(*xs[1:]).numpy())
    assert inspect.signature(registry.functions[name]).parameters


HOLOMORPHIC = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2",
    "neg", "reciprocal", "rsqrt", "sigmoid", "sin", "sinh", "sqrt", "tan", "tanh",
]  # fmt: skip


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_complex_gradients_are_conjugate_linear(name):
    """For a holomorphic operator the gradient is g * conj(f'(z)), f' being the complex difference quotient."""
    ufunc = OPERATORS[name].operator.ufunc
    z = samples(name)[0] + 0.3j * samples(name, seed=1)[0]
    coarse, fine = ((ufunc(z + h) - ufunc(z - h)) / (2 * h) for h in (2e-3, 1e-3))
    np.testing.assert_allclose((ufunc(z + 1e-3j) - ufunc(z - 1e-3j)) / 2e-3j, fine, rtol=1e-4)
    g = np.exp(1j * np.arange(6.0)).reshape(2, 3)
    x = torch.from_numpy(z).requires_grad_()
    (found,) = torch.autograd.grad(OPERATORS[name](x), x, torch.from_numpy(g))
    np.testing.assert_allclose(found.numpy(), g * np.conj((4 * fine - coarse) / 3), rtol=1e-7, atol=1e-9)


def test_an_infinite_gradient_stops_at_a_mask():
    """What a mask shuts out is zero, also where the gradient that arrives is infinite or nan; in a recorded pass too."""
    inf, nan = float("inf"), float("nan")
    programs = {
        "where": lambda x: torch.where(x > 0, torch.zeros(3), x),
        "relu": lambda x: torch.nn.functional.relu(-x),
        "clamp": lambda x: x.clamp(-3.0, -1.0),
        "hardtanh": lambda x: torch.nn.functional.hardtanh(x, -3.0, -1.0),
        "maximum": lambda x: torch.maximum(x, x.detach() + 1),
        "setitem": lambda x: (x * 1).index_fill_(0, torch.tensor([0, 1, 2]), 1.0),
    }
    for create_graph in (False, True):
        for program in programs.values():
            x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
            (g,) = torch.autograd.grad(program(x), x, torch.tensor([inf, -inf, nan]), create_graph=create_graph)
            assert g.tolist() == [0.0, 0.0, 0.0]
