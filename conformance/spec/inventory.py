"""The inventory: every documented behaviour that was found, by chapter, and which of them a case shows.

A row is `id: source` in spec/inventory/<chapter>.yaml. A case shows the row of its own name and those that it `covers`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from conformance.case import Case
from conformance.errors import Place, SpecError, SpecErrors

from . import root as roots
from .specification import Specification


@dataclass(frozen=True)
class Row:
    """A documented behaviour; `source` is the document that promises it."""

    chapter: str
    id: str
    source: str

    @property
    def name(self) -> str:
        """chapter/id, as a case that shows it is named or `covers` it."""
        return f"{self.chapter}/{self.id}"


def rows(root: Path) -> tuple[Row, ...]:
    """All rows below `root`, chapter by chapter; none where there is no inventory. Raises SpecErrors."""
    from .reading import read

    found: list[Row] = []
    errors: list[SpecError] = []
    for path in sorted((root / "inventory").glob("*.yaml")):
        document = read(roots.read_bytes(path).decode(errors="replace"), path)
        errors += document.errors
        entries = document.value if isinstance(document.value, dict) else {}
        if not entries and not document.errors:
            errors.append(SpecError("an inventory is a mapping of ids to sources", place=Place(path, 1, 1)))
        for key, source in entries.items():
            if not isinstance(source, str):
                errors.append(SpecError(f"the source of '{key}' is text", place=document.place((key,))))
            found.append(Row(path.stem, key, str(source)))
    if errors:
        raise SpecErrors(errors)
    return tuple(found)


def shown(specification: Specification) -> frozenset[str]:
    """The names of rows that the cases show: their own (without `[...]`) and those that they cover."""
    return shown_by(specification.cases)


def shown_by(cases: Iterable[Case]) -> frozenset[str]:
    """The names of rows that some cases show."""
    return frozenset(name for case in cases for name in (case.name.partition("[")[0], *case.covers))


def without_case(specification: Specification) -> tuple[Row, ...]:
    """The rows that no case shows, in the inventory's order."""
    covered = shown(specification)
    return tuple(row for row in rows(specification.root) if row.name not in covered)


@dataclass
class Coverage:
    """A chapter's rows, how many a case shows, the ids that none shows, and those shown on a GPU only."""

    rows: int = 0
    covered: int = 0
    uncovered: list[str] = field(default_factory=list)
    gpu_only: list[str] = field(default_factory=list)


def coverage(specification: Specification) -> dict[str, Coverage]:
    """What the cases show of each chapter of the inventory."""
    covered = shown(specification)
    anywhere = shown_by(case for case in specification.cases if case.device != "cuda")
    found: dict[str, Coverage] = {}
    for row in rows(specification.root):
        chapter = found.setdefault(row.chapter, Coverage())
        chapter.rows += 1
        chapter.covered += row.name in covered
        if row.name not in covered:
            chapter.uncovered.append(row.id)
        elif row.name not in anywhere:
            chapter.gpu_only.append(row.id)
    return found


def unknown_covers(specification: Specification) -> tuple[SpecError, ...]:
    """A mistake for every `covers` that names no row of the inventory, at its case."""
    known = [row.name for row in rows(specification.root)]
    names = set(known)
    mistakes = []
    for case in specification.cases:
        for name in case.covers:
            if name not in names:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else None
                place = Place(case.file, case.line)
                mistakes.append(SpecError(f"covers {name}, which is no row of the inventory", place=place, hint=hint))
    return tuple(mistakes)
