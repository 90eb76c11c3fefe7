"""Interpolation and sampling at grids: slopes are those of differences, everything agrees with torch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import reference_engine as T
from tests.reference.against import arrays, same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

# fmt: off
RESIZED = [  # shape, options of interpolate
    ((1, 2, 3),       {"size": 5}),
    ((1, 2, 4),       {"scale_factor": 0.6}),
    ((1, 2, 4),       {"scale_factor": 2.3, "mode": "nearest-exact"}),
    ((1, 1, 3, 4),    {"size": (5, 3), "mode": "nearest-exact"}),
    ((1, 2, 5),       {"size": 3, "mode": "linear"}),
    ((1, 2, 3),       {"scale_factor": 2.5, "mode": "linear"}),
    ((1, 2, 3),       {"scale_factor": 2.5, "mode": "linear", "recompute_scale_factor": True}),
    ((1, 2, 3),       {"size": 1, "mode": "linear", "align_corners": True}),
    ((1, 1, 3, 4),    {"size": (4, 3), "mode": "bilinear"}),
    ((1, 1, 3, 4),    {"size": (5, 7), "mode": "bilinear", "align_corners": True}),
    ((1, 1, 6, 5),    {"size": (3, 2), "mode": "bilinear", "antialias": True}),
    ((1, 1, 3, 4),    {"scale_factor": (1.5, 0.7), "mode": "bicubic"}),
    ((1, 1, 3, 4),    {"size": (5, 2), "mode": "bicubic", "align_corners": True}),
    ((1, 1, 6, 5),    {"size": (4, 7), "mode": "bicubic", "antialias": True}),
    ((1, 1, 6, 7),    {"size": (3, 4), "mode": "lanczos", "antialias": True}),
    ((1, 1, 2, 3, 2), {"size": (3, 2, 4), "mode": "trilinear"}),
    ((1, 1, 2, 3, 2), {"scale_factor": 2, "mode": "trilinear", "align_corners": True}),
    ((1, 1, 5),       {"size": 3, "mode": "area"}),
    ((1, 1, 4, 5),    {"size": (3, 2), "mode": "area"}),
    ((0, 1, 3),       {"size": 2}),
]
# fmt: on


@pytest.mark.parametrize(("shape", "options"), RESIZED, ids=[f"{s} {o}" for s, o in RESIZED])
def test_interpolate(shape, options):
    """Copies, neighbours, areas: value and both derivatives."""
    function = lambda e, x: e.nn.functional.interpolate(x, **options) ** 2
    slopes_are_those_of_differences(function, arrays(1, shape))
    if options.get("mode") == "lanczos" and not hasattr(
        pytest.importorskip("torch").ops.aten, "_upsample_lanczos2d_aa"
    ):
        pytest.skip("this torch does not know lanczos")
    same_as_torch(function, arrays(2, shape))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("size", range(1, 24))
def test_nearest_positions_are_those_of_torch(mode, size):
    """Positions are rounded in float32, so that copies come from the same element at every pair of sizes."""
    torch = pytest.importorskip("torch")
    x = np.arange(7.0)[None, None]
    ours = T.nn.functional.interpolate(T.from_numpy(x), size, mode=mode)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(x), size, mode=mode)
    assert ours.tolist() == theirs.tolist()


GRIDS = [
    (mode, border, align) for mode in ("bilinear", "nearest", "bicubic") for border in ("zeros", "border", "reflection")
    for align in (False, True)
]  # fmt: skip


@pytest.mark.parametrize(("mode", "border", "align"), GRIDS)
def test_grid_sample(mode, border, align):
    """Inside, at and beyond the borders: value and both derivatives, of input and grid."""
    options = {"mode": mode, "padding_mode": border, "align_corners": align}
    function = lambda e, x, grid: e.nn.functional.grid_sample(x, grid * 1.7, **options) ** 2
    second = mode != "nearest"  # of the grid: nothing
    slopes_are_those_of_differences(function, arrays(7, (1, 2, 3, 4), (1, 3, 2, 2)), second=second, forward=False)
    same_as_torch(function, arrays(8, (2, 1, 4, 3), (2, 2, 3, 2)), order=2 if second else 1)


@pytest.mark.parametrize("border", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_grid_sample_in_three_dimensions(mode, border):
    """The same for volumes."""
    options = {"mode": mode, "padding_mode": border, "align_corners": False}
    function = lambda e, x, grid: e.nn.functional.grid_sample(x, grid, **options)
    slopes_are_those_of_differences(
        function, arrays(4, (1, 1, 2, 3, 2), (1, 2, 1, 2, 3)), second=mode != "nearest", forward=False
    )
    same_as_torch(function, arrays(9, (1, 2, 2, 3, 2), (1, 1, 2, 2, 3)), order=1)


@pytest.mark.parametrize("border", ["border", "zeros", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_grid_sample_reads_nan_as_minus_one(mode, border):
    """A coordinate that is nan is -1, as documented, and has gradient 0; torch does so with two kinds of borders."""
    x = T.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    grid = T.tensor([[[[float("nan"), -1.0], [-1.0, float("nan")], [float("nan"), 1.0]]]], requires_grad=True)
    y = T.nn.functional.grid_sample(x, grid, mode=mode, padding_mode=border, align_corners=True)
    assert y.tolist() == [[[[1.0, 1.0, 3.0]]]]
    y.sum().backward()
    assert [grid.grad[0, 0, 0, 0], grid.grad[0, 0, 1, 1], grid.grad[0, 0, 2, 0]] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("value", "border"), [
    (float("nan"), "border"), *((v, b) for v in (float("inf"), -float("inf"), 1e30) for b in ("border", "zeros")),
])  # fmt: skip
def test_grid_sample_at_no_place(value, border):
    """What is read at coordinates that are no place is what torch reads."""
    torch = pytest.importorskip("torch")
    x, grid = np.arange(1.0, 5.0).reshape(1, 1, 2, 2), np.array([[[[value, -1.0]]]])
    for mode in ("nearest", "bilinear") if border == "border" else ("nearest",):
        options = {"mode": mode, "padding_mode": border, "align_corners": True}
        ours = T.nn.functional.grid_sample(T.from_numpy(x), T.from_numpy(grid), **options)
        theirs = torch.nn.functional.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), **options)
        assert ours.tolist() == theirs.tolist()


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid behavior has changed for unit-size grids")
@pytest.mark.parametrize("size", [(2, 1, 3, 4), (1, 1, 1, 3), (1, 1, 2, 1, 3)])
@pytest.mark.parametrize("align", [False, True])
def test_affine_grid(size, align):
    """Points of a grid moved by affine maps."""
    d = len(size) - 2
    function = lambda e, theta: e.nn.functional.affine_grid(theta, size, align_corners=align) ** 2
    slopes_are_those_of_differences(function, arrays(3, (size[0], d, d + 1)))
    same_as_torch(function, arrays(5, (size[0], d, d + 1)))


def test_identity_grid_reads_the_image():
    """The identity's grid reads every pixel where it is."""
    x = T.rand(1, 2, 3, 4, dtype=T.float64)
    theta = T.eye(2, 3, dtype=T.float64)[None]
    grid = T.nn.functional.affine_grid(theta, x.shape, align_corners=False)
    assert T.allclose(T.nn.functional.grid_sample(x, grid, align_corners=False), x)


