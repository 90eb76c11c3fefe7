"""Convolution in any number of dimensions, plain and transposed.

One trilinear form t(x, w, g) = sum over positions of x, w and g gives three operators, each linear in both arguments:

    convolve(x, w)         what is paired with g:  the convolution
    transpose(g, w)        what is paired with x:  the transposed convolution, and the gradient of x
    correlate(g, x)        what is paired with w:  the gradient of w

so the rule of each is made of the other two, to any order. Source: torch.nn.functional.conv2d, conv_transpose2d.

Layout: input (N, C, *S), weight (O, C/groups, *K). How values are computed: im2col.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.ops import im2col, registry
from reference_engine.ops.im2col import Geometry
from reference_engine.ops.kinds import general
from reference_engine.ops.matmul import lowered
from reference_engine.state import state
from reference_engine.tensor import Tensor


def _over_channels(g: Any) -> Any:
    """The gradient of a bias: summed over all but the channels; over arrays and tensors."""
    axes = (0, *range(2, g.ndim))
    return g.sum(axes) if isinstance(g, Tensor) else np.add.reduce(g, axis=axes)


# fmt: off
convolve = general("convolution", im2col.convolve,
    lambda g, w, x_shape, geometry:    transpose(g, w, None, geometry=geometry, size=x_shape[2:]),
    lambda g, x, w_shape, geometry:    correlate(g, x, geometry=geometry, kernel=w_shape[2:]),
    lambda g:                          _over_channels(g),
    saved_names=("input", "weight", "bias"))
transpose = general("convolution_transpose", im2col.transpose,
    lambda g, w, a_shape, geometry:    convolve(g, w, None, geometry=geometry, out=a_shape[2:]),
    lambda g, a, w_shape, geometry:    correlate(a, g, geometry=geometry, kernel=w_shape[2:]),
    lambda g:                          _over_channels(g),
    node="ConvolutionBackward0", saved_names=("input", "weight", "bias"))
correlate = general("convolution_weight", im2col.correlate,
    lambda g, x, a_shape, geometry:    convolve(x, g, None, geometry=geometry, out=a_shape[2:]),
    lambda g, a, x_shape, geometry:    transpose(a, g, None, geometry=geometry, size=x_shape[2:]),
    node="ConvolutionBackwardBackward0")
# fmt: on


# --- arguments -----------------------------------------------------------------------------------------------------


def per_dimension(value: Any, n: int, what: str) -> tuple[int, ...]:
    """An option given once or per spatial dimension, as a tuple of n."""
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        values *= n
    if len(values) != n:
        raise RuntimeError(f"expected {what} to be a single integer value or a list of {n} values to match the convolution "
                           f"dimensions, but got {what}={list(values)}")  # fmt: skip
    return tuple(int(v) for v in values)


def _padding_pairs(padding: Any, n: int, kernel: tuple, stride: tuple, dilation: tuple) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * n
        if padding != "same":
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    return tuple((p, p) for p in per_dimension(padding, n, "padding"))


def make_geometry(w: Tensor, n: int, stride: Any, padding: Any, dilation: Any, groups: int) -> Geometry:
    """The checked options of a convolution with n spatial dimensions."""
    if w._array.ndim < 3:
        raise RuntimeError("weight should have at least three dimensions")
    if w._array.ndim != n + 2:
        raise RuntimeError(f"Expected {w._array.ndim}-dimensional input for {w._array.ndim}-dimensional weight "
                           f"{list(w._array.shape)}, but got {n + 2}-dimensional input instead")  # fmt: skip
    strides, dilations = per_dimension(stride, n, "stride"), per_dimension(dilation, n, "dilation")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    pads = _padding_pairs(padding, n, w._array.shape[2:], strides, dilations)
    if any(p < 0 for pair in pads for p in pair):
        raise RuntimeError("negative padding is not supported")
    if any(s <= 0 for s in strides):
        raise RuntimeError("non-positive stride is not supported")
    if any(d <= 0 for d in dilations):
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilations)}")
    return Geometry(strides, pads, dilations, groups)


C_NAMES = {"float32": "float", "float64": "double", "int64": "long", "int32": "int", "complex64": "c10::complex<float>",
           "complex128": "c10::complex<double>"}  # fmt: skip


def _check_types(x: Tensor, w: Tensor, b: Tensor | None) -> None:
    given, weight = (C_NAMES.get(t.dtype.name, t.dtype.name) for t in (x, w))
    if b is not None and x.dtype is not b.dtype:
        other = C_NAMES.get(b.dtype.name, b.dtype.name)
        raise RuntimeError(f"Input type ({given}) and bias type ({other}) should be the same")
    if x.dtype is not w.dtype:
        raise RuntimeError(f"expected scalar type {given.capitalize()} but found {weight.capitalize()}")


def _check_shapes(x: Tensor, w: Tensor, b: Tensor | None, groups: int, transposed: bool) -> None:
    shape, size = list(x._array.shape), list(w._array.shape)
    if size[0] < groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight "
                           f"of size {size} instead")  # fmt: skip
    if size[0] % groups:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got "
                           f"weight of size [{size}] instead")  # fmt: skip
    wanted = size[0] if transposed else size[1] * groups
    if shape[1] != wanted:
        given = "transposed=1" if transposed else f"groups={groups}"
        raise RuntimeError(f"Given {given}, weight of size {size}, expected input{shape} to have {wanted} channels, but got "
                           f"{shape[1]} channels instead")  # fmt: skip
    outputs = size[1] * groups if transposed else size[0]
    if b is not None and b._array.shape != (outputs,):
        kind = "transposed=1, weight" if transposed else "weight"
        raise RuntimeError(f"Given {kind} of size {size}, expected bias to be 1-dimensional with {outputs} elements, but got "
                           f"bias of size {list(b._array.shape)} instead")  # fmt: skip


def batched_by(ndim: int, x: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Runs on a batch of `ndim` dimensions; an input without batch dimension is a batch of one."""
    if x._array.ndim == ndim:
        return run(x)
    return registry.functions["squeeze"](run(registry.functions["unsqueeze"](x, 0)), 0)


