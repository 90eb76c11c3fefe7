"""The reentrant variant: one node whose backward runs the function again, recorded, and a backward pass through it.

Source: torch.utils.checkpoint.checkpoint, use_reentrant=True.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from reference_engine.autograd.backward import backward as run_backward
from reference_engine.autograd.function import Function
from reference_engine.autograd.grad_mode import enable_grad
from reference_engine.state import state
from reference_engine.tensor import Tensor
from reference_engine.utils.checkpoint.around import surroundings

ONLY_BACKWARD = (
    "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` parameter to "
    ".backward(). To resolve this error, you can either set use_reentrant=False, or call .backward() without passing the "
    "`inputs` argument."
)
DETACHED = (
    "output {nr} of a function checkpointed with use_reentrant=True was detached from the graph, and the reentrant variant "
    "cannot tell. Detach it outside of the checkpointed function, or set use_reentrant=False."
)


def check_backward_validity(inputs: Any) -> None:
    """Warns where no input requires grad. Source: torch.utils.checkpoint.check_backward_validity."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=5)


def detach_variable(inputs: tuple) -> tuple:
    """The arguments, tensors among them as leaves of their own. Source: torch.utils.checkpoint.detach_variable."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(_leaf(x) if isinstance(x, Tensor) else x for x in inputs)


def _leaf(tensor: Tensor) -> Tensor:
    leaf = tensor.detach()
    leaf.requires_grad = tensor.requires_grad
    return leaf


class CheckpointFunction(Function):
    """The checkpointed call as one operation."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable, preserve_rng_state: bool, *args: Any) -> Any:
        check_backward_validity(args)
        ctx.run_function, ctx.again = run_function, surroundings(preserve_rng_state=preserve_rng_state)
        ctx.others = [None if isinstance(a, Tensor) else a for a in args]
        ctx.save_for_backward(*[a if isinstance(a, Tensor) else None for a in args])
        return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if state.backward is not None and state.backward.needed is not None:
            raise RuntimeError(ONLY_BACKWARD)
        inputs = [other if t is None else t for t, other in zip(ctx.saved_tensors, ctx.others, strict=True)]
        leaves = detach_variable(tuple(inputs))
        with ctx.again(), enable_grad():
            outputs = ctx.run_function(*leaves)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        tracked = [(o, g) for o, g in zip(outputs, grads, strict=True) if isinstance(o, Tensor) and o.requires_grad]
        if not tracked:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        for nr, output in enumerate(outputs):
            if isinstance(output, Tensor) and not output.requires_grad and output._array.dtype.kind in "fc":
                raise RuntimeError(DETACHED.format(nr=nr))
        run_backward([o for o, _ in tracked], [g for _, g in tracked])
        return (None, None, *[x.grad if isinstance(x, Tensor) else None for x in leaves])
