"""Convolution: value, gradient and second derivatives, for every stride, padding, dilation and grouping."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import reference_engine as T
from reference_engine.ops import im2col
from tests.reference.against import arrays, same_as_differences, same_as_torch

F = T.nn.functional


@st.composite
def convolutions(draw, least=1, most=3):
    """The shapes and options of one convolution that has at least one output position."""
    n = draw(st.integers(least, most))
    groups, per_group, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    options = {
        "stride": draw(st.tuples(*[st.integers(1, 3)] * n)),
        "padding": draw(st.tuples(*[st.integers(0, 2)] * n)),
        "dilation": draw(st.tuples(*[st.integers(1, 2)] * n)),
        "groups": groups,
    }
    kernel = draw(st.tuples(*[st.integers(1, 3)] * n))
    size = draw(st.tuples(*[st.integers(1, 5 if n < 3 else 4)] * n))
    reach = [d * (k - 1) + 1 for d, k in zip(options["dilation"], kernel, strict=True)]
    assume(all(s + 2 * p >= r for s, p, r in zip(size, options["padding"], reach, strict=True)))
    batch = draw(st.integers(1, 3))
    shapes = [(batch, groups * per_group, *size), (groups * outputs, per_group, *kernel)]
    bias = [(groups * outputs,)] if draw(st.booleans()) else []
    return n, [*shapes, *bias], options


def loops(x, w, b, n, stride, padding, dilation, groups):
    """The definition, one output element at a time."""
    geometry = im2col.Geometry(stride, tuple((p, p) for p in padding), dilation, groups)
    out = geometry.out_size(x.shape[2:], w.shape[2:])
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    y = np.zeros((x.shape[0], w.shape[0], *out))
    width = w.shape[0] // groups
    for sample, channel, *at in itertools.product(*map(range, y.shape)):
        first = channel // width * w.shape[1]
        for c, *k in itertools.product(*map(range, w.shape[1:])):
            where = tuple(a * s + i * d for a, s, i, d in zip(at, stride, k, dilation, strict=True))
            y[(sample, channel, *at)] += padded[(sample, first + c, *where)] * w[(channel, c, *k)]
    return y if b is None else y + b.reshape(-1, *(1,) * n)


@given(convolutions(1, 2), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_value_is_the_definition(case, seed):
    """Each element is the sum of products that defines it."""
    n, shapes, options = case
    data = arrays(seed, *shapes)
    x, w, b = (*data, None)[:3]
    result = getattr(F, f"conv{n}d")(*map(T.from_numpy, data), **options)
    np.testing.assert_allclose(result.numpy(), loops(x, w, b, n, **options), atol=1e-12)


@given(convolutions(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_conv_agrees_with_torch(case, seed):
    """Value, gradients and gradients of gradients equal torch's."""
    n, shapes, options = case
    same_as_torch(lambda e, *xs: getattr(e.nn.functional, f"conv{n}d")(*xs, **options), arrays(seed, *shapes))


@given(convolutions(), st.integers(0, 99), st.data())
@settings(max_examples=40, deadline=None)
def test_conv_transpose_agrees_with_torch(case, seed, data):
    """Value, gradients and gradients of gradients of the transposed convolution equal torch's."""
    n, (shape, weight, *_), options = case
    groups, channels = options["groups"], shape[1]
    weight = (channels, weight[1], *weight[2:])
    bias = [(weight[1] * groups,)] if data.draw(st.booleans()) else []
    limits = [max(s, d) - 1 for s, d in zip(options["stride"], options["dilation"], strict=True)]
    options["output_padding"] = data.draw(st.tuples(*[st.integers(0, m) for m in limits]))
    sizes = [(m - 1) * s - 2 * p + d * (k - 1) + e + 1 for m, k, s, p, d, e in zip(
        shape[2:], weight[2:], options["stride"], options["padding"], options["dilation"], options["output_padding"],
        strict=True)]  # fmt: skip
    assume(min(sizes) >= 1)
    function = f"conv_transpose{n}d"
    same_as_torch(lambda e, *xs: getattr(e.nn.functional, function)(*xs, **options), arrays(seed, shape, weight, *bias))


