"""Operands that are no tensors: whom an operation is left to, and what is said where nobody takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from reference_engine.memory import kinds
from reference_engine.ops import registry
from reference_engine.overrides import UNANSWERED, answer
from reference_engine.tape.saved import NUMBERS
from reference_engine.tensor import Tensor

SYMBOLS = {
    "_add": ("+", "__radd__"),
    "_sub": ("-", "__rsub__"),
    "mul": ("*", "__rmul__"),
    "_div": ("/", "__rtruediv__"),
}


def named(out: Any) -> dict[str, Any]:
    """`out` as a keyword argument, where it is one."""
    return {} if out is None else {"out": out}


def input_error(name: str, position: str, x: Any) -> TypeError:
    """The error for an argument of a wrong type."""
    at = f"argument '{position}' (position {1 if position == 'input' else 2})"
    return TypeError(f"{name.strip('_')}(): {at} must be Tensor, not {type(x).__name__}")


def left_to(name: str, other: Any) -> Any:
    """Leaves an operation to the other operand where that is of a class with such an operator; else raises."""
    symbol, reflected = SYMBOLS.get(name, ("", ""))
    if hasattr(type(other), reflected) and not isinstance(other, (str, bytes, list, tuple)):
        return NotImplemented
    if not symbol:
        raise input_error(name, "other", other)
    raise TypeError(f"unsupported operand type(s) for {symbol}: 'Tensor' and '{type(other).__name__}'")


def answer_or_leave(name: str, call: Callable, input: Any, other: Any, out: Any) -> Any:
    """What the operands' classes answer for a binary operator, or NotImplemented for what is theirs; else UNANSWERED."""
    told = answer(registry.methods.get(name.strip("_"), call), (input, other), named(out))
    if told is UNANSWERED and isinstance(input, Tensor) and not isinstance(other, (Tensor, np.generic, *NUMBERS)):
        return left_to(name, other)
    return told


def refuse_sparse(name: str, arrays: Iterable[Any]) -> None:
    """Raises where an array is sparse: of an operator that failed on it."""
    if any(type(a) in kinds and hasattr(a, "layout") for a in arrays):
        raise NotImplementedError(f"Could not run 'aten::{name.strip('_')}' with arguments from the 'SparseCPU' backend. This "
                                  "could be because the operator doesn't exist for this backend, or was omitted during the "
                                  "selective/custom build process (if using custom build).") from None  # fmt: skip
