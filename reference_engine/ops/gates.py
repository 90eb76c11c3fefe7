"""Piecewise linear activations. Their slope depends on which side of a corner x lies, and is constant there.

A recorded gradient therefore hangs on x, with derivative zero: that of the slope. At a corner the slope is the smaller of
both, 0 where it is a bound. Source: torch.nn.functional; torch notes/autograd, "Gradients for non-differentiable functions".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import elementwise
from reference_engine.ops.kinds import general
from reference_engine.ops.masking import masked, nil
from reference_engine.random import numpy_generator
from reference_engine.tensor import Tensor, wrap

_gate = general("gate", lambda g, x, *, mask: masked(g, mask), lambda g, mask: masked(g, mask), lambda g: nil(g))


def gated(g: Any, x: Any, mask: Any) -> Any:
    """g where the mask, which x decides, holds; 0 elsewhere. Over arrays and tensors; a tensor's history includes x."""
    if not isinstance(g, Tensor):
        return masked(g, mask)
    return _gate(g, x, mask=mask._array if isinstance(mask, Tensor) else mask)


registry.word("gated", gated, gated)


def _inside(x: Any, bound: float) -> Any:
    return (x >= -bound) & (x <= bound)


def _softly_shrunk(x: np.ndarray, *, bound: float) -> np.ndarray:
    step = x.dtype.type(bound)
    return np.where(x > bound, x - step, np.where(x < -bound, x + step, x * 0))


def _sloped(g: Any, x: Any, slope: Any) -> Any:
    """g where x is positive, slope * g elsewhere."""
    return gated(g, x, x > 0) + masked(g * slope, ~(x > 0))


def _clipped(x: np.ndarray, *, low: float, high: float) -> np.ndarray:
    return np.clip(x, x.dtype.type(low), x.dtype.type(high))


def _with_slope(x: np.ndarray, *, slope: Any) -> np.ndarray:
    return np.where(x > 0, x, x * np.asarray(slope, x.dtype))


# fmt: off
_X: dict[str, Any] = {"inputs": ("x",), "saved_names": ("self",)}
#                            value           g -> J^T g
leaky_op      = general("leaky_relu", lambda x, *, negative_slope: _with_slope(x, slope=negative_slope), lambda g, x, negative_slope: _sloped(g, x, negative_slope), **_X)
rrelu_op      = general("rrelu_with_noise", _with_slope, lambda g, x, slope: _sloped(g, x, _constant_like(slope, g)), **_X)
hardtanh_op   = general("hardtanh",   _clipped,       lambda g, x, low, high: gated(g, x, (x > low) & (x < high)),  **_X)
threshold_op  = general("threshold",  lambda x, *, threshold, value: np.where(x <= threshold, x.dtype.type(value), x),
                                                      lambda g, x, threshold: gated(g, x, ~(x <= threshold)), **_X)
hardshrink_op = general("hardshrink", lambda x, *, bound: np.where(_inside(x, bound), x.dtype.type(0), x),
                                                      lambda g, x, bound: gated(g, x, (x > bound) | (x < -bound)), **_X)
softshrink_op = general("softshrink", _softly_shrunk, lambda g, x, bound: gated(g, x, (x > bound) | (x < -bound)), **_X)
prelu_op      = elementwise("_prelu_kernel", lambda a, b: np.where(a > 0, a, a * b),
                            "gated(g, a, a > 0) + masked(g * b, ~(a > 0))", "masked(g * a, ~(a > 0))", node="PreluKernelBackward0", inplace=False, method=False, module=False)
# fmt: on


def _falling(name: str) -> Any:
    """The rule of an activation in place that turns negative numbers positive: which they were can not be told from it."""

    def rule(gs: tuple) -> Any:
        raise RuntimeError(
            f"In-place {name} backward calculation is triggered with a negative slope which is not supported."
        )

    return rule


leaky_falling_op = general("leaky_relu", lambda x, *, negative_slope: _with_slope(x, slope=negative_slope),
                           _falling("leakyReLu"), inputs=("x",))  # fmt: skip
elu_falling_op = general("elu", lambda x, *, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))).astype(x.dtype),
                         _falling("elu"), inputs=("x",))  # fmt: skip


def _constant_like(values: Any, g: Any) -> Any:
    """Numbers that were drawn, as what g is."""
    if not isinstance(values, np.ndarray):
        return values
    return wrap(values) if isinstance(g, Tensor) else values


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 within lambd, x beyond. Source: torch.nn.functional.hardshrink."""
    return hardshrink_op(input, bound=lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 within it. Source: torch.nn.functional.softshrink."""
    if lambd < 0:
        largest = dtypes.finfo(input.dtype).max
        raise RuntimeError(f"lambda must be in range [0, {largest:g}] for input dtype {dtypes.type_name(input.dtype)}, but "
                           f"found {lambd:g}")  # fmt: skip
    return softshrink_op(input, bound=lambd)


def drawn_slopes(x: Tensor, lower: float, upper: float, training: bool, generator: Any = None) -> Any:
    """rrelu's slope of each negative element, uniform in [lower, upper); their mean where it does not train."""
    if not training:
        return (lower + upper) / 2
    draw = numpy_generator(generator).random(x._array.shape)
    return (lower + (upper - lower) * draw).astype(x._array.dtype)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above 0, weight * x elsewhere, a weight per channel (dimension 1) or one. Source: torch.nn.functional.prelu."""
    count, shape = weight.numel(), input._array.shape
    if weight._array.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight._array.ndim}"
        )
    channels = shape[1] if len(shape) > 1 else 1
    if count != 1 and not shape:
        raise RuntimeError("Not allow zero-dim input tensor.")
    if count != 1 and count != channels:
        raise RuntimeError("Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                           f"{count} and channel size = {channels}.")  # fmt: skip
    if weight._array.ndim and len(shape) != 1:
        weight = weight.reshape([-1 if i == 1 else 1 for i in range(len(shape))])
    return prelu_op(input, weight)


registry.publish("hardshrink", hardshrink)
registry.publish("prelu", prelu)
