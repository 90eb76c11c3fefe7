"""Sums that torch offers as one operator: lerp, addcmul, addcdiv, composed of the elementwise ones."""

from __future__ import annotations

from typing import Any

from reference_engine.ops import registry
from reference_engine.ops.inplace import in_place
from reference_engine.ops.registry import both
from reference_engine.tensor import Tensor


@both
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input). Source: torch.lerp."""
    return input + weight * (end - input)


@both
def addcmul(input: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2. Source: torch.addcmul."""
    return input + (tensor1 * tensor2 if value == 1 else value * tensor1 * tensor2)


@both
def addcdiv(input: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2. Source: torch.addcdiv."""
    return input + value * (tensor1 / tensor2)


for _name, _fn in {"lerp_": lerp, "addcmul_": addcmul, "addcdiv_": addcdiv}.items():
    registry.publish(_name, in_place(_fn, _name), module=False)
