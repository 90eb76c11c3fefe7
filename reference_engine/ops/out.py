"""`out=`: results written into tensors that are given. Source: torch docs, "out" arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference_engine.ops.elementwise_kind import _into as into
from reference_engine.tensor import Tensor


def with_out(function: Callable) -> Callable:
    """The function with torch's `out=`: one tensor, or one for each result."""

    def call(*args: Any, out: Any = None, **options: Any) -> Any:
        results = function(*args, **options)
        if out is None:
            return results
        if isinstance(results, Tensor):
            return into(results, out)
        return type(results)(*[into(result, target) for result, target in zip(results, out, strict=True)])

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    return call
