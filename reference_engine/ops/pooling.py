"""Pooling. Maxima remember where they were found, the first of equals, and the gradient goes there; averages are linear,
and the rule is their transpose. Source: torch.nn.functional.max_pool2d, avg_pool2d, adaptive_avg_pool2d.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.positions import put_positions
from reference_engine.ops.windows import Windows, per_dimension
from reference_engine.tensor import Tensor


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _max_forward(x: np.ndarray, *, windows: Windows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, indices into the plane, and positions in the whole input."""
    lead = x.shape[: -len(windows.size)]
    lowest = _lowest(x.dtype)
    padded = windows.padded(x, lowest)
    best = np.full((*lead, *windows.out), lowest, x.dtype)
    indices = np.array(np.broadcast_to(windows.first_positions(), best.shape))
    for index in np.ndindex(windows.kernel):
        candidate = padded[windows.slices(index)]
        better = ~(candidate <= best)  # NaN is better than everything
        np.copyto(best, candidate, where=better)
        np.copyto(indices, windows.positions(index), where=better)
    return best, indices, _in_whole(indices, lead, math.prod(windows.size))


def _in_whole(indices: np.ndarray, lead: tuple, plane: int) -> np.ndarray:
    offsets = np.arange(math.prod(lead)).reshape(*lead, *(1,) * (indices.ndim - len(lead))) * plane
    return indices + offsets


def _max_rule(gs: tuple, positions: np.ndarray, x_shape: tuple) -> Any:
    return None if gs[0] is None else put_positions(gs[0], positions=positions, shape=x_shape)


def _picking(name: str, forward: Callable, node: str) -> Any:
    return general(name, forward, _max_rule, inputs=("x",), outputs=("result0", "result1"), aux=("positions",),
                   nondifferentiable=("result1",), node=node, saved_names=("self",))  # fmt: skip


max_ops = {n: _picking(f"max_pool{n}d_with_indices", _max_forward, f"MaxPool{n}DWithIndicesBackward0") for n in (2, 3)}


def _window_of(x: np.ndarray, index: tuple, bounds: list) -> np.ndarray:
    return x[(..., *(slice(*bound[i]) for bound, i in zip(bounds, index, strict=True)))]


