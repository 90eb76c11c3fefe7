"""Custom functions: forward and backward written by the user. Source: torch.autograd.Function, notes/extending.

`apply` runs forward without recording, then makes the results outputs of a node whose rule is the user's backward.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from reference_engine.autograd.function_context import BackwardCFunction, FunctionCtx
from reference_engine.autograd.function_node import FunctionNode
from reference_engine.autograd.function_outputs import finish as _finish
from reference_engine.autograd.function_tangents import push
from reference_engine.autograd.once import once_differentiable
from reference_engine.batching.tensor import innermost_of_all
from reference_engine.state import state
from reference_engine.tape.node import next_sequence_number
from reference_engine.tape.transforms import outer_edge
from reference_engine.tensor import Tensor

NEEDS_SETUP = (
    "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must override the "
    "setup_context staticmethod. For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"
)


class FunctionMeta(type):
    """Gives each Function its class of contexts, which are its nodes as users see them."""

    def __init__(cls, name: str, bases: tuple, namespace: dict) -> None:
        super().__init__(name, bases, namespace)
        cls._backward_cls = type(f"{name}Backward", (BackwardCFunction,), {"__slots__": (), "_forward_cls": cls})


class Function(metaclass=FunctionMeta):
    """Base of custom functions: subclass with static forward(ctx, ...) and backward(ctx, *grads), or with
    forward(...) and setup_context(ctx, inputs, output); call `apply`. Source: torch.autograd.Function.

    boxed_grads_call: backward is given all gradients in one list, from which it may take them.
    clear_saved_tensors_on_access: ctx.saved_tensors may be read once, and keeps nothing afterwards.
    generate_vmap_rule: whether vmap may run forward and backward themselves on batches.
    """

    _backward_cls: type[BackwardCFunction]
    boxed_grads_call = False
    clear_saved_tensors_on_access = False
    generate_vmap_rule = False

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The value; the user's."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """What forward would do with ctx, apart from it; the user's."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The vector-Jacobian product; the user's."""
        raise NotImplementedError("You must implement either the backward or vjp method for your custom "
                                  "autograd.Function to use it with backward mode AD.")  # fmt: skip

    vjp = backward  # the same by another name

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The Jacobian-vector product; the user's."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with "
                                  "forward mode AD.")  # fmt: skip

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        """The function on a batch; the user's."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod or "
                                  "set generate_vmap_rule=True.")  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(f"{self.__class__} should not be instantiated. Methods on autograd functions are all static, so you "
                      "should invoke them on the class itself. Instantiating an autograd function will raise an error in "
                      "a future version of PyTorch.", DeprecationWarning, stacklevel=2)  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Legacy autograd function with non-static forward method is deprecated. Please use new-style "
                           "autograd function with static forward method. "
                           "(Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)")  # fmt: skip

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward and records one node. Keyword arguments take their places among the inputs; in the form with
        setup_context defaults do too.
        """
        separate = cls.setup_context is not Function.setup_context
        if separate:
            bound = inspect.signature(cls.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        elif kwargs:
            args, kwargs = _placed(cls.forward, args, kwargs)
        if state.vmap_levels or state.transforms or any(not level.public for level in state.dual_levels):
            if not separate and cls.__module__ != "reference_engine.batching.functions":
                raise RuntimeError(NEEDS_SETUP.format(name=cls.__name__))
            if state.vmap_levels and (level := innermost_of_all(args)) is not None:
                from reference_engine.batching.functions import apply as apply_batched

                return apply_batched(cls, args, level)
        node = cls._start(args)
        context = node.context
        before, forward_mode = state.set_grad_enabled(False), state.forward_grad_enabled
        state.forward_grad_enabled = False
        try:
            if separate:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(context, args, output)
            else:
                output = cls.forward(context, *args, **kwargs)
        finally:
            state.set_grad_enabled(before)
            state.forward_grad_enabled = forward_mode
        if not state.dual_levels:
            return _finish(node, args, output, separate=separate)
        dirty, marked = context.dirty_tensors or (), context.non_differentiable or ()
        results = _finish(node, args, output, separate=separate)
        push(node, args, results, dirty, marked)
        return results

    @classmethod
    def _start(cls, args: tuple) -> FunctionNode:
        node = FunctionNode(cls)
        node.state["needs_input_grad"] = tuple([isinstance(a, Tensor) and a.requires_grad for a in args])
        node.sequence_number = next_sequence_number()
        node.is_tensor_input = tuple([isinstance(a, Tensor) for a in args])
        if state.grad_enabled:
            node.edges = tuple([outer_edge(a) for a in args if isinstance(a, Tensor)])
        return node


def _placed(forward: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Arguments of forward(ctx, ...) with keyword arguments moved to their places, as far as there are any before them."""
    bound = inspect.signature(forward).bind(None, *args, **kwargs)
    return bound.args[1:], bound.kwargs


class InplaceFunction(Function):
    """torch has it for old code; new code uses Function."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class NestedIOFunction(Function):
    """torch has it for old code; new code returns tuples."""


__all__ = [
    "BackwardCFunction", "Function", "FunctionCtx", "FunctionMeta", "FunctionNode", "InplaceFunction",
    "NestedIOFunction", "once_differentiable",
]  # fmt: skip
