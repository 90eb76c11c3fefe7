"""Blocks of an image as columns, and columns added up to an image: each is the other's transpose.

unfold: (N, C, *S) -> (N, C * prod(K), L), L the number of blocks. Source: torch.nn.functional.unfold, fold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference_engine.ops import im2col
from reference_engine.ops.convolution import batched_by
from reference_engine.ops.im2col import Geometry
from reference_engine.ops.kinds import linear
from reference_engine.tensor import Tensor


def _to_columns(x: np.ndarray, *, geometry: Geometry, kernel: tuple) -> np.ndarray:
    n, channels, *size = x.shape
    out = geometry.out_size(tuple(size), kernel)
    rows = channels * math.prod(kernel)
    columns = im2col.columns(x, geometry, kernel, out).reshape(rows, n, math.prod(out))
    return np.ascontiguousarray(columns.swapaxes(0, 1))


def _to_image(x: np.ndarray, *, geometry: Geometry, kernel: tuple, size: tuple) -> np.ndarray:
    out = geometry.out_size(size, kernel)
    columns = x.swapaxes(0, 1).reshape(x.shape[1] // math.prod(kernel), *kernel, x.shape[0], *out)
    return np.ascontiguousarray(im2col.added(columns, geometry, size).swapaxes(0, 1))


# fmt: off
to_columns = linear("im2col", _to_columns, lambda g, geometry, kernel, x_shape: to_image(g, geometry=geometry, kernel=kernel, size=x_shape[2:]), node="Im2ColBackward0", saved_names=("self",))
to_image   = linear("col2im", _to_image,   lambda g, geometry, kernel: to_columns(g, geometry=geometry, kernel=kernel),                         node="Col2ImBackward0", saved_names=("self",))
# fmt: on


def _pair(name: str, value: Any) -> tuple[int, int]:
    values = (value, value) if isinstance(value, int) else tuple(value) * (2 if len(value) == 1 else 1)
    if len(values) != 2:
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(values)}")
    return values


def _geometry(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[Geometry, tuple[int, int]]:
    kernel, steps = _pair("kernel_size", kernel_size), _pair("stride", stride)
    dilations, pads = _pair("dilation", dilation), _pair("padding", padding)
    for name, values, least in (("kernel size", kernel, 1), ("stride", steps, 1), ("dilation", dilations, 1)):
        if min(values) < least:
            raise RuntimeError(f"{name} should be greater than zero, but got {name.replace(' ', '_')}_height: {values[0]} "
                               f"{name.replace(' ', '_')}_width: {values[1]}")  # fmt: skip
    if min(pads) < 0:
        raise RuntimeError(f"padding should be non-negative, but got pad_height: {pads[0]} pad_width: {pads[1]}")
    return Geometry(steps, tuple((p, p) for p in pads), dilations, 1), kernel


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The blocks under a sliding kernel, each as a column. Source: torch.nn.functional.unfold."""
    geometry, kernel = _geometry(kernel_size, dilation, padding, stride)
    shape = input._array.shape
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        raise RuntimeError("Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions "
                           f"for input, but got: {list(shape)}")  # fmt: skip
    out = geometry.out_size(shape[-2:], kernel)
    if min(out) < 1:
        raise RuntimeError(f"Given input with spatial size {list(shape[-2:])}, kernel_size={kernel}, dilation="
                           f"{geometry.dilation}, padding={tuple(p for p, _ in geometry.padding)}, stride={geometry.stride}, "
                           f"calculated shape of the array of sliding blocks as {out}, but its components must be at least "
                           "one.")  # fmt: skip
    return batched_by(4, input, lambda x: to_columns(x, geometry=geometry, kernel=kernel))


def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Tensor:  # fmt: skip
    """Columns added up to an image of spatial size `output_size`. Source: torch.nn.functional.fold."""
    geometry, kernel = _geometry(kernel_size, dilation, padding, stride)
    size = _pair("output_size", output_size)
    if min(size) < 1:
        raise RuntimeError(f"Expected output spatial size to be positive, but got: output_size={size}")
    shape = input._array.shape
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError("Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions "
                           f"for input, but got: {list(shape)}")  # fmt: skip
    if shape[-2] % math.prod(kernel):
        raise RuntimeError("Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
                           f"input.size(1)={shape[-2]} and kernel_size={kernel}.")  # fmt: skip
    out = geometry.out_size(size, kernel)
    if min(out) < 1 or shape[-1] != math.prod(out):
        raise RuntimeError(f"Given output_size={size}, kernel_size={kernel}, dilation={geometry.dilation}, padding="
                           f"{tuple(p for p, _ in geometry.padding)}, stride={geometry.stride}, expected size of input's "
                           f"dimension 2 to match the calculated number of sliding blocks {out[0]} * {out[1]} = "
                           f"{math.prod(out)}, but got input.size(2)={shape[-1]}.")  # fmt: skip
    return batched_by(3, input, lambda x: to_image(x, geometry=geometry, kernel=kernel, size=size))
