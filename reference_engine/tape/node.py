"""Nodes of the recorded graph, and the edges between them.

Law: an edge is a pair (node, output number). Tensors point to the node that made them, nodes point to the nodes that
made their inputs, never forward, and no node holds its own output: the tape has no reference cycle and is freed by
counting. Sequence numbers grow, so descending order of numbers is a topological order of the graph.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reference_engine.state import state
from reference_engine.tape.grad_type import OWN, of_edge

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.tensor import Tensor

next_sequence_number = count().__next__
WRITTEN = frozenset({"CopyBackwards", "NotImplemented"})  # nodes that torch has by hand: their names have a namespace
LAST = 1 << 62  # an accumulator's: it runs as soon as its gradient is complete

# Roles of nodes: any kind; one output and `saved` is to be dropped as it is; one output and nothing to drop; the end
# of the graph at a leaf.
OTHER, SAVING, LIGHT, LEAF = range(4)


class RemovableHandle:
    """Undoes one registration. Source: torch.utils.hooks.RemovableHandle."""

    _ids = count()

    def __init__(self, hooks: OrderedDict) -> None:
        self.id = next(RemovableHandle._ids)
        self._hooks = weakref.ref(hooks)

    def remove(self) -> None:
        """Removes the hook; a second call does nothing."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class NodeHooks:
    """Everything hung onto one node, made when the first is: tensor hooks by output number (in order), the tensors
    that retain their gradient by output number, node pre- and post-hooks, the user's notes, and the forward call that
    made the node (anomaly detection).
    """

    __slots__ = ("metadata", "post", "pre", "retain", "tensor")

    def __init__(self) -> None:
        self.tensor: dict[int, OrderedDict] = {}
        self.retain: dict[int, weakref.ref] = {}
        self.pre: OrderedDict = OrderedDict()
        self.post: OrderedDict = OrderedDict()
        self.metadata: dict = {}


