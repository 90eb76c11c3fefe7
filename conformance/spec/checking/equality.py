"""`==` compares as the specification does only at the top of an assert; elsewhere it is Python's, and misleads."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from .problem import Problem

HINT = "same(a, b) compares anywhere as an assert does; a mask is a.eq(b)"


def comparisons(nodes: Collection[ast.AST]) -> Iterator[Problem]:
    """A problem for each `==` or `!=` with a float or list literal that is not a link of an assert's own test.

    `nodes` are all of a program's.
    """
    top = {id(link) for node in nodes if isinstance(node, ast.Assert) for link in links(node.test)}
    for node in nodes:
        if isinstance(node, ast.Compare) and id(node) not in top:
            sides = [node.left, *node.comparators]
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
                if isinstance(operator, ast.Eq | ast.NotEq) and (inexact(left) or inexact(right)):
                    sign = "==" if isinstance(operator, ast.Eq) else "!="
                    yield Problem.at(node, f"{sign} with a float or list outside the top of an assert", HINT)
                    break


def links(test: ast.expr) -> Iterator[ast.expr]:
    """The expressions that `assert test` observes one by one: the operands of `and`, nested ones too."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from links(value)
    else:
        yield test


def inexact(node: ast.expr) -> bool:
    """Whether `node` is a float, complex or list literal, a tuple with one, or arithmetic on literals with one."""
    if isinstance(node, ast.UnaryOp):
        return inexact(node.operand)
    if isinstance(node, ast.BinOp):
        sides = (node.left, node.right)
        return any(map(inexact, sides)) and all(inexact(side) or isinstance(side, ast.Constant) for side in sides)
    if isinstance(node, ast.Tuple):
        return any(inexact(item) for item in node.elts)
    if isinstance(node, ast.List | ast.ListComp):
        return True
    return isinstance(node, ast.Constant) and isinstance(node.value, float | complex)
