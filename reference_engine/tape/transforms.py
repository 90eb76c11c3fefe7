"""Reverse-mode transforms as tensors see them: whose input is whose, and what is left when a transform has ended.

Law: what is computed inside of a transform has a history there, which ends at the transform's inputs. A tensor that is kept
longer than the transform keeps that history for itself, and its text says so. To operators it is its value, with the history
that it has outside. Nothing is looked up unless such a tensor is alive.
Source: torch docs "UX Limitations", General limitations.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from reference_engine.state import state
from reference_engine.tape.node import LEAF, edge_of, next_sequence_number

if TYPE_CHECKING:
    from reference_engine.tape.node import Edge, Node
    from reference_engine.tensor import Tensor


class Transform:
    """One run of a transformed function. `number`: how many transforms are around, itself included. Its inputs are leaves, or
    views of what is tracked outside.
    """

    def __init__(self) -> None:
        self.number, self.start, self.end = state.depth + 1, next_sequence_number(), 0
        self.leaves: set[weakref.ref] = set()
        self.views: set[weakref.ref] = set()

    def __enter__(self) -> Transform:
        state.depth, state.transforms, state.reversing = self.number, state.transforms + 1, (*state.reversing, self)
        return self

    def __exit__(self, *exc: object) -> None:
        self.end = next_sequence_number()
        state.depth, state.transforms, state.reversing = self.number - 1, state.transforms - 1, state.reversing[:-1]
        if self.leaves or self.views:
            state.kept = (*state.kept, self)
            state.refresh()

    def owns(self, tensor: Tensor) -> None:
        """Makes a tensor one of the inputs."""
        if tensor._edge is None:
            tensor._transform = self
            self.leaves.add(weakref.ref(tensor, self._gone))
        else:
            self.views.add(weakref.ref(tensor._edge[0], self._gone))

    def _gone(self, reference: weakref.ref) -> None:
        self.leaves.discard(reference)
        self.views.discard(reference)
        if self in state.kept and not self.leaves:
            if not self.views:
                state.kept = tuple(other for other in state.kept if other is not self)
            state.refresh()

    def made(self, tensor: Tensor) -> bool:
        """Whether a tensor belongs to this run: an input, or computed in it and not what it returned."""
        edge = tensor._edge
        if edge is None:
            return tensor._transform is self
        number = edge[0].sequence_number
        return self.start < number and (not self.end or number < self.end) and self not in tensor._left


def outer_edge(tensor: Tensor) -> Edge | None:
    """The edge that an operator on a tensor has: none where all of its history is in transforms that have ended."""
    edge = edge_of(tensor)
    if edge is None or not state.kept or reaches_living(edge[0]):
        return edge
    return None


def reaches_living(node: Node, within: tuple[Transform, ...] = ()) -> bool:
    """Whether a history has an end besides the inputs of transforms that have ended, or of those in `within`."""
    ended = (*(t for t in state.kept if t.leaves), *within)
    seen, stack = set(), [node]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.role == LEAF:
            if node.variable._transform not in ended:  # type: ignore[attr-defined]
                return True
        elif any(t.start < node.sequence_number and (not t.end or node.sequence_number < t.end) for t in ended):
            stack += [edge[0] for edge in node.edges if edge is not None]
        else:
            return True  # made outside of them all: then by what was alive
    return False


def leaving(tensor: Tensor, transform: Transform) -> Tensor:
    """A tensor that a transform returns with its history: an object of its own, which is no longer the transform's."""
    if tensor._edge is None or not transform.made(tensor):
        return tensor
    result: Any = object.__new__(type(tensor))
    result.__dict__.update(tensor.__dict__)
    result._left = (*tensor._left, transform)
    if tensor._base is not None and tensor._base._views is not None:
        tensor._base._views.append(weakref.ref(result))
    return result  # type: ignore[no-any-return]
