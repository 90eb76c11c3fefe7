"""Variance or standard deviation together with the mean: operators with two outputs, whose gradients add up.

With m the mean over n elements and c the correction: d var/dx = 2 (x - m)/(n - c), d std/dx = (x - m)/((n - c) std),
d m/dx = 1/n. Source: torch.var_mean, torch.std_mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops.kinds import general
from reference_engine.ops.masking import masked
from reference_engine.ops.reductions import _count, axes_of, mean, mean_dims, restore
from reference_engine.ops.registry import publish
from reference_engine.ops.shapes import broadcast
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor


def _over(number: float, count: float) -> float:
    """number / max(count, 0), infinite where that is zero."""
    return np.true_divide(number, max(count, 0)).item()


def _moments(x: np.ndarray, dims: tuple, correction: float, keepdim: bool) -> tuple[np.ndarray, np.ndarray]:
    average = np.mean(x, axis=dims, keepdims=True)
    squares = np.add.reduce((x - average) ** 2, axis=dims, keepdims=keepdim)
    average = average if keepdim else average.reshape(squares.shape)
    count = max(_count(x.shape, dims) - correction, 0)
    return np.true_divide(squares, x.dtype.type(count)), average


def _var_mean(x: np.ndarray, *, dims: tuple, correction: float, keepdim: bool) -> tuple:
    return _moments(x, dims, correction, keepdim)


def _std_mean(x: np.ndarray, *, dims: tuple, correction: float, keepdim: bool) -> tuple:
    variance, average = _moments(x, dims, correction, keepdim)
    return np.sqrt(variance), average


def _spread(g: Any, x: Any, dims: tuple, correction: float, factor: float) -> Any:
    """g (x - m) factor/(n - c)."""
    centred = x - mean_dims(x, dims=dims, keepdim=True)
    return g * centred * _over(factor, _count(x.shape, dims) - correction)


def _over_std(g: Any, std: Any) -> Any:
    """g / std, and 0 where the deviation is 0: torch's subgradient there."""
    return masked(g / std, std != 0)


def _of_mean(g: Any, x_shape: tuple, dims: tuple) -> Any:
    return broadcast(restore(g, x_shape, dims) / _count(x_shape, dims), x_shape)


def _sum(parts: list) -> Any:
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _var_rule(gs: tuple, x: Any, x_shape: tuple, dims: tuple, correction: float) -> Any:
    spread, centre = gs
    parts = []
    if spread is not None:
        parts.append(_spread(restore(spread, x_shape, dims), x, dims, correction, 2.0))
    if centre is not None:
        parts.append(_of_mean(centre, x_shape, dims))
    return _sum(parts)


def _std_rule(gs: tuple, x: Any, std: Any, x_shape: tuple, dims: tuple, correction: float) -> Any:
    spread, centre = gs
    parts = []
    if spread is not None:
        parts.append(_spread(restore(_over_std(spread, std), x_shape, dims), x, dims, correction, 1.0))
    if centre is not None:
        parts.append(_of_mean(centre, x_shape, dims))
    return _sum(parts)


def _var_forward(x: np.ndarray, *, dims: tuple, correction: float, keepdim: bool) -> np.ndarray:
    return _moments(x, dims, correction, keepdim)[0]


def _std_forward(x: np.ndarray, *, dims: tuple, correction: float, keepdim: bool) -> np.ndarray:
    return np.sqrt(_moments(x, dims, correction, keepdim)[0])


def _std_alone(g: Any, x: Any, y: Any, x_shape: tuple, dims: tuple, correction: float) -> Any:
    return _spread(restore(_over_std(g, y), x_shape, dims), x, dims, correction, 1.0)


_var_alone = general(
    "var", _var_forward,
    lambda g, x, x_shape, dims, correction: _spread(restore(g, x_shape, dims), x, dims, correction, 2.0),
    inputs=("x",), saved_names=("self",),
)  # fmt: skip
_std_op = general("std", _std_forward, _std_alone, inputs=("x",), saved_names=("self",))
_two = {"inputs": ("x",), "saved_names": ("self",)}
_var = general("var_mean", _var_mean, _var_rule, outputs=("var", "mean"), **_two)
_std = general("std_mean", _std_mean, _std_rule, outputs=("std", "mean"), **_two)


def _named(name: str, operator: Any, otherwise: Callable, *, method: bool = False) -> Any:
    """The callable of an operator over floats; complex numbers go to `otherwise`."""

    def call(input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: Any = 1) -> Any:  # fmt: skip
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        correction = (1 if correction is None else correction) if unbiased is None else int(unbiased)
        if input.dtype.category < dtypes.FLOATING:
            raise RuntimeError("std and var only support floating point and complex dtypes")
        dims = axes_of(dim, input._array.ndim)
        if _count(input._array.shape, dims) <= correction:
            warn_once(f"{name} freedom", f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
                      "reduction factor (input numel divided by output numel).")  # fmt: skip
        if input.is_complex():
            return otherwise(input, dim, correction=correction, keepdim=keepdim)
        return operator(input, dims=dims, correction=correction, keepdim=keepdim)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Source: torch.{name}."
    publish(name, call, method=method, module=True)
    return call


def _of_parts(input: Tensor, dim: Any, *, correction: Any, keepdim: bool) -> Tensor:
    """The spread of complex numbers is that of their real parts and of their imaginary parts together."""
    parts = [_float_var(part, dim, correction=correction, keepdim=keepdim) for part in (input.real, input.imag)]
    return parts[0] + parts[1]


def _root_of_parts(input: Tensor, dim: Any, *, correction: Any, keepdim: bool) -> Tensor:
    return _of_parts(input, dim, correction=correction, keepdim=keepdim).sqrt()


_float_var = _named("var", _var_alone, _of_parts, method=True)
_named("std", _std_op, _root_of_parts, method=True)


def _with_mean(alone: Callable) -> Callable:
    def pair(input: Tensor, dim: Any, *, correction: Any, keepdim: bool) -> tuple[Tensor, Tensor]:
        return alone(input, dim, correction=correction, keepdim=keepdim), mean(input, dim, keepdim)

    return pair


var_mean = _named("var_mean", _var, _with_mean(_of_parts))
std_mean = _named("std_mean", _std, _with_mean(_root_of_parts))
