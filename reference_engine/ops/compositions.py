"""Activations that are compositions of other operators, and the in-place forms of those that have one.

Source: torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference_engine.ops import activations, gates, registry
from reference_engine.ops.elementwise import where
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.one_node import one_node
from reference_engine.state import state
from reference_engine.tape.views import check_inplace
from reference_engine.tensor import Tensor

f = registry.functions
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def applied(function: Callable, input: Tensor, inplace: bool, **options: Any) -> Tensor:
    """function(input, **options), written into the input where asked."""
    if not inplace:
        return function(input, **options)
    check_inplace(input)
    return overwrite(input, lambda alias: function(alias, **options))


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); derivative 0 at 0. Source: torch.nn.functional.relu."""
    return f["relu_"](input) if inplace else f["relu"](input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, negative_slope * x below. Source: torch.nn.functional.leaky_relu."""
    op = gates.leaky_op if negative_slope >= 0 or not inplace else gates.leaky_falling_op
    return applied(op, input, inplace, negative_slope=negative_slope)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Clipped to [min_val, max_val]; derivative 0 at the bounds. Source: torch.nn.functional.hardtanh."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return applied(gates.hardtanh_op, input, inplace, low=min_val, high=max_val)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Clipped to [0, 6]. Source: torch.nn.functional.relu6."""
    return applied(gates.hardtanh_op, input, inplace, low=0.0, high=6.0)


@one_node("EluBackward0", "x")
def _elu(x: Tensor, alpha: float) -> Tensor:
    positive = f["gt"](x, 0)
    return where(positive, x, alpha * f["expm1"](where(positive, 0.0, x)))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha (exp(x) - 1) below. Source: torch.nn.functional.elu."""
    if inplace and alpha < 0:
        return applied(lambda x: gates.elu_falling_op(x, alpha=alpha), input, inplace)
    return applied(_elu, input, inplace, alpha=alpha)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x). Source: torch.nn.functional.silu."""
    if input.is_complex() and input.requires_grad and state.grad_enabled:
        raise RuntimeError("silu does not support automatic differentiation for outputs with complex dtype.")
    return applied(activations.silu, input, inplace)


@one_node("CeluBackward0", "x")
def _celu(x: Tensor, alpha: float) -> Tensor:
    positive = f["gt"](x, 0)
    return where(positive, x, alpha * f["expm1"](where(positive, 0.0, x) / alpha))


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha (exp(x / alpha) - 1) below. Source: torch.nn.functional.celu."""
    return applied(_celu, input, inplace, alpha=alpha)


@one_node("EluBackward0", "x")
def _selu(x: Tensor) -> Tensor:
    return SELU_SCALE * _elu(x, SELU_ALPHA)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha), with the constants that keep mean 0 and variance 1. Source: torch.nn.functional.selu."""
    return applied(_selu, input, inplace)


@one_node("MishBackward0", "x")
def _mish(x: Tensor) -> Tensor:
    return x * f["tanh"](activations.softplus(x))


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x)). Source: torch.nn.functional.mish."""
    return applied(_mish, input, inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above the threshold, `value` elsewhere. Source: torch.nn.functional.threshold."""
    return applied(gates.threshold_op, input, inplace, threshold=threshold, value=value)


@one_node("HardsigmoidBackward0", "x")
def _hardsigmoid(x: Tensor) -> Tensor:
    return gates.hardtanh_op(x, low=-3.0, high=3.0) / 6 + 0.5


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """A line clipped to [0, 1]; derivative 0 at the corners. Source: torch.nn.functional.hardsigmoid."""
    return applied(_hardsigmoid, input, inplace)


@one_node("HardswishBackward0", "x")
def _hardswish(x: Tensor) -> Tensor:
    return x * (gates.hardtanh_op(x, low=-3.0, high=3.0) + 3) / 6


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x). Source: torch.nn.functional.hardswish."""
    return applied(_hardswish, input, inplace)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|). Source: torch.nn.functional.softsign."""
    return input / (f["abs"](input) + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x). Source: torch.nn.functional.tanhshrink."""
    return input - f["tanh"](input)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax(-x). Source: torch.nn.functional.softmin."""
    return activations.softmax(-input, dim, dtype=dtype)


def rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Tensor:  # fmt: skip
    """x above 0, slope * x below: a drawn slope in training, else the mean. Source: torch.nn.functional.rrelu."""
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound: {lower} > {upper}")
    return applied(gates.rrelu_op, input, inplace, slope=gates.drawn_slopes(input, lower, upper, training))


def _named_in_place(function: Callable) -> Callable:
    """torch's `name_`: the function with inplace=True."""

    def call(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return function(input, *args, **options, inplace=True)

    call.__name__ = call.__qualname__ = f"{function.__name__}_"
    call.__doc__ = f"{function.__name__} in place."
    return call


elu_, leaky_relu_, hardtanh_, threshold_ = map(_named_in_place, (elu, leaky_relu, hardtanh, threshold))
celu_, selu_, rrelu_ = map(_named_in_place, (celu, selu, rrelu))

for _function in (celu, celu_, selu, selu_, threshold, threshold_, rrelu, rrelu_):
    registry.publish(_function.__name__, _function, method=False)
