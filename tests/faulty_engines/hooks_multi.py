"""Faults of hooks over several tensors."""

from __future__ import annotations

from typing import Any

from reference_engine.autograd import multi_grad
from reference_engine.tape.backward import Pass
from tests.faulty_engines.patching import Patch, fault


@fault("hooks")
def multi_hooks_wait_for_all(p: Patch) -> None:
    """A multi-grad hook waits for tensors that the pass does not come to."""
    p.set(Pass, "visits", lambda self, node: True)


@fault("hooks")
def multi_hooks_forget_the_root(p: Patch) -> None:
    """The root of a pass is not counted among the gradients to wait for."""

    def visits(self: Any, node: Any) -> bool:
        return original(self, node) and any(
            edge is not None and edge[0] is node for other in self.reached for edge in other.edges
        )

    original = Pass.visits
    p.set(Pass, "visits", visits)


@fault("hooks")
def multi_hooks_count_across_passes(p: Patch) -> None:
    """A multi-grad hook keeps its gradients from one pass to the next."""

    def progress(self: Any) -> tuple:
        if not hasattr(self, "kept"):
            self.kept = original(self)
        return self.kept

    original = multi_grad._AllGradients.progress
    p.set(multi_grad._AllGradients, "progress", progress)


@fault("hooks")
def multi_hooks_of_any_run_for_each(p: Patch) -> None:
    """In mode "any" the hook runs for each tensor."""
    p.set(multi_grad._FirstGradient, "__call__", lambda self, grad: self.fn(grad))


@fault("hooks")
def multi_hooks_stay(p: Patch) -> None:
    """remove() of a multi-grad hook removes it from the first tensor only."""
    p.set(multi_grad.MultiHandle, "remove", lambda self: [handle.remove() for handle in self.handles[:1]])


@fault("hooks")
def multi_hooks_replace(p: Patch) -> None:
    """What a multi-grad hook returns replaces the gradient."""
    p.set(multi_grad._FirstGradient, "__call__", lambda self, grad: self.fn(grad))

    def at(self: Any, index: int) -> Any:
        returned = []
        fn, self.fn = self.fn, lambda grads: returned.append(fn(grads))
        hook = original(self, index)

        def replacing(grad: Any) -> Any:
            hook(grad)
            return returned.pop() if returned else None

        return replacing

    original = multi_grad._AllGradients.at
    p.set(multi_grad._AllGradients, "at", at)


@fault("hooks")
def multi_hooks_take_any_mode(p: Patch) -> None:
    """An unknown mode is taken for "all"."""

    class Modes(tuple):
        def __contains__(self, mode: object) -> bool:
            return True

    p.set(multi_grad, "MODES", Modes(("all", "any")))


@fault("hooks")
def multi_hooks_skip_constants(p: Patch) -> None:
    """Mode "all" silently leaves out tensors that do not require grad."""

    def register(tensors: Any, fn: Any, *, mode: Any = "all") -> Any:
        return original([t for t in tensors if t.requires_grad], fn, mode=mode)

    original = multi_grad.register_multi_grad_hook
    p.function(original, register)


@fault("hooks")
def multi_hooks_come_last(p: Patch) -> None:
    """A multi-grad hook runs among the pre-hooks of the node, behind all tensor hooks."""

    def register(tensors: Any, fn: Any, *, mode: Any = "all") -> Any:
        nodes = [t.grad_fn for t in tensors]
        if mode != "all" or None in nodes:
            return original(tensors, fn, mode=mode)
        seen: dict = {}

        def note(node: Any) -> Any:
            def hook(grads: tuple) -> None:
                seen[node] = grads[0]
                if len(seen) == len(nodes):
                    fn([seen[n] for n in nodes])
                    seen.clear()

            return hook

        return multi_grad.MultiHandle([node.register_prehook(note(node)) for node in nodes])

    original = multi_grad.register_multi_grad_hook
    p.function(original, register)
