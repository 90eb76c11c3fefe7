"""Pooling by maxima: where the largest element was found is remembered, and the gradient goes there.

Of equal elements the first is taken; NaN is larger than everything. Source: torch.nn.functional.max_pool2d,
adaptive_max_pool2d, fractional_max_pool2d.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.ops.kinds import general
from reference_engine.ops.pooling.windows import Windows
from reference_engine.ops.positions import _put, take_positions
from reference_engine.ops.second_order import zeros


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def in_whole(indices: np.ndarray, lead: tuple, plane: int) -> np.ndarray:
    """Indices into a plane as positions in the whole input."""
    offsets = np.arange(math.prod(lead)).reshape(*lead, *(1,) * (indices.ndim - len(lead))) * plane
    return indices + offsets


def _in_windows(x: np.ndarray, *, windows: Windows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, indices into the plane, and positions in the whole input."""
    lead = x.shape[: -len(windows.size)]
    lowest = _lowest(x.dtype)
    padded = windows.padded(x, lowest)
    best = np.full((*lead, *windows.out), lowest, x.dtype)
    indices = np.array(np.broadcast_to(windows.first_positions(), best.shape))
    may_have_nan = x.dtype.kind == "f" and bool(np.isnan(np.add.reduce(x, axis=None)))
    for index in np.ndindex(windows.kernel):
        candidate = padded[windows.slices(index)]
        better = candidate > best
        if may_have_nan:
            better |= np.isnan(candidate)
        np.copyto(best, candidate, where=better)
        np.copyto(indices, windows.positions(index), where=better)
    return best, indices, in_whole(indices, lead, math.prod(windows.size))


def _adaptive(x: np.ndarray, *, bounds: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same over windows given by their bounds along each dimension."""
    n = len(bounds)
    lead, size = x.shape[:-n], x.shape[-n:]
    plane = np.arange(math.prod(size)).reshape(size)
    indices = np.empty((*lead, *map(len, bounds)), np.int64)
    for index in np.ndindex(indices.shape[len(lead) :]):
        part: Any = (..., *(slice(*bound[i]) for bound, i in zip(bounds, index, strict=True)))
        window = x[part].reshape(*lead, -1) if x.size else np.zeros((*lead, 1))
        indices[(..., *index)] = plane[part].ravel()[np.argmax(window, -1)]
    positions = in_whole(indices, lead, math.prod(size))
    return x.reshape(-1)[positions], indices, positions


def _from_starts(x: np.ndarray, *, kernel: tuple, starts: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same over windows of one size that begin where `starts` says, for each plane (*lead, count) by itself."""
    n = len(kernel)
    lead, size = x.shape[:-n], x.shape[-n:]
    planes = np.arange(math.prod(lead)).reshape(*lead, *(1,) * 2 * n)
    flat: Any = np.zeros((), np.int64)
    for d, (begin, width) in enumerate(zip(starts, kernel, strict=True)):
        out_axes = [begin.shape[-1] if i == d else 1 for i in range(n)]
        kernel_axes = [width if i == d else 1 for i in range(n)]
        along = begin.reshape(*lead, *out_axes, *(1,) * n) + np.arange(width).reshape(kernel_axes)
        flat = flat * size[d] + along
    out = flat.shape[len(lead) : len(lead) + n]
    flat = flat.reshape(*lead, *out, math.prod(kernel))
    seen = x.reshape(-1)[flat + planes.reshape(*lead, *(1,) * (n + 1)) * math.prod(size)]
    indices = np.take_along_axis(flat, np.argmax(seen, -1)[..., None], -1)[..., 0]
    positions = in_whole(indices, lead, math.prod(size))
    return x.reshape(-1)[positions], indices, positions


backward = general("max_pool_backward", lambda g, x, *, positions: _put(g, positions=positions, shape=x.shape),
                   lambda g, positions: take_positions(g, positions=positions), lambda g, x_shape: zeros(g, x_shape),
                   node="MaxPool2DWithIndicesBackwardBackward0", saved_names=("grad_output", "self"))  # fmt: skip


def _rule(gs: tuple, x: Any, positions: np.ndarray) -> Any:
    return None if gs[0] is None else backward(gs[0], x, positions=positions)


def _picking(name: str, forward: Callable, node: str) -> Any:
    return general(name, forward, _rule, inputs=("x",), outputs=("result0", "result1"), aux=("positions",),
                   nondifferentiable=("result1",), node=node, saved_names=("self",))  # fmt: skip


# fmt: off
max_ops        = {n: _picking(f"max_pool{n}d_with_indices", _in_windows, f"MaxPool{n}DWithIndicesBackward0") for n in (2, 3)}
adaptive_ops   = {n: _picking(f"adaptive_max_pool{n}d",     _adaptive,   f"AdaptiveMaxPool{n}DBackward0")    for n in (2, 3)}
fractional_ops = {n: _picking(f"fractional_max_pool{n}d",   _from_starts, f"FractionalMaxPool{n}DBackward0") for n in (2, 3)}
# fmt: on


# --- the way back: values placed where maxima were found -------------------------------------------------------------


def _place(x: np.ndarray, *, positions: np.ndarray, shape: tuple) -> np.ndarray:
    """Zeros but for x at its positions; of several at one position the last stays."""
    result = np.zeros(math.prod(shape), x.dtype)
    result[positions.ravel()] = x.ravel()
    return result.reshape(shape)


unpool_ops = {n: general(f"max_unpool{n}d", _place, lambda g, positions: take_positions(g, positions=positions),
                         inputs=("x",), node=f"MaxUnpool{n}DBackward0", saved_names=("self",))
              for n in (2, 3)}  # fmt: skip
