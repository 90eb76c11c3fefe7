"""Backward passes as operators: linear in the gradient, and without effect of the input that they were told of.

torch hands the input to the backward of poolings and borders (for its shape); the derivative with respect to it is then
zero, not None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.ops.kinds import general
from reference_engine.tensor import Tensor


def zeros(g: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of g's dtype, over arrays and tensors."""
    return g.new_zeros(shape) if isinstance(g, Tensor) else np.zeros(shape, g.dtype)


def backward_of(name: str, transpose: Callable, forward: Callable, node: str) -> Any:
    """The backward of a linear map as an operator of (g, x): `transpose` over arrays of g, `forward` its own transpose."""
    return general(name, transpose, forward, lambda g, x_shape: zeros(g, x_shape), node=node,
                   saved_names=("grad_output", "self"))  # fmt: skip
