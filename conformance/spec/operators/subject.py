"""What the program of a check is about, and the pieces that all of them are made of."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Subject:
    """What a program is about.

    call: lines of which the last is an expression. floating, differentiable: names of data. layouts: by name, what makes
    it of the tensor given. outputs: names or numbers of the outputs that have derivatives, none where the call returns one.
    empty: one of those that are differentiated has no element. value, gradient: as the table writes them.
    """

    call: str
    floating: tuple[str, ...]
    differentiable: tuple[str, ...]
    layouts: dict[str, str] = field(default_factory=dict)
    outputs: tuple[str | int, ...] = ()
    elementwise: bool = False
    analytic: bool = False
    empty: bool = False
    value: Any = None
    gradient: dict[str, Any] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether f returns a tuple."""
        return len(self.outputs) > 1

    @property
    def inputs(self) -> str:
        return ", ".join(self.differentiable)

    @property
    def inputs_as_tuple(self) -> str:
        return f"({self.inputs}{',' * (len(self.differentiable) == 1)})"

    @property
    def random(self) -> bool:
        """Whether the call draws: it says from which seed."""
        return "torch.manual_seed(" in self.call

    @property
    def changes(self) -> bool:
        """Whether the call changes a tensor in place."""
        methods = (node.attr for node in ast.walk(ast.parse(self.call)) if isinstance(node, ast.Attribute))
        return any(name.endswith("_") and not name.endswith("__") for name in methods)


def parts(call: str) -> tuple[list[str], str]:
    """(statements, the expression that is the result) of a call. Raises ValueError where the last line is none."""
    body = ast.parse(call).body
    if not body or not isinstance(body[-1], ast.Expr):
        raise ValueError("the last line of a call is an expression: its result")
    lines = call.rstrip().split("\n")
    return lines[: body[-1].lineno - 1], "\n".join(lines[body[-1].lineno - 1 :])


def function(subject: Subject, arguments: Iterable[str]) -> list[str]:
    """f, which returns what has derivatives: one output, or a tuple."""
    statements, expression = parts(subject.call)
    lines = [*statements]
    if subject.outputs:
        lines += [f"result = {expression}"]
        expression = ", ".join(output_of("result", output) for output in subject.outputs)
    lines += [f"return {expression}"]
    return [f"def f({', '.join(arguments)}):", *textwrap.indent("\n".join(lines), "    ").split("\n"), ""]


def output_of(result: str, output: str | int) -> str:
    return f"{result}[{output}]" if isinstance(output, int) else f"{result}.{output}"


def laid_out(subject: Subject, leaves: bool = True) -> list[str]:
    """Lines that make the tensors that are not contiguous of those given."""
    lines = []
    for name, layout in subject.layouts.items():
        leaf = ".requires_grad_()" if leaves and name in subject.differentiable else ""
        lines.append(f"{name} = {name}{layout}{leaf}")
    return [*lines, ""] if lines else []


def backward(subject: Subject, result: str = "result", cotangent: str = "cotangent") -> str:
    return f"torch.autograd.backward({result}, {cotangent})" if subject.several else f"{result}.backward({cotangent})"


def unpacked(prefix: str, names: Iterable[str]) -> str:
    """[expected] for one input, expected_x, expected_w for several."""
    names = tuple(names)
    return f"[{prefix}]" if len(names) == 1 else ", ".join(f"{prefix}_{name}" for name in names)


def each(prefix: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(input, its `prefix` name)"""
    names = tuple(names)
    return [(name, prefix if len(names) == 1 else f"{prefix}_{name}") for name in names]


def options(subject: Subject, *names: str) -> str:
    return "".join(f", {name}=True" for name in names if getattr(subject, name))


def literal(value: Any) -> str:
    """A written value as Python; infinities and NaN by `math`, complex numbers from their text."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        return repr(complex(value))
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "math.nan" if value != value else "math.inf" if value > 0 else "-math.inf"
    return repr(value)


def written_value(value: Any) -> str:
    """A literal, or a closed form as it stands."""
    return value.strip() if isinstance(value, str) else literal(value)
