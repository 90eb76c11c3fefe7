"""`with`: one case per point of a cross product of parameters, with a name that can be read."""

from __future__ import annotations

import itertools
from typing import Any

Point = dict[str, Any]


def points(parameters: dict[str, list[Any]] | None) -> list[Point]:
    """Every combination, the last parameter moving fastest; one empty point where there are no parameters."""
    if not parameters:
        return [{}]
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*parameters.values())]


def suffix(point: Point) -> str:
    """What a point adds to the case's id: "[float32,2x3]"; nothing for the empty point."""
    return f"[{','.join(label(value) for value in point.values())}]" if point else ""


def label(value: Any) -> str:
    """A short readable name: torch.float32 -> float32, [2, 3] -> 2x3, [] -> (), True -> true."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, str):
        return value.removeprefix("torch.")
    if isinstance(value, list):
        if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return "x".join(map(str, value)) or "()"
        return f"({' '.join(label(item) for item in value)})"
    return str(value)


def substitute(value: Any, point: Point) -> Any:
    """`$name` replaced by the point's value of that parameter; anything else stays."""
    return point[value[1:]] if isinstance(value, str) and value.startswith("$") else value
