"""Faults of custom functions: their results and what their backward is given and returns."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.autograd import function
from reference_engine.autograd.function import Function, FunctionCtx, FunctionNode
from reference_engine.tensor import wrap
from tests.faulty_engines.patching import Patch, fault


@fault("custom_function")
def forward_is_recorded(p: Patch) -> None:
    """forward runs in the grad mode of the caller."""

    class Modes:
        grad_enabled = property(lambda self: original.grad_enabled)

        def set_grad_enabled(self, mode: bool) -> bool:
            return original.grad_enabled

    original = function.state
    p.set(function, "state", Modes())


@fault("custom_function")
def lists_are_taken_for_tuples(p: Patch) -> None:
    """A list that forward returns is differentiable, and comes back as a tuple."""

    def finish(node: Any, args: tuple, output: Any, **options: Any) -> Any:
        return original(node, args, tuple(output) if isinstance(output, list) else output, **options)

    original = function._finish
    p.set(function, "_finish", finish)


@fault("custom_function")
def zeros_come_for_everything(p: Patch) -> None:
    """Backward is given a zero for outputs that are not tensors."""

    def run(self: Any, grads: list) -> tuple:
        if self.context.materialize_grads:
            grads = [
                wrap(np.zeros(())) if g is None and r is None else g for g, r in zip(grads, self.results, strict=True)
            ]
        return original(self, grads)

    original = FunctionNode._run
    p.set(FunctionNode, "_run", run)


@fault("custom_function")
def zeros_are_floats(p: Patch) -> None:
    """The zeros for an output that no gradient reached are float32, whatever the output is."""

    def run(self: Any, grads: list) -> tuple:
        if self.context.materialize_grads:
            grads = [wrap(np.zeros(r[0], np.float32)) if g is None and r is not None else g
                     for g, r in zip(grads, self.results, strict=True)]  # fmt: skip
        return original(self, grads)

    original = FunctionNode._run
    p.set(FunctionNode, "_run", run)


@fault("custom_function")
def zeros_always_come(p: Patch) -> None:
    """set_materialize_grads(False) is forgotten."""
    p.set(FunctionCtx, "set_materialize_grads", lambda self, value: None)


@fault("custom_function")
def missing_gradients_are_none(p: Patch) -> None:
    """A backward that returns too few gradients is taken to mean None for the rest."""

    def checked(self: Any, returned: Any) -> tuple:
        results = returned if isinstance(returned, tuple) else (returned,)
        return original(self, (*results, *[None] * (len(self.is_tensor_input) - len(results))))

    original = FunctionNode._checked
    p.set(FunctionNode, "_checked", checked)


@fault("custom_function")
def surplus_none_is_refused(p: Patch) -> None:
    """A surplus gradient raises, also where it is None."""

    def checked(self: Any, returned: Any) -> tuple:
        if isinstance(returned, tuple) and len(returned) > len(self.is_tensor_input):
            raise RuntimeError(f"function {self.name()} returned an incorrect number of gradients (expected "
                               f"{len(self.is_tensor_input)}, got {len(returned)})")  # fmt: skip
        return original(self, returned)

    original = FunctionNode._checked
    p.set(FunctionNode, "_checked", checked)


@fault("custom_function")
def surplus_gradients_are_dropped(p: Patch) -> None:
    """Gradients beyond the number of inputs are ignored, tensors too."""

    def checked(self: Any, returned: Any) -> tuple:
        return original(self, returned[: len(self.is_tensor_input)] if isinstance(returned, tuple) else returned)

    original = FunctionNode._checked
    p.set(FunctionNode, "_checked", checked)


@fault("custom_function")
def gradients_for_numbers_are_dropped(p: Patch) -> None:
    """A gradient for an argument that is no tensor is ignored."""

    def checked(self: Any, returned: Any) -> tuple:
        if isinstance(returned, tuple) and len(returned) == len(self.is_tensor_input):
            returned = tuple(r if t else None for r, t in zip(returned, self.is_tensor_input, strict=True))
        return original(self, returned)

    original = FunctionNode._checked
    p.set(FunctionNode, "_checked", checked)


@fault("custom_function")
def numbers_pass_for_gradients(p: Patch) -> None:
    """A number that backward returns is made a tensor."""

    def fitting(self: Any, gradient: Any, index: int) -> Any:
        return original(self, engine.tensor(gradient) if isinstance(gradient, float) else gradient, index)

    original = FunctionNode._fitting
    p.set(FunctionNode, "_fitting", fitting)


@fault("custom_function")
def gradients_for_constants_are_checked(p: Patch) -> None:
    """A gradient for an input that does not require grad has to have its shape, too."""

    def fitting(self: Any, gradient: Any, index: int) -> Any:
        if self.edges[index] is None and gradient is not None:
            raise RuntimeError(f"Function {self.name()} returned an invalid gradient at index {index}")
        return original(self, gradient, index)

    original = FunctionNode._fitting
    p.set(FunctionNode, "_fitting", fitting)


@fault("custom_function")
def vjp_is_not_known(p: Patch) -> None:
    """Only backward is looked for; vjp is not."""
    p.set(FunctionNode, "_backward", lambda self: self.function.backward)


@fault("custom_function")
def vjp_goes_before_backward(p: Patch) -> None:
    """With both backward and vjp, vjp is taken silently."""

    def backward(self: Any) -> Any:
        vjp = self.function.vjp
        return vjp if vjp is not Function.vjp else self.function.backward

    p.set(FunctionNode, "_backward", backward)


@fault("custom_function")
def needs_follow_the_grad_mode(p: Patch) -> None:
    """needs_input_grad is all False under no_grad."""

    def start(cls: Any, args: tuple) -> Any:
        node = original(cls, args)
        if not engine.is_grad_enabled():
            node.context.needs_input_grad = (False,) * len(args)
        return node

    original = vars(Function)["_start"].__func__
    p.set(Function, "_start", classmethod(start))


@fault("custom_function")
def needs_count_tensors_alone(p: Patch) -> None:
    """needs_input_grad has entries for tensor arguments only."""

    def start(cls: Any, args: tuple) -> Any:
        node = original(cls, args)
        node.context.needs_input_grad = tuple(a.requires_grad for a in args if isinstance(a, engine.Tensor))
        return node

    original = vars(Function)["_start"].__func__
    p.set(Function, "_start", classmethod(start))


@fault("custom_function")
def boxed_gradients_stay(p: Patch) -> None:
    """The engine keeps the gradients that it gave in a list."""

    def run(self: Any, grads: list) -> tuple:
        self.context.kept_gradients = tuple(grads)
        return original(self, grads)

    original = FunctionNode._run
    p.set(FunctionNode, "_run", run)


@fault("custom_function")
def boxes_are_tuples(p: Patch) -> None:
    """With boxed_grads_call backward is given its gradients in a tuple."""

    def run(self: Any, grads: list) -> tuple:
        if not self.function.boxed_grads_call:
            return original(self, grads)
        return self._checked(self._backward()(self.context, tuple(grads)))

    original = FunctionNode._run
    p.set(FunctionNode, "_run", run)


@fault("custom_function")
def functions_are_made_quietly(p: Patch) -> None:
    """Making an instance of a Function does not warn."""
    p.set(Function, "__init__", lambda self, *args: None)


@fault("custom_function")
def instances_can_be_called(p: Patch) -> None:
    """Calling an instance of a Function applies it."""
    p.set(Function, "__call__", lambda self, *args: self.apply(*args))