@given(convolutions(2, 2), st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_derivatives_agree_with_differences(case, seed):
    """First and second derivatives are those of central differences, element by element."""
    _, shapes, options = case
    assume(sum(int(np.prod(s)) for s in shapes) <= 60)
    same_as_differences(lambda e, *xs: e.nn.functional.conv2d(*xs, **options), arrays(seed, *shapes))


@given(convolutions(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_three_operators_share_one_form(case, seed):
    """<convolve(x, w), g> = <x, transpose(g, w)> = <w, correlate(g, x)>: each is the others' transpose."""
    _, (x_shape, w_shape, *_), options = case
    geometry = im2col.Geometry(options["stride"], tuple((p, p) for p in options["padding"]), options["dilation"],
                               options["groups"])  # fmt: skip
    x, w = arrays(seed, x_shape, w_shape)
    out = geometry.out_size(x_shape[2:], w_shape[2:])
    y = im2col.convolve(x, w, None, geometry=geometry, out=out)
    (g,) = arrays(seed + 1, y.shape)
    form = np.vdot(y, g)
    np.testing.assert_allclose(
        np.vdot(x, im2col.transpose(g, w, None, geometry=geometry, size=x_shape[2:])), form, atol=1e-9
    )
    np.testing.assert_allclose(
        np.vdot(w, im2col.correlate(g, x, geometry=geometry, kernel=w_shape[2:])), form, atol=1e-9
    )


@given(st.integers(1, 9), st.integers(1, 400))
@settings(max_examples=20, deadline=None)
def test_blocks_do_not_change_the_result(batch, cache):
    """How samples are grouped into blocks is invisible."""
    x, w, g = arrays(batch, (batch, 2, 5, 4), (3, 2, 3, 2), (batch, 3, 5, 5))
    geometry = im2col.Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 1)

    def values():
        return [
            im2col.convolve(x, w, None, geometry=geometry, out=(5, 5)),
            im2col.transpose(g, w, None, geometry=geometry, size=(5, 4)),
            im2col.correlate(g, x, geometry=geometry, kernel=(3, 2)),
        ]

    wholes, before = values(), im2col.CACHE
    try:
        im2col.CACHE = cache * 8
        parts = values()
    finally:
        im2col.CACHE = before
    for whole, part in zip(wholes, parts, strict=True):
        np.testing.assert_allclose(whole, part, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kernel", [(2, 3), (3, 3), (4, 1)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_keeps_the_size(kernel, dilation):
    """padding='same' gives the input's size and torch's values, even kernels included."""
    data = arrays(3, (2, 2, 7, 6), (3, 2, *kernel), (3,))
    result = F.conv2d(*map(T.from_numpy, data), padding="same", dilation=dilation)
    assert result.shape == (2, 3, 7, 6)
    same_as_torch(lambda e, *xs: e.nn.functional.conv2d(*xs, padding="same", dilation=dilation), data)


def test_valid_padding_is_none():
    """padding='valid' is padding 0."""
    x, w = map(T.from_numpy, arrays(4, (1, 1, 5, 5), (1, 1, 3, 3)))
    assert np.array_equal(F.conv2d(x, w, padding="valid").numpy(), F.conv2d(x, w).numpy())


def test_input_without_batch():
    """An input (C, H, W) is a batch of one."""
    x, w = arrays(5, (2, 5, 5), (3, 2, 3, 3))
    same_as_torch(lambda e, a, b: e.nn.functional.conv2d(a, b), [x, w])


def test_complex():
    """Complex convolution follows the conjugate convention of complex gradients."""
    x, w = (
        a + 1j * b
        for a, b in zip(arrays(6, (1, 2, 4, 4), (2, 2, 3, 3)), arrays(7, (1, 2, 4, 4), (2, 2, 3, 3)), strict=True)
    )
    torch = pytest.importorskip("torch")
    found = []
    for engine in (T, torch):
        a, b = (engine.from_numpy(np.array(v)).requires_grad_() for v in (x, w))
        y = engine.nn.functional.conv2d(a, b, padding=1)
        y.abs().sum().backward()
        found.append([t.detach().numpy() for t in (y, a.grad, b.grad)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_only_what_is_needed_is_computed():
    """A weight that is not tracked gets no edge, and its gradient stays None."""
    x, w = map(T.from_numpy, arrays(8, (1, 1, 4, 4), (1, 1, 2, 2)))
    y = F.conv2d(x.requires_grad_(), w)
    assert [n is None for n, _ in y.grad_fn.next_functions] == [False, True, True]
    y.sum().backward()
    assert w.grad is None
    assert x.grad is not None


def test_names_are_torch_s():
    """The recorded node carries torch's name, plain or transposed."""
    x, w = map(T.from_numpy, arrays(9, (1, 2, 4, 4), (2, 2, 2, 2)))
    x.requires_grad_()
    assert F.conv2d(x, w).grad_fn.name() == "ConvolutionBackward0"
    assert F.conv_transpose2d(x, w).grad_fn.name() == "ConvolutionBackward0"
    assert F.conv2d(x, w).grad_fn._saved_weight is w


ERRORS = [
    ("conv2d", (1, 2, 5, 5), (4, 3, 3, 3), {}, "to have 3 channels, but got 2 channels instead"),
    ("conv2d", (1, 3, 2, 2), (4, 3, 3, 3), {}, "Kernel size can't be greater than actual input size"),
    ("conv2d", (5, 5), (4, 3, 3, 3), {}, "Expected 3D (unbatched) or 4D (batched) input to conv2d"),
    ("conv2d", (1, 3, 5, 5), (4, 3, 3, 3), {"stride": 0}, "non-positive stride is not supported"),
    ("conv2d", (1, 3, 5, 5), (4, 3, 3, 3), {"padding": -1}, "negative padding is not supported"),
    ("conv2d", (1, 3, 5, 5), (4, 3, 3, 3), {"dilation": 0}, "dilation should be greater than zero"),
    ("conv2d", (1, 3, 5, 5), (4, 3, 3, 3), {"groups": 0}, "non-positive groups is not supported"),
    ("conv2d", (1, 3, 5, 5), (4, 3, 3, 3), {"padding": "same", "stride": 2}, "not supported for strided convolutions"),
    ("conv2d", (1, 3, 5, 5), (4, 3, 3, 3), {"padding": "foo"}, "Invalid padding string: 'foo'"),
    ("conv2d", (1, 4, 5, 5), (3, 2, 3, 3), {"groups": 2}, "expected weight to be divisible by 2 at dimension 0"),
    ("conv_transpose2d", (1, 2, 5, 5), (3, 4, 3, 3), {}, "to have 3 channels, but got 2 channels instead"),
    (
        "conv_transpose2d",
        (1, 3, 5, 5),
        (3, 4, 3, 3),
        {"output_padding": 1},
        "output padding must be smaller than either",
    ),
]


@pytest.mark.parametrize(("function", "x", "w", "options", "message"), ERRORS)
def test_wrong_arguments(function, x, w, options, message):
    """Arguments that do not fit raise torch's error, naming the values."""
    data = arrays(1, x, w)
    for engine in (T, pytest.importorskip("torch")):
        with pytest.raises(RuntimeError) as error:
            getattr(engine.nn.functional, function)(*map(engine.from_numpy, data), **options)
        assert message in str(error.value)


def test_wrong_dtype():
    """Input and weight have one dtype."""
    x, w = arrays(1, (1, 1, 4, 4), (1, 1, 2, 2))
    with pytest.raises(RuntimeError, match="expected scalar type Double but found Float"):
        F.conv2d(T.from_numpy(x), T.from_numpy(w.astype(np.float32)))
