"""Windows of signals: symmetric, or periodic, which is one point longer with the last left out. Source: torch.hann_window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.creation import finish
from reference_engine.tensor import Tensor

Shape = Callable[[np.ndarray, int], np.ndarray]


def _window(length: int, periodic: bool, shape: Shape, dtype: Any, requires_grad: bool) -> Tensor:
    if length < 0:
        raise RuntimeError(f"window requires non-negative window_length, got window_length={length}")
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    if not wanted.is_floating_point:
        raise RuntimeError(f"window expects floating point dtypes, got: {wanted}")
    last = length if periodic else length - 1
    values = shape(np.arange(length, dtype=np.float64), max(last, 1)) if length > 1 else np.ones(length)
    return finish(values.astype(wanted.numpy), requires_grad)


def _cosines(*weights: float) -> Shape:
    def shape(n: np.ndarray, last: int) -> np.ndarray:
        waves = (w * np.cos(2 * np.pi * k * n / last) for k, w in enumerate(weights))
        return np.sum(list(waves), axis=0)

    return shape


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, requires_grad: bool = False, **_: Any
) -> Tensor:
    """(1 - cos(2 pi n / N)) / 2. Source: torch.hann_window."""
    return _window(window_length, periodic, _cosines(0.5, -0.5), dtype, requires_grad)


def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: Any = None,
                   requires_grad: bool = False, **_: Any) -> Tensor:  # fmt: skip
    """alpha - beta cos(2 pi n / N). Source: torch.hamming_window."""
    return _window(window_length, periodic, _cosines(alpha, -beta), dtype, requires_grad)


def blackman_window(window_length: int, periodic: bool = True, *, dtype: Any = None, requires_grad: bool = False,
                    **_: Any) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N). Source: torch.blackman_window."""
    return _window(window_length, periodic, _cosines(0.42, -0.5, 0.08), dtype, requires_grad)


def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Any = None, requires_grad: bool = False,
                    **_: Any) -> Tensor:  # fmt: skip
    """A triangle. Source: torch.bartlett_window."""
    return _window(window_length, periodic, lambda n, last: 1 - np.abs(2 * n / last - 1), dtype, requires_grad)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None,
                  requires_grad: bool = False, **_: Any) -> Tensor:  # fmt: skip
    """I0(beta sqrt(1 - (2 n / N - 1)^2)) / I0(beta). Source: torch.kaiser_window."""

    def shape(n: np.ndarray, last: int) -> np.ndarray:
        return np.i0(beta * np.sqrt(np.maximum(1 - (2 * n / last - 1) ** 2, 0))) / np.i0(beta)

    return _window(window_length, periodic, shape, dtype, requires_grad)
