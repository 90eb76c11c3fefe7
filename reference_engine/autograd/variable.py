"""`Variable`, from before variables and tensors were merged. Source: torch docs, "Variable (deprecated)"."""

from __future__ import annotations

from typing import Any

from reference_engine.tensor import Tensor


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)

    def __call__(cls, data: Tensor, requires_grad: bool = False, *args: Any) -> Tensor:
        result = data.data
        result._set_tracked(bool(requires_grad))
        return result


class Variable(metaclass=_VariableMeta):
    """`Variable(t, requires_grad)` gives a tensor on t's memory; every tensor is an instance."""


def variable(*args: Any, **kwargs: Any) -> Any:
    """Removed long ago. Source: torch.autograd.variable."""
    raise RuntimeError("torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead")
