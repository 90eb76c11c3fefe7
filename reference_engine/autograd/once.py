"""once_differentiable: a backward that cannot be differentiated itself says so. Source: torch.autograd.function."""

from __future__ import annotations

import functools
from typing import Any

from reference_engine.state import state
from reference_engine.tape.node import Node, leaf_edge, next_sequence_number
from reference_engine.tensor import Tensor


def once_differentiable(backward: Any) -> Any:
    """Decorator for a backward that cannot be differentiated itself: using its result so is an error.

    The error comes where an incoming gradient requires grad; otherwise the result is a constant.
    Source: torch.autograd.function.once_differentiable.
    """

    @functools.wraps(backward)
    def wrapped(ctx: Any, *grads: Any, **options: Any) -> Any:
        before = state.set_grad_enabled(False)
        try:
            outputs = backward(ctx, *grads, **options)
        finally:
            state.set_grad_enabled(before)
        if not state.grad_enabled or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return outputs
        if isinstance(outputs, tuple):
            return _refusing(outputs)
        return _refusing((outputs,))[0]

    return wrapped


class DelayedError(Node):
    """Refuses to be differentiated through."""

    def name(self) -> str:
        return "torch::autograd::Error"

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")

    arrays = tensors


def _refusing(outputs: tuple) -> tuple:
    """The outputs, each with a history that raises when it is followed."""
    node: Any = DelayedError()
    node.sequence_number, node.outputs = next_sequence_number(), len(outputs)
    aliases = [o.detach() if isinstance(o, Tensor) else o for o in outputs]
    node.edges = tuple([_leaf(a) if isinstance(a, Tensor) else None for a in aliases])
    shapes = [a._array.shape if isinstance(a, Tensor) else () for a in aliases]
    dtypes = [a._array.dtype if isinstance(a, Tensor) else None for a in aliases]
    node.shape, node.dtype = (shapes[0], dtypes[0]) if len(outputs) == 1 else (shapes, dtypes)
    for nr, alias in enumerate(aliases):
        if isinstance(alias, Tensor):
            alias._edge = (node, nr)
    return tuple(aliases)


def _leaf(tensor: Tensor) -> Any:
    """An edge to a leaf of its own with this value."""
    leaf = tensor.detach()
    leaf._tracked = True
    return leaf_edge(leaf)
