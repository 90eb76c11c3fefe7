"""Names: each one used is bound by the program, drawn data, a parameter, or in the vocabulary.

Scopes are Python's. They matter for more than typing errors: a name that a function binds hides Python's own only
there, so that `open` cannot be smuggled in by binding it somewhere else.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

from .problem import Problem, near
from .vocabulary import Vocabulary

PYTHONS = frozenset(dir(builtins))
FUNCTIONS = (ast.FunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (*FUNCTIONS, *COMPREHENSIONS, ast.ClassDef)
LITERAL_ONLY = frozenset({"getattr", "setattr", "hasattr", "delattr"})
INSTEAD = {
    "print": "state it with assert",
    "open": "programs read no files",
    "eval": "write the expression out",
    "exec": "write the statements out",
}


def check_names(
    tree: ast.Module, nodes: Iterable[ast.AST], vocabulary: Vocabulary, outer: frozenset[str]
) -> Iterator[Problem]:
    """Problems with names. `nodes` are all of the tree's. `outer` are the names of drawn data and parameters."""
    module = bound_in(tree)
    for node in binders(tree):
        if isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef | ast.alias):
            name = _bound(node)
            if name in PYTHONS - vocabulary.names:
                yield Problem.at(node, f"'{name}' is Python's own and no name for a variable", "choose another name")
    yield from _bindings(nodes, vocabulary)
    yield from _uses(tree, (module - (PYTHONS - vocabulary.names)) | outer | vocabulary.names, frozenset(), vocabulary)


def binders(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes that bind a name in this very scope, not in one nested in it."""
    for node in _inside(scope):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias) or (
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del)
        ):
            yield node
        if isinstance(node, COMPREHENSIONS):  # a walrus in a comprehension binds around it
            yield from (w.target for w in ast.walk(node) if isinstance(w, ast.NamedExpr))


def bound_in(scope: ast.AST) -> frozenset[str]:
    """The names that this scope binds: parameters, assignments, functions, classes; not those declared global."""
    names = {_bound(node) for node in binders(scope)}
    if isinstance(scope, FUNCTIONS):
        names |= {argument.arg for argument in arguments(scope.args)}
        declared = (n for n in _inside(scope) if isinstance(n, ast.Global | ast.Nonlocal))
        names -= {name for node in declared for name in node.names}
    if isinstance(scope, ast.Module):
        names |= {name for node in ast.walk(scope) if isinstance(node, ast.Global) for name in node.names}
    return frozenset(names)


def _bound(node: ast.AST) -> str:
    """The name that a binder binds."""
    name = node.id if isinstance(node, ast.Name) else getattr(node, "asname", None) or node.name  # type: ignore[attr-defined]
    return str(name)


def arguments(of: ast.arguments) -> list[ast.arg]:
    """All parameters of a function."""
    return [*of.posonlyargs, *of.args, *of.kwonlyargs, *(a for a in (of.vararg, of.kwarg) if a)]


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, down to nested scopes, which are given but not entered."""
    body = scope.body if isinstance(scope, ast.Lambda) else ast.Module(getattr(scope, "body", []), [])
    fields = list(scope.generators) if isinstance(scope, COMPREHENSIONS) else [body]
    todo: list[ast.AST] = list(fields)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, SCOPES):
            todo += _outside(node)
        else:
            todo += ast.iter_child_nodes(node)


def _outside(node: ast.AST) -> list[ast.AST]:
    """The parts of a nested scope that are evaluated around it: defaults, decorators, bases, the first iterable."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        defaults = [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
        return [*defaults, *getattr(node, "decorator_list", [])]
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    return [node.generators[0].iter] if isinstance(node, COMPREHENSIONS) else []


def _bindings(nodes: Iterable[ast.AST], vocabulary: Vocabulary) -> Iterator[Problem]:
    kept = vocabulary.words | {"torch"}
    for node, name in _bound_by(nodes):
        if name in kept:
            yield Problem.at(node, f"'{name}' keeps its meaning and cannot be bound", "choose another name")
        elif name.startswith("__") and name not in vocabulary.dunders:
            yield Problem.at(node, f"the name '{name}' with two leading underscores is refused")


def _bound_by(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.AST, str]]:
    """(the place, the name) of everything that is bound anywhere."""
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node, node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node, node.name
        elif isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias, _bound(alias)) for alias in node.names)


def _uses(scope: ast.AST, known: frozenset[str], own: frozenset[str], vocabulary: Vocabulary) -> Iterator[Problem]:
    """Problems with names read in `scope` and, by recursion, in those nested in it.

    `known` is visible in nested scopes as well, `own` (a class body's names) only here.
    """
    literal_calls = {id(n.func) for n in _inside(scope) if isinstance(n, ast.Call)}
    for node in _inside(scope) if not isinstance(scope, COMPREHENSIONS) else _comprehension(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id not in known | own:
                yield _unknown(node, known | own)
            elif node.id in LITERAL_ONLY and id(node) not in literal_calls and node.id not in bound_in(scope):
                yield Problem.at(node, f"{node.id} is called with a literal name, not passed around")
        if isinstance(node, SCOPES):
            names = bound_in(node)
            if isinstance(node, ast.ClassDef):
                yield from _uses(node, known, names - (PYTHONS - vocabulary.names), vocabulary)
            else:
                yield from _uses(node, known | names, frozenset(), vocabulary)


def _comprehension(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes evaluated inside a comprehension's scope: all but the first iterable, which the scope around has."""
    parts: list[ast.AST] = [getattr(scope, name) for name in ("elt", "key", "value") if hasattr(scope, name)]
    for index, generator in enumerate(scope.generators):  # type: ignore[attr-defined]
        parts += [generator.target, *generator.ifs, *([generator.iter] if index else [])]
    yield from _inside(ast.Module([ast.Expr(p) for p in parts], []))  # type: ignore[arg-type]


def _unknown(node: ast.Name, known: frozenset[str]) -> Problem:
    hint = INSTEAD.get(node.id) or near(node.id, known)
    if node.id in PYTHONS:
        return Problem.at(node, f"Python's {node.id} is not part of the program language", hint)
    return Problem.at(node, f"unknown name '{node.id}'", hint)
