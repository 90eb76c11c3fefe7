"""clamp: bounded by numbers or by tensors. Source: torch.clamp.

At a bound that is a number, one side has slope 1 and the other 0: the gradient is the smaller, 0. A bound that is a tensor
is one more input: x and the bound share the gradient of a tie.
Source: torch notes/autograd, "Gradients for non-differentiable functions" (2, 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise import maximum, minimum, scalar_like
from reference_engine.ops.elementwise_kind import _into
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import Operator, general
from reference_engine.ops.masking import masked
from reference_engine.ops.registry import both
from reference_engine.tensor import Tensor


@both
def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """Bounded below and above; gradient passes where input lies strictly within. Source: torch.clamp."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        return _into(_clamp_tensors(input, min, max), out, "clamp")
    return _into(_clamp(input, low=min, high=max), out, "clamp")


def _inside(x: Any, low: Any, high: Any) -> Any:
    above = (x == x) if low is None else x > low  # nan lies nowhere
    return above & (True if high is None else x < high)


def _clamp_forward(x: np.ndarray, *, low: Any, high: Any) -> np.ndarray:
    floats = isinstance(low, float) or isinstance(high, float)
    common = x.dtype if x.dtype.kind in "fc" or not floats else dtypes.get_default_dtype().numpy
    return np.clip(x, low, high).astype(common, copy=False)


def _clamp_tensors(input: Tensor, low: Any, high: Any) -> Tensor:
    """Bounds that are tensors get the gradient where they decide; a tie is shared, as by maximum and minimum."""
    bounded = input
    if low is not None:
        bounded = maximum(bounded, low if isinstance(low, Tensor) else scalar_like(low, input))
    if high is not None:
        bounded = minimum(bounded, high if isinstance(high, Tensor) else scalar_like(high, input))
    return bounded


def _of_numbers(name: str, node: str) -> Operator:
    return general(name, _clamp_forward, lambda g, x, low, high: masked(g, _inside(x, low, high)), inputs=("x",),
                   saved_names=("self",), node=node)  # fmt: skip


_clamp = _of_numbers("clamp", "ClampBackward1")
_clamp_min = _of_numbers("clamp_min", "ClampMinBackward0")
_clamp_max = _of_numbers("clamp_max", "ClampMaxBackward0")


@both
def clamp_min(input: Tensor, min: Any, *, out: Tensor | None = None) -> Tensor:
    """Bounded below. Source: torch.clamp_min."""
    bounded = clamp(input, min=min) if isinstance(min, Tensor) else _clamp_min(input, low=min, high=None)
    return _into(bounded, out, "clamp_min")


@both
def clamp_max(input: Tensor, max: Any, *, out: Tensor | None = None) -> Tensor:
    """Bounded above. Source: torch.clamp_max."""
    bounded = clamp(input, max=max) if isinstance(max, Tensor) else _clamp_max(input, low=None, high=max)
    return _into(bounded, out, "clamp_max")


registry.publish("clamp_", in_place(clamp, "clamp_"))
registry.publish("clip", clamp)
