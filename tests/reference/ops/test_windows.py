"""Pooling, unpooling, blocks, shuffles, borders: slopes are those of differences, everything agrees with torch."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as T
from tests.reference.against import arrays, same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

SAMPLES = np.array([[[0.2, 0.9], [0.6, 0.4]]])


def fraction(e, x, **options):
    return e.nn.functional.fractional_max_pool2d(x, 2, _random_samples=e.from_numpy(SAMPLES), **options)


def unpooled(e, x, n, **options):
    """A pooling and back."""
    pool, back = (getattr(e.nn.functional, f"{name}{n}d") for name in ("max_pool", "max_unpool"))
    y, indices = pool(x, 2, return_indices=True)
    return back(y * y, indices, 2, **options)


# fmt: off
CASES = {  # function of (engine, x) and the shape of x
    "lp_pool1d":            (lambda e, x: e.nn.functional.lp_pool1d(x * x, 3.0, 2), (1, 2, 5)),
    "lp_pool2d":            (lambda e, x: e.nn.functional.lp_pool2d(x, 2.0, (2, 3), stride=(2, 1)), (2, 1, 4, 4)),
    "lp_pool2d cut off":    (lambda e, x: e.nn.functional.lp_pool2d(x, 2.0, 3, stride=2, ceil_mode=True), (1, 4, 4)),
    "lp_pool3d":            (lambda e, x: e.nn.functional.lp_pool3d(x, 2.0, 2), (1, 1, 2, 4, 2)),
    "fractional size":      (lambda e, x: fraction(e, x, output_size=(3, 2)), (1, 2, 6, 5)),
    "fractional ratio":     (lambda e, x: fraction(e, x, output_ratio=(0.5, 0.5)), (2, 6, 6)),
    "fractional one":       (lambda e, x: fraction(e, x, output_size=1), (1, 2, 3, 4)),
    "fractional 3d":        (lambda e, x: e.nn.functional.fractional_max_pool3d(
                                x, (2, 1, 2), (2, 3, 2), _random_samples=e.from_numpy(np.array([[[0.7, 0.1, 0.5]]]))), (1, 1, 4, 4, 4)),
    "unpool1d":             (lambda e, x: unpooled(e, x, 1), (2, 1, 5)),
    "unpool2d":             (lambda e, x: unpooled(e, x, 2, output_size=(5, 4)), (1, 2, 5, 4)),
    "unpool2d batch size":  (lambda e, x: unpooled(e, x, 2, output_size=(1, 2, 5, 4)), (1, 2, 5, 4)),
    "unpool3d":             (lambda e, x: unpooled(e, x, 3), (1, 2, 2, 4)),
    "max of nothing":       (lambda e, x: e.nn.functional.max_pool2d(x, 2), (0, 2, 4, 4)),
    "unfold":               (lambda e, x: e.nn.functional.unfold(x, (2, 3), dilation=(2, 1), padding=(0, 2), stride=(1, 2)), (2, 2, 4, 4)),
    "unfold one":           (lambda e, x: e.nn.functional.unfold(x, 2), (2, 3, 3)),
    "unfold a pixel":       (lambda e, x: e.nn.functional.unfold(x, 1), (2, 2, 2, 3)),
    "fold":                 (lambda e, x: e.nn.functional.fold(x, (4, 5), (2, 3), padding=1, stride=2), (1, 12, 9)),
    "fold one":             (lambda e, x: e.nn.functional.fold(x, (3, 3), 2), (4, 4)),
    "pixel_shuffle":        (lambda e, x: e.nn.functional.pixel_shuffle(x, 2), (2, 8, 2, 3)),
    "pixel_unshuffle":      (lambda e, x: e.nn.functional.pixel_unshuffle(x, 2), (2, 4, 6)),
    "channel_shuffle":      (lambda e, x: e.nn.functional.channel_shuffle(x, 2), (2, 4, 3)),
    "pad circular cropped": (lambda e, x: e.nn.functional.pad(x, (-1, 1, -2, 1), "circular"), (1, 2, 4, 4)),
    "pad replicate cropped":(lambda e, x: e.nn.functional.pad(x, (-2, 3, 1, -1), "replicate"), (1, 2, 4, 4)),
    "pad reflect cropped":  (lambda e, x: e.nn.functional.pad(x, (-1, 2), "reflect"), (2, 4)),
    "backward of max_pool": (lambda e, x: e.ops.aten.max_pool2d_with_indices_backward(
                                x[:, :, ::2, ::2], x * x, 2, 2, 0, 1, False, e.nn.functional.max_pool2d(x * x, 2, return_indices=True)[1]), (1, 2, 4, 4)),
}
# fmt: on


@pytest.mark.parametrize("case", CASES)
def test_slopes_are_those_of_differences(case):
    """First and second derivatives are what differences of values say."""
    function, shape = CASES[case]
    slopes_are_those_of_differences(lambda e, x: function(e, x) ** 2, arrays(11, shape))


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_torch(case):
    """Value, first and second derivative, also where the input is not contiguous."""
    function, shape = CASES[case]
    same_as_torch(lambda e, x: function(e, x * x), arrays(3, shape))
    same_as_torch(lambda e, x: function(e, x.transpose(-1, -2)) ** 2, arrays(4, (*shape[:-2], shape[-1], shape[-2])))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_second_derivative_is_zero_and_not_none(name):
    """The backward of a pooling was told of its input, so that nothing flows to it: zeros."""
    x = T.rand(1, 1, 4, 4, requires_grad=True)
    v = T.ones(1, 1, 2, 2, requires_grad=True)
    (g,) = T.autograd.grad(getattr(T.nn.functional, name)(x, 2), x, v, create_graph=True)
    assert T.autograd.grad(g.sum(), x)[0].tolist() == T.zeros_like(x).tolist()


def test_nan_wins_and_stays():
    """A NaN is the maximum of its window, whatever comes behind it, and receives the gradient."""
    x = T.tensor([[[float("nan"), 1.0, 3.0, 2.0]]], requires_grad=True)
    y = T.nn.functional.max_pool1d(x, 2)
    y.sum().backward()
    assert y.isnan().tolist() == [[[True, False]]]
    assert x.grad.tolist() == [[[1.0, 0.0, 1.0, 0.0]]]


def test_unpool_repeated_index():
    """Of several elements at one index the last stays, and each receives the gradient of that place."""
    x = T.tensor([[[5.0, 6.0]]], requires_grad=True)
    y = T.nn.functional.max_unpool1d(x, T.tensor([[[1, 1]]]), 2)
    assert y.tolist() == [[[0.0, 6.0, 0.0, 0.0]]]
    (y * T.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    assert x.grad.tolist() == [[[10.0, 10.0]]]


# fmt: off
ERRORS = [
    (ValueError, "fractional_max_pool2d requires specifying either an output_size or an output_ratio", lambda e: e.nn.functional.fractional_max_pool2d(e.zeros(1, 1, 4, 4), 2)),
    (RuntimeError, "pool height 3 too large relative to input height 3", lambda e: e.nn.functional.fractional_max_pool2d(e.zeros(1, 1, 3, 3), 3, output_size=3)),
    (RuntimeError, "Found an invalid max index: 99", lambda e: e.nn.functional.max_unpool2d(e.zeros(1, 1, 1, 1), e.full((1, 1, 1, 1), 99), 2)),
    (RuntimeError, "elements in indices should be type int64 but got: Int", lambda e: e.nn.functional.max_unpool2d(e.zeros(1, 1, 1, 1), e.zeros(1, 1, 1, 1, dtype=e.int32), 2)),
    (RuntimeError, "Expected shape of indices to be same as that of the input tensor", lambda e: e.nn.functional.max_unpool2d(e.zeros(1, 1, 1, 1), e.zeros(1, 1, 1, 2, dtype=e.int64), 2)),
    (ValueError, "must be between 2 and 6", lambda e: e.nn.functional.max_unpool2d(e.zeros(1, 1, 2, 2), e.zeros(1, 1, 2, 2, dtype=e.int64), 2, output_size=(9, 9))),
    (RuntimeError, "stride should not be zero", lambda e: e.nn.functional.avg_pool2d(e.zeros(1, 3, 3), 2, 0)),
    (NotImplementedError, "\"avg_pool2d\" not implemented for 'ComplexFloat'", lambda e: e.nn.functional.avg_pool2d(e.zeros(1, 1, 2, 2, dtype=e.complex64), 2)),
    (RuntimeError, "divisible by the square of upscale_factor", lambda e: e.nn.functional.pixel_shuffle(e.zeros(1, 3, 2, 2), 2)),
    (RuntimeError, "Number of channels must be divisible by groups. Got 3 channels and 2 groups.", lambda e: e.nn.functional.channel_shuffle(e.zeros(1, 3, 2), 2)),
    (RuntimeError, "expected size of input's dimension 2 to match the calculated number of sliding blocks", lambda e: e.nn.functional.fold(e.zeros(1, 4, 3), (3, 3), 2)),
    (RuntimeError, "divisible by the product of kernel_size", lambda e: e.nn.functional.fold(e.zeros(1, 3, 4), (3, 3), 2)),
    (NotImplementedError, "Padding size 6 is not supported for 3D input tensor.", lambda e: e.nn.functional.pad(e.zeros(1, 3, 3), (1,) * 6, "circular")),
    (RuntimeError, "Calculated output W: 0", lambda e: e.nn.functional.pad(e.zeros(1, 3, 4), (-2, -2), "replicate")),
    (RuntimeError, "doesn't take in value argument", lambda e: e.nn.functional.pad(e.zeros(1, 3, 4), (1, 1), "reflect", value=1.0)),
    (RuntimeError, "expected weight to be at least 3 at dimension 0", lambda e: e.nn.functional.conv1d(e.zeros(1, 3, 4), e.zeros(2, 1, 2), groups=3)),
    (RuntimeError, "weight should have at least three dimensions", lambda e: e.nn.functional.conv1d(e.zeros(1, 3, 4), e.zeros(2, 1))),
]
# fmt: on


@pytest.mark.parametrize(("error", "message", "program"), ERRORS, ids=[e[1][:40] for e in ERRORS])
def test_errors(engine, error, message, program):
    """Type and text are torch's."""
    with pytest.raises(error) as e:
        program(engine)
    assert message in str(e.value)
