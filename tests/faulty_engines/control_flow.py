"""Faults of engines that trace once, or that mistake values for structure."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from tests.faulty_engines.patching import Patch, fault


@fault("control_flow")
def caps_the_length_of_a_chain(p: Patch) -> None:
    """Only the last four operations of a chain are differentiated: longer loops are truncated."""
    from reference_engine.tape.backward import Pass

    def discover(self: Any, roots: Any) -> list:
        order = original(self, roots)
        return order[:4]

    original = Pass.discover
    p.set(Pass, "discover", discover)


@fault("control_flow")
def reuses_nodes_of_equal_operations(p: Patch) -> None:
    """Two multiplications of the same operands share one node, so that freeing one frees both."""
    mul = engine.ops.elementwise.mul
    made: dict = {}

    def shared(a: Any, b: Any, **options: Any) -> Any:
        result = mul(a, b, **options)
        if result._edge is not None:
            kept = made.setdefault((id(a), id(b)), result)
            result._edge = kept._edge
        return result

    p.function(mul, shared)


@fault("control_flow")
def differentiates_both_branches(p: Patch) -> None:
    """Comparing a tensor counts as using it: the test of an if contributes a gradient."""
    item = engine.Tensor.item

    def counting(self: Any) -> Any:
        if self._tracked:
            self._grad = engine.ones_like(self)
        return item(self)

    p.set(engine.Tensor, "item", counting)
    p.set(engine.Tensor, "__bool__", lambda self: bool(counting(self)))