def _adaptive_max_forward(x: np.ndarray, *, bounds: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(bounds)
    lead, size = x.shape[:-n], x.shape[-n:]
    plane = np.arange(math.prod(size)).reshape(size)
    indices = np.empty((*lead, *map(len, bounds)), np.int64)
    for index in np.ndindex(indices.shape[len(lead) :]):
        window = _window_of(x, index, bounds).reshape(*lead, -1)
        indices[(..., *index)] = _window_of(plane, index, bounds).ravel()[np.argmax(window, -1)]
    positions = _in_whole(indices, lead, math.prod(size))
    return x.reshape(-1)[positions], indices, positions


adaptive_max_ops = {n: _picking(f"adaptive_max_pool{n}d", _adaptive_max_forward, f"AdaptiveMaxPool{n}DBackward0")
                    for n in (2, 3)}  # fmt: skip

# --- averages: linear ----------------------------------------------------------------------------------------------


def _average(x: np.ndarray, *, windows: Windows, divisor: Any) -> np.ndarray:
    padded = windows.padded(x, 0)
    total = np.zeros((*x.shape[: -len(windows.size)], *windows.out), x.dtype)
    for index in np.ndindex(windows.kernel):
        total += padded[windows.slices(index)]
    return total / divisor.astype(x.dtype)


def _spread(g: np.ndarray, *, windows: Windows, divisor: Any) -> np.ndarray:
    share = g / divisor.astype(g.dtype)
    padded = np.zeros((*g.shape[: -len(windows.size)], *windows.padded_size), g.dtype)
    for index in np.ndindex(windows.kernel):
        padded[windows.slices(index)] += share
    return padded[windows.inner()]


average_ops = {n: linear(f"avg_pool{n}d", _average, lambda g, windows, divisor: spread(g, windows=windows, divisor=divisor),
                         node=f"AvgPool{n}DBackward0", saved_names=("self",)) for n in (2, 3)}  # fmt: skip
spread = linear("avg_pool_transpose", _spread,
                lambda g, windows, divisor: average_ops[2](g, windows=windows, divisor=divisor),
                inputs=("g",), node="AvgPool2DBackwardBackward0")  # fmt: skip


def _along(x: np.ndarray, *, matrices: tuple[np.ndarray, ...], transposed: bool) -> np.ndarray:
    """A matrix applied along each of the last dimensions."""
    n = len(matrices)
    for i, matrix in enumerate(matrices):
        m = (matrix.T if transposed else matrix).astype(x.dtype)
        x = np.moveaxis(np.matmul(np.moveaxis(x, i - n, -1), m.T), -1, i - n)
    return np.ascontiguousarray(x)


def _averaging_along(n: int) -> Any:
    return linear(f"adaptive_avg_pool{n}d", _along,
                  lambda g, matrices, transposed: along_ops[n](g, matrices=matrices, transposed=not transposed),
                  node=f"AdaptiveAvgPool{n}DBackward0", saved_names=("self",))  # fmt: skip


along_ops = {n: _averaging_along(n) for n in (2, 3)}

# --- arguments -----------------------------------------------------------------------------------------------------


def _lifted(value: Any, filler: int) -> Any:
    return (filler, value if isinstance(value, int) else next(iter(value)))


def _squeezed(result: Any) -> Any:
    squeeze = registry.functions["squeeze"]
    return tuple(squeeze(r, -2) for r in result) if isinstance(result, tuple) else squeeze(result, -2)


def _windows(x: Tensor, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Windows:
    kernel = per_dimension(kernel_size, n, "kernel_size")
    strides = kernel if stride is None or stride == [] else per_dimension(stride, n, "stride")
    pads, dilations = per_dimension(padding, n, "padding"), per_dimension(dilation, n, "dilation")
    if any(s == 0 for s in strides):
        raise RuntimeError("stride should not be zero")
    for p, k, d in zip(pads, kernel, dilations, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                               f"dilation={d}")  # fmt: skip
    windows = Windows(x._array.shape[-n:], kernel, strides, pads, dilations, ceil_mode)
    if any(n < 1 for n in windows.out):
        channels = x._array.shape[-n - 1]
        sizes = ["x".join(map(str, (channels, *s))) for s in (windows.size, windows.out)]
        raise RuntimeError(
            f"Given input size: ({sizes[0]}). Calculated output size: ({sizes[1]}). Output size is too small"
        )
    return windows


def _check_dims(x: Tensor, n: int) -> None:
    if x._array.ndim not in (n + 1, n + 2):
        raise RuntimeError(f"non-empty {n + 1}D or {n + 2}D (batch mode) tensor expected for input")


def _max_pool(n: int) -> Callable:
    def pool(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
        _check_dims(input, n)
        if n == 1:
            options = (_lifted(kernel_size, 1), None if stride is None else _lifted(stride, 1), _lifted(padding, 0),
                       _lifted(dilation, 1))  # fmt: skip
            results = _squeezed(
                max_ops[2](input.unsqueeze(-2), windows=_windows(input.unsqueeze(-2), 2, *options, ceil_mode))
            )
        else:
            results = max_ops[n](input, windows=_windows(input, n, kernel_size, stride, padding, dilation, ceil_mode))
        return results if return_indices else results[0]

    return _named(pool, f"max_pool{n}d", "The largest element of each window; of equal ones the first")


def _avg_pool(n: int) -> Callable:
    def pool(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:  # fmt: skip
        _check_dims(input, n)
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        if n == 1:
            lifted = None if stride is None else _lifted(stride, 1)
            return _squeezed(pool_2d(input.unsqueeze(-2), _lifted(kernel_size, 1), lifted, _lifted(padding, 0), ceil_mode,
                                     count_include_pad))  # fmt: skip
        windows = _windows(input, n, kernel_size, stride, padding, 1, ceil_mode)
        divisor = np.asarray(divisor_override or windows.counts(include_padding=count_include_pad))
        return average_ops[n](input, windows=windows, divisor=divisor)

    return _named(pool, f"avg_pool{n}d", "The mean of each window")


def adaptive_sizes(x: Tensor, n: int, output_size: Any) -> tuple[int, ...]:
    """The wanted spatial size; None keeps a dimension's."""
    sizes = (output_size,) * n if output_size is None or isinstance(output_size, int) else tuple(output_size)
    return tuple(m if s is None else int(s) for s, m in zip(sizes, x._array.shape[-n:], strict=True))


def adaptive_bounds(size: int, count: int) -> list[tuple[int, int]]:
    """`count` windows that cover `size` elements, overlapping where it does not divide."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _averaging(size: int, count: int) -> np.ndarray:
    """The matrix whose rows average one window each."""
    matrix = np.zeros((count, size))
    for row, (low, high) in zip(matrix, adaptive_bounds(size, count), strict=True):
        row[low:high] = 1 / (high - low)
    return matrix


def _adaptive_avg_pool(n: int) -> Callable:
    def pool(input: Tensor, output_size: Any) -> Tensor:
        _check_dims(input, n)
        if n == 1:
            return _squeezed(adaptive_2d(input.unsqueeze(-2), (1, *adaptive_sizes(input, 1, output_size))))
        sizes = adaptive_sizes(input, n, output_size)
        if all(s == 1 for s in sizes):
            return input.mean(tuple(range(-n, 0)), True)
        matrices = tuple(_averaging(m, s) for m, s in zip(input._array.shape[-n:], sizes, strict=True))
        return along_ops[n](input, matrices=matrices, transposed=False)

    return _named(pool, f"adaptive_avg_pool{n}d", "The mean of each of `output_size` windows that cover the input")


def _adaptive_max_pool(n: int) -> Callable:
    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        _check_dims(input, n)
        lifted = input.unsqueeze(-2) if n == 1 else input
        sizes = (*((1,) if n == 1 else ()), *adaptive_sizes(input, n, output_size))
        spatial = max(n, 2)
        bounds = [adaptive_bounds(m, s) for m, s in zip(lifted._array.shape[-spatial:], sizes, strict=True)]
        results = adaptive_max_ops[spatial](lifted, bounds=bounds)
        results = _squeezed(results) if n == 1 else results
        return results if return_indices else results[0]

    return _named(pool, f"adaptive_max_pool{n}d", "The largest element of each of `output_size` windows")


def _named(function: Callable, name: str, what: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{what}. Source: torch.nn.functional.{name}."
    return function


pool_2d, adaptive_2d = _avg_pool(2), _adaptive_avg_pool(2)
max_pool1d, max_pool2d, max_pool3d = map(_max_pool, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = _avg_pool(1), pool_2d, _avg_pool(3)
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (
    _adaptive_avg_pool(1),
    adaptive_2d,
    _adaptive_avg_pool(3),
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(_adaptive_max_pool, (1, 2, 3))
for _function in (max_pool1d, max_pool2d, max_pool3d, avg_pool1d, adaptive_avg_pool1d):
    registry.publish(_function.__name__, _function, method=False)
registry.publish(
    "adaptive_max_pool1d", lambda input, output_size: adaptive_max_pool1d(input, output_size, True), method=False
)
registry.publish("max_pool1d_with_indices", lambda input, *args, **options: max_pool1d(
    input, *args, **options, return_indices=True), method=False)  # fmt: skip
