"""Blocks, shuffles and other sizes as modules. Source: torch.nn, "Vision Layers", Unfold, Fold."""

from __future__ import annotations

from inspect import Parameter
from typing import Any

from reference_engine.nn import functional as F
from reference_engine.nn.modules.activation import _module
from reference_engine.nn.modules.module import Module
from reference_engine.tensor import Tensor

REQUIRED = Parameter.empty

# fmt: off
Unfold         = _module("Unfold",         F.unfold,          kernel_size=REQUIRED, dilation=1, padding=0, stride=1)
Fold           = _module("Fold",           F.fold,            output_size=REQUIRED, kernel_size=REQUIRED, dilation=1, padding=0,
                         stride=1)
PixelShuffle   = _module("PixelShuffle",   F.pixel_shuffle,   upscale_factor=REQUIRED)
PixelUnshuffle = _module("PixelUnshuffle", F.pixel_unshuffle, downscale_factor=REQUIRED)
ChannelShuffle = _module("ChannelShuffle", F.channel_shuffle, groups=REQUIRED)
# fmt: on


class Upsample(Module):
    """The input at another spatial size. Source: torch.nn.Upsample."""

    def __init__(self, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                 align_corners: bool | None = None, recompute_scale_factor: bool | None = None) -> None:  # fmt: skip
        super().__init__()
        self.name, self.size, self.mode = type(self).__name__, size, mode
        self.scale_factor = (
            tuple(float(s) for s in scale_factor)
            if isinstance(scale_factor, tuple)
            else float(scale_factor) if scale_factor else None
        )  # fmt: skip
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """interpolate with this module's options."""
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners,
                             recompute_scale_factor=self.recompute_scale_factor)  # fmt: skip

    def extra_repr(self) -> str:
        given = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Copies of the nearest element. Source: torch.nn.UpsamplingNearest2d."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Weighted neighbours, corners aligned. Source: torch.nn.UpsamplingBilinear2d."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
