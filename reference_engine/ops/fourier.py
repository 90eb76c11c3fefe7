"""Discrete Fourier transforms. Three linear operators, of which all of torch.fft is composed:

    c2c   y_k = s sum_j x_j exp(-+ 2 pi i j k / n)        its own transpose
    r2c   the first n // 2 + 1 of the same, for real x    J^H g: the real part of the conjugate sum over the padded g
    c2r   its inverse but for the scale                   J^H g: r2c(g), what stands for two bins doubled

s is what the normalization makes of it. c2r reads neither the imaginary part of bin 0 nor, for even n, that of the last
bin: both get gradient 0. Signals are cut or padded with zeros at the end first. Source: torch.fft.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import complex as complex_ops
from reference_engine.ops.kinds import linear
from reference_engine.ops.positions import _key, narrow_to, place
from reference_engine.ops.shapes import own_axis
from reference_engine.tensor import Tensor, wrap


def _c2c(x: np.ndarray, *, dims: tuple, inverse: bool, scale: float) -> np.ndarray:
    if not dims:
        return np.array(x)
    transform = np.fft.ifftn(x, axes=dims, norm="forward") if inverse else np.fft.fftn(x, axes=dims, norm="backward")
    return _scaled(transform, scale)


def _scaled(x: np.ndarray, scale: float) -> np.ndarray:
    return x if scale == 1 else x * x.real.dtype.type(scale)


def _r2c(x: np.ndarray, *, dims: tuple, scale: float) -> np.ndarray:
    return _scaled(np.fft.rfftn(x, axes=dims, norm="backward"), scale)


def _c2r(x: np.ndarray, *, dims: tuple, size: int, scale: float) -> np.ndarray:
    sizes = [*(x.shape[d] for d in dims[:-1]), size]
    return _scaled(np.fft.irfftn(x, s=sizes, axes=dims, norm="forward"), scale)


def _r2c_rule(g: Any, dims: tuple, scale: float, x_shape: tuple) -> Any:
    whole = resized(g, {dims[-1]: x_shape[dims[-1]]})
    return _real(c2c(whole, dims=dims, inverse=True, scale=scale))


def _c2r_rule(g: Any, dims: tuple, size: int, scale: float, x_shape: tuple) -> Any:
    weights = np.full(size // 2 + 1, 2.0)
    weights[0] = 1
    if size % 2 == 0:
        weights[-1] = 1
    weights = weights.reshape([-1 if d == dims[-1] else 1 for d in range(len(x_shape))])
    weights = weights.astype((g._array if isinstance(g, Tensor) else g).dtype)
    return r2c(g, dims=dims, scale=scale) * (wrap(weights) if isinstance(g, Tensor) else weights)


def _real(g: Any) -> Any:
    return complex_ops.real(g) if isinstance(g, Tensor) else np.real(g)


# fmt: off
c2c = linear("fft_c2c", _c2c, lambda g, dims, inverse, scale: c2c(g, dims=dims, inverse=inverse, scale=scale), inputs=("x",), node="FftC2CBackward0")
r2c = linear("fft_r2c", _r2c, _r2c_rule, inputs=("x",), node="FftR2CBackward0", holomorphic=False)
c2r = linear("fft_c2r", _c2r, _c2r_rule, inputs=("x",), node="FftC2RBackward0", holomorphic=False)
# The whole spectrum of a real signal.
real_c2c = linear("fft_r2c_full", _c2c, lambda g, dims, inverse, scale: _real(c2c(g, dims=dims, inverse=not inverse, scale=scale)),
                  inputs=("x",), node="FftR2CBackward0", holomorphic=False)
# fmt: on


def resized(x: Any, sizes: dict[int, int]) -> Any:
    """x with dimensions cut, or padded with zeros, at the end; over arrays and tensors."""
    for d, n in sizes.items():
        present = x.shape[d]
        if n < present:
            x = narrow_to(x, d, 0, n)
        elif n > present:
            x = place(x, key=_key(d, slice(0, present)), shape=(*x.shape[:d], n, *x.shape[d + 1 :]))
    return x


# --- arguments ---------------------------------------------------------------------------------------------------


def promoted(x: Tensor, *, to_complex: bool = False) -> Tensor:
    """x in a floating type: integers become the default one. RuntimeError for types without transforms."""
    if x.dtype.category < dtypes.FLOATING:
        x = x.to(dtypes.get_default_dtype())
    if x.dtype.name not in ("float32", "float64", "complex64", "complex128"):
        raise RuntimeError(f"Unsupported dtype {dtypes.type_name(x.dtype)}")
    if to_complex and not x.is_complex():
        x = x.to(dtypes.complex64 if x.dtype is dtypes.float32 else dtypes.complex128)
    return x


def real_only(x: Tensor, name: str) -> Tensor:
    """x, which has to be real, in a floating type."""
    if x.is_complex():
        raise RuntimeError(f"{name} expects a real input tensor, but got {dtypes.type_name(x.dtype)}")
    return promoted(x)


def scale_of(norm: str | None, count: int, *, inverse: bool) -> float:
    """What a transform of `count` points is multiplied by."""
    if norm not in (None, "backward", "forward", "ortho"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return float(1 / np.sqrt(count))
    return 1 / count if (norm == "forward") != inverse else 1.0


def line(x: Tensor, n: int | None, dim: int) -> tuple[int, int | None]:
    """The dimension of a transform along one, and its length where it is given."""
    d = own_axis(dim, x._array.ndim)
    if n is not None and n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return d, n


def several(x: Tensor, s: Any, dim: Any) -> tuple[tuple[int, ...], list[int]]:
    """The dimensions of a transform along several, and their sizes (-1: as it is)."""
    n = x._array.ndim
    if dim is not None:
        given = (dim,) if isinstance(dim, int) else tuple(dim)
        dims = tuple(own_axis(d, n) for d in given)
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif s is not None:
        if len(s) > n:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {n} dimensions.")
        dims = tuple(range(n - len(s), n))
    else:
        dims = tuple(range(n))
    sizes = [x._array.shape[d] for d in dims] if s is None else [x._array.shape[d] if k == -1 else int(k) for d, k in zip(dims, s, strict=True)]  # fmt: skip
    for size in sizes:
        if size < 1:
            raise RuntimeError(f"Invalid number of data points ({size}) specified")
    return dims, sizes
