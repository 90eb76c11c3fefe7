"""Sampling an image at the points of a grid: torch.nn.functional.grid_sample, affine_grid.

A point has a coordinate per dimension, -1 and 1 being the borders, the last dimension's first. What is read at it is a sum
over taps k, y = sum of x[tap k] W_k, with W_k a product over dimensions of polynomials w(t) in the distance t to the tap
below. A coordinate is a * grid + b, where a and b are constant between kinks (clipping, reflection), so that

    d/dx = sum over k of g W_k, at tap k        d/dgrid_d = a_d sum over k of (sum over channels of g x[tap k]) dW_k/dt_d
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.matmul import mT, product
from reference_engine.ops.one_node import one_node
from reference_engine.ops.positions import put_positions, select_at, take_positions
from reference_engine.ops.second_order import zeros
from reference_engine.tensor import Tensor, wrap

A = -0.75  # of Keys' cubic kernel


def _cubic(t: Any) -> tuple[list, list]:
    """Keys' weights of the four taps around t in [0, 1), and their derivatives."""
    near, far = [t, 1 - t], [t + 1, 2 - t]
    inner = [((A + 2) * s - (A + 3)) * s * s + 1 for s in near]
    outer = [((A * s - 5 * A) * s + 8 * A) * s - 4 * A for s in far]
    d_inner = [(3 * (A + 2) * s - 2 * (A + 3)) * s for s in near]
    d_outer = [(3 * A * s - 10 * A) * s + 8 * A for s in far]
    return [outer[0], inner[0], inner[1], outer[1]], [d_outer[0], d_inner[0], -d_inner[1], -d_outer[1]]


def _linear(t: Any) -> tuple[list, list]:
    one = t * 0 + 1
    return [1 - t, t], [-one, one]


def _constant(t: Any) -> tuple[list, list]:
    return [None], [None]


WEIGHTS = {"bilinear": (_linear, (0, 1)), "nearest": (_constant, (0,)), "bicubic": (_cubic, (-1, 0, 1, 2))}


class Points:
    """Where the points of a grid lie in an image: per dimension slope a and offset b, tap below, and indices of taps.

    Computed from the grid's values: constants of the rule.
    """

    def __init__(self, grid: np.ndarray, size: tuple[int, ...], mode: str, border: str, align: bool) -> None:
        self.weights, self.offsets = WEIGHTS[mode]
        self.slope: list[np.ndarray] = []
        self.shift: list[np.ndarray] = []
        self.below: list[np.ndarray] = []
        taps = []
        with np.errstate(invalid="ignore", over="ignore"):
            for d, count in enumerate(size):
                written = grid[..., len(size) - 1 - d]
                unknown = np.isnan(written)
                given = np.where(unknown, grid.dtype.type(-1), written)  # documented: nan reads as -1
                a = grid.dtype.type((count - 1) / 2 if align else count / 2)
                at, slope = a * given + (a if align else a - grid.dtype.type(0.5)), a
                if border != "zeros" and mode != "bicubic":
                    at, slope = _folded(at, count, border, align)
                    slope = slope * a
                slope = np.where(unknown, 0, slope).astype(grid.dtype)
                below = np.rint(at) if mode == "nearest" else np.floor(at)
                self.slope.append(slope)
                self.shift.append(np.asarray(at - slope * np.where(slope == 0, 0, given)))
                self.below.append(below)
                taps.append([_held(below + o, count, border, align) for o in self.offsets])
        self.positions = self._positions(taps, size)

    def _positions(self, taps: list, size: tuple) -> list[np.ndarray]:
        """Per tap the position in the plane of each point, (N, *points); -1 outside."""
        result = []
        for chosen in itertools.product(*[range(len(self.offsets))] * len(size)):
            flat: Any = 0
            outside: Any = False
            for d, k in enumerate(chosen):
                flat = flat * size[d] + taps[d][k]
                outside = outside | (taps[d][k] < 0)
            result.append(np.where(outside, -1, flat))
        return result

    def distances(self, grid: Any) -> list:
        """Per dimension the distance of each point to the tap below; over arrays and tensors."""
        n = len(self.slope)
        constant = wrap if isinstance(grid, Tensor) else np.asarray
        with np.errstate(invalid="ignore"):
            result = []
            for d in range(n):
                along = select_at(grid, grid.ndim - 1, n - 1 - d)
                moving = np.isfinite(self.slope[d]) & (self.slope[d] != 0)
                along = along if moving.all() else registry.functions["where"](wrap(moving), along, 0.0) if isinstance(
                    grid, Tensor) else np.where(moving, along, 0)  # fmt: skip
                result.append(along * constant(self.slope[d]) + constant(self.shift[d] - self.below[d]))
        return result