def _batched(x: Tensor, n: int, name: str, run: Callable[[Tensor], Tensor]) -> Tensor:
    if x._array.ndim not in (n + 1, n + 2):
        raise RuntimeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
                           f"{list(x._array.shape)}")  # fmt: skip
    return batched_by(n + 2, x, run)


def _conv(n: int) -> Callable:
    name = f"conv{n}d"

    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
             dilation: Any = 1, groups: int = 1) -> Tensor:  # fmt: skip
        if state.autocast is not None:
            input, weight, bias = lowered(input, weight, bias)
        geometry = make_geometry(weight, n, stride, padding, dilation, groups)

        def run(x: Tensor) -> Tensor:
            _check_types(x, weight, bias)
            _check_shapes(x, weight, bias, groups, transposed=False)
            padded = [s + sum(p) for s, p in zip(x._array.shape[2:], geometry.padding, strict=True)]
            kernel = weight._array.shape[2:]
            reach = [d * (k - 1) + 1 for d, k in zip(geometry.dilation, kernel, strict=True)]
            if any(p < r for p, r in zip(padded, reach, strict=True)):
                sizes = [" x ".join(map(str, sizes)) for sizes in (padded, reach)]
                raise RuntimeError(f"Calculated padded input size per channel: ({sizes[0]}). Kernel size: ({sizes[1]}). "
                                   "Kernel size can't be greater than actual input size")  # fmt: skip
            return convolve(x, weight, bias, geometry=geometry, out=geometry.out_size(x._array.shape[2:], kernel))

        return _batched(input, n, name, run)

    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = (
        f"Cross-correlation over {n} dimension(s), plus a bias per channel. Source: torch.nn.functional.{name}."
    )
    return conv


def _conv_transpose(n: int) -> Callable:
    name = f"conv_transpose{n}d"

    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
             output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:  # fmt: skip
        if state.autocast is not None:
            input, weight, bias = lowered(input, weight, bias)
        geometry = make_geometry(weight, n, stride, padding, dilation, groups)
        extra = per_dimension(output_padding, n, "output_padding")
        if any(e >= max(s, d) for e, s, d in zip(extra, geometry.stride, geometry.dilation, strict=True)):
            raise RuntimeError("output padding must be smaller than either stride or dilation, but got output_padding: "
                               f"{list(extra)} stride: {list(geometry.stride)} dilation: {list(geometry.dilation)}")  # fmt: skip

        def run(x: Tensor) -> Tensor:
            _check_types(x, weight, bias)
            _check_shapes(x, weight, bias, groups, transposed=True)
            size = tuple(
                (m - 1) * s - sum(p) + d * (k - 1) + e + 1
                for m, k, s, p, d, e in zip(
                    x._array.shape[2:], weight._array.shape[2:], *geometry[:3], extra, strict=True
                )
            )
            return transpose(x, weight, bias, geometry=geometry, size=size)

        return _batched(input, n, name, run)

    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"The transpose of conv{n}d in its input. Source: torch.nn.functional.{name}."
    return conv


conv1d, conv2d, conv3d = map(_conv, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_conv_transpose, (1, 2, 3))
for _function in (conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d):
    registry.publish(_function.__name__, _function, method=False)


@registry.function
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """conv1d of (time, batch, channels) with weight (K, in, out). Source: torch.conv_tbc."""
    result = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)  # type: ignore[attr-defined]
    return result.permute(2, 0, 1)
