"""One program, judged: `check` gives its syntax tree and what it requires, or every problem found."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .equality import comparisons
from .imports import check_imports
from .names import check_names
from .paths import Paths
from .problem import Problem
from .syntax import constructs
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Checked:
    """requires: the torch paths that the program spells, sorted. names: every name that it reads."""

    tree: ast.Module
    problems: tuple[Problem, ...]
    requires: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()


def check(program: str, vocabulary: Vocabulary, outer: Iterable[str] = ()) -> Checked:
    """Judge a program's text. `outer` are names that it is given: drawn data and parameters."""
    empty = ast.Module([], [])
    try:
        tree = ast.parse(program)
        _compile(program)
    except SyntaxError as error:
        problem = Problem(error.lineno or 1, error.offset or 1, f"not valid Python: {error.msg}")
        return Checked(empty, (problem,))
    except (ValueError, RecursionError, MemoryError) as error:
        return Checked(empty, (Problem(1, 1, f"not valid Python: {error}"),))
    nodes = list(ast.walk(tree))
    paths = Paths(tree, nodes, vocabulary)
    try:
        found = [*constructs(nodes), *check_imports(tree, nodes, vocabulary)]
        found += [*check_names(tree, nodes, vocabulary, frozenset(outer)), *paths.problems()]
        found += [*comparisons(nodes), *raised(nodes)]
    except RecursionError:
        return Checked(empty, (Problem(1, 1, "the program is nested too deeply"),))
    names = frozenset(n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    return Checked(tree, tuple(in_characters(program, found)), tuple(sorted(paths.used)), names)


def _compile(program: str) -> None:
    """Find what only compiling finds: `return` outside a function, `is` with a literal, an assert that is a tuple."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(program, "<case>", "exec", dont_inherit=True)


def raised(nodes: Iterable[ast.AST]) -> Iterator[Problem]:
    """`raise AssertionError` would pass for an expectation that nobody records."""
    for node in nodes:
        if isinstance(node, ast.Raise) and node.exc is not None:
            kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(kind, ast.Name) and kind.id == "AssertionError":
                yield Problem.at(node, "raise AssertionError hides an expectation", "state it with assert")


def in_characters(program: str, problems: Iterable[Problem]) -> list[Problem]:
    """The problems in order of place, columns in characters (Python's trees count UTF-8 bytes), each once."""
    lines = program.split("\n")
    moved = set()
    for problem in problems:
        line = lines[problem.line - 1] if problem.line <= len(lines) else ""
        column = len(line.encode()[: problem.column - 1].decode(errors="ignore")) + 1
        moved.add(problem._replace(column=column))
    return sorted(moved, key=lambda p: (p.line, p.column, p.what))
