"""make_fx: the graph of the operators that a function calls. Source: torch.fx.experimental.proxy_tensor."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.fx.graph import GraphModule
from reference_engine.fx.tracing import Tracer
from reference_engine.tensor import Tensor, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ("real", "fake", "symbolic")


def make_fx(f: Callable, decomposition_table: Any = None, tracing_mode: str = "real") -> Callable:
    """The function that, called with example inputs, runs f on them and returns a GraphModule of what was called.

    The module computes what f does for other inputs of the same form, and changes those that f changes; numbers among the
    inputs, and whatever Python computed besides, stay as they were. What has no form in a graph (reading elements, above all)
    raises RuntimeError.
    """
    if tracing_mode not in MODES:
        raise AssertionError(f"tracing_mode must be real/fake/symbolic, got {tracing_mode}")
    if tracing_mode == "symbolic":
        raise NotImplementedError("make_fx: graphs for other sizes than the examples' are not made")
    if decomposition_table:
        raise NotImplementedError("make_fx: operators are recorded as they are, without a decomposition_table")

    @functools.wraps(f)
    def wrapped(*args: Any) -> GraphModule:
        return Tracer().trace(f, _names(f, len(args)), args, _example)

    return wrapped


def _example(x: Tensor) -> Tensor:
    """The tensor itself, without its history: f runs, so that it changes what it changes."""
    if not isinstance(x._array, np.ndarray):
        raise RuntimeError("make_fx: an input that is batched or traced itself, or sparse")
    return wrap(x._array)


def _names(f: Callable, count: int) -> list[str]:
    """What the arguments are called in the graph: as f calls them, with a number."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    own = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*own, *(f"arg{i}" for i in range(len(own), count))][:count]


__all__ = ["make_fx"]
