"""Values of convolutions on arrays: im2col, one copy per kernel position, and one matrix product; its transpose adds per
kernel position. Samples are taken in blocks whose columns fit into the cache, which is also what bounds the memory.

Layout: input (N, C, *S), weight (O, C/groups, *K), result (N, O, *positions).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

CACHE = 1 << 20  # bytes of columns per block: about half of a second-level cache


class Geometry(NamedTuple):
    """How a kernel moves over the input; one entry per spatial dimension, padding as (before, after)."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int

    def out_size(self, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial size of the result."""
        return tuple(
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        )

    def windows(self, kernel: tuple[int, ...], out: tuple[int, ...]) -> tuple[tuple[tuple, tuple], ...]:
        """Per kernel position its index and the slices of the padded input that it meets; both behind other axes."""
        return _windows(self.stride, self.dilation, kernel, out)

    def trivial(self, kernel: tuple[int, ...], size: tuple[int, ...], out: tuple[int, ...]) -> bool:
        """Whether each output position meets exactly the input position of the same index."""
        ones = (1,) * len(kernel)
        return kernel == ones and self.stride == ones and size == out and not any(map(sum, self.padding))


@lru_cache(maxsize=1024)
def _windows(stride: tuple, dilation: tuple, kernel: tuple, out: tuple) -> tuple[tuple[tuple, tuple], ...]:
    pairs = []
    for index in np.ndindex(kernel):
        rows = zip(index, dilation, stride, out, strict=True)
        met = (slice(i * d, i * d + s * (n - 1) + 1, s) for i, d, s, n in rows)
        pairs.append(((slice(None), *index), (..., *met)))
    return tuple(pairs)


def blocks(count: int, sample_bytes: int) -> Iterator[slice]:
    """Ranges of samples whose columns fit into the cache."""
    step = max(1, CACHE // max(sample_bytes, 1))
    return (slice(i, min(i + step, count)) for i in range(0, count, step))


def columns(x: np.ndarray, geometry: Geometry, kernel: tuple[int, ...], out: tuple[int, ...]) -> np.ndarray:
    """What each kernel position sees of a block (B, C, *S), as matrices (groups, C/groups * K, B * positions)."""
    b, c = x.shape[:2]
    by_channel = x.swapaxes(0, 1)
    rows = c // geometry.groups * math.prod(kernel)
    if geometry.trivial(kernel, x.shape[2:], out):
        return by_channel.reshape(geometry.groups, rows, -1)
    if any(map(sum, geometry.padding)):
        sizes = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape[2:], geometry.padding, strict=True))
        padded = np.zeros((c, b, *sizes), x.dtype)
        padded[inner(x.shape[2:], geometry)] = by_channel
        by_channel = padded
    result = np.empty((c, *kernel, b, *out), x.dtype)
    for index, window in geometry.windows(kernel, out):
        result[index] = by_channel[window]
    return result.reshape(geometry.groups, rows, b * math.prod(out))


def inner(size: tuple[int, ...], geometry: Geometry) -> tuple:
    """Where the input lies within the padded input."""
    return (..., *(slice(lo, lo + n) for n, (lo, _) in zip(size, geometry.padding, strict=True)))


def added(cols: np.ndarray, geometry: Geometry, size: tuple[int, ...]) -> np.ndarray:
    """The transpose of columns: what the kernel positions (C, *K, B, *positions) saw, added up where it lies (C, B, *S)."""
    n = len(size)
    kernel, out = cols.shape[1 : n + 1], cols.shape[n + 2 :]
    sizes = tuple(m + lo + hi for m, (lo, hi) in zip(size, geometry.padding, strict=True))
    padded = np.zeros((cols.shape[0], cols.shape[n + 1], *sizes), cols.dtype)
    for index, window in geometry.windows(kernel, out):
        padded[window] += cols[index]
    return padded[inner(size, geometry)]


def _sample_bytes(x: np.ndarray, kernel: tuple[int, ...], out: tuple[int, ...], channels: int) -> int:
    return channels * math.prod(kernel) * math.prod(out) * x.dtype.itemsize


def _matrices(w: np.ndarray, groups: int) -> np.ndarray:
    """The weight as (groups, O/groups, C/groups * K)."""
    return w.reshape(groups, w.shape[0] // groups, -1)


def convolve(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, *, geometry: Geometry,
             out: tuple[int, ...]) -> np.ndarray:  # fmt: skip
    """The convolution at the first `out` positions, plus a bias per channel."""
    kernel = w.shape[2:]
    matrices = _matrices(w, geometry.groups)
    y = np.empty((x.shape[0], w.shape[0], *out), x.dtype)
    for part in blocks(x.shape[0], _sample_bytes(x, kernel, out, x.shape[1])):
        block = y[part]
        product = np.matmul(matrices, columns(x[part], geometry, kernel, out))
        block[...] = product.reshape(w.shape[0], block.shape[0], *out).swapaxes(0, 1)
        if b is not None:
            block += b.reshape(-1, *(1,) * len(out))
    return y


def _by_group(g: np.ndarray, groups: int) -> np.ndarray:
    """A block (B, O, *positions) as matrices (groups, O/groups, B * positions)."""
    return np.ascontiguousarray(g.swapaxes(0, 1)).reshape(groups, g.shape[1] // groups, -1)


def transpose(a: np.ndarray, w: np.ndarray, b: np.ndarray | None, *, geometry: Geometry,
               size: tuple[int, ...]) -> np.ndarray:  # fmt: skip
    """The transpose of convolve in x: what each position received, sent back; x has the spatial size `size`."""
    kernel, out, groups = w.shape[2:], a.shape[2:], geometry.groups
    channels = w.shape[1] * groups
    transposed = _matrices(w, groups).swapaxes(1, 2)
    x = np.empty((a.shape[0], channels, *size), a.dtype)
    for part in blocks(a.shape[0], _sample_bytes(a, kernel, out, channels)):
        block = a[part]
        cols = np.matmul(transposed, _by_group(block, groups))
        if geometry.trivial(kernel, size, out):
            x[part] = cols.reshape(channels, block.shape[0], *size).swapaxes(0, 1)
            continue
        x[part] = added(cols.reshape(channels, *kernel, block.shape[0], *out), geometry, size).swapaxes(0, 1)
    if b is not None:
        x += b.reshape(-1, *(1,) * len(size))
    return x


def correlate(a: np.ndarray, x: np.ndarray, *, geometry: Geometry, kernel: tuple[int, ...]) -> np.ndarray:
    """The transpose of convolve in w: what each kernel position contributed, added up over samples and positions."""
    groups, out = geometry.groups, a.shape[2:]
    shape = (a.shape[1], x.shape[1] // groups, *kernel)
    total: np.ndarray | None = None
    for part in blocks(x.shape[0], _sample_bytes(x, kernel, out, x.shape[1])):
        cols = columns(x[part], geometry, kernel, out)
        product = np.matmul(_by_group(a[part], groups), cols.swapaxes(1, 2))
        total = product if total is None else np.add(total, product, out=total)
    return np.zeros(shape, x.dtype) if total is None else total.reshape(shape)
