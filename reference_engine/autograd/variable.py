"""`Variable`, from before variables and tensors were merged. Source: torch docs, "Variable (deprecated)"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference_engine.state import state
from reference_engine.tensor import Tensor


class _Engine:
    """What runs backward passes, as far as users may ask something of it."""

    def queue_callback(self, callback: Callable[[], None]) -> None:
        """Runs `callback` at the end of the backward pass that is running; a RuntimeError where none is."""
        if state.backward is None:
            raise RuntimeError("Final callbacks can only be installed during backward pass.")
        state.backward.callbacks.append(callback)


class _VariableMeta(type):
    _execution_engine = _Engine()

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
