"""Pooling over windows that step by a stride, and over a given number of windows: arguments, checks, and which operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.pooling import averages, maxima
from reference_engine.ops.pooling.windows import Windows, per_dimension
from reference_engine.tensor import Tensor


def check_real(name: str, x: Tensor, *, integers: bool = False) -> None:
    """Pooling is of floats, or of integers too; never of bools or complex numbers."""
    if x._array.dtype.kind not in ("fiu" if integers else "f"):
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtypes.type_name(x.dtype)}'")


def named(function: Callable, name: str, what: str) -> Callable:
    """Gives a generated function its name and docstring."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{what}. Source: torch.nn.functional.{name}."
    return function


def squeezed(result: Any, dim: int = -2) -> Any:
    """A result, or a tuple of them, without the dimension that was added."""
    squeeze = registry.functions["squeeze"]
    return tuple(squeeze(r, dim) for r in result) if isinstance(result, tuple) else squeeze(result, dim)


def lifted(value: Any, filler: int) -> Any:
    """An option of one dimension as one of two, of which the first has size 1; None stays."""
    if value is None:
        return None
    return (filler, *per_dimension(value, 1, "an option"))


def check_dims(name: str, x: Tensor, n: int) -> None:
    """An input is a batch of channels, or channels; only the batch may be empty."""
    shape = x._array.shape
    if len(shape) not in (n + 1, n + 2) or 0 in shape[1 if len(shape) == n + 2 else 0 :]:
        if n == 1:
            text = "Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size for input"
        elif len(shape) in (n + 1, n + 2):
            text = "Expected input's non-batch dimensions to have positive length"
        else:
            text = f"non-empty {n + 1}D or {n + 2}D (batch mode) tensor expected for input"
        raise RuntimeError(f"{name}: {text}, but got a tensor of size {list(shape)}")


def _check_options(name: str, kernel: tuple, strides: tuple, pads: tuple, dilations: tuple) -> None:
    if any(s <= 0 for s in strides):
        raise RuntimeError("stride must be greater than zero, but got 0: stride should not be zero")
    if any(k <= 0 for k in kernel):
        raise RuntimeError("kernel_size must be greater than zero: kernel size should be greater than zero")
    if any(d <= 0 for d in dilations):
        raise RuntimeError(
            f"dilation must be greater than zero, but got {min(dilations)}: dilation should be greater than zero"
        )
    for p, k, d in zip(pads, kernel, dilations, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                               f"dilation={d}")  # fmt: skip


def windows_of(name: str, x: Tensor, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
               ceil_mode: bool) -> Windows:  # fmt: skip
    """The checked windows of a pooling over n dimensions; no stride means windows side by side."""
    kernel = per_dimension(kernel_size, n, f"{name}: kernel_size")
    given = stride is not None and stride != [] and stride != ()
    strides = per_dimension(stride, n, f"{name}: stride") if given else kernel
    pads, dilations = per_dimension(padding, n, f"{name}: padding"), per_dimension(dilation, n, f"{name}: dilation")
    _check_options(name, kernel, strides, pads, dilations)
    check_dims(name, x, n)
    windows = Windows(x._array.shape[-n:], kernel, strides, pads, dilations, ceil_mode)
    check_real(name.removesuffix("()"), x, integers=True)
    if any(s < 1 for s in windows.out):
        channels = x._array.shape[-n - 1]
        sizes = ["x".join(map(str, (channels, *s))) for s in (windows.size, windows.out)]
        raise RuntimeError(
            f"Given input size: ({sizes[0]}). Calculated output size: ({sizes[1]}). Output size is too small"
        )
    return windows


