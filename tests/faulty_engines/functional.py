"""Faults of torch.autograd.functional."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.autograd.functional import arguments, matrices, products
from tests.faulty_engines.patching import Patch, fault


@fault("functional")
def transposes_the_jacobian(p: Patch) -> None:
    """J[i][j] has the input's shape first."""

    def stacked(parts: list, output: Any, x: Any) -> Any:
        result = original(parts, output, x)
        order = [*range(output.dim(), result.dim()), *range(output.dim())]
        return result.permute(order)

    original = matrices._stacked
    p.set(matrices, "_stacked", stacked)


@fault("functional")
def jacobian_touches_grad(p: Patch) -> None:
    """The inputs' own `.grad` is filled on the way."""

    def prepared(inputs: Any, **options: Any) -> Any:
        for x in inputs:
            x._grad = engine.ones_like(x)
        return original(inputs, **options)

    original = arguments.prepared
    p.function(original, prepared)


@fault("functional")
def functional_ignores_strict(p: Patch) -> None:
    """strict=True gives zeros where it is to raise."""
    p.set(matrices, "_check_strict", lambda *args: None)
    p.function(arguments.check_tracked, lambda outputs: None)


@fault("functional")
def functional_ignores_create_graph(p: Patch) -> None:
    """Results are always detached."""
    p.function(arguments.finished, lambda values, *, create_graph: tuple(v.detach() for v in values))


@fault("functional")
def functional_always_keeps_the_graph(p: Patch) -> None:
    """Results always have a history."""
    p.function(arguments.finished, lambda values, *, create_graph: values)


@fault("functional")
def jvp_is_a_vjp(p: Patch) -> None:
    """J v is computed as v^T J, which only symmetric matrices forgive."""

    def jacobian_times(outputs: Any, x: Any, vector: Any, **options: Any) -> Any:
        found = original(outputs, x, vector, **options)
        return tuple(f * 0 + v.sum() for f, v in zip(found, vector, strict=False)) or found

    original = products.jacobian_times
    p.function(original, jacobian_times)


@fault("functional")
def hessian_drops_mixed_blocks(p: Patch) -> None:
    """Blocks of different inputs are zero."""

    def row(i: int, output: Any, x: Any, **options: Any) -> Any:
        found = original(i, output, x, **options)
        return tuple(f if j == i else f * 0 for j, f in enumerate(found))

    original = matrices._row
    p.set(matrices, "_row", row)


@fault("functional")
def captured_inputs_are_differentiated(p: Patch) -> None:
    """A tensor captured by the function counts as the input when it is the same object."""
    p.function(arguments.prepared, lambda inputs, **_: tuple(x.requires_grad_() for x in inputs))


@fault("functional")
def derivatives_keep_their_graph_by_default(p: Patch) -> None:
    """create_graph has the default True in jacobian."""
    original = engine.autograd.functional.jacobian

    def jacobian(func: Any, inputs: Any, create_graph: bool = True, strict: bool = False, vectorize: bool = False,
                 strategy: str = "reverse-mode") -> Any:  # fmt: skip
        return original(func, inputs, create_graph, strict, vectorize, strategy)

    p.function(original, jacobian)