def register(hooks: OrderedDict, hook: Callable) -> RemovableHandle:
    """Adds `hook` behind those registered before it."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _run_all(hooks: OrderedDict, results: tuple, grads: tuple) -> Any:
    """Hooks one after the other, each on what the one before left."""
    changed = None
    for hook in list(hooks.values()):
        returned = hook(results, grads)
        if returned is not None:
            results = changed = returned
    return changed


class InputMetadata(NamedTuple):
    """Shape, dtype and device of a gradient that comes to a node."""

    shape: Any
    dtype: Any
    device: Any


class Node:
    """One recorded operation, seen from the backward pass: a function from gradients of its outputs to gradients of
    its inputs. Source: torch.autograd.graph.Node.

    edges: per tensor input the edge to what made it, None where the input was not tracked.
    saved: what the rules need; FREED once a backward pass has dropped it.
    shape, dtype: of its output (lists of them with several outputs): gradients are brought to these, once, on the edge.
    """

    # What every node has, and the short paths touch, is in slots; kinds of nodes that have more keep it in a dict.
    __slots__ = ("__weakref__", "_hooks", "dtype", "edges", "exact", "role", "saved", "sequence_number", "shape")

    _hooks: NodeHooks | None
    edges: tuple[Edge | None, ...]
    exact: bool  # whether every gradient it gives has its input's shape and dtype, so that the edge need not look
    role: int  # OTHER, SAVING, LIGHT or LEAF: what the short path of the backward pass may take for granted
    saved: Any  # what `free` drops
    sequence_number: int
    shape: Any
    dtype: Any
    outputs = 1  # how many outputs; nodes with several override it per instance

    def __new__(cls, *args: Any, **kwargs: Any) -> Node:
        node = object.__new__(cls)
        node._hooks, node.edges, node.exact, node.role, node.saved = None, (), False, OTHER, True
        node.shape, node.dtype = (), None
        return node

    def name(self) -> str:
        """The node's name, for example "MulBackward0"."""
        name = type(self).__name__
        return f"torch::autograd::{name}" if name in WRITTEN else name

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """A (node, output number) per tensor input; (None, 0) where the input was not tracked."""
        return tuple([(edge[0].face(), edge[1]) if edge is not None else (None, 0) for edge in self.edges])

    def face(self) -> Any:
        """What users see of this node: itself, but for custom functions, where it is their context."""
        return self

    @property
    def metadata(self) -> dict:
        """A dict for the user's own notes, kept for the node's life."""
        return self.hooks().metadata

    def hooks(self) -> NodeHooks:
        """The node's hooks, made on first use."""
        if self._hooks is None:
            self._hooks = NodeHooks()
        return self._hooks

    def register_hook(self, fn: Callable) -> RemovableHandle:
        """`fn(grad_inputs, grad_outputs) -> tuple | None` runs after the node. Source: Node.register_hook."""
        return register(self.hooks().post, fn)

    def register_prehook(self, fn: Callable) -> RemovableHandle:
        """`fn(grad_outputs) -> tuple | None` runs before the node. Source: Node.register_prehook."""
        return register(self.hooks().pre, fn)

    @property
    def _input_metadata(self) -> list[InputMetadata]:
        """What is known of each gradient that comes to this node: shape, dtype and device of its outputs."""
        from reference_engine.dtypes import of_numpy
        from reference_engine.memory import CPU, Size

        return [InputMetadata(Size(self.output_shape(nr)), of_numpy(self.output_dtype(nr)), CPU)
                for nr in range(self.outputs)]  # fmt: skip

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"

    def _sequence_nr(self) -> int:
        return self.sequence_number

    def _register_hook_dict(self, hooks: OrderedDict) -> None:
        """Post-hooks kept in a dict of the caller's, as torch.utils.hooks does."""
        self.register_hook(lambda results, grads: _run_all(hooks, results, grads))

    def output_shape(self, nr: int) -> tuple[int, ...]:
        """Shape of output `nr`."""
        return self.shape if self.outputs == 1 else self.shape[nr]

    def output_dtype(self, nr: int) -> np.dtype:
        """NumPy type of output `nr`."""
        return self.dtype if self.outputs == 1 else self.dtype[nr]

    # What a kind of node implements: `grads` holds one entry per output (None where nothing arrived), `needed` says
    # which inputs' gradients are wanted. Plain arrays, or tensors when the backward pass itself is recorded.
    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        """Gradients of the inputs, from arrays to arrays."""
        raise NotImplementedError

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        """Gradients of the inputs, from tensors to tensors, recorded."""
        raise NotImplementedError

    def free(self) -> None:
        """Drops what was saved; a later backward through this node is an error."""

    def __call__(self, *grads: Tensor | None) -> Any:
        """The node's own vector-Jacobian product, without touching any `.grad`."""
        needed = tuple(edge is not None for edge in self.edges)
        results = self.tensors(grads, needed)
        return results[0] if len(results) == 1 else results


Edge = tuple[Node, int]


class AccumulateGrad(Node):
    """The end of the graph at a leaf: adds what arrives to the leaf's `.grad`.

    A leaf knows its accumulator weakly, the accumulator holds the leaf: the graph keeps its leaves alive, not the
    other way round.
    """

    def __init__(self, variable: Tensor) -> None:
        self.variable, self.role = variable, LEAF
        self.shape, self.dtype = variable._array.shape, variable._array.dtype
        if variable._grad_dtype is not OWN:
            self.dtype = of_edge(variable)
        self.sequence_number = LAST

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def _sequence_nr(self) -> int:
        return 2**64 - 1  # as torch shows it

    def __call__(self, *grads: Tensor | None) -> tuple[()]:
        from reference_engine.tape.accumulate import accumulate

        accumulate(self.variable, grads[0], recorded=False)
        return ()


_one_accumulator = Lock()  # threads that use the same leaf get the same accumulator


def leaf_edge(leaf: Tensor) -> Edge:
    """The edge to a leaf's accumulator, which lives as long as a graph uses it."""
    reference = leaf._accumulator
    node = reference() if reference is not None else None
    if node is None:
        with _one_accumulator:
            reference = leaf._accumulator
            node = reference() if reference is not None else None
            if node is None:
                node = AccumulateGrad(leaf)
                leaf._accumulator = weakref.ref(node)
                if state.anomaly:
                    from reference_engine.tape.anomaly import remember

                    remember(node)
    return (node, 0)


def edge_of(tensor: Tensor) -> Edge | None:
    """Where a gradient for `tensor` goes: its node, its accumulator, or None where it is not tracked."""
    edge = tensor._edge
    if edge is None and tensor._tracked:
        return leaf_edge(tensor)
    return edge