def _max_pool(n: int) -> Callable:
    name = f"max_pool{n}d"

    def pool(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
        if n == 1:
            check_dims(f"{name}()", input, n)
            plane = input.unsqueeze(-2)
            windows = windows_of(f"{name}()", plane, 2, lifted(kernel_size, 1), lifted(stride, 1), lifted(padding, 0),
                                 lifted(dilation, 1), ceil_mode)  # fmt: skip
            results = squeezed(maxima.max_ops[2](plane, windows=windows))
        else:
            windows = windows_of(f"{name}()", input, n, kernel_size, stride, padding, dilation, ceil_mode)
            results = maxima.max_ops[n](input, windows=windows)
        return results if return_indices else results[0]

    return named(pool, name, "The largest element of each window; of equal ones the first")


def _avg_pool(n: int) -> Callable:
    name = f"avg_pool{n}d"

    def pool(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:  # fmt: skip
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        windows = windows_of(f"{name}()", input, n, kernel_size, stride, padding, 1, ceil_mode)
        if n == 3 and any(s < k for s, k in zip(windows.size, windows.kernel, strict=True)):
            sizes = [" ".join(f"{k}{d}: {v}" for d, v in zip("THW", values, strict=True))
                     for k, values in (("", windows.size), ("k", windows.kernel))]  # fmt: skip
            raise RuntimeError(f"input image ({sizes[0]}) smaller than kernel size ({sizes[1]})")
        divisor = np.asarray(divisor_override or windows.counts(include_padding=count_include_pad))
        return averages.average_ops[n](input, windows=windows, divisor=divisor)

    return named(pool, name, "The mean of each window")


def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Tensor:  # fmt: skip
    """The mean of each window. Source: torch.nn.functional.avg_pool1d."""
    check_dims("avg_pool1d()", input, 1)
    options = lifted(kernel_size, 1), lifted(stride, 1), lifted(padding, 0)
    return squeezed(avg_pool2d(input.unsqueeze(-2), *options, ceil_mode, count_include_pad))


# --- as many windows as asked for ------------------------------------------------------------------------------------


def _sizes(name: str, x: Tensor, n: int, output_size: Any) -> tuple[int, ...]:
    """The wanted spatial size; None keeps a dimension's."""
    shape = x._array.shape
    if len(shape) <= n:
        raise (ValueError if n > 1 else RuntimeError)(f"{name}: Input dimension should be at least {n + 1}, but got "
                                                      f"{len(shape)}: Expected {n + 1}D or {n + 2}D tensor")  # fmt: skip
    sizes = (output_size,) * n if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(sizes) != n:
        message = "'output_size' should contain one int" if n == 1 else f"internal error: output_size must be {n}"
        raise RuntimeError(f"{name}: {message}")
    wanted = tuple(m if s is None else int(s) for s, m in zip(sizes, shape[-n:], strict=True))
    check_dims(name, x, n)
    if any(s < 0 for s in wanted):
        if "avg" in name:
            raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0 but received "
                               f"{list(wanted)}")  # fmt: skip
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(wanted)}: {list(wanted)}")
    return wanted


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
    name = f"adaptive_avg_pool{n}d"

    def pool(input: Tensor, output_size: Any) -> Tensor:
        sizes = _sizes(f"{name}()", input, n, output_size)
        check_real(name, input)
        if n == 1:
            return squeezed(adaptive_avg_pool2d(input.unsqueeze(-2), (1, *sizes)))
        if all(s == 1 for s in sizes):
            return input.mean(tuple(range(-n, 0)), True)
        matrices = tuple(_averaging(m, s) for m, s in zip(input._array.shape[-n:], sizes, strict=True))
        return averages.adaptive_ops[n](input, matrices=matrices)

    return named(pool, name, "The mean of each of `output_size` windows that cover the input")


def _adaptive_max_pool(n: int) -> Callable:
    name = f"adaptive_max_pool{n}d"

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        sizes = _sizes(f"{name}()", input, n, output_size)
        check_real(name, input)
        plane, wanted = (input.unsqueeze(-2), (1, *sizes)) if n == 1 else (input, sizes)
        spatial = len(wanted)
        bounds = [adaptive_bounds(m, s) for m, s in zip(plane._array.shape[-spatial:], wanted, strict=True)]
        results = maxima.adaptive_ops[spatial](plane, bounds=bounds)
        results = squeezed(results) if n == 1 else results
        return results if return_indices else results[0]

    return named(pool, name, "The largest element of each of `output_size` windows")


# fmt: off
max_pool1d, max_pool2d, max_pool3d                            = map(_max_pool, (1, 2, 3))
avg_pool2d, avg_pool3d                                        = map(_avg_pool, (2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg_pool, (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(_adaptive_max_pool, (1, 2, 3))
# fmt: on


def _with_indices(pool: Callable) -> Callable:
    def call(input: Tensor, *args: Any, **options: Any) -> Any:
        return pool(input, *args, **options, return_indices=True)

    return named(call, f"{pool.__name__}_with_indices", "Maxima and where they are")


for _function in (max_pool1d, max_pool2d, max_pool3d, avg_pool1d, adaptive_avg_pool1d):
    registry.publish(_function.__name__, _function, method=False)
registry.publish(
    "adaptive_max_pool1d", lambda input, output_size: adaptive_max_pool1d(input, output_size, True), method=False
)
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    _with_indices, (max_pool1d, max_pool2d, max_pool3d)
)
(adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices) = map(
    _with_indices, (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d)
)
registry.publish("max_pool1d_with_indices", max_pool1d_with_indices, method=False)
registry.publish("max_pool2d_with_indices", max_pool2d_with_indices, method=False)


def _max_pool_backward(grad_output: Tensor, self: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                       ceil_mode: bool, indices: Tensor) -> Tensor:  # fmt: skip
    """Sends a gradient to where maxima were found. Source: torch.ops.aten.max_pool2d_with_indices_backward."""
    plane = self._array.shape[-2:]
    positions = maxima.in_whole(indices._array, self._array.shape[:-2], plane[0] * plane[1])
    return maxima.backward(grad_output, self, positions=positions)


registry.publish("max_pool2d_with_indices_backward", _max_pool_backward, method=False)
