"""Operators of networks beside torch and central differences: normalisation, pooling, padding, dropout, embedding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import reference_engine as T
from tests.reference.against import arrays, same_as_differences, same_as_torch

F = T.nn.functional
seeds = st.integers(0, 99)


# --- normalisation -------------------------------------------------------------------------------------------------


@st.composite
def channelled(draw, least=1):
    """A shape (N, C, ...) with up to three spatial dimensions."""
    spatial = draw(st.lists(st.integers(1, 4), min_size=least, max_size=3))
    return (draw(st.integers(1, 3)), draw(st.integers(1, 4)), *spatial)


@given(channelled(least=0), seeds, st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_batch_norm_agrees_with_torch(shape, seed, affine, training):
    """Value and derivatives to second order, by the batch and by running statistics."""
    n, c, *rest = shape
    assume(not training or n * int(np.prod(rest)) > 2)  # of two values one follows from the other: derivatives are ~0
    data = arrays(seed, shape, *([(c,), (c,)] if affine else []))
    mean, spread = arrays(seed + 1, (c,), (c,))

    def function(e, x, *params):
        running = (e.from_numpy(mean.copy()), e.from_numpy(spread**2 + 0.5))
        x = x if training else x * x  # by fixed statistics it is linear in x
        return e.nn.functional.batch_norm(x, *running, *params, training=training, eps=1e-2)

    same_as_torch(function, data, rtol=1e-7, atol=1e-8)


@given(channelled(least=0), seeds, st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_batch_norm_moves_running_statistics(shape, seed, momentum):
    """Running mean and (unbiased) variance move as torch's do, and only in training."""
    torch = pytest.importorskip("torch")
    assume(shape[0] * int(np.prod(shape[2:])) > 1)
    (x,) = arrays(seed, shape)
    found = []
    for e in (T, torch):
        running = e.zeros(shape[1], dtype=e.float64), e.ones(shape[1], dtype=e.float64)
        e.nn.functional.batch_norm(e.from_numpy(x), *running, training=True, momentum=momentum)
        kept = [r.clone() for r in running]
        e.nn.functional.batch_norm(e.from_numpy(x), *running, training=False, momentum=momentum)
        assert all(bool((a == b).all()) for a, b in zip(kept, running, strict=True))
        found.append([r.numpy() for r in running])
    np.testing.assert_allclose(*found, atol=1e-12)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data(), seeds)
@settings(max_examples=30, deadline=None)
def test_layer_norm_agrees_with_torch(shape, data, seed):
    """Value and derivatives to second order, over any number of last dimensions."""
    n = data.draw(st.integers(1, len(shape)))
    over = tuple(shape[-n:])
    assume(np.prod(over) > 2)
    params = [over, over][: data.draw(st.integers(0, 2))]
    same_as_torch(lambda e, x, *p: e.nn.functional.layer_norm(x, over, *p, eps=1e-2), arrays(seed, shape, *params), rtol=1e-7,
                  atol=1e-8)  # fmt: skip


@given(channelled(), st.integers(1, 3), seeds, st.booleans())
@settings(max_examples=30, deadline=None)
def test_group_norm_agrees_with_torch(shape, groups, seed, affine):
    """Value and derivatives to second order."""
    n, c, *rest = shape
    shape = (n, c * groups, *rest)
    assume(c * np.prod(rest) > 2)
    params = [(c * groups,)] * (2 if affine else 0)
    same_as_torch(lambda e, x, *p: e.nn.functional.group_norm(x, groups, *p, eps=1e-2), arrays(seed, shape, *params), rtol=1e-7,
                  atol=1e-8)  # fmt: skip


@given(channelled(), seeds, st.booleans())
@settings(max_examples=20, deadline=None)
def test_instance_norm_agrees_with_torch(shape, seed, affine):
    """Value and derivatives to second order, and the running statistics."""
    torch = pytest.importorskip("torch")
    assume(np.prod(shape[2:]) > 2)
    c = shape[1]
    data = arrays(seed, shape, *([(c,), (c,)] if affine else []))
    same_as_torch(
        lambda e, x, *p: e.nn.functional.instance_norm(x, None, None, *p, eps=1e-2), data, rtol=1e-7, atol=1e-8
    )
    found = []
    for e in (T, torch):
        running = e.zeros(c, dtype=e.float64), e.ones(c, dtype=e.float64)
        e.nn.functional.instance_norm(e.from_numpy(data[0]), *running)
        found.append([r.numpy() for r in running])
    np.testing.assert_allclose(*found, atol=1e-12)


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "group_norm"])
def test_normalisation_agrees_with_differences(name):
    """First and second derivatives are those of central differences."""
    calls = {
        "batch_norm": lambda e, x, w, b: e.nn.functional.batch_norm(x, None, None, w, b, training=True),
        "layer_norm": lambda e, x, w, b: e.nn.functional.layer_norm(x, (4,), w, b),
        "group_norm": lambda e, x, w, b: e.nn.functional.group_norm(x, 2, w, b),
    }
    same_as_differences(calls[name], arrays(5, (2, 4, 3) if name != "layer_norm" else (3, 4), (4,), (4,)))


