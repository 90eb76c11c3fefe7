"""Hooks over several tensors at once. Source: torch.autograd.graph.register_multi_grad_hook.

A hook of each tensor notes its gradient in the pass that is running; the pass knows which of the tensors it will come
to, so that the last of these is known when it comes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

from reference_engine.state import state
from reference_engine.tape.node import Node, RemovableHandle, edge_of
from reference_engine.tensor import Tensor

MODES = ("all", "any")


class MultiHandle(RemovableHandle):
    """Undoes the registrations with all tensors."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[[Any], None], *, mode: Literal["all", "any"] = "all"
) -> MultiHandle:
    """In mode "all", `fn(grads)` runs in a backward pass once the gradients of all `tensors` are known that the pass
    computes, with None for the others. In mode "any", `fn(grad)` runs with the first of the gradients.

    What fn returns is ignored. Raises ValueError for another mode, AssertionError where mode "all" is given a tensor
    that does not require grad.
    """
    if mode not in MODES:
        raise ValueError(f"Expects mode to be one of {MODES} but got {mode}")
    tensors = tuple(tensors)
    if mode == "any":
        hook = _FirstGradient(fn)
        return MultiHandle([tensor.register_hook(hook) for tensor in tensors if tensor.requires_grad])
    together = _AllGradients([_place(tensor) for tensor in tensors], fn)
    return MultiHandle([tensor.register_hook(together.at(index)) for index, tensor in enumerate(tensors)])


def _place(tensor: Tensor) -> Callable[[], Node | None]:
    """Where the tensor's gradient arrives: its node now, or for a leaf whatever accumulator it has when asked.

    Held weakly: a hook lives on a node, and must not keep the graph alive.
    """
    edge = edge_of(tensor)
    if edge is None:
        raise AssertionError("Expected gradient function to be set")
    if tensor._edge is not None:
        return weakref.ref(edge[0])
    leaf = weakref.ref(tensor)

    def accumulator() -> Node | None:
        tensor = leaf()
        edge = edge_of(tensor) if tensor is not None else None
        return edge[0] if edge is not None else None

    return accumulator


class _AllGradients:
    """Runs `fn` when the last gradient of a pass has come."""

    def __init__(self, places: list[Callable[[], Node | None]], fn: Callable[[Any], None]) -> None:
        self.places, self.fn = places, fn

    def at(self, index: int) -> Callable[[Tensor | None], None]:
        """The hook of the tensor at this position."""

        def hook(grad: Tensor | None) -> None:
            grads, due = self.progress()
            grads[index] = grad
            due[0] -= 1
            if not due[0]:
                self.fn(grads)

        return hook

    def progress(self) -> tuple[list, list[int]]:
        """What has come in the running pass, and in a list of one how many gradients are still to come."""
        this = state.backward
        assert this is not None, "expected this hook to be called inside a backward call"
        if self not in this.notes:
            nodes = [place() for place in self.places]
            expected = sum(node is not None and this.visits(node) for node in nodes)
            this.notes[self] = [None] * len(nodes), [expected]
        return this.notes[self]


class _FirstGradient:
    """Runs `fn` at the first gradient of a pass."""

    def __init__(self, fn: Callable[[Any], None]) -> None:
        self.fn = fn

    def __call__(self, grad: Tensor | None) -> None:
        this = state.backward
        assert this is not None, "expected this hook to be called inside a backward call"
        if self not in this.notes:
            this.notes[self] = True
            self.fn(grad)
