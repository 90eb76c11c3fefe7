"""Images of another size: torch.nn.functional.interpolate and its relatives.

Each mode is a map along each dimension (taps.py), which is linear; the rule is its transpose.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.kinds import linear
from reference_engine.ops.pooling.functions import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from reference_engine.ops.resampling import taps as T
from reference_engine.ops.resampling.taps import Taps
from reference_engine.tensor import Tensor


def _apply(x: np.ndarray, *, taps: tuple[Taps, ...]) -> np.ndarray:
    if x.dtype.kind not in "iu":
        return T.apply(x, taps)
    wide = T.apply(x.astype(np.float64), taps)
    limits = np.iinfo(x.dtype)
    return np.clip(np.rint(wide), limits.min, limits.max).astype(x.dtype)


spread = linear("upsample_backward", lambda g, *, taps, size: T.apply_transpose(g, taps, size),
                lambda g, taps: resampled["linear", 1](g, taps=taps), inputs=("g",))  # fmt: skip


def _resampling(name: str, node: str) -> Any:
    return linear(name, _apply, lambda g, x_shape, taps: spread(g, taps=taps, size=x_shape[len(x_shape) - len(taps) :]),
                  node=node, saved_names=("self",))  # fmt: skip


LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}
# (mode, dimensions) -> operator
resampled: dict[tuple[str, int], Any] = {
    **{("nearest", n): _resampling(f"upsample_nearest{n}d", f"UpsampleNearest{n}DBackward0") for n in (1, 2, 3)},
    **{("nearest-exact", n): _resampling(f"_upsample_nearest_exact{n}d", f"UpsampleNearestExact{n}DBackward0")
       for n in (1, 2, 3)},
    **{(mode, n): _resampling(f"upsample_{mode}{n}d", f"Upsample{mode.capitalize()}{n}DBackward0")
       for mode, n in LINEAR.items()},
    ("bicubic", 2): _resampling("upsample_bicubic2d", "UpsampleBicubic2DBackward0"),
    ("bilinear-aa", 2): _resampling("_upsample_bilinear2d_aa", "UpsampleBilinear2DAaBackward0"),
    ("lanczos-aa", 2): _resampling("_upsample_lanczos2d_aa", "UpsampleLanczos2DAaBackward0"),
    ("bicubic-aa", 2): _resampling("_upsample_bicubic2d_aa", "UpsampleBicubic2DAaBackward0"),
}  # fmt: skip

MAPS: dict[str, Callable] = {
    "nearest": lambda size, out, given, dtype, align_corners: T.nearest(size, out, given, exact=False),
    "nearest-exact": lambda size, out, given, dtype, align_corners: T.nearest(size, out, given, exact=True),
    "linear": T.linear, "bilinear": T.linear, "trilinear": T.linear, "bicubic": T.cubic,
    "bilinear-aa": partial(T.antialiased, reach=1), "bicubic-aa": partial(T.antialiased, reach=2),
    "lanczos-aa": partial(T.antialiased, reach=3),
}  # fmt: skip


def resample(
    input: Tensor, mode: str, out: tuple[int, ...], scales: tuple[float | None, ...], align_corners: bool
) -> Tensor:
    """The input at spatial size `out`; `scales` are the factors that were given, None where sizes decide."""
    size = input._array.shape[2:]
    if not all(input._array.shape[1:]) or not all(out):
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input (H: {size[0]}, W: {size[-1]}) "
                           f"output (H: {out[0]}, W: {out[-1]})")  # fmt: skip
    dtype = input._array.dtype
    if dtype.kind not in "f" and not (dtype == np.uint8 and LINEAR.get(mode, 2) == 2):
        name = f"{resampled[mode, len(out)].name.strip('_')}_channels_last"
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtypes.type_name(input.dtype)}'")
    real = np.float64 if dtype == np.float64 else np.float32
    taps = tuple(
        MAPS[mode](n, m, s, real, align_corners=align_corners) for n, m, s in zip(size, out, scales, strict=True)
    )
    return resampled[mode, len(out)](input, taps=taps)


# --- interpolate -----------------------------------------------------------------------------------------------------

DIMENSIONS = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,), "bilinear": (2,),
              "trilinear": (3,), "bicubic": (2,), "lanczos": (2,)}  # fmt: skip


# What an option that does not fit the input is called in torch's message: plainly, with its value, as a name, its format.
SIZE = ("output", "output size of", "output size", "(o1, o2, ...,oK)")
SCALE = ("scale_factor", "scale_factor of shape", "scale_factor", "(s1, s2, ...,sK)")


def _per_dimension(input: Tensor, n: int, value: Any, what: tuple) -> tuple:
    if not isinstance(value, (list, tuple)):
        return (value,) * n
    if len(value) != n:
        raise ValueError(f"Input and {what[0]} must have the same number of spatial dimensions, but got input with spatial "
                         f"dimensions of {list(input.shape[2:])} and {what[1]} {tuple(value)}. Please provide input tensor in "
                         f"(N, C, d1, d2, ...,dK) format and {what[2]} in {what[3]} format.")  # fmt: skip
    return tuple(value)


def _target(input: Tensor, size: Any, scale_factor: Any, recompute: bool | None) -> tuple[tuple, tuple]:
    """The output's spatial size, and the scales that positions are computed with."""
    n = input._array.ndim - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return tuple(int(s) for s in _per_dimension(input, n, size, SIZE)), (None,) * n
    scales = tuple(float(s) for s in _per_dimension(input, n, scale_factor, SCALE))
    out = tuple(int(np.floor(float(m) * s)) for m, s in zip(input._array.shape[2:], scales, strict=True))
    return out, (None,) * n if recompute else scales


