"""once_differentiable: a backward that cannot be differentiated itself says so. Source: torch.autograd.function."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reference_engine.autograd.function_context import BackwardCFunction
from reference_engine.state import state
from reference_engine.tape.node import Node, leaf_edge, next_sequence_number
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from reference_engine.tape.node import Edge


def once_differentiable(backward: Any) -> Any:
    """Decorator for a backward that cannot be differentiated itself.

    While backward passes are recorded (create_graph) its results have a history that leads to the function's inputs and
    raises when it is followed: "performing double backward raises an error", also where the incoming gradient is a
    constant. Source: torch.autograd.function.once_differentiable; FunctionCtx.save_for_backward.
    """

    @functools.wraps(backward)
    def wrapped(ctx: Any, *grads: Any, **options: Any) -> Any:
        before = state.set_grad_enabled(False)
        try:
            outputs = backward(ctx, *grads, **options)
        finally:
            state.set_grad_enabled(before)
        sources = _sources(ctx)
        if not state.grad_enabled or not (
            any(sources) or any(isinstance(g, Tensor) and g.requires_grad for g in grads)
        ):
            return outputs
        if isinstance(outputs, tuple):
            return _refusing(outputs, sources)
        return _refusing((outputs,), sources)[0]

    return wrapped


class _Thread(threading.local):
    apart = False


_thread = _Thread()


@contextlib.contextmanager
def set_apart() -> Iterator[None]:
    """In the block the history of such results leads to leaves of their own: gradgradcheck then finds a Jacobian of
    zeros and shows it, where an error would show nothing.
    """
    before, _thread.apart = _thread.apart, True
    try:
        yield
    finally:
        _thread.apart = before


def _sources(ctx: Any) -> list[Edge | None]:
    """Per argument of forward the edge to what made it, None where it was not tracked."""
    if _thread.apart:
        return []
    node = ctx._node if isinstance(ctx, BackwardCFunction) else None
    if node is None:
        return []
    edges = iter(node.edges)
    return [next(edges) if is_tensor else None for is_tensor in node.is_tensor_input]


class DelayedError(Node):
    """Refuses to be differentiated through."""

    def name(self) -> str:
        return "torch::autograd::Error"

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")

    arrays = tensors


DelayedError.__name__ = DelayedError.__qualname__ = "Error"  # as the graph shows it


def _refusing(outputs: tuple, sources: list[Edge | None]) -> tuple:
    """The outputs, each with a history that leads to its source, if it has one, and raises when it is followed."""
    node: Any = DelayedError()
    node.sequence_number, node.outputs = next_sequence_number(), len(outputs)
    aliases = [o.detach() if isinstance(o, Tensor) else o for o in outputs]
    known = [*sources, *[None] * len(outputs)]
    node.edges = tuple([(s or _leaf(a)) if isinstance(a, Tensor) else None
                        for a, s in zip(aliases, known, strict=False)])  # fmt: skip
    shapes = [a._array.shape if isinstance(a, Tensor) else () for a in aliases]
    dtypes = [a._array.dtype if isinstance(a, Tensor) else None for a in aliases]
    node.shape, node.dtype = (shapes[0], dtypes[0]) if len(outputs) == 1 else (shapes, dtypes)
    for nr, alias in enumerate(aliases):
        if isinstance(alias, Tensor):
            alias._edge = (node, nr)
    return tuple(aliases)


def _leaf(tensor: Tensor) -> Edge:
    """An edge to a leaf of its own with this value."""
    leaf = tensor.detach()
    leaf._tracked = True
    return leaf_edge(leaf)
