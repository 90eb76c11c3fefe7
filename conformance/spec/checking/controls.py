"""Positive controls: a call that must fail here should be seen to work somewhere in the same program.

Without one, an engine that lacks the function altogether, or always fails in it, passes the case. The rule looks at
names only, so it warns and does not refuse: the legal form may be another function.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .problem import Problem


def missing_controls(tree: ast.Module) -> Iterator[Problem]:
    """A problem for each `raises` block whose last call is made nowhere outside of `raises` blocks."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.With) and _expects_an_error(node)]
    if not blocks:
        return
    inside = {id(call) for block in blocks for statement in block.body for call in _calls(statement)}
    outside = {_name(call) for call in _calls(tree) if id(call) not in inside}
    outside |= {f"{_name(call)}_" for call in _calls(tree) if id(call) not in inside}
    for block in blocks:
        calls = list(_calls(block.body[-1]))
        names = {name for call in calls if (name := _name(call)) is not None}
        if names and not names & outside:
            what = f"nothing here shows {' or '.join(sorted(names))} at work outside of raises"
            yield Problem.at(block, what, "an engine that lacks it would pass; call it in its legal form too")


def _expects_an_error(node: ast.With) -> bool:
    return any(isinstance(item.context_expr, ast.Call) and _name(item.context_expr) == "raises" for item in node.items)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def _name(call: ast.Call) -> str | None:
    """The last part of what is called: backward for y.backward() and torch.autograd.backward(y)."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None
