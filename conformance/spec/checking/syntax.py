"""Which Python constructs the program language has, and what to write instead of those that it lacks."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from .problem import Problem

ALLOWED: tuple[type[ast.AST], ...] = (
    ast.Module, ast.Expr, ast.Assign, ast.AugAssign, ast.NamedExpr, ast.Delete, ast.Pass, ast.Break, ast.Continue,
    ast.If, ast.For, ast.While, ast.With, ast.withitem, ast.Assert, ast.Raise, ast.Import, ast.ImportFrom,
    ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.Return, ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal,
    ast.arguments, ast.arg, ast.keyword,
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Call, ast.Starred,
    ast.Constant, ast.JoinedStr, ast.FormattedValue, ast.Name, ast.Attribute, ast.Subscript, ast.Slice,
    ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
    ast.comprehension, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip

REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Try: ("try", "expect an error with `with raises(Type, contains=\"...\"):`"),
    ast.TryStar: ("try", "expect an error with `with raises(Type, contains=\"...\"):`"),
    ast.AnnAssign: ("a variable annotation", "assign without it"),
    ast.Match: ("match", "use if"),
    ast.AsyncFunctionDef: ("async", "programs run in one thread, in order"),
    ast.AsyncFor: ("async", "programs run in one thread, in order"),
    ast.AsyncWith: ("async", "programs run in one thread, in order"),
    ast.Await: ("await", "programs run in one thread, in order"),
}  # fmt: skip

def constructs(nodes: Iterable[ast.AST]) -> Iterator[Problem]:
    """Among a program's nodes, a problem for every construct that the language does not have."""
    for node in nodes:
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield Problem.at(node.annotation, "an annotation is not part of the program language", "leave it out")
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield Problem.at(node.returns, "an annotation is not part of the program language", "leave it out")
        elif isinstance(node, ast.comprehension) and node.is_async:
            yield Problem.at(node.target, "async is not part of the program language", REFUSED[ast.AsyncFor][1])
        elif not isinstance(node, (*ALLOWED, ast.alias, ast.ExceptHandler, ast.pattern)):
            name, hint = REFUSED.get(type(node), (type(node).__name__.lower(), None))
            if hasattr(node, "lineno"):
                yield Problem.at(node, f"{name} is not part of the program language", hint)
