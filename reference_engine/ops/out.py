"""`out=`: results written into tensors that are given. Source: torch docs, "out" arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from reference_engine.ops.elementwise_kind import _into as into


def with_out(function: Callable, name: str | None = None) -> Callable:
    """The function with torch's `out=`: one tensor, or one for each result. `name` is what errors call it."""
    known = name or function.__name__.removeprefix("_old").strip("_")

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **options: Any) -> Any:
        results = function(*args, **options)
        if out is None:
            return results
        if not isinstance(results, tuple):
            return into(results, out, known)
        written = [into(result, target, known) for result, target in zip(results, out, strict=True)]
        return type(results)(*written) if hasattr(results, "_fields") else type(results)(written)

    return call
