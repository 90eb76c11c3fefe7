"""Elements moved between channels and space, and between groups of channels. All are a reshape, a permutation, a reshape.

Source: torch.nn.functional.pixel_shuffle, pixel_unshuffle, channel_shuffle.
"""

from __future__ import annotations

from reference_engine.ops import registry
from reference_engine.ops.registry import function
from reference_engine.tensor import Tensor


def _check(name: str, input: Tensor, factor_name: str, factor: int) -> None:
    if input._array.ndim < 3:
        raise RuntimeError(f"{name} expects input to have at least 3 dimensions, but got input with {input._array.ndim} "
                           "dimension(s)")  # fmt: skip
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive {factor_name}, but got {factor}")


@function
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r^2, H, W) -> (*, C, H r, W r). Source: torch.nn.functional.pixel_shuffle."""
    r = upscale_factor
    _check("pixel_shuffle", input, "upscale_factor", r)
    *lead, c, h, w = input._array.shape
    if c % (r * r):
        raise RuntimeError(f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
                           f"upscale_factor, but input.size(-3)={c} is not divisible by {r * r}")  # fmt: skip
    b = len(lead)
    apart = input.reshape(*lead, c // (r * r), r, r, h, w)
    return apart.permute(*range(b), b, b + 3, b + 1, b + 4, b + 2).reshape(*lead, c // (r * r), h * r, w * r)


@function
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) -> (*, C r^2, H, W). Source: torch.nn.functional.pixel_unshuffle."""
    r = downscale_factor
    _check("pixel_unshuffle", input, "downscale_factor", r)
    *lead, c, h, w = input._array.shape
    for what, size, at in (("height", h, -2), ("width", w, -1)):
        if size % r:
            raise RuntimeError(f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but input.size({at})="
                               f"{size} is not divisible by {r}")  # fmt: skip
    b = len(lead)
    apart = input.reshape(*lead, c, h // r, r, w // r, r)
    return apart.permute(*range(b), b, b + 2, b + 4, b + 1, b + 3).reshape(*lead, c * r * r, h // r, w // r)


@function
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of a group go to different groups: (N, g C/g, *) -> (N, C/g g, *). Source: torch.nn.functional.channel_shuffle."""
    if input._array.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    n, c, *rest = input._array.shape
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


registry.publish("native_channel_shuffle", channel_shuffle, method=False)
