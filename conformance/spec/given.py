"""What can be wrong with the description of drawn data, beyond its form. `conformance.drawing` draws it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.drawing import DEFAULTS, draw

__all__ = ["draw", "mistakes"]


def mistakes(name: str, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) for parameters that do not go with the distribution of the drawn data `name`."""
    distribution = value["distribution"]
    allowed = DEFAULTS[distribution]
    p = {**allowed, **value}
    for key in ("mean", "std", "low", "high", "p"):
        if key in value and key not in allowed:
            yield key, f"{distribution} takes {' and '.join(allowed)}, not {key}"
    if "low" in allowed and p["low"] >= p["high"]:
        yield "distribution", f"{name}: low {p['low']} is not below high {p['high']}"
    if distribution == "integers" and not all(float(p[key]).is_integer() for key in ("low", "high")):
        yield "distribution", f"{name}: integers are drawn between whole numbers"
    dtype = value.get("dtype", "float32")
    whole = not dtype.startswith(("$", "float", "bfloat", "complex"))
    if whole and distribution in ("normal", "uniform"):
        yield "dtype", f"{distribution} data in {dtype} would be cut to whole numbers; draw integers"
