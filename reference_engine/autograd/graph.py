"""The recorded graph as users see it: nodes, edges, and hooks on them. Source: torch.autograd.graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from reference_engine.autograd.function_context import BackwardCFunction
from reference_engine.autograd.memory_budget import region_activation_memory_budget
from reference_engine.autograd.multi_grad import register_multi_grad_hook
from reference_engine.autograd.mutation import allow_mutation_on_saved_tensors
from reference_engine.state import state
from reference_engine.tape import node as tape
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from reference_engine.tape.node import RemovableHandle


class Node(ABC):
    """What users see of one recorded operation; for a custom function its context. Source: torch.autograd.graph.Node."""

    @abstractmethod
    def name(self) -> str:
        """The node's name, for example "MulBackward0"."""

    @property
    @abstractmethod
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """A (node, output number) per tensor input; (None, 0) where the input was not tracked."""

    @abstractmethod
    def metadata(self) -> dict:
        """The user's own notes."""

    @abstractmethod
    def register_hook(self, fn: Callable) -> RemovableHandle:
        """`fn(grad_inputs, grad_outputs) -> tuple | None` runs after the node."""

    @abstractmethod
    def register_prehook(self, fn: Callable) -> RemovableHandle:
        """`fn(grad_outputs) -> tuple | None` runs before the node."""


Node.register(tape.Node)
Node.register(BackwardCFunction)


class GradientEdge(NamedTuple):
    """A tensor's place in the graph: the node that made it and its output number there.

    ownership_token keeps alive what the node alone would not. Source: torch.autograd.graph.GradientEdge.
    """

    node: Node
    output_nr: int
    ownership_token: Any = None

    @property
    def _recorded(self) -> tape.Edge:
        """The edge as the graph has it."""
        node: Any = self.node
        return (node if isinstance(node, tape.Node) else node._node, self.output_nr)


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge where a gradient for `tensor` goes. Source: torch.autograd.graph.get_gradient_edge."""
    edge = tape.edge_of(tensor)
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    node: Any = edge[0].face()
    return GradientEdge(node, edge[1], node if isinstance(node, BackwardCFunction) else None)


def increment_version(tensor: Any) -> None:
    """Counts an in-place change that autograd could not see; inference tensors count nothing.

    Source: torch.autograd.graph.increment_version.
    """
    if not isinstance(tensor, Iterable):
        raise RuntimeError("increment_version expect a Iterable[Tensor] as input")
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        if not t.is_inference():
            t._bump_version()


class saved_tensors_hooks:
    """`pack` is given each tensor that is saved, `unpack` what it returned. Source: graph.saved_tensors_hooks."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if state.saved_tensor_hooks_disabled is not None:
            raise RuntimeError(state.saved_tensor_hooks_disabled)
        if not callable(self.pack_hook) or not callable(self.unpack_hook):
            raise TypeError("saved_tensors_hooks(): pack_hook and unpack_hook must be callable")
        state.saved_tensor_hooks = (*state.saved_tensor_hooks, (self.pack_hook, self.unpack_hook))
        state.refresh()

    def __exit__(self, *exc: object) -> None:
        state.saved_tensor_hooks = state.saved_tensor_hooks[:-1]
        state.refresh()


class save_on_cpu(saved_tensors_hooks):
    """Keeps saved tensors in main memory, where this engine's are anyway: packed is (device, the same memory).

    Pinned memory, which only an accelerator makes sense of, is a copy. Source: torch.autograd.graph.save_on_cpu.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(tensor: Tensor) -> tuple[Any, Tensor]:
            kept = tensor.detach()  # without history: an output's would hold its own node
            return tensor.device, kept.clone() if pin_memory else kept.cpu()

        super().__init__(pack, lambda packed: packed[1].to(packed[0]))


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Forbids saved-tensor hooks in a block, with this message. Source: graph.disable_saved_tensors_hooks."""
    before = state.saved_tensor_hooks_disabled
    if state.saved_tensor_hooks:
        raise RuntimeError(error_message)
    state.saved_tensor_hooks_disabled = error_message
    try:
        yield
    finally:
        state.saved_tensor_hooks_disabled = before


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """About CUDA streams, which a CPU does not have. Source: torch.autograd.graph, function of this name."""


def set_override_stale_capture_stream(enabled: bool) -> None:
    """About CUDA graphs, which a CPU does not have. Source: torch.autograd.graph, function of this name."""


__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "region_activation_memory_budget", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
    "set_override_stale_capture_stream", "set_warn_on_accumulate_grad_stream_mismatch",
]  # fmt: skip