def test_normalised_has_mean_0_and_variance_1():
    """Whatever goes in, each channel comes out centred and scaled."""
    x = T.from_numpy(arrays(1, (5, 3, 4))[0] * 7 + 2)
    y = F.batch_norm(x, None, None, training=True, eps=1e-13).numpy()
    np.testing.assert_allclose(y.mean((0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var((0, 2)), 1, atol=1e-12)


NORM_ERRORS = [
    (ValueError, "Expected more than 1 value per channel when training", lambda e: e.nn.functional.batch_norm(
        e.zeros(1, 3), None, None, training=True)),
    (RuntimeError, "running_mean should contain 3 elements not 2", lambda e: e.nn.functional.batch_norm(
        e.zeros(2, 3), e.zeros(2), e.ones(2), training=True)),
    (RuntimeError, "running_mean must be defined in evaluation mode", lambda e: e.nn.functional.batch_norm(
        e.zeros(2, 3), None, None)),
    (RuntimeError, "Given normalized_shape=[4], expected input with shape [*, 4], but got input of size[2, 3]",
     lambda e: e.nn.functional.layer_norm(e.zeros(2, 3), (4,))),
    (RuntimeError, "Expected number of channels in input to be divisible by num_groups, but got input of shape [2, 3, 1] and "
     "num_groups=2", lambda e: e.nn.functional.group_norm(e.zeros(2, 3, 1), 2)),
    (ValueError, "Expected more than 1 spatial element when training", lambda e: e.nn.functional.instance_norm(
        e.zeros(1, 3, 1))),
    (ValueError, "dropout probability has to be between 0 and 1, but got 2.0", lambda e: e.nn.functional.dropout(e.ones(2), 2.0)),
    (RuntimeError, "pad should be at most half of effective kernel size, but got pad=2, kernel_size=3 and dilation=1",
     lambda e: e.nn.functional.max_pool2d(e.zeros(1, 1, 5, 5), 3, padding=2)),
    (RuntimeError, "Given input size: (3x5x5). Calculated output size: (3x0x0). Output size is too small",
     lambda e: e.nn.functional.max_pool2d(e.zeros(1, 3, 5, 5), 6)),
    (RuntimeError, "divisor must be not zero", lambda e: e.nn.functional.avg_pool2d(e.zeros(1, 1, 2, 2), 2, divisor_override=0)),
    (IndexError, "index out of range in self", lambda e: e.nn.functional.embedding(e.tensor([5]), e.zeros(4, 2))),
    (RuntimeError, "to have one of the following scalar types: Long, Int", lambda e: e.nn.functional.embedding(
        e.tensor([1.0]), e.zeros(4, 2))),
    (RuntimeError, "Padding length must be divisible by 2", lambda e: e.nn.functional.pad(e.zeros(3), (1,))),
    (NotImplementedError, "Unrecognised padding mode foo", lambda e: e.nn.functional.pad(e.zeros(1, 3, 3), (1, 1), "foo")),
    (RuntimeError, "Padding size should be less than the corresponding input dimension", lambda e: e.nn.functional.pad(
        e.zeros(1, 3, 3), (3, 1), "reflect")),
    (RuntimeError, "Class values must be smaller than num_classes.", lambda e: e.nn.functional.one_hot(e.tensor([2]), 2)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "call"), NORM_ERRORS)
def test_wrong_arguments(kind, message, call):
    """Arguments that do not fit raise torch's error, naming the values."""
    for engine in (T, pytest.importorskip("torch")):
        with pytest.raises(kind) as error:
            call(engine)
        assert message in str(error.value)


# --- pooling -------------------------------------------------------------------------------------------------------


@st.composite
def poolings(draw, dilated):
    """Dimensions, shape and options of one pooling with an output."""
    n = draw(st.integers(1, 3))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * n))
    options = {
        "kernel_size": kernel,
        "stride": draw(st.tuples(*[st.integers(1, 3)] * n)),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    if dilated:
        options["dilation"] = draw(st.tuples(*[st.integers(1, 2)] * n))
    size = draw(st.tuples(*[st.integers(1, 6 if n < 3 else 4)] * n))
    reach = [d * (k - 1) + 1 for d, k in zip(options.get("dilation", (1,) * n), kernel, strict=True)]
    assume(all(s + 2 * p >= r for s, p, r in zip(size, options["padding"], reach, strict=True)))
    return n, (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *size), options


@given(poolings(dilated=True), seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_max_pool_agrees_with_torch(case, seed, ties):
    """Value, indices, gradient and second derivative; with ties the first element counts."""
    torch = pytest.importorskip("torch")
    n, shape, options = case
    (x,) = arrays(seed, shape)
    rows = zip(shape[2:], options["padding"], options["dilation"], strict=True)
    assume(all(d <= s for s, p, d in rows if p))  # else a window may meet padding alone, which torch leaves undefined
    x = np.round(x) if ties else x
    same_as_torch(lambda e, x: getattr(e.nn.functional, f"max_pool{n}d")(x * x, **options), [x])
    indices = [
        getattr(e.nn.functional, f"max_pool{n}d")(e.from_numpy(x), **options, return_indices=True)[1]
        for e in (T, torch)
    ]
    assert np.array_equal(indices[0].numpy(), indices[1].numpy())


@given(poolings(dilated=False), seeds, st.booleans(), st.sampled_from([None, 2, 5]))
@settings(max_examples=60, deadline=None)
def test_avg_pool_agrees_with_torch(case, seed, include, divisor):
    """Value, gradient and second derivative, whatever the border counts for."""
    n, shape, options = case
    assume(n < 3 or all(s >= k for s, k in zip(shape[2:], options["kernel_size"], strict=True)))  # torch refuses those
    options["count_include_pad"] = include
    if n > 1 and divisor:
        options["divisor_override"] = divisor
    same_as_torch(lambda e, x: getattr(e.nn.functional, f"avg_pool{n}d")(x * x, **options), arrays(seed, shape))


@given(st.integers(1, 3), st.data(), seeds, st.sampled_from(["avg", "max"]))
@settings(max_examples=40, deadline=None)
def test_adaptive_pool_agrees_with_torch(n, data, seed, kind):
    """Value, gradient and second derivative for output sizes that do and do not divide the input."""
    size = data.draw(st.tuples(*[st.integers(1, 6 if n < 3 else 4)] * n))
    out = tuple(data.draw(st.one_of(st.none(), st.integers(1, 5)) if n > 1 else st.integers(1, 5)) for _ in size)
    function = f"adaptive_{kind}_pool{n}d"
    same_as_torch(lambda e, x: getattr(e.nn.functional, function)(x * x, out), arrays(seed, (2, 2, *size)))


def test_nan_wins_a_maximum():
    """A window that holds a NaN has the maximum NaN, and the gradient goes there."""
    x = T.tensor([[[1.0, float("nan"), 3.0, 4.0]]], requires_grad=True)
    y = F.max_pool1d(x, 2)
    y.sum().backward()
    assert np.isnan(y.detach().numpy()[0, 0, 0])
    assert x.grad.tolist() == [[[0.0, 1.0, 0.0, 1.0]]]


def test_window_of_padding_alone():
    """A window that meets no element has no maximum, and says so."""
    with pytest.raises(RuntimeError, match="nothing but padding"):
        F.max_pool1d(T.ones(1, 1, 1), 2, stride=1, padding=1, dilation=2)


def test_overlapping_windows_add_up():
    """An element that is the maximum of two windows receives both gradients."""
    x = T.tensor([[[1.0, 5.0, 2.0]]], requires_grad=True)
    F.max_pool1d(x, 2, stride=1).sum().backward()
    assert x.grad.tolist() == [[[0.0, 2.0, 0.0]]]


@pytest.mark.parametrize(("call", "name"), [
    (lambda x: F.max_pool2d(x, 2), "MaxPool2DWithIndicesBackward0"),
    (lambda x: F.avg_pool2d(x, 2), "AvgPool2DBackward0"),
    (lambda x: F.adaptive_avg_pool2d(x, 2), "AdaptiveAvgPool2DBackward0"),
    (lambda x: F.adaptive_avg_pool2d(x, 1), "MeanBackward1"),
    (lambda x: F.batch_norm(x, None, None, training=True), "NativeBatchNormBackward0"),
    (lambda x: F.layer_norm(x, (5,)), "NativeLayerNormBackward0"),
    (lambda x: F.group_norm(x, 1), "NativeGroupNormBackward0"),
    (lambda x: F.instance_norm(x), "ViewBackward0"),
    (lambda x: F.dropout(x), "MulBackward0"),
    (lambda x: F.pad(x, (1, 1)), "ConstantPadNdBackward0"),
    (lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), "ReflectionPad2DBackward0"),
    (lambda x: F.pad(x, (1, 1, 1, 1), "replicate"), "ReplicationPad2DBackward0"),
])  # fmt: skip
def test_nodes_have_torch_s_names(call, name):
    """The recorded node carries torch's name."""
    x = T.randn(2, 3, 5, 5, requires_grad=True)
    assert call(x).grad_fn.name() == name


# --- padding, dropout, embedding ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(2, 4), min_size=1, max_size=4), st.data(), seeds)
@settings(max_examples=40, deadline=None)
def test_constant_pad_agrees_with_torch(shape, data, seed):
    """Value, gradient and second derivative; negative amounts cut off."""
    n = data.draw(st.integers(1, len(shape)))
    amounts = data.draw(st.lists(st.integers(-1, 3), min_size=2 * n, max_size=2 * n))
    assume(all(s + a + b > 0 for s, a, b in zip(reversed(shape), amounts[::2], amounts[1::2], strict=False)))
    same_as_torch(lambda e, x: e.nn.functional.pad(x * x, amounts, value=1.5), arrays(seed, shape))


@given(st.sampled_from(["reflect", "replicate", "circular"]), st.integers(1, 3), st.data(), seeds)
@settings(max_examples=40, deadline=None)
def test_border_pad_agrees_with_torch(mode, n, data, seed):
    """Value, gradient and second derivative of borders made of the tensor's own elements."""
    size = data.draw(st.lists(st.integers(3, 5), min_size=n, max_size=n))
    amounts = data.draw(st.lists(st.integers(0, 2), min_size=2 * n, max_size=2 * n))
    batch = [2] if mode == "circular" or data.draw(st.booleans()) else []
    same_as_torch(lambda e, x: e.nn.functional.pad(x * x, amounts, mode=mode), arrays(seed, (*batch, 2, *size)))


@given(st.floats(0, 0.9), seeds)
@settings(max_examples=20, deadline=None)
def test_dropout_keeps_the_mean(p, seed):
    """Elements are 0 or 1 / (1 - p), about a share p of them 0, and the gradient is the same mask."""
    T.manual_seed(seed)
    x = T.ones(4000, requires_grad=True)
    y = F.dropout(x, p)
    y.sum().backward()
    values = y.detach().numpy()
    assert set(np.round(values * (1 - p), 5)) <= {0.0, 1.0}
    assert abs((values == 0).mean() - p) < 0.05
    assert np.array_equal(x.grad.numpy(), values)


def test_dropout_at_its_ends():
    """p = 1 drops everything; p = 0 and evaluation pass the tensor itself."""
    x = T.ones(5, requires_grad=True)
    assert F.dropout(x, 1.0).tolist() == [0.0] * 5
    assert F.dropout(x, 0.5, training=False) is x


def test_channel_dropout_drops_whole_channels():
    """dropout2d gives each channel one fate."""
    T.manual_seed(0)
    y = F.dropout2d(T.ones(8, 16, 3, 3), 0.5).numpy().reshape(128, 9)
    assert set(y.sum(1)) == {0.0, 18.0}


def test_alpha_dropout_keeps_mean_and_variance():
    """Mean 0 and variance 1 stay about what they are."""
    T.manual_seed(0)
    y = F.alpha_dropout(T.randn(20000, dtype=T.float64), 0.3, training=True).numpy()
    assert abs(y.mean()) < 0.05
    assert abs(y.var() - 1) < 0.1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), seeds, st.sampled_from([None, 0, 3, -1]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_embedding_agrees_with_torch(indices, seed, padding_idx, by_frequency):
    """Rows, their gradients (added where an index repeats) and second derivatives, padding and frequencies respected."""
    options = {"padding_idx": padding_idx, "scale_grad_by_freq": by_frequency}
    order = 1 if by_frequency else 2  # torch has no second derivative there
    same_as_torch(
        lambda e, w: e.nn.functional.embedding(e.tensor(indices), w, **options) ** 2, arrays(seed, (5, 3)), order=order
    )


def test_max_norm_shortens_the_rows_used():
    """max_norm rescales the looked-up rows of the table in place, as torch does."""
    torch = pytest.importorskip("torch")
    (w,) = arrays(3, (4, 3))
    tables = [e.from_numpy(w * 4) for e in (T, torch)]
    for e, table in zip((T, torch), tables, strict=True):
        e.nn.functional.embedding(e.tensor([1, 3, 1]), table, max_norm=1.0)
    np.testing.assert_allclose(tables[0].numpy(), tables[1].numpy(), atol=1e-12)
