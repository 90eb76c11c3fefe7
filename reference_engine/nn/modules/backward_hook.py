"""Full backward hooks of a module: identity nodes around its forward see the gradients that pass.

The node behind the module's outputs learns grad_output, the node in front of its inputs learns grad_input and calls
the user's hooks with both. Source: torch.nn.Module.register_full_backward_hook.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from reference_engine.autograd.function import Function
from reference_engine.state import state
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NO_INPUT = (
    "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs require "
    "gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module."
    "register_full_backward_hook for more details."
)


def _replaced(gradients: tuple, returned: Any, whose: str, what: str) -> tuple:
    """The gradients that go on: what a hook returned, or those it was given where it returned None."""
    if returned is None:
        return gradients
    returned = returned if isinstance(returned, (tuple, list)) else (returned,)
    if len(returned) != len(gradients):
        raise RuntimeError(
            f"{whose} returned an invalid number of {what}, got {len(returned)}, but expected {len(gradients)}"
        )
    return tuple(returned)


class BackwardHookFunction(Function):
    """The identity on several tensors."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """The tensors themselves."""
        ctx.mark_non_differentiable(*[arg for arg in args if not arg.requires_grad])
        return args

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients themselves."""
        return grads


def spread(indices: Sequence[int], values: Sequence[Any], size: int) -> tuple:
    """`values` at `indices` of a tuple of `size`, None elsewhere."""
    result: list[Any] = [None] * size
    for index, value in zip(indices, values, strict=True):
        result[index] = value
    return tuple(result)


class BackwardHook:
    """The hooks of one call of one module."""

    def __init__(self, module: Any, hooks: Sequence[Callable], pre_hooks: Sequence[Callable]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple | None = None
        self.inputs: list[int] | None = None
        self.outputs: list[int] | None = None
        self.input_count = self.output_count = 0

    def setup_input_hook(self, args: tuple) -> tuple:
        """The arguments behind an identity node whose hook calls the user's."""
        self.input_count = len(args)
        args, self.inputs = self._through(args, self._at_inputs)
        return args

    def setup_output_hook(self, result: Any) -> Any:
        """The results behind an identity node whose hook notes grad_output."""
        single = not isinstance(result, tuple)
        results = (result,) if single else result
        self.output_count = len(results)
        results, self.outputs = self._through(results, self._at_outputs)
        return results[0] if single else results

    def _through(self, values: tuple, hook: Callable) -> tuple[tuple, list[int] | None]:
        indices = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        tensors = [values[i] for i in indices]
        if not (state.grad_enabled and any(t.requires_grad for t in tensors)):
            return values, None
        passed = BackwardHookFunction.apply(*tensors)
        node = next(t.grad_fn for t in passed if t.grad_fn is not None)
        node.register_hook(hook)
        filled = list(values)
        for index, tensor in zip(indices, passed, strict=True):
            filled[index] = tensor
        return (tuple(filled) if type(values) is tuple else type(values)(*filled)), indices

    def _at_inputs(self, grad_input: tuple, _: tuple) -> tuple | None:
        if self.grad_outputs is None:
            return None  # the gradient came to the inputs without passing the outputs
        assert self.inputs is not None
        result = spread(self.inputs, grad_input, self.input_count)
        for hook in self.hooks:
            result = _replaced(result, hook(self.module, result, self.grad_outputs), "Backward hook", "grad_input")
        self.grad_outputs = None
        return tuple(result[i] for i in self.inputs)

    def _at_outputs(self, _: tuple, grad_output: tuple) -> tuple | None:
        assert self.outputs is not None
        grads = self._run_pre_hooks(spread(self.outputs, grad_output, self.output_count))
        self.grad_outputs = grads
        if self.inputs is None:
            self._without_inputs(grads)
        return tuple(grads[i] for i in self.outputs)

    def _run_pre_hooks(self, grads: tuple) -> tuple:
        for hook in self.pre_hooks:
            grads = _replaced(grads, hook(self.module, grads), "Backward pre hook", "grad_output")
        return grads

    def _without_inputs(self, grads: tuple) -> None:
        """No input is tracked: the user's hooks run here, and may not replace anything."""
        warnings.warn(NO_INPUT, UserWarning, stacklevel=5)
        for hook in self.hooks:
            returned = hook(self.module, (None,) * self.input_count, grads)
            nothing = isinstance(returned, tuple) and all(r is None for r in returned)
            if returned is not None and not nothing:
                raise RuntimeError("Backward hook for Modules where no input requires gradient should always return None "
                                   "or None for all gradients.")  # fmt: skip
        self.grad_outputs = None