@pytest.mark.parametrize("name", ["upsample", "upsample_nearest", "upsample_bilinear"])
def test_older_names_warn(engine, name):
    """They say what to use instead, and do it."""
    x = engine.ones(1, 1, 2, 2)
    with pytest.warns(
        UserWarning, match=f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead."
    ):
        assert getattr(engine.nn.functional, name)(x, size=(3, 3)).tolist() == engine.ones(1, 1, 3, 3).tolist()


def test_corners_unsaid_warn(engine):
    """Without align_corners there is a warning, with it none."""
    grid = engine.zeros(1, 1, 1, 2)
    with pytest.warns(UserWarning, match="align_corners=False since 1.3.0"):
        engine.nn.functional.grid_sample(engine.ones(1, 1, 2, 2), grid)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.nn.functional.grid_sample(engine.ones(1, 1, 2, 2), grid, align_corners=False)


# fmt: off
ERRORS = [
    (ValueError, "only one of size or scale_factor should be defined", lambda e: e.nn.functional.interpolate(e.ones(1, 1, 2), 3, 2.0)),
    (ValueError, "either size or scale_factor should be defined", lambda e: e.nn.functional.interpolate(e.ones(1, 1, 2))),
    (ValueError, "align_corners option can only be set with the interpolating modes", lambda e: e.nn.functional.interpolate(e.ones(1, 1, 2), 3, align_corners=True)),
    (ValueError, "must have the same number of spatial dimensions", lambda e: e.nn.functional.interpolate(e.ones(1, 1, 2), (3, 3))),
    (ValueError, "Anti-alias option is restricted to", lambda e: e.nn.functional.interpolate(e.ones(1, 1, 2), 3, antialias=True)),
    (NotImplementedError, "Got 3D input, but bilinear mode needs 4D input", lambda e: e.nn.functional.interpolate(e.ones(1, 1, 2), 3, mode="bilinear")),
    (RuntimeError, "Input and output sizes should be greater than 0", lambda e: e.nn.functional.interpolate(e.ones(1, 1, 2, 2), 0)),
    (RuntimeError, "expected grid to have size 2 in last dimension", lambda e: e.nn.functional.grid_sample(e.ones(1, 1, 2, 2), e.ones(1, 1, 1, 3), align_corners=True)),
    (RuntimeError, "expected scalar type Float but found Double", lambda e: e.nn.functional.grid_sample(e.ones(1, 1, 2, 2), e.ones(1, 1, 1, 2).double(), align_corners=True)),
    (RuntimeError, "same batch size", lambda e: e.nn.functional.grid_sample(e.ones(1, 1, 2, 2), e.ones(2, 1, 1, 2), align_corners=True)),
    (ValueError, "expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: 'foo'", lambda e: e.nn.functional.grid_sample(e.ones(1, 1, 2, 2), e.ones(1, 1, 1, 2), mode="foo")),
    (ValueError, "Expected a batch of 2D affine matrices of shape Nx2x3", lambda e: e.nn.functional.affine_grid(e.ones(1, 2, 4), (1, 1, 2, 2), align_corners=True)),
]
# fmt: on


@pytest.mark.parametrize(("error", "message", "program"), ERRORS, ids=[e[1][:40] for e in ERRORS])
def test_errors(engine, error, message, program):
    """Type and text are torch's."""
    with pytest.raises(error) as e:
        program(engine)
    assert message in str(e.value)
