"""Values in result records (JSON: numbers, texts, tensors as {"dtype", "shape", "value"}) as a reader wants them.

Floats are the shortest decimals that read back as the same float32 or float64. A long tensor shows its first elements
and says how many follow; one that the record itself only sums up shows its shape and range.
"""

from __future__ import annotations

import functools
import marshal
import math
import struct
from itertools import islice
from typing import Any

from reports.text import clean

ELEMENTS = 64
"""Elements of one value that are shown."""

_NARROW = frozenset({"float32", "bfloat16", "float16", "complex64"})
_NOT_FINITE = frozenset({"nan", "inf", "-inf"})  # how the result format writes what JSON lacks


def show(value: Any) -> str:
    """One value on one line, at most a thousand characters."""
    try:
        packed = marshal.dumps(value, 2)
    except ValueError:  # not a value that a result file can hold: shown all the same
        return clean(_plain(value, _Budget(), "float64"), 1_000)
    return _unpacked(packed) if len(packed) <= 4_000 else _unpacked.__wrapped__(packed)


@functools.lru_cache(maxsize=4_096)
def _unpacked(packed: bytes) -> str:
    """Engines mostly show equal values; the bytes tell 1 from True and 0.0 from -0.0, as `==` would not."""
    return clean(_plain(marshal.loads(packed), _Budget(), "float64"), 1_000)


class _Budget:
    """How many elements may still be written, shared by the levels of one nested value."""

    def __init__(self) -> None:
        self.left = ELEMENTS


def _tensor(value: dict[str, Any]) -> str:
    dtype, shape = str(value["dtype"]), value["shape"]
    budget = _Budget()
    elements = value.get("value")
    parts = [] if elements is None else [_plain(_paired(elements, value), budget, dtype)]
    parts.append(dtype)
    if isinstance(shape, list) and (elements is None or budget.left <= 0 or 0 in shape):
        parts.append("×".join(map(str, shape)) or "scalar")
    if "min" in value:
        low, high, mean = (number(value[key], dtype) for key in ("min", "max", "mean"))
        parts.append(f"in [{low}, {high}], mean {mean}, sha256 {value.get('sha256', '?')}")
    if value.get("requires_grad"):
        parts.append("requires_grad" if value.get("is_leaf", True) else "requires_grad, not a leaf")
    if value.get("grad") is not None:
        parts.append(f"grad {show(value['grad'])}")
    return " ".join(parts)


def _paired(elements: Any, tensor: dict[str, Any]) -> Any:
    """Complex elements, which records hold as pairs, as {"real", "imag"}."""
    if not tensor.get("complex"):
        return elements

    def pair(part: Any, depth: int) -> Any:
        if depth == 0:
            return {"real": part[0], "imag": part[1]}
        return [pair(inner, depth - 1) for inner in part]

    return pair(elements, len(tensor["shape"]))


def _plain(value: Any, budget: _Budget, dtype: str) -> str:
    if isinstance(value, list):
        return _sequence(value, budget, dtype)
    if isinstance(value, dict) and "dtype" in value and "shape" in value:
        return _tensor(value)
    budget.left -= 1
    if isinstance(value, float):
        return number(value, dtype)
    if isinstance(value, str):
        return value if value in _NOT_FINITE else repr(value[: ELEMENTS * 10])
    if isinstance(value, dict):
        return _dictionary(value, budget, dtype)
    return str(value)


def _sequence(values: list[Any], budget: _Budget, dtype: str) -> str:
    shown: list[str] = []
    for value in values:
        if budget.left <= 0:
            shown.append(f"… {len(values) - len(shown):,} more")
            break
        shown.append(_plain(value, budget, dtype))
    return f"[{', '.join(shown)}]"


def _dictionary(value: dict[str, Any], budget: _Budget, dtype: str) -> str:
    if value.keys() == {"real", "imag"}:
        imaginary = number(value["imag"], dtype)
        sign = "" if imaginary.startswith("-") else "+"
        return f"{number(value['real'], dtype)}{sign}{imaginary}j"
    if value.keys() == {"type", "text"}:
        return str(value["text"]) or str(value["type"])
    if "items" in value and value.keys() <= {"type", "items"}:
        return _plain(value["items"], budget, dtype)
    shown = [f"{key}: {_plain(item, budget, dtype)}" for key, item in islice(value.items(), ELEMENTS)]
    if len(value) > ELEMENTS:
        shown.append(f"… {len(value) - ELEMENTS:,} more")
    return f"{{{', '.join(shown)}}}"


def number(value: Any, dtype: str = "float64") -> str:
    """A number as Python writes it; a float32 or narrower with the digits that a float32 holds."""
    if not isinstance(value, float):
        return str(value)
    if dtype in _NARROW and not value.is_integer() and math.isfinite(value):
        wanted = struct.pack("f", value)
        for digits in (4, 6, 7, 8, 9):
            text = f"{value:.{digits}g}"
            if struct.pack("f", float(text)) == wanted:
                return text
    return repr(value)


def distance(value: float | str | None) -> str:
    """An error measure (max abs, max rel, ulps) with three digits."""
    if value is None:
        return ""
    return clean(value, 40) if isinstance(value, str) else f"{value:.3g}"
