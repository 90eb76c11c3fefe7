"""Faults of how leaves are made: factories, copies of tensors, and the deprecated Variable."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.tensor import wrap
from tests.faulty_engines.patching import Patch, fault

VariableType = type(engine.autograd.Variable)


@fault("leaves")
def factories_track_by_default(p: Patch) -> None:
    """Floating point tensors require grad from the start."""
    for name in ("randn", "ones"):
        p.wrap(
            engine,
            name,
            lambda original: lambda *size, **options: original(*size, **{"requires_grad": True, **options}),
        )


@fault("leaves")
def only_untracked_tensors_are_leaves(p: Patch) -> None:
    """is_leaf is the opposite of requires_grad."""
    p.set(engine.Tensor, "is_leaf", property(lambda self: not self.requires_grad))


@fault("leaves")
def new_tensor_of_a_tensor_keeps_history(p: Patch) -> None:
    """t.new_tensor(x) is differentiable."""

    def new_tensor(self: Any, data: Any, **options: Any) -> Any:
        return data.clone() if isinstance(data, engine.Tensor) and not options else original(self, data, **options)

    original = engine.Tensor.new_tensor
    p.set(engine.Tensor, "new_tensor", new_tensor)


def making_variables(p: Patch, make: Any) -> None:
    """Replaces what Variable(data) gives before its flag is set."""

    def call(cls: Any, data: Any, requires_grad: bool = False, *args: Any) -> Any:
        return make(data).requires_grad_(requires_grad)

    p.set(VariableType, "__call__", call)


@fault("leaves")
def variable_copies(p: Patch) -> None:
    """Variable(t) has memory of its own."""
    making_variables(p, lambda data: data.detach().clone())


@fault("leaves")
def variable_is_the_tensor_itself(p: Patch) -> None:
    """Variable(t) returns t, whose flag it changes and whose history it keeps."""

    def call(cls: Any, data: Any, requires_grad: bool = False, *args: Any) -> Any:
        return data if data._edge is not None else data.requires_grad_(requires_grad)

    p.set(VariableType, "__call__", call)


@fault("leaves")
def no_tensor_is_a_variable(p: Patch) -> None:
    """isinstance(t, Variable) holds for nothing, since Variable makes tensors."""
    p.set(VariableType, "__instancecheck__", lambda cls, instance: False)


@fault("leaves")
def variable_function_makes_tensors(p: Patch) -> None:
    """The function torch.autograd.variable still makes a tensor of what it is given."""
    p.function(engine.autograd.variable, lambda data, **options: wrap(engine.tensor(data, **options)._array))
