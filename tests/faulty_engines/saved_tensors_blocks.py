"""Faults of the blocks that change what is done to saved tensors: switching hooks off, main memory, mutation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reference_engine.autograd import graph, mutation
from reference_engine.state import state
from tests.faulty_engines.patching import Patch, fault


@fault("saved_tensors")
def disabling_ends_hooks_silently(p: Patch) -> None:
    """Entering a block of hooks where they are disabled does nothing, without an error."""

    def enter(self: Any) -> None:
        if state.saved_tensor_hooks_disabled is None:
            original(self)
        else:
            state.saved_tensor_hooks = (*state.saved_tensor_hooks, (lambda t: t.detach(), lambda t: t))

    original = graph.saved_tensors_hooks.__enter__
    p.set(graph.saved_tensors_hooks, "__enter__", enter)


@fault("saved_tensors")
def save_on_cpu_always_copies(p: Patch) -> None:
    """save_on_cpu copies tensors that are on the CPU already."""

    def init(self: Any, pin_memory: bool = False, device_type: str = "cuda") -> None:
        graph.saved_tensors_hooks.__init__(self, lambda t: (t.device, t.detach().clone()), lambda packed: packed[1])

    p.set(graph.save_on_cpu, "__init__", init)


@fault("saved_tensors")
def allowed_mutation_copies_too_late(p: Patch) -> None:
    """allow_mutation_on_saved_tensors keeps saved tensors as they are, so that changes reach them."""
    p.set(mutation.SavedValues, "before_write", lambda self, written: None)


@fault("saved_tensors")
def allowed_mutation_copies_everything(p: Patch) -> None:
    """Any in-place change copies every saved tensor, whether it was changed or not."""

    def before_write(self: Any, written: Any) -> None:
        for kept in list(self.original.values()):
            original(self, kept)

    original = mutation.SavedValues.before_write
    p.set(mutation.SavedValues, "before_write", before_write)


@fault("saved_tensors")
def hooks_are_disabled_under_way(p: Patch) -> None:
    """disable_saved_tensors_hooks inside a block of hooks is no error, and ends them."""

    @contextmanager
    def disable(message: str) -> Iterator[None]:
        hooks, state.saved_tensor_hooks = state.saved_tensor_hooks, ()
        try:
            with original(message):
                yield
        finally:
            state.saved_tensor_hooks = hooks

    original = graph.disable_saved_tensors_hooks
    p.function(original, disable)


@fault("saved_tensors")
def allowed_mutation_never_ends(p: Patch) -> None:
    """Values kept by allow_mutation_on_saved_tensors outlive its block, and so does the graph's use of them."""
    p.set(mutation.SavedValues, "clear", lambda self: None)


@fault("saved_tensors")
def allowed_mutation_nests(p: Patch) -> None:
    """allow_mutation_on_saved_tensors inside another is no error."""

    @contextmanager
    def allow() -> Iterator[Any]:
        outer, state.before_write = state.before_write, None
        try:
            with original() as values:
                yield values
        finally:
            state.before_write = outer

    original = mutation.allow_mutation_on_saved_tensors
    p.function(original, allow)


@fault("saved_tensors")
def save_on_cpu_packs_bare_tensors(p: Patch) -> None:
    """save_on_cpu forgets the device that a tensor came from."""

    def init(self: Any, pin_memory: bool = False, device_type: str = "cuda") -> None:
        graph.saved_tensors_hooks.__init__(self, lambda t: t.detach(), lambda packed: packed)

    p.set(graph.save_on_cpu, "__init__", init)
