"""Faults of derivatives of derivatives."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.tape import backward as running
from tests.faulty_engines.patching import Patch, asking, fault


@fault("higher_order")
def ignores_create_graph(p: Patch) -> None:
    """With create_graph=True the gradient is still a constant."""

    def run_backward(roots: Any, seeds: Any, *, recorded: bool, **options: Any) -> Any:
        found = original(roots, asking._arrays(seeds) if recorded else seeds, recorded=False, **options)
        return [g if g is None or not recorded else engine.tensor(g) for g in found]

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("higher_order")
def always_creates_the_graph(p: Patch) -> None:
    """Gradients always require grad."""

    def backward(tensors: Any, grad_tensors: Any = None, retain_graph: Any = None, create_graph: bool = False,
                 *args: Any, **kwargs: Any) -> Any:  # fmt: skip
        return original(tensors, grad_tensors, retain_graph, True, *args, **kwargs)

    original = asking.backward
    p.function(original, backward)


@fault("higher_order")
def zero_second_derivatives(p: Patch) -> None:
    """The rule's coefficient counts as a constant when the backward pass is recorded."""

    def tensors(self: Any, grads: tuple, needed: tuple) -> tuple:
        results = original(self, grads, needed)
        return tuple(r if r is None or not r.requires_grad else grads[0] * (r.detach() / _safe(grads[0].detach()))
                     for r in results)  # fmt: skip

    def _safe(g: Any) -> Any:
        return engine.where(g == 0, 1.0, g)

    from reference_engine.ops.elementwise_kind import ElementwiseNode
    from reference_engine.ops.kinds import OpNode

    original = ElementwiseNode.tensors
    p.set(ElementwiseNode, "tensors", tensors)
    power = OpNode.tensors

    def of_operators(self: Any, grads: tuple, needed: tuple) -> tuple:
        results = power(self, grads, needed)
        if type(self).__name__ != "PowBackward0":
            return results
        return tuple(r if r is None else grads[0] * (r.detach() / _safe(grads[0].detach())) for r in results)

    p.set(OpNode, "tensors", of_operators)


@fault("higher_order")
def cotangent_is_a_constant(p: Patch) -> None:
    """The result does not depend differentiably on the gradient argument."""

    def seeds(roots: tuple, grads: tuple) -> list:
        return [seed.detach() for seed in original(roots, grads)]

    original = asking._seeds
    p.set(asking, "_seeds", seeds)


@fault("higher_order")
def create_graph_is_silent(p: Patch) -> None:
    """backward(create_graph=True) does not warn about the cycle it makes."""
    p.set(asking, "warn_once", lambda *args, **kwargs: None)


@fault("higher_order")
def no_grad_disables_create_graph(p: Patch) -> None:
    """Inside no_grad autograd.grad(create_graph=True) gives constants."""

    def run_backward(roots: Any, seeds: Any, *, recorded: bool, **options: Any) -> Any:
        if recorded and not engine.is_grad_enabled():
            found = original(roots, asking._arrays(seeds), recorded=False, **options)
            return [None if g is None else engine.tensor(g) for g in found]
        return original(roots, seeds, recorded=recorded, **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("higher_order")
def custom_backward_is_not_recorded(p: Patch) -> None:
    """A custom Function's backward runs without recording, so it cannot be differentiated again."""
    from reference_engine.autograd.function import FunctionNode

    def tensors(self: Any, grads: tuple, needed: tuple) -> tuple:
        with engine.no_grad():
            return original(self, grads, needed)

    original = FunctionNode.tensors
    p.set(FunctionNode, "tensors", tensors)
