"""Backward rules: functions of the gradient and of named values, and where those values come from (see kinds.py)."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from reference_engine.tape.saved import read_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.ops.kinds import OpNode


class Rule:
    """One backward rule and the names it asks for."""

    def __init__(self, fn: Callable) -> None:
        self.fn = fn
        self.names = [p for p in inspect.signature(fn).parameters if p not in ("g", "gs")]
        self.takes_tuple = "gs" in inspect.signature(fn).parameters

    def __call__(self, grads: tuple, values: dict[str, Any]) -> Any:
        first = grads if self.takes_tuple else grads[0]
        return self.fn(first, *[values[name] for name in self.names])


class Values(dict):
    """What rules may ask for, fetched when first asked: a dict from names to values for one node and one reading."""

    def __init__(self, node: OpNode, read: Callable, needed: tuple[bool, ...]) -> None:
        super().__init__(node.params)
        self.node, self.read, self.needed = node, read, needed

    def __missing__(self, name: str) -> Any:
        node = self.node
        op = node.op
        if name in op.position:
            value: Any = self.read(node, op.position[name])
        elif name == "needs":
            value = self.needed
        elif name == "shapes":
            value = node.shapes
        elif name == "inputs" and op.variadic:
            value = tuple(self.read(node, i) for i in range(len(node.edges)))
        elif name.endswith("_shape") and name[:-6] in op.position:
            value = node.shapes[op.position[name[:-6]]]
        elif name.endswith("_strides") and name[:-8] in op.position:
            value = node.strides[op.position[name[:-8]]]
        elif name in op.outputs:
            value = self.read(node, len(node.edges) + op.outputs.index(name))
        elif name in node.packed:
            value = read_array(node.packed[name], node)
        else:
            raise KeyError(f"{op.name}: a rule asks for {name!r}, which is no input, output, parameter or auxiliary")
        self[name] = value
        return value


def camel(name: str) -> str:
    """torch's node name stem: "log_softmax" -> "LogSoftmax", "log1p" -> "Log1P"."""
    stem = "".join(part[:1].upper() + part[1:] for part in name.strip("_").split("_"))
    return re.sub(r"(?<=\d)[a-z]", lambda letter: letter[0].upper(), stem)