def _check_mode(input: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if align_corners is not None and mode in ("nearest", "area", "nearest-exact"):
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | "
                         "trilinear")  # fmt: skip
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and input._array.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    n = input._array.ndim - 2
    if mode not in DIMENSIONS or n not in (1, 2, 3):
        raise NotImplementedError("Input Error: Only 3D, 4D and 5D input Tensors supported"
                                  f" (got {n + 2}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | lanczos | area"
                                  f" | nearest-exact (got {mode})")  # fmt: skip
    if n not in DIMENSIONS[mode]:
        needed = {1: "3D", 2: "4D", 3: "5D"}[DIMENSIONS[mode][0]]
        raise NotImplementedError(f"Got {n + 2}D input, but {mode} mode needs {needed} input")
    if mode == "lanczos" and align_corners:
        raise ValueError("Lanczos mode does not support align_corners=True")
    if mode == "lanczos" and not antialias:
        raise ValueError("Lanczos mode requires antialias=True")


def interpolate(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:  # fmt: skip
    """The input (N, C, *S) at another spatial size, by copies, weighted neighbours or means of areas.

    mode: nearest, nearest-exact, linear, bilinear, trilinear, bicubic, area. Source: torch.nn.functional.interpolate.
    """
    if align_corners is not None and mode in ("nearest", "area", "nearest-exact"):
        _check_mode(input, mode, align_corners, antialias)
    out, scales = _target(input, size, scale_factor, recompute_scale_factor)
    _check_mode(input, mode, align_corners, antialias)
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[len(out) - 1](input, out)
    return resample(input, f"{mode}-aa" if antialias else mode, out, scales, bool(align_corners))


def _deprecated(name: str, instead: str = "`nn.functional.interpolate`") -> None:
    warnings.warn(f"`{name}` is deprecated. Use {instead} instead.", UserWarning, stacklevel=3)


def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:  # fmt: skip
    """interpolate, under its older name. Source: torch.nn.functional.upsample."""
    _deprecated("nn.functional.upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate with mode nearest. Source: torch.nn.functional.upsample_nearest."""
    _deprecated("nn.functional.upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate with mode bilinear and corners aligned. Source: torch.nn.functional.upsample_bilinear."""
    _deprecated("nn.functional.upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def _internal(mode: str, n: int) -> Callable:
    """torch.ops.aten's forms: the size, where corners lie, and scales one by one; or size or scales, each as a list."""
    aligns = not mode.startswith("nearest")

    def call(input: Tensor, output_size: Any, *options: Any, align_corners: bool = False, scale_factors: Any = None,
             **named: Any) -> Tensor:  # fmt: skip
        align = options[0] if aligns and options else align_corners
        given = options[1:] if aligns else options
        if scale_factors is not None or (len(given) == 1 and n > 1):
            out, scales = _target(input, output_size, scale_factors or given[0], None)
        else:
            out = tuple(output_size)
            names = ("scales",) if n == 1 else ("scales_d", "scales_h", "scales_w")[3 - n :]
            scales = given if len(given) == n else tuple(named.get(name) for name in names)
        return resample(input, mode, out, scales, align)

    return call


for (_mode, _n), _operator in resampled.items():
    registry.publish(_operator.name, _internal(_mode, _n), method=False, module=True)
