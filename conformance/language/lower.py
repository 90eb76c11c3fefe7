"""From a checked syntax tree to the code that runs: every expectation becomes an observation.

    assert a == b == c and d, "why"      three observations, evaluated in order, stopping where Python would
    with raises(Type, contains=...):     one observation each time the block is left
    from torch.X import name             name = @imported("X:name")

The lowered code calls the recorder (`observe.Recorder`) through names that no program can spell ("@link"), so that
programs neither see nor shadow it. Line numbers stay those of the program; the file name of the code is `FILENAME`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

from conformance.case import Site

FILENAME = "<case>"

SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip

# `assert same(a, b)` shows both sides, as `assert a == b` does.
COMPARING_WORDS = ("same", "identical")
BLOCK_WORDS = ("raises", "warns")
ERROR_WORDS = (*BLOCK_WORDS, "recorded_warnings")


def lower(tree: ast.Module) -> tuple[CodeType, tuple[Site, ...]]:
    """The code object of a program and its observation sites. `tree` is changed in place.

    The tree must have passed the language's check; a construct outside the language is lowered as Python has it.
    """
    lowering = _Lowering(_error_names(tree))
    lowered = ast.fix_missing_locations(lowering.visit(tree))
    return compile(lowered, FILENAME, "exec", dont_inherit=True, optimize=0), tuple(lowering.sites)


class _Link(NamedTuple):
    """One observation of an assert: a comparison, or the truth of `left` where `right` is None."""

    kind: str
    left: ast.expr
    right: ast.expr | None
    place: ast.expr
    text: str


def _links(test: ast.expr) -> Iterator[_Link]:
    """The links of `and` and of chained comparisons, in order of evaluation; everything else is one link."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from _links(value)
    elif isinstance(test, ast.Compare):
        yield from _chain(test)
    elif (
        isinstance(test, ast.Call)
        and isinstance(test.func, ast.Name)
        and test.func.id in COMPARING_WORDS
        and len(test.args) == 2
        and not test.keywords
        and not any(isinstance(argument, ast.Starred) for argument in test.args)
    ):
        yield _Link(test.func.id, test.args[0], test.args[1], test, ast.unparse(test.args[0]))
    else:
        yield _Link("truth", test, None, test, ast.unparse(test))


def _chain(test: ast.Compare) -> Iterator[_Link]:
    """a < b < c evaluates b once: the first link keeps it in a name of its own, the second reads it there."""
    left = place = test.left
    last = len(test.ops) - 1
    for index, (sign, right) in enumerate(zip(test.ops, test.comparators, strict=True)):
        kept = right if index == last else ast.NamedExpr(_store(f"@{index}"), right)
        yield _Link(SIGNS[type(sign)], left, kept, place, ast.unparse(place))
        left, place = _load(f"@{index}"), right


class _Lowering(ast.NodeTransformer):
    def __init__(self, error_names: frozenset[str]) -> None:
        self.sites: list[Site] = []
        self.error_names = error_names

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        links = list(_links(node.test))
        first = len(self.sites)
        for link in links:
            self._site(link.place, link.kind, link.text, self._reads_an_error(link))
        if len(links) == 1 and node.msg is None:
            return [_located(_guarded(first, ast.Expr(_observation(first, links[0]))), node)]
        return [_located(statement, node) for statement in _in_order(first, links, node.msg)]

    def visit_With(self, node: ast.With) -> ast.With:
        for item in node.items:
            word = _called_word(item.context_expr)
            if word in BLOCK_WORDS:
                call = item.context_expr
                assert isinstance(call, ast.Call)
                site = self._site(call, word, ast.unparse(call))
                new = ast.Call(_load(f"@{word}"), [ast.Constant(site), *call.args], call.keywords)
                item.context_expr = ast.copy_location(new, call)
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt] | ast.ImportFrom:
        """What is imported is the engine's: each engine has its own `torch`."""
        if not (node.module or "").startswith("torch."):
            return node
        paths = [(a.asname or a.name, f"{(node.module or '').removeprefix('torch.')}:{a.name}") for a in node.names]
        return [_located(_assign(name, _call("@imported", ast.Constant(path))), node) for name, path in paths]

    def _site(self, node: ast.stmt | ast.expr, kind: str, text: str, drop_in: bool = False) -> int:
        self.sites.append(Site(node.lineno, node.col_offset + 1, kind, text, drop_in))
        return len(self.sites) - 1

    def _reads_an_error(self, link: _Link) -> bool:
        """Whether the link looks at an exception's or warning's type or message."""
        sides = [link.left] if link.right is None else [link.left, link.right]
        return any(
            node.attr in ("message", "category")
            or (node.attr == "type" and isinstance(node.value, ast.Name) and node.value.id in self.error_names)
            for side in sides
            for node in ast.walk(side)
            if isinstance(node, ast.Attribute)
        )


def _in_order(first: int, links: list[_Link], message: ast.expr | None) -> list[ast.stmt]:
    """Several links: each runs only if the one before held; the message is read only if one did not."""
    statements: list[ast.stmt] = []
    for offset, link in enumerate(links):
        site = first + offset
        step = _guarded(site, _assign("@held", _observation(site, link)), _assign("@held", ast.Constant(False)))
        statements.append(step if offset == 0 else ast.If(_load("@held"), [step], []))
    if message is not None:
        note = ast.Expr(_call("@note", ast.Constant(first), ast.Constant(first + len(links)), message))
        statements.append(ast.If(ast.UnaryOp(ast.Not(), _load("@held")), [note], []))
    kept = {node.id for link in links for node in (link.left,) if isinstance(node, ast.Name) and node.id[0] == "@"}
    if kept:  # nothing that an assertion looked at may stay alive because of it
        forget: list[ast.stmt] = [_assign(name, ast.Constant(None)) for name in sorted(kept)]
        return [ast.Try(statements, [], [], forget)]
    return statements


def _observation(site: int, link: _Link) -> ast.Call:
    if link.right is None:
        return _call("@truth", ast.Constant(site), link.left)
    return _call("@link", ast.Constant(site), link.left, link.right)


def _guarded(site: int, body: ast.stmt, after: ast.stmt | None = None) -> ast.Try:
    """An exception in `body` is recorded and the program goes on, except where it belongs to a `raises`."""
    again = ast.If(_call("@failed", ast.Constant(site)), [ast.Raise()], [])
    handler = ast.ExceptHandler(_load("@any"), None, [again, after] if after else [again])
    return ast.Try([body], [handler], [], [])


def _called_word(node: ast.expr) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _error_names(tree: ast.Module) -> frozenset[str]:
    """Names that programs give to caught errors and recorded warnings: `with raises(...) as e`."""
    return frozenset(
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if _called_word(item.context_expr) in ERROR_WORDS and isinstance(item.optional_vars, ast.Name)
    )


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _store(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def _assign(name: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([_store(name)], value)


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_load(name), list(arguments), [])


def _located(statement: ast.stmt, origin: ast.stmt) -> ast.stmt:
    return ast.copy_location(statement, origin)
