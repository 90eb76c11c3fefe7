"""Activations of torch.nn.functional that have rules of their own; the others are compositions.

Kinks: relu and its relatives have derivative 0 at 0 on the left-hand side's convention (torch: "gradient of relu at 0
is 0").
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.elementwise import where
from reference_engine.ops.elementwise_kind import elementwise
from reference_engine.ops.kinds import general
from reference_engine.ops.one_node import one_node
from reference_engine.ops.shapes import axis
from reference_engine.random import numpy_generator
from reference_engine.tensor import Tensor, wrap


def exp(x: Any) -> Any:
    """exp over arrays and tensors."""
    return registry.functions["exp"](x) if isinstance(x, Tensor) else np.exp(x)


def total(x: Any, dim: int) -> Any:
    """The sum along one dimension, kept; over arrays and tensors. Of a 0-d one: itself."""
    if not x.ndim:
        return x
    return x.sum(dim, True) if isinstance(x, Tensor) else np.add.reduce(x, axis=dim, keepdims=True)


def _softmax_forward(x: np.ndarray, *, dim: int) -> np.ndarray:
    if not x.ndim or not x.size:
        return np.ones_like(x)
    e = np.exp(x - np.maximum.reduce(x, axis=dim, keepdims=True))
    return e / np.add.reduce(e, axis=dim, keepdims=True)


def _log_softmax_forward(x: np.ndarray, *, dim: int) -> np.ndarray:
    if not x.ndim or not x.size:
        return np.zeros_like(x)
    shifted = x - np.maximum.reduce(x, axis=dim, keepdims=True)
    return shifted - np.log(np.add.reduce(np.exp(shifted), axis=dim, keepdims=True))


# fmt: off
#                  value                       g -> J^T g
softmax_op     = general("softmax",     _softmax_forward,     lambda g, y, dim: y * (g - total(g * y, dim)), inputs=("x",), saved_names=("self",))
log_softmax_op = general("log_softmax", _log_softmax_forward, lambda g, y, dim: g - exp(y) * total(g, dim),  inputs=("x",), saved_names=("self",))

softplus_one = elementwise("_softplus",    lambda x: np.logaddexp(x, np.zeros((), x.dtype)), "sigmoid(x)", node="SoftplusBackward0", numeric="float", inplace=False, method=False, module=False)
log_sigmoid  = elementwise("logsigmoid",   lambda x: -np.logaddexp(-x, np.zeros((), x.dtype)), "sigmoid(-x)", node="LogSigmoidBackward0", numeric="float", inplace=False, method=False, module=False)
silu         = elementwise("silu",         lambda x: x / (1 + np.exp(-x)), "sigmoid(x) * (1 + x * (1 - sigmoid(x)))", numeric="float", inplace=False, method=False, module=False)
# fmt: on


def _implied(name: str, x: Tensor) -> int:
    """The dimension that is meant where none is given, which warns."""
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an "
                  "argument.", UserWarning, stacklevel=3)  # fmt: skip
    return 0 if x._array.ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) / sum exp(x) along a dimension. Source: torch.softmax."""
    x = input if dtype is None else input.to(dtype)
    return softmax_op(x, dim=axis(_implied("softmax", x) if dim is None else dim, x._array.ndim))


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """log of softmax, computed stably. Source: torch.log_softmax."""
    x = input if dtype is None else input.to(dtype)
    return log_softmax_op(x, dim=axis(_implied("log_softmax", x) if dim is None else dim, x._array.ndim))


registry.publish("softmax", softmax)
registry.publish("log_softmax", log_softmax)


@one_node("SoftplusBackward0", "input")
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, linear above the threshold. Source: torch.nn.functional.softplus."""
    scaled = input * beta if beta != 1 else input
    smooth = softplus_one(scaled)
    smooth = smooth / beta if beta != 1 else smooth
    return where(registry.functions["gt"](scaled, threshold), input, smooth)


@one_node("GeluBackward0", "input")
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function. Source: torch.nn.functional.gelu."""
    f = registry.functions
    if approximate == "tanh":
        inner = 0.7978845608028654 * (input + 0.044715 * input * input * input)
        return 0.5 * input * (1 + f["tanh"](inner))
    return 0.5 * input * (1 + f["erf"](input * 0.7071067811865476))


@one_node("GluBackward0", "input")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half times the sigmoid of the second. Source: torch.nn.functional.glu."""
    shape = input._array.shape
    if not shape:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    along = axis(dim, len(shape))
    if shape[along] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {along} is size {shape[along]}")
    half = shape[along] // 2
    return input.narrow(along, 0, half) * input.narrow(along, half, half).sigmoid()


straight_through = general("straight_through", lambda soft, *, hard: hard, lambda g: g)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """softmax of logits with Gumbel noise, divided by tau; hard: the one-hot of its largest, with its gradient.

    Source: torch.nn.functional.gumbel_softmax.
    """
    x = logits._array
    noise = -np.log(numpy_generator().standard_exponential(x.shape)).astype(x.dtype)
    soft = softmax((logits + wrap(noise)) / tau, dim)
    if not hard:
        return soft
    along = axis(dim, x.ndim)
    largest = np.expand_dims(soft._array.argmax(along), along)
    one_hot = np.zeros_like(x)
    np.put_along_axis(one_hot, largest, 1, along)
    return straight_through(soft, hard=one_hot)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Divided by its norm along a dimension. Source: torch.nn.functional.normalize."""
    return registry.functions["div"](input, input.norm(p, dim, True).clamp(min=eps), out=out)
