"""Names of operators: as functions (`torch.exp`), as methods (`Tensor.exp`), in place (`Tensor.exp_`), and as the words
that rules are written in, which have two readings: over arrays, and over tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

functions: dict[str, Callable] = {}
methods: dict[str, Any] = {}

# The words of rule texts. Filled as operators are declared; looked up when a rule runs, so order does not matter.
ARRAY_WORDS: dict[str, Any] = {"__builtins__": {}, "conj": np.conj, "pi": np.pi, "inf": np.inf}
TENSOR_WORDS: dict[str, Any] = {"__builtins__": {}, "pi": np.pi, "inf": np.inf}


def word(name: str, over_arrays: Callable, over_tensors: Callable) -> None:
    """Makes `name` a word of rule texts, in both readings."""
    ARRAY_WORDS[name], TENSOR_WORDS[name] = over_arrays, over_tensors


def publish(name: str, function: Callable, *, method: bool = True, module: bool = True) -> None:
    """Makes a function known under torch's name."""
    if module:
        functions[name] = function
    if method:
        methods[name] = function


def function(fn: Callable) -> Callable:
    """Decorator: a function of the namespace only (`torch.cat`)."""
    publish(fn.__name__.rstrip("_") if fn.__name__.endswith("__") else fn.__name__, fn, method=False)
    return fn


def method(fn: Callable) -> Callable:
    """Decorator: a method of Tensor only (`Tensor.expand`)."""
    publish(fn.__name__, fn, module=False)
    return fn


def both(fn: Callable) -> Callable:
    """Decorator: function and method (`torch.sum`, `Tensor.sum`)."""
    publish(fn.__name__, fn)
    return fn
