"""Faults of freeing and keeping the graph, and of the version check."""

from __future__ import annotations

from typing import Any

from reference_engine.ops.elementwise_kind import ElementwiseNode
from reference_engine.ops.kinds import OpNode
from reference_engine.tape import backward as running
from tests.faulty_engines.patching import Patch, asking, fault


def keeping(p: Patch, keep: Any) -> None:
    """Changes what becomes of the graph: keep(asked for) -> kept."""

    def run_backward(roots: Any, seeds: Any, *, keep_graph: bool, **options: Any) -> Any:
        return original(roots, seeds, keep_graph=keep(keep_graph), **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("retain_graph")
def never_frees_the_graph(p: Patch) -> None:
    """A graph can be run through any number of times."""
    keeping(p, lambda asked: True)


@fault("retain_graph")
def always_frees_the_graph(p: Patch) -> None:
    """retain_graph=True is ignored."""
    keeping(p, lambda asked: False)


@fault("retain_graph")
def frees_what_saved_nothing(p: Patch) -> None:
    """A second backward is refused even where nothing was saved that could have been freed."""
    p.set(OpNode, "holds_arrays", lambda self: True)
    p.set(ElementwiseNode, "free", OpNode.free)
    p.long_way()


@fault("retain_graph")
def grad_keeps_the_graph(p: Patch) -> None:
    """autograd.grad does not free the graph, only backward does."""

    def run_backward(roots: Any, seeds: Any, *, keep_graph: bool, accumulating: bool = True, **options: Any) -> Any:
        return original(roots, seeds, keep_graph=keep_graph or not accumulating, accumulating=accumulating, **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)
