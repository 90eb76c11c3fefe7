"""Pooling by powers, at random windows, and back: lp_pool, fractional_max_pool, max_unpool.

Source: torch.nn.functional.lp_pool2d, fractional_max_pool2d (Graham 2014, "Fractional Max-Pooling"), max_unpool2d.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.ops.masking import masked
from reference_engine.ops.pooling import maxima
from reference_engine.ops.pooling.functions import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    named,
    squeezed,
)
from reference_engine.ops.pooling.windows import per_dimension
from reference_engine.random import numpy_generator
from reference_engine.tensor import Tensor


def _lp_pool(n: int) -> Callable:
    average = (avg_pool1d, avg_pool2d, avg_pool3d)[n - 1]

    def pool(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
        # A window that ceil_mode cuts off counts as a full one: its mean times the kernel's size.
        size = math.prod(per_dimension(kernel_size, n, "kernel_size"))
        total = average(input.pow(norm_type), kernel_size, stride, 0, ceil_mode) * size
        return masked(total, total._array != 0).pow(1.0 / norm_type)

    what = "The p-th root of each window's sum of p-th powers; gradient 0 where that sum is 0"
    return named(pool, f"lp_pool{n}d", what)


# --- fractional ------------------------------------------------------------------------------------------------------


def _starts(samples: np.ndarray, size: int, out: int, kernel: int) -> np.ndarray:
    """Where the `out` windows of each plane begin: trunc(alpha (i + u)) - trunc(alpha u), the last at the end."""
    if out == 1:
        return np.full((*samples.shape, 1), size - kernel)
    alpha = samples.dtype.type(size - kernel) / samples.dtype.type(out - 1)
    steps = np.arange(out).astype(samples.dtype)
    begins = np.trunc((samples[..., None] + steps) * alpha) - np.trunc(samples[..., None] * alpha)
    begins[..., -1] = size - kernel
    return begins.astype(np.int64)


def _wanted_size(name: str, x: Tensor, n: int, output_size: Any, output_ratio: Any) -> tuple[int, ...]:
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if output_size is not None:
        return per_dimension(output_size, n, "output_size")
    ratios = (output_ratio,) * n if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
    return tuple(int(s * r) for s, r in zip(x._array.shape[-n:], ratios, strict=True))


def _check_fractional(name: str, x: Tensor, n: int, kernel: tuple, out: tuple) -> None:
    shape = x._array.shape
    if len(shape) not in (n + 1, n + 2) or 0 in shape[len(shape) - n - 1 :]:
        raise RuntimeError(f"{name}(): Expected {n + 1}D or {n + 2}D tensor with non-zero non-batch dimensions, but got: "
                           f"{list(shape)}")  # fmt: skip
    for axis, k, o, s in zip("THW"[3 - n :], kernel, out, shape[len(shape) - n :], strict=True):
        if o + k - 1 > s - (n == 3):  # in three dimensions torch wants one element more
            label = {"T": "time", "H": "height", "W": "width"}[axis]
            where = name if n == 2 else f"{name}_out"
            raise RuntimeError(f"{where}(): pool {label} {k} too large relative to input {label} {s}")


def _fractional(n: int) -> Callable:
    name = f"fractional_max_pool{n}d"

    def pool(input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
             return_indices: bool = False, _random_samples: Tensor | None = None) -> Any:  # fmt: skip
        out = _wanted_size(name, input, n, output_size, output_ratio)
        kernel = per_dimension(kernel_size, n, "kernel_size")
        _check_fractional(name, input, n, kernel, out)
        lead, size = input._array.shape[:-n], input._array.shape[-n:]
        batch = lead if len(lead) == 2 else (1, *lead)
        if _random_samples is None:
            drawn = numpy_generator().random((*batch, n)).astype(input._array.dtype)
        else:
            drawn = _random_samples._array
        for d, (given, wanted) in enumerate(zip(drawn.shape, (*batch, n), strict=True)):
            if given != wanted:
                raise RuntimeError(f"Expect _random_samples.size({d}) equals to {wanted}; got {given}.")
        samples = drawn.reshape(*lead, n)
        order = (1, 0) if n == 2 else (0, 1, 2)  # torch keeps the width's sample first in two dimensions
        starts = tuple(_starts(samples[..., order[d]], size[d], out[d], kernel[d]) for d in range(n))
        results = maxima.fractional_ops[n](input, kernel=kernel, starts=starts)
        return results if return_indices else results[0]

    return named(pool, name, "The largest element of each of as many windows as asked for, begun at random")


# --- unpooling -------------------------------------------------------------------------------------------------------


def _unpooled_size(
    x: Tensor, n: int, kernel: tuple, stride: tuple, padding: tuple, output_size: Any
) -> tuple[int, ...]:
    """The size that was pooled from; asked for, it may differ from the default by less than a stride."""
    default = tuple((m - 1) * s + k - 2 * p for m, s, k, p in
                    zip(x._array.shape[-n:], stride, kernel, padding, strict=True))  # fmt: skip
    if output_size is None:
        return default
    sizes = tuple(output_size)
    if len(sizes) == n + 2:
        sizes = sizes[2:]
    if len(sizes) != n:
        raise ValueError(f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
                         f"'{len(sizes)}'")  # fmt: skip
    for d, (size, wanted, s) in enumerate(zip(sizes, default, stride, strict=True)):
        if not wanted - s < size < wanted + s:
            raise ValueError(
                f'invalid output_size "{list(sizes)}" (dim {d} must be between {wanted - s} and {wanted + s})'
            )
    return sizes


def place(input: Tensor, indices: Tensor, size: tuple[int, ...]) -> Tensor:
    """Zeros of spatial size `size` but for the input at `indices` into each plane."""
    n = len(size)
    name = f"max_unpooling{n}d_forward_out_cpu_template"
    if indices._array.dtype != np.int64:
        raise RuntimeError("elements in indices should be type int64 but got: " + indices.dtype.name.capitalize())
    if indices._array.shape != input._array.shape:
        raise RuntimeError(f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got "
                           f"indices tensor with shape: {list(indices.shape)}")  # fmt: skip
    if input._array.ndim not in (n + 1, n + 2):
        raise RuntimeError(f"Input to max_unpooling{n}d should be a {n + 1}d or {n + 2}d Tensor, but got a tensor with "
                           f"{input._array.ndim} dimensions")  # fmt: skip
    lead, plane = input._array.shape[:-n], math.prod(size)
    outside = indices._array[(indices._array < 0) | (indices._array >= plane)]
    if outside.size:
        raise RuntimeError(f"Found an invalid max index: {outside[0]} (output volumes are of size "
                           f"{'x'.join(map(str, size))}) in {name}")  # fmt: skip
    positions = maxima.in_whole(indices._array, lead, plane)
    return maxima.unpool_ops[n](input, positions=positions, shape=(*lead, *size))


def _unpool(n: int) -> Callable:
    def unpool(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
               output_size: Any = None) -> Tensor:  # fmt: skip
        kernel = per_dimension(kernel_size, n, "kernel_size")
        strides = kernel if stride is None else per_dimension(stride, n, "stride")
        size = _unpooled_size(input, n, kernel, strides, per_dimension(padding, n, "padding"), output_size)
        if n > 1:
            return place(input, indices, size)
        return squeezed(place(input.unsqueeze(-1), indices.unsqueeze(-1), (*size, 1)), -1)

    return named(unpool, f"max_unpool{n}d", "Zeros but for the input, at the indices that max pooling returned")


lp_pool1d, lp_pool2d, lp_pool3d = map(_lp_pool, (1, 2, 3))
fractional_max_pool2d, fractional_max_pool3d = map(_fractional, (2, 3))
max_unpool1d, max_unpool2d, max_unpool3d = map(_unpool, (1, 2, 3))


def _with_indices(pool: Callable) -> Callable:
    def call(input: Tensor, *args: Any, **options: Any) -> Any:
        return pool(input, *args, **{**options, "return_indices": True})

    return named(call, f"{pool.__name__}_with_indices", "Maxima and where they are")


fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = map(
    _with_indices, (fractional_max_pool2d, fractional_max_pool3d)
)
