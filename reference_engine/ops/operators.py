"""Python's operators on tensors, and the properties that are operators in disguise."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import elementwise, matmul, registry
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import NUMBERS
from reference_engine.tensor import Tensor, wrap

f, m = registry.functions, registry.methods


def _operand(x: Any) -> bool:
    return isinstance(x, (Tensor, *NUMBERS, np.generic))


def _accepting(function: Any, *, arrays: bool = False) -> Any:
    """A binary operator that leaves other operands to their own class; `arrays`: but for those of NumPy."""

    def call(self: Tensor, other: Any) -> Any:
        if isinstance(other, np.ndarray) and arrays:
            other = wrap(other)
        if type(other) is not Tensor and not _operand(other):
            return NotImplemented
        return function(self, other.item() if isinstance(other, np.generic) else other)

    return call


def _reflected(function: Any) -> Any:
    def call(self: Tensor, other: Any) -> Any:
        return (
            function(other.item() if isinstance(other, np.generic) else other, self)
            if _operand(other)
            else NotImplemented
        )

    return call


# The hot ones are called directly: one call less per operator.
m["__add__"] = m["__radd__"] = elementwise._add
m["__mul__"] = m["__rmul__"] = elementwise.mul
m["__sub__"], m["__rsub__"] = elementwise._sub, elementwise._rsub
m["__truediv__"] = elementwise._div
m["__rtruediv__"] = m["__rdiv__"] = lambda self, other: elementwise.reciprocal(self) * other
m["__neg__"], m["__pos__"], m["__abs__"] = f["neg"], f["positive"], f["abs"]
m["__pow__"], m["__rpow__"] = _accepting(elementwise.pow), _reflected(elementwise.pow)
m["__floordiv__"], m["__rfloordiv__"] = _accepting(f["floor_divide"]), _reflected(f["floor_divide"])
m["__mod__"], m["__rmod__"] = _accepting(f["remainder"]), _reflected(f["remainder"])
m["__matmul__"], m["__rmatmul__"] = _accepting(matmul.matmul), _reflected(matmul.matmul)
m["__invert__"] = f["bitwise_not"]

for _symbol, _name in {"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "and": "bitwise_and",
                       "or": "bitwise_or", "xor": "bitwise_xor"}.items():  # fmt: skip
    m[f"__{_symbol}__"] = _accepting(f[_name], arrays=_symbol not in ("and", "or", "xor"))
    if _symbol in ("and", "or", "xor"):
        m[f"__r{_symbol}__"] = _accepting(f[_name])

for _symbol, _name in {"iadd": "add_", "isub": "sub_", "imul": "mul_", "itruediv": "div_", "ipow": "pow_",
                       "imod": "remainder_", "ifloordiv": "floor_divide_"}.items():  # fmt: skip
    m[f"__{_symbol}__"] = m[_name]


def _not_equal_to_other_kinds(name: str, verdict: bool) -> None:
    compare = m[name]

    def call(self: Tensor, other: Any) -> Any:
        result = compare(self, other)
        return verdict if result is NotImplemented and other is None else result

    m[name] = call


_not_equal_to_other_kinds("__eq__", False)
_not_equal_to_other_kinds("__ne__", True)

registry.publish("detach", Tensor.detach, method=False)
registry.publish("requires_grad_", in_place, method=False, module=False)


def install() -> None:
    """Hangs every published method onto Tensor."""
    for name, function in registry.methods.items():
        setattr(Tensor, name, function)
