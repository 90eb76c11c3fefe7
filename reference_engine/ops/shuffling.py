"""Elements moved between channels and space, and between groups of channels: a permutation each, whose inverse is its rule.

Source: torch.nn.functional.pixel_shuffle, pixel_unshuffle, channel_shuffle.
"""

from __future__ import annotations

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import linear
from reference_engine.ops.registry import function
from reference_engine.tensor import Tensor


def _spread(x: np.ndarray, *, r: int) -> np.ndarray:
    *lead, c, h, w = x.shape
    apart = x.reshape(*lead, c // (r * r), r, r, h, w)
    return np.moveaxis(apart, (-4, -3), (-3, -1)).reshape(*lead, c // (r * r), h * r, w * r)


def _gathered(x: np.ndarray, *, r: int) -> np.ndarray:
    *lead, c, h, w = x.shape
    apart = x.reshape(*lead, c, h // r, r, w // r, r)
    return np.moveaxis(apart, (-3, -1), (-4, -3)).reshape(*lead, c * r * r, h // r, w // r)


def _dealt(x: np.ndarray, *, groups: int) -> np.ndarray:
    n, c, *rest = x.shape
    return x.reshape(n, groups, c // groups, *rest).swapaxes(1, 2).reshape(x.shape)


# fmt: off
#                 value                                transpose
to_space    = linear("pixel_shuffle",   _spread,   lambda g, r: to_channels(g, r=r), node="PixelShuffleBackward0", saved_names=("self",))
to_channels = linear("pixel_unshuffle", _gathered, lambda g, r: to_space(g, r=r), node="PixelUnshuffleBackward0", saved_names=("self",))
dealt       = linear("channel_shuffle", _dealt,    lambda g, x_shape, groups: dealt(g, groups=x_shape[1] // groups), node="ChannelShuffleBackward0", saved_names=("self",))
# fmt: on


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
    c = input._array.shape[-3]
    if c % (r * r):
        raise RuntimeError(f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
                           f"upscale_factor, but input.size(-3)={c} is not divisible by {r * r}")  # fmt: skip
    return to_space(input, r=r)


@function
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) -> (*, C r^2, H, W). Source: torch.nn.functional.pixel_unshuffle."""
    r = downscale_factor
    _check("pixel_unshuffle", input, "downscale_factor", r)
    h, w = input._array.shape[-2:]
    for what, size, at in (("height", h, -2), ("width", w, -1)):
        if size % r:
            raise RuntimeError(f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but input.size({at})="
                               f"{size} is not divisible by {r}")  # fmt: skip
    return to_channels(input, r=r)


@function
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of a group go to different groups: (N, g C/g, *) -> (N, C/g g, *). Source: torch.nn.functional.channel_shuffle."""
    if input._array.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    c = input._array.shape[1]
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return dealt(input, groups=groups)


native_channel_shuffle = channel_shuffle
registry.publish("native_channel_shuffle", native_channel_shuffle, method=False)
