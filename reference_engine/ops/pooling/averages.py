"""Pooling by averages: linear, and the rule is the transpose. Source: torch.nn.functional.avg_pool2d,
adaptive_avg_pool2d.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops.kinds import linear
from reference_engine.ops.pooling.windows import Windows
from reference_engine.ops.second_order import backward_of


def _average(x: np.ndarray, *, windows: Windows, divisor: Any) -> np.ndarray:
    padded = windows.padded(x, 0)
    total = np.zeros((*x.shape[: -len(windows.size)], *windows.out), x.dtype)
    for index in np.ndindex(windows.kernel):
        total += padded[windows.slices(index)]
    if x.dtype.kind == "i":
        return (total / divisor).astype(x.dtype)  # towards zero
    return total / divisor.astype(x.dtype)


def _spread(g: np.ndarray, x: np.ndarray, *, windows: Windows, divisor: Any) -> np.ndarray:
    share = g / divisor.astype(g.dtype)
    padded = np.zeros((*g.shape[: -len(windows.size)], *windows.padded_size), g.dtype)
    for index in np.ndindex(windows.kernel):
        padded[windows.slices(index)] += share
    return padded[windows.inner()]


def _along(x: np.ndarray, *, matrices: tuple[np.ndarray, ...]) -> np.ndarray:
    """A matrix applied along each of the last dimensions."""
    n = len(matrices)
    for i, matrix in enumerate(matrices):
        x = np.moveaxis(np.matmul(np.moveaxis(x, i - n, -1), matrix.T.astype(x.dtype)), -1, i - n)
    return np.ascontiguousarray(x)


def _back_along(g: np.ndarray, x: np.ndarray, *, matrices: tuple[np.ndarray, ...]) -> np.ndarray:
    return _along(g, matrices=tuple(m.T for m in matrices))


def _averaging(n: int) -> Any:
    name = f"avg_pool{n}d"
    forward = linear(name, _average, lambda g, x, windows, divisor: back(g, x, windows=windows, divisor=divisor),
                     node=f"AvgPool{n}DBackward0", saved_names=("self",))  # fmt: skip
    back = backward_of(f"{name}_backward", _spread,
                       lambda g, windows, divisor: forward(g, windows=windows, divisor=divisor),
                       f"AvgPool{n}DBackwardBackward0")  # fmt: skip
    return forward


def _adaptive(n: int) -> Any:
    name = f"adaptive_avg_pool{n}d"
    forward = linear(name, _along, lambda g, x, matrices: back(g, x, matrices=matrices),
                     node=f"AdaptiveAvgPool{n}DBackward0", saved_names=("self",))  # fmt: skip
    back = backward_of(f"{name}_backward", _back_along, lambda g, matrices: forward(g, matrices=matrices),
                       f"AdaptiveAvgPool{n}DBackwardBackward0")  # fmt: skip
    return forward


average_ops = {n: _averaging(n) for n in (2, 3)}
adaptive_ops = {n: _adaptive(n) for n in (2, 3)}
