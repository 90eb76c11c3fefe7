"""The derivative rules behind a result, as text: what a reader asks a table for.

A result's graph is walked; each operator in it gives its rules by its kind. Rules are shown as they are written: partial
derivatives of elementwise operators, transposes of linear ones, the expression or the first line of the docstring of others.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Any

from reference_engine.ops.kinds import OpNode
from reference_engine.ops.one_node import Composed
from reference_engine.tape.node import edge_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from reference_engine.ops.kinds import Operator
    from reference_engine.tensor import Tensor


def rules_behind(result: Tensor) -> list[tuple[str, list[str]]]:
    """(node's name, its rules) of each operator that made `result`, the last first, none twice."""
    found: dict[str, list[str]] = {}
    edge = edge_of(result)
    pending, seen = [edge[0]] if edge is not None else [], set()
    while pending:
        node = pending.pop(0)
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, OpNode) and node.name() not in found:
            found[node.name()] = rules_of(node.op)
        edges = node.roots if isinstance(node, Composed) else node.edges
        pending += [edge[0] for edge in edges if edge is not None]
    return list(found.items())


def rules_of(op: Operator) -> list[str]:
    """The rules of an operator, one for each input that has a derivative."""
    if hasattr(op, "partials"):
        return [f"d/d{name} = {partial}" if "g" not in _names(partial) else f"gradient of {name} = {partial}"
                for name, partial in zip(op.inputs, op.partials, strict=True) if partial is not None]  # fmt: skip
    if op.joint is not None:
        return [f"gradients of {', '.join(op.inputs)}: {_text(op.joint.fn)}"]
    if op.variadic:
        return [f"gradient of each: {_text(rule.fn)}" for rule in op.rules if rule is not None]
    names = op.inputs or tuple(f"input {i}" for i in range(len(op.rules)))
    said = "transpose" if op.linear or op.view else "gradient of {name}"
    return [f"{said.format(name=name)} = {_text(rule.fn)}" for name, rule in zip(names, op.rules, strict=False)
            if rule is not None]  # fmt: skip


def _names(partial: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(partial, mode="eval")) if isinstance(node, ast.Name)}


def _text(fn: Callable) -> str:
    """A rule as text: a lambda's expression, or what the docstring of a function says first."""
    said = inspect.getdoc(fn) if fn.__name__ != "<lambda>" else None
    return said.split("\n\n")[0].replace("\n", " ").removesuffix(".") if said else _written(fn.__code__)


@cache
def _written(code: CodeType) -> str:
    """A rule as its source has it: a lambda's expression, or what a function returns."""
    if code.co_name != "<lambda>":
        return _returned(code)
    inside = [p for p in code.co_positions() if p[0] is not None and p[2] is not None and p[3] != p[2]]
    line, column = min((p[0], p[2]) for p in inside)
    for source, node in _lambdas(code.co_filename):
        if (node.body.lineno, node.body.col_offset) <= (line, column) and (line, column) < (
            node.body.end_lineno, node.body.end_col_offset
        ):  # fmt: skip
            return " ".join((ast.get_source_segment(source, node.body) or "").split())
    return "a rule"


def _returned(code: CodeType) -> str:
    """What a function without a docstring returns."""
    body = ast.parse(textwrap.dedent(inspect.getsource(code)))
    values = [
        ast.unparse(node.value) for node in ast.walk(body) if isinstance(node, ast.Return) and node.value is not None
    ]
    return ", or ".join(values)


@cache
def _lambdas(file: str) -> list[tuple[str, Any]]:
    """All lambdas of a file, the innermost first."""
    with open(file, encoding="utf-8") as opened:
        source = opened.read()
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda)]
    return [(source, node) for node in sorted(found, key=lambda n: len(ast.unparse(n.body)))]
