"""The kit's words: the few names that a program has beside `torch` and Python's builtins.

Each exists because no torch spelling shows the same; docs/program-language.md gives the reasons. `raises` and `warns`
are in `observe`: they make observations.
"""

from __future__ import annotations

import builtins
import copy
import gc
import inspect
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from conformance.engines.base import Engine, Unsupported

from .numerical import Numerical
from .threads import lock, run_threads, thread_id

WORDS = frozenset({
    "collect", "deep_copy", "defaults", "direction", "identical", "inner_product", "lock", "math", "numerical_jvp",
    "numerical_vjp", "OrderedDict", "raises", "recorded_warnings", "rounded", "run_threads", "same", "same_storage",
    "thread_id", "warns", "weak",
})  # fmt: skip


class Mathematics:
    """Python's `math`, read only: a program can neither change the module nor reach beyond it."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(math, name)


def weak(value: Any) -> Callable[[], Any]:
    """A weak reference: call it for the object, or None once it is gone."""
    try:
        return weakref.ref(value)
    except TypeError:
        raise Unsupported(f"weak references to {type(value).__name__}") from None


def collect() -> None:
    """Python's full garbage collection: frees cycles that reference counting alone keeps."""
    gc.collect()


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Default of each parameter that has one: None, bools, numbers and strings themselves, anything else as text."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise Unsupported(f"the signature of {getattr(function, '__qualname__', function)}") from None
    return {p.name: _neutral(p.default) for p in parameters if p.default is not p.empty}


def _neutral(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return tuple(map(_neutral, value)) if isinstance(value, tuple) else str(value)


@lru_cache(maxsize=16)
def constant_words(engine: Engine) -> dict[str, Any]:
    """What every program on this engine has: `torch`, the builtins, the words that know no case. Not to be changed."""
    return {
        "__builtins__": builtins,
        "__name__": "case",
        "torch": engine.namespace,
        "OrderedDict": OrderedDict,
        "math": Mathematics(),
        "weak": weak,
        "collect": collect,
        "defaults": defaults,
        "deep_copy": copy.deepcopy,
        "run_threads": run_threads,
        "lock": lock,
        "thread_id": thread_id,
        "same_storage": engine.same_storage,
        **Numerical(engine).words(),
    }
