"""Sums that torch offers as one operator: lerp, addcmul, addcdiv, composed of the elementwise ones."""

from __future__ import annotations

from typing import Any

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise import add
from reference_engine.ops.inplace import in_place
from reference_engine.ops.one_node import one_node
from reference_engine.ops.registry import both
from reference_engine.tensor import Tensor


def _spelled(x: Tensor) -> str:
    """torch's name of a type in C++, where messages show it."""
    part = dtypes.type_name(x.dtype.to_real()).lower()
    return f"c10::complex<{part}>" if x.is_complex() else {"long": "long int"}.get(part, part)


@both
@one_node("LerpBackward0", "input", "end", "weight", others={3: "LerpBackward1"})
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input). Source: torch.lerp."""
    for name, x in (("end", end), ("weight", weight)):
        if isinstance(x, Tensor) and x.dtype is not input.dtype and (name == "end" or x._array.ndim):
            raise RuntimeError(f"expected dtype {_spelled(input)} for `{name}` but got dtype {_spelled(x)}")
    if input.dtype.category < dtypes.FLOATING:
        kernel = "lerp_kernel_tensor" if isinstance(weight, Tensor) else "lerp_kernel_scalar"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{dtypes.type_name(input.dtype)}'")
    return input + weight * (end - input)


@both
@one_node("AddcmulBackward0", "input", "tensor1", "tensor2")
def addcmul(input: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Tensor:
    """input + value * tensor1 * tensor2. Source: torch.addcmul."""
    if input.dtype.category < dtypes.FLOATING and tensor1.dtype.category < dtypes.FLOATING:
        value = int(value)
    return add(input, tensor1 * tensor2 if value == 1 else value * tensor1 * tensor2, out=out)


@both
@one_node("AddcdivBackward0", "input", "tensor1", "tensor2")
def addcdiv(input: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Tensor:
    """input + value * tensor1 / tensor2. Source: torch.addcdiv."""
    if max(tensor1.dtype.category, tensor2.dtype.category) < dtypes.FLOATING:
        raise RuntimeError("Integer division with addcdiv is no longer supported, and in a future  release addcdiv will "
                           "perform a true division of tensor1 and tensor2. ")  # fmt: skip
    return add(input, value * (tensor1 / tensor2), out=out)


for _name, _fn in {"lerp_": lerp, "addcmul_": addcmul, "addcdiv_": addcdiv}.items():
    registry.publish(_name, in_place(_fn, _name), module=False)