def _folded(at: np.ndarray, count: int, border: str, align: bool) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates brought into the image, and their derivative: 1, -1 where reflected, 0 where clipped."""
    slope = np.ones_like(at)
    if border == "reflection":
        low, span = (0.0, count - 1.0) if align else (-0.5, float(count))
        if span == 0:
            return np.zeros_like(at), np.zeros_like(at)
        moved = at - low
        slope = np.where(moved < 0, -slope, slope)
        moved = np.abs(moved)
        rest, turns = np.fmod(moved, span), np.floor(moved / span)
        odd = np.fmod(turns, 2) != 0
        at, slope = np.where(odd, span - rest, rest) + low, np.where(odd, -slope, slope)
    inside = (at > 0) & (at < count - 1)
    return np.where(at > 0, np.minimum(at, count - 1), 0).astype(at.dtype), np.where(inside, slope, 0).astype(at.dtype)


def _held(at: np.ndarray, count: int, border: str, align: bool) -> np.ndarray:
    """Whole coordinates as indices: outside of the image -1, or brought into it."""
    if border != "zeros":
        at = _folded(at, count, border, align)[0]
    known = np.where((at >= 0) & (at <= count - 1), at, -1)
    return known.astype(np.int64)


def _in_batch(positions: np.ndarray, x_shape: tuple) -> np.ndarray:
    """Positions in a plane (N, *points) as positions in the whole input, (N, C, *points)."""
    n, channels = x_shape[:2]
    plane = np.arange(n * channels).reshape(n, channels, *(1,) * (positions.ndim - 1)) * math.prod(x_shape[2:])
    return np.where(positions[:, None] < 0, -1, positions[:, None] + plane)


def _products(parts: list) -> list:
    """Products over dimensions of one weight each, in the order of the taps."""
    result = []
    for chosen in itertools.product(*parts):
        total = None
        for w in chosen:
            total = w if total is None or w is None else total * w
        result.append(total)
    return result


def _channels(w: Any) -> Any:
    """A weight per point as one per channel and point."""
    return w.unsqueeze(1) if isinstance(w, Tensor) else w[:, None]


def _sample(x: np.ndarray, grid: np.ndarray, *, mode: str, border: str, align: bool) -> np.ndarray:
    points = Points(grid, x.shape[2:], mode, border, align)
    weights = _products([points.weights(t)[0] for t in points.distances(grid)])
    total: Any = np.zeros((*x.shape[:2], *grid.shape[1:-1]), x.dtype)
    for positions, w in zip(points.positions, weights, strict=True):
        seen = take_positions(x, positions=_in_batch(positions, x.shape)) if x.size else total
        total = total + (seen if w is None else seen * w[:, None])
    return total.astype(x.dtype)


def _sample_rule(g: Any, x: Any, grid: Any, mode: str, border: str, align: bool, needs: tuple) -> tuple:
    values = grid._array if isinstance(grid, Tensor) else grid
    shape = tuple(x.shape)
    points = Points(values, shape[2:], mode, border, align)
    d_x: Any = None
    if mode == "nearest":
        if needs[0]:
            d_x = put_positions(g, positions=_in_batch(points.positions[0], shape), shape=shape)
        return d_x, zeros(grid, values.shape) if needs[1] else None
    pairs = [points.weights(t) for t in points.distances(grid)]
    places = [_in_batch(p, shape) for p in points.positions]
    if needs[0]:
        for place, w in zip(places, _products([w for w, _ in pairs]), strict=True):
            part = put_positions(g * _channels(w), positions=place, shape=shape)
            d_x = part if d_x is None else d_x + part
    return d_x, _of_grid(g, x, points, pairs, places) if needs[1] else None


def _of_grid(g: Any, x: Any, points: Points, pairs: list, places: list) -> Any:
    """The gradient of the grid, a coordinate at a time."""
    recorded = isinstance(x, Tensor) or isinstance(g, Tensor)
    heights = [(g * take_positions(x, positions=place)).sum(1) for place in places]
    columns = []
    for d in reversed(range(len(pairs))):
        slopes = _products([dw if i == d else w for i, (w, dw) in enumerate(pairs)])
        total: Any = None
        for h, s in zip(heights, slopes, strict=True):
            total = h * s if total is None else total + h * s
        columns.append(total * (wrap(points.slope[d]) if recorded else points.slope[d]))
    return registry.functions["stack"](columns, -1) if recorded else np.stack(columns, -1)


grid_ops = {n: general(f"grid_sampler_{n}d", _sample, joint=_sample_rule, node=f"GridSampler{n}DBackward0", forward_mode=False,
                       saved_names=("input", "grid")) for n in (2, 3)}  # fmt: skip

MODES, BORDERS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def _about_corners() -> None:
    warnings.warn("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
                  "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
                  UserWarning, stacklevel=3)  # fmt: skip


def _check(input: Tensor, grid: Tensor, mode: str) -> None:
    x, points = input._array, grid._array
    if x.dtype != points.dtype:
        raise RuntimeError(
            f"expected scalar type {dtypes.type_name(input.dtype)} but found {dtypes.type_name(grid.dtype)}"
        )
    if x.shape[0] != points.shape[0]:
        raise RuntimeError("grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
                           f"{list(x.shape)} and grid with sizes {list(points.shape)}")  # fmt: skip
    if points.shape[-1] != x.ndim - 2:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {x.ndim - 2} in last dimension, but got grid with "
                           f"sizes {list(points.shape)}")  # fmt: skip
    if 0 in x.shape[2:]:
        raise RuntimeError("grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                           f"{list(x.shape)} with dimension {2 + x.shape[2:].index(0)} being empty")  # fmt: skip
    if x.ndim not in (4, 5) or x.ndim != points.ndim:
        raise RuntimeError("grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input "
                           f"with sizes {list(x.shape)} and grid with sizes {list(points.shape)}")  # fmt: skip
    if mode == "bicubic" and x.ndim == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:  # fmt: skip
    """input (N, C, *S) read at the points grid (N, *points, d): (N, C, *points). Source: torch.nn.functional.grid_sample."""
    if mode not in MODES:
        raise ValueError("nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: "
                         f"'{mode}'")  # fmt: skip
    if padding_mode not in BORDERS:
        raise ValueError("nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but "
                         f"got: '{padding_mode}'")  # fmt: skip
    if align_corners is None:
        _about_corners()
    _check(input, grid, mode)
    return grid_ops[input._array.ndim - 2](input, grid, mode=mode, border=padding_mode, align=bool(align_corners))


@registry.function
def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """grid_sample with its modes as numbers. Source: torch.grid_sampler."""
    return grid_sample(input, grid, MODES[interpolation_mode], BORDERS[padding_mode], align_corners)


registry.publish("grid_sampler_2d", grid_sampler, method=False)
registry.publish("grid_sampler_3d", grid_sampler, method=False)


# --- grids of affine maps --------------------------------------------------------------------------------------------

# fmt: off
_of_map = linear("affine_grid_generator", lambda theta, *, base: product(base, mT(theta)), lambda g, base: _of_points(g, base=base), node="AffineGridGeneratorBackward0", saved_names=("theta",))
_of_points = linear("affine_grid_generator_backward", lambda g, *, base: product(mT(g), base), lambda g, base: _of_map(g, base=base), inputs=("g",))
# fmt: on


def _steps(count: int, align: bool, dtype: Any) -> np.ndarray:
    if count <= 1:
        return np.zeros(count, dtype)
    steps = np.linspace(-1, 1, count, dtype=dtype)
    return steps if align else steps * ((count - 1) / count)


@registry.function
@one_node("AffineGridGeneratorBackward0", "theta")
def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """The points of a grid, moved by affine maps theta (N, d, d + 1): (N, *S, d). Source: torch.affine_grid_generator."""
    spatial = tuple(int(s) for s in size)[2:]
    dtype = theta._array.dtype
    axes = [_steps(count, align_corners, dtype) for count in spatial]
    mesh = np.meshgrid(*axes, indexing="ij")[::-1]
    base = np.stack([m.ravel() for m in (*mesh, np.ones(spatial, dtype))], -1).astype(dtype)
    base = np.broadcast_to(base, (theta._array.shape[0], *base.shape))
    return _of_map(theta, base=base).view(theta._array.shape[0], *spatial, len(spatial))


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """A grid for grid_sample from affine maps. Source: torch.nn.functional.affine_grid."""
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if align_corners is None:
        _about_corners()
    elif align_corners and 1 in tuple(size)[2:]:
        warnings.warn("Since version 1.3.0, affine_grid behavior has changed for unit-size grids when align_corners=True. This is "
                      "not an intended use case of affine_grid. See the documentation of affine_grid for details.",
                      UserWarning, stacklevel=2)  # fmt: skip
    d = len(size) - 2
    if d not in (2, 3):
        raise NotImplementedError("affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
                                  f"Got size {tuple(size)}.")  # fmt: skip
    if theta._array.ndim != 3 or theta._array.shape[-2:] != (d, d + 1):
        shape = f"Nx{d}x{d + 1}"
        raise ValueError(f"Expected a batch of {d}D affine matrices of shape {shape} for size {tuple(size)}. Got "
                         f"{theta.shape}.")  # fmt: skip
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    return affine_grid_generator(theta, size, bool(align_corners))
