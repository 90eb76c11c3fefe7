"""Convolution modules. Source: torch.nn.Conv1d ... ConvTranspose3d."""

from __future__ import annotations

import math
from typing import Any

from reference_engine import creation
from reference_engine.nn import functional as F
from reference_engine.nn import init
from reference_engine.nn.modules.module import Module
from reference_engine.nn.parameter import Parameter
from reference_engine.tensor import Tensor

MODES = ("zeros", "reflect", "replicate", "circular")


def ntuple(value: Any, n: int) -> tuple:
    """A value once per dimension."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


class _ConvNd(Module):
    """What all convolutions share: options, weight, bias."""

    n: int
    transposed = False
    bias: Parameter | None
    padding: Any

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                 output_padding: Any, groups: int, bias: bool, padding_mode: str, dtype: Any) -> None:  # fmt: skip
        super().__init__()
        self._check(in_channels, out_channels, groups, padding, stride, padding_mode)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = ntuple(kernel_size, self.n), ntuple(stride, self.n)
        self.padding = padding if isinstance(padding, str) else ntuple(padding, self.n)
        self.dilation, self.output_padding = ntuple(dilation, self.n), ntuple(output_padding, self.n)
        self.padding_mode = padding_mode
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(creation.empty(first, second // groups, *self.kernel_size, dtype=dtype))
        if bias:
            self.bias = Parameter(creation.empty(out_channels, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check(self, inputs: int, outputs: int, groups: int, padding: Any, stride: Any, mode: str) -> None:
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if inputs % groups:
            raise ValueError("in_channels must be divisible by groups")
        if outputs % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string '{padding}', should be one of {{'same', 'valid'}}")
            if padding == "same" and any(s != 1 for s in ntuple(stride, self.n)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if mode not in MODES:
            raise ValueError(f"padding_mode must be one of {set(MODES)}, but got padding_mode='{mode}'")

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(fan_in), weight and bias."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def _border(self) -> list[int]:
        """The padding as torch.nn.functional.pad takes it: last dimension first."""
        if self.padding == "valid":
            return [0, 0] * self.n
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            pairs = [(t // 2, t - t // 2) for t in totals]
        else:
            pairs = [(p, p) for p in self.padding]
        return [p for pair in reversed(pairs) for p in pair]

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0,) * self.n:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.n:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * self.n:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Conv(_ConvNd):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode,
                         dtype)  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """The convolution with this module's weight and bias."""
        function = (F.conv1d, F.conv2d, F.conv3d)[self.n - 1]
        if self.padding_mode == "zeros":
            return function(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        padded = F.pad(input, self._border(), mode=self.padding_mode)
        return function(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Conv1d(_Conv):
    """A convolution over one dimension: (N, C, L)."""

    n = 1


class Conv2d(_Conv):
    """A convolution over two dimensions: (N, C, H, W)."""

    n = 2


class Conv3d(_Conv):
    """A convolution over three dimensions: (N, C, D, H, W)."""

    n = 3


class _ConvTranspose(_ConvNd):
    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
                         padding_mode, dtype)  # fmt: skip

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple:
        """What must be added for the result to have the size asked for."""
        if output_size is None:
            return self.output_padding
        sizes = list(output_size)[-self.n :]
        shape = input.shape[-self.n :]
        least = [(m - 1) * s - 2 * p + d * (k - 1) + 1 for m, s, p, d, k in
                 zip(shape, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)]  # fmt: skip
        most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
        if any(not low <= size <= high for low, size, high in zip(least, sizes, most, strict=True)):
            raise ValueError(f"requested an output size of {sizes}, but valid sizes range from {least} to {most} (for an "
                             f"input of {list(shape)})")  # fmt: skip
        return tuple(size - low for size, low in zip(sizes, least, strict=True))

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The transposed convolution with this module's weight and bias."""
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.n - 1]
        extra = self._output_padding(input, output_size)
        return function(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """A transposed convolution over one dimension."""

    n = 1


class ConvTranspose2d(_ConvTranspose):
    """A transposed convolution over two dimensions."""

    n = 2


class ConvTranspose3d(_ConvTranspose):
    """A transposed convolution over three dimensions."""

    n = 3
