"""A mistake in a program, at a position of the program's own text."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """line and column count from 1 in the program; `hint` says what would be right."""

    line: int
    column: int
    what: str
    hint: str | None = None

    @classmethod
    def at(cls, node: ast.AST, what: str, hint: str | None = None) -> Problem:
        """A problem where `node` starts."""
        return cls(node.lineno, node.col_offset + 1, what, hint)  # type: ignore[attr-defined]

    @classmethod
    def at_attribute(cls, node: ast.Attribute, what: str, hint: str | None = None) -> Problem:
        """A problem where the attribute's own name starts: at the end of the expression."""
        return cls(node.end_lineno or node.lineno, (node.end_col_offset or 0) - len(node.attr) + 1, what, hint)


def near(name: str, known: Iterable[str]) -> str | None:
    """ "did you mean a, b?" for the names that look like `name`, None where nothing does."""
    matches = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.75)
    return f"did you mean {' or '.join(matches)}?" if matches else None
