"""Discrete Fourier transforms of real and complex signals. Source: torch.fft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.creation import finish
from reference_engine.ops.complex import conj, conj_physical
from reference_engine.ops.elementwise_kind import _into
from reference_engine.ops.fourier import c2c, c2r, line, promoted, r2c, real_c2c, real_only, resized, scale_of, several
from reference_engine.ops.shapes import roll
from reference_engine.tensor import Tensor

Sizes = Any  # an integer or a sequence of them, or None


def _count(sizes: list[int]) -> int:
    return int(np.prod(sizes))


def _complex_transform(x: Tensor, dims: tuple, sizes: list[int], norm: str | None, *, inverse: bool) -> Tensor:
    x = promoted(x)
    x = resized(x, dict(zip(dims, sizes, strict=True)))
    op = c2c if x.is_complex() else real_c2c
    return op(x, dims=dims, inverse=inverse, scale=scale_of(norm, _count(sizes), inverse=inverse))


def _half_spectrum(x: Tensor, dims: tuple, sizes: list[int], norm: str | None, *, inverse: bool) -> Tensor:
    if not dims:
        raise RuntimeError("rfftn must transform at least one axis")
    x = resized(x, dict(zip(dims, sizes, strict=True)))
    return r2c(x, dims=dims, scale=scale_of(norm, _count(sizes), inverse=inverse))


def _real_signal(x: Tensor, dims: tuple, sizes: list[int], norm: str | None, *, inverse: bool) -> Tensor:
    if not dims:
        raise RuntimeError("irfftn must transform at least one axis")
    size = sizes[-1]
    scale = scale_of(norm, _count(sizes), inverse=inverse)
    x = resized(promoted(x, to_complex=True), dict(zip(dims, [*sizes[:-1], size // 2 + 1], strict=True)))
    return c2r(x, dims=dims, size=size, scale=scale)


def _signal_sizes(x: Tensor, dims: tuple, sizes: list[int], given: Sizes) -> list[int]:
    """The sizes of a real signal: by default the last is the even one that has this half spectrum."""
    last = given[-1] if given is not None else -1
    if dims and last == -1:
        sizes = [*sizes[:-1], 2 * (x._array.shape[dims[-1]] - 1)]
        if sizes[-1] < 1:
            raise RuntimeError(f"Invalid number of data points ({sizes[-1]}) specified")
    return sizes


# Each kind of transform, given dimensions and sizes. All of them come along one dimension, along two, and along many.
def _fft(x: Tensor, s: Sizes, dims: tuple, sizes: list[int], norm: str | None) -> Tensor:
    return _complex_transform(x, dims, sizes, norm, inverse=False)


def _ifft(x: Tensor, s: Sizes, dims: tuple, sizes: list[int], norm: str | None) -> Tensor:
    return _complex_transform(x, dims, sizes, norm, inverse=True)


def _rfft(x: Tensor, s: Sizes, dims: tuple, sizes: list[int], norm: str | None) -> Tensor:
    return _half_spectrum(real_only(x, "rfft"), dims, sizes, norm, inverse=False)


def _irfft(x: Tensor, s: Sizes, dims: tuple, sizes: list[int], norm: str | None) -> Tensor:
    return _real_signal(x, dims, _signal_sizes(x, dims, sizes, s), norm, inverse=True)


def _hfft(x: Tensor, s: Sizes, dims: tuple, sizes: list[int], norm: str | None) -> Tensor:
    return _real_signal(conj(x), dims, _signal_sizes(x, dims, sizes, s), norm, inverse=False)


def _ihfft(x: Tensor, s: Sizes, dims: tuple, sizes: list[int], norm: str | None) -> Tensor:
    half = _half_spectrum(real_only(x, "ihfft"), dims, sizes, norm, inverse=True)
    return conj(half) if len(dims) == 1 else conj_physical(half)


def _along_one(name: str, transform: Callable, about: str) -> Callable:
    def call(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Any = None) -> Tensor:
        d, size = line(input, n, dim)
        sizes = [input._array.shape[d] if size is None else size]
        if sizes[0] < 1:
            raise RuntimeError(f"Invalid number of data points ({sizes[0]}) specified")
        return _into(transform(input, None if n is None else (n,), (d,), sizes, norm), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{about}, along one dimension. Source: torch.fft.{name}."
    return call


def _along_many(name: str, transform: Callable, about: str, default: Any = None) -> Callable:
    def call(
        input: Tensor, s: Sizes = None, dim: Sizes = default, norm: str | None = None, *, out: Any = None
    ) -> Tensor:
        s = (s,) if isinstance(s, int) else s
        dims, sizes = several(input, s, dim)
        return _into(transform(input, s, dims, sizes, norm), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{about}, along several dimensions. Source: torch.fft.{name}."
    return call


KINDS: dict[str, tuple[Callable, str]] = {
    "fft": (_fft, "The spectrum"),
    "ifft": (_ifft, "The signal of a spectrum"),
    "rfft": (_rfft, "The half spectrum of a real signal"),
    "irfft": (_irfft, "The real signal of a half spectrum"),
    "hfft": (_hfft, "The real spectrum of half a Hermitian signal"),
    "ihfft": (_ihfft, "Half the Hermitian signal of a real spectrum"),
}

for _name, (_transform, _about) in KINDS.items():
    globals()[_name] = _along_one(_name, _transform, _about)
    globals()[f"{_name}2"] = _along_many(f"{_name}2", _transform, _about, (-2, -1))
    globals()[f"{_name}n"] = _along_many(f"{_name}n", _transform, _about)


def _shift(input: Tensor, dim: Sizes, *, back: bool) -> Tensor:
    n = input._array.ndim
    dims = tuple(range(n)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    halves = [(input._array.shape[d] + back) // 2 for d in dims]
    return roll(input, halves, dims)


def fftshift(input: Tensor, dim: Sizes = None) -> Tensor:
    """The zero frequency moved to the middle. Source: torch.fft.fftshift."""
    return _shift(input, dim, back=False)


def ifftshift(input: Tensor, dim: Sizes = None) -> Tensor:
    """What fftshift undoes. Source: torch.fft.ifftshift."""
    return _shift(input, dim, back=True)


def _frequencies(values: np.ndarray, dtype: Any, requires_grad: bool) -> Tensor:
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    return finish(values.astype(wanted.numpy), requires_grad)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, requires_grad: bool = False, **_: Any) -> Tensor:
    """The frequencies of the bins of fft. Source: torch.fft.fftfreq."""
    return _frequencies(np.fft.fftfreq(n, d), dtype, requires_grad)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, requires_grad: bool = False, **_: Any) -> Tensor:
    """The frequencies of the bins of rfft. Source: torch.fft.rfftfreq."""
    return _frequencies(np.fft.rfftfreq(n, d), dtype, requires_grad)
