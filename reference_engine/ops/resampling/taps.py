"""Resampling along dimensions: each output position is a weighted sum of a few input positions, its taps.

Torch's interpolations are products of one such map per dimension, so a map along one dimension is all there is: `index`
and `weight`, both (positions, taps). Source positions and weights are those of torch.nn.functional.interpolate; the
cubic kernel is Keys' (1981) with a = -0.75, and a = -0.5 where antialiased.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Taps(NamedTuple):
    """Which input positions each output position is made of, and their weights; (positions, taps)."""

    index: np.ndarray
    weight: np.ndarray


def apply(x: np.ndarray, taps: tuple[Taps, ...]) -> np.ndarray:
    """Weighted sums along the last dimensions, one after the other."""
    for axis, (index, weight) in enumerate(taps, start=-len(taps)):
        moved = np.moveaxis(x, axis, -1)
        total = None
        for k in range(index.shape[1]):
            part = moved[..., index[:, k]]
            if index.shape[1] > 1:
                part = part * weight[:, k].astype(x.dtype)
            total = part if total is None else total + part
        x = np.moveaxis(total, -1, axis)
    return np.ascontiguousarray(x)


def apply_transpose(g: np.ndarray, taps: tuple[Taps, ...], size: tuple[int, ...]) -> np.ndarray:
    """The transpose of `apply` for an input whose last dimensions had `size`."""
    for axis, ((index, weight), count) in enumerate(zip(taps, size, strict=True), start=-len(taps)):
        moved = np.moveaxis(g, axis, 0)
        total = np.zeros((count, *moved.shape[1:]), g.dtype)
        for k in range(index.shape[1]):
            part = moved
            if index.shape[1] > 1:
                part = moved * weight[:, k].astype(g.dtype).reshape(-1, *(1,) * (moved.ndim - 1))
            np.add.at(total, index[:, k], part)
        g = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(g)


def scale_of(size: int, out: int, given: float | None, dtype: Any, *, align_corners: bool = False) -> Any:
    """Input positions per output position; a scale factor that was given counts before the sizes."""
    real = np.dtype(dtype).type
    if align_corners:
        return real(size - 1) / real(out - 1) if out > 1 else real(0)
    return real(1.0 / given) if given else real(size) / real(out)


def nearest(size: int, out: int, given: float | None, *, exact: bool) -> Taps:
    """The input position below each output position, or below its centre; positions are computed in float32."""
    at = np.arange(out)
    if exact or out not in (size, 2 * size) or (out == 2 * size and given is not None and given != 2):
        scale = scale_of(size, out, given, np.float32)
        at = np.floor((at + np.float32(0.5 if exact else 0)).astype(np.float32) * scale).astype(np.int64)
        at = np.minimum(at, size - 1)
    elif out == 2 * size:
        at = at // 2
    return Taps(at[:, None], np.ones((out, 1)))


def _source(size: int, out: int, given: float | None, dtype: Any, align_corners: bool) -> np.ndarray:
    real = np.dtype(dtype).type
    scale = scale_of(size, out, given, dtype, align_corners=align_corners)
    at = np.arange(out).astype(dtype)
    return at * scale if align_corners else (at + real(0.5)) * scale - real(0.5)


def linear(size: int, out: int, given: float | None, dtype: Any, *, align_corners: bool) -> Taps:
    """The two neighbours, by distance; nothing lies before the first or behind the last."""
    if size == out and not align_corners and given in (None, 1):
        return Taps(np.arange(out)[:, None], np.ones((out, 1)))
    at = np.maximum(_source(size, out, given, dtype, align_corners), 0)
    low = np.minimum(at.astype(np.int64), size - 1)
    share = np.clip(at - low, 0, 1)
    return Taps(np.stack([low, np.minimum(low + 1, size - 1)], 1), np.stack([1 - share, share], 1))


def keys(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic kernel at distance t."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def cubic(size: int, out: int, given: float | None, dtype: Any, *, align_corners: bool) -> Taps:
    """Four neighbours; what would lie outside is the border's."""
    at = _source(size, out, given, dtype, align_corners)
    low = np.floor(at)
    around = np.arange(-1, 3)
    weight = keys((at - low)[:, None] - around, -0.75)
    return Taps(np.clip(low[:, None].astype(np.int64) + around, 0, size - 1), weight)


# Kernels by how far they reach: a triangle, Keys' cubic, Lanczos' windowed sinc.
KERNELS: dict[int, Callable] = {
    1: lambda t: np.maximum(1 - np.abs(t), 0),
    2: lambda t: keys(t, -0.5),
    3: lambda t: np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0),
}


def antialiased(size: int, out: int, given: float | None, dtype: Any, *, align_corners: bool, reach: int) -> Taps:
    """A kernel (see KERNELS) as wide as the output's grid, cut at the borders and made to sum to 1."""
    scale = scale_of(size, out, given, dtype, align_corners=align_corners)
    wide = np.maximum(scale, np.dtype(dtype).type(1))
    centre = scale * (np.arange(out) + 0.5).astype(dtype)
    first = np.maximum((centre - reach * wide + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach * wide + 0.5).astype(np.int64), size)
    index = first[:, None] + np.arange(max(int((last - first).max(initial=1)), 1))
    distance = (index - centre[:, None] + 0.5) / wide
    weight = KERNELS[reach](distance)
    weight = np.where(index < last[:, None], weight, 0)
    return Taps(np.minimum(index, size - 1), weight / weight.sum(1, keepdims=True))
