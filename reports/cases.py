"""The cases as the page's script reads them: an index, unpacked at once, and their details, a pack for each chapter.

A pack is JSON, deflated, in base64: the browser inflates it (DecompressionStream) when something of it is first wanted.
Every text in it has gone through `clean`; the script makes text nodes of them, never markup.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from markupsafe import Markup

from conformance.records import VERDICTS, CaseInfo, Difference, ErrorInfo, Result
from reports.explain import DEPARTURES, FINDINGS, SYMBOLS, apart, finding, options
from reports.matrix import Column, Matrix, Row
from reports.observations import Cell, Seen, seen
from reports.text import clean, clean_ends, one_line
from reports.values import show

OBSERVATIONS = 200
"""Observations of one case that are shown."""
DIFFERENCES = 50
"""Differences of one case and engine that are shown."""
NAMES = 50
"""Names of one case and engine that are listed as missing."""
LINES = 400
"""Lines of a program that are shown."""
LETTERS = dict(zip((*VERDICTS, "not run"), "pfectubnwd-", strict=True))
"""One letter per verdict: a case's verdicts are a word with a letter per engine."""
_SHOWN = 10_000  # characters of any one text


class Pack(NamedTuple):
    """The details of one chapter's cases."""

    chapter: str
    text: Markup


def packs(matrix: Matrix) -> Iterator[Pack]:
    """A pack for each chapter, in the order of `index`: a list with an entry for each case."""
    for chapter, rows in matrix.chapters().items():
        yield Pack(chapter, packed([_details(row, matrix.columns) for row in rows]))


def index(matrix: Matrix, opened: list[str]) -> Markup:
    """What the list of cases needs, packed. `opened` names the cases that stand open at first."""
    letters = {letter: [slug(verdict), SYMBOLS[verdict], verdict] for verdict, letter in LETTERS.items()}
    chapters = [_chapter(name, rows, matrix.columns) for name, rows in matrix.chapters().items()]
    engines = [column.label for column in matrix.columns]
    return packed({"engines": engines, "letters": letters, "opened": opened, "chapters": chapters})


def packed(value: Any) -> Markup:
    """JSON, deflated, in base64."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(base64.b64encode(zlib.compress(text.encode(), 6)).decode())


def slug(verdict: str) -> str:
    """The verdict as a class of the style sheet."""
    return verdict.replace(" ", "-")


class _Told:
    """An operator's derivative rules, of all its samples, as the first engine states them that states any."""

    def __init__(self) -> None:
        self.engine = ""
        self.rules: list[tuple[str, list[str]]] = []

    def take(self, row: Row, columns: list[Column]) -> None:
        for column, result in zip(columns, row.results, strict=True):
            if result and result.rules and self.engine in ("", column.label):
                self.engine = column.label
                self.rules += [rule for rule in result.rules if rule not in self.rules]

    def packed(self) -> list[Any]:
        """[engine, [[node, rules], ...]]"""
        return [self.engine, [[_text(node), list(map(_text, rules))] for node, rules in self.rules]]


def _chapter(name: str, rows: list[Row], columns: list[Column]) -> dict[str, Any]:
    """The cases' ids, claims and verdicts, one letter for each engine; of a table also its operators' rules."""
    found = [[_note(result) for result in row.results] for row in rows]
    operators: dict[str, _Told] = {}
    for row in rows:
        if row.info.check:
            told = operators.setdefault(_id(row.info).partition("[")[0], _Told())
            told.take(row, columns)
    return {
        "name": _text(name),
        "ids": [_text(_id(row.info)) for row in rows],
        "claims": [_text(row.info.claim) for row in rows],
        "verdicts": "".join(LETTERS[row.verdict(engine)] for row in rows for engine in range(len(columns))),
        "findings": {n: notes for n, notes in enumerate(found) if any(notes)},
        "checks": [one_line(row.info.check) for row in rows] if operators else [],
        "rules": {_text(operator): told.packed() for operator, told in operators.items() if told.rules},
    }


def _id(info: CaseInfo) -> str:
    return info.case.removeprefix(f"{info.chapter}/")


def _text(text: str) -> str:
    return clean(text, _SHOWN)


def _note(result: Result | None) -> str:
    return one_line(result.finding) if result and result.finding and result.verdict != "pass" else ""


def _details(row: Row, columns: list[Column]) -> dict[str, Any]:
    """Everything known about a case that the index does not say; what is empty is left out."""
    info = row.info
    observations = seen(row)
    lines = clean(info.program, 40_000).rstrip("\n").split("\n")
    notes = [f"torch departs: {info.torch_departs}" if info.torch_departs else "",
             f"Pending on the reference: {info.pending}" if info.pending else "", info.note]  # fmt: skip
    details = {
        "program": "\n".join(lines[:LINES]),
        "lines": max(0, len(lines) - LINES),
        "source": _text(info.source),
        "place": _text(f"{info.file}:{info.line}" if info.line else info.file),
        "covers": list(map(_text, info.covers)),
        "notes": [_text(note) for note in notes if note],
        "seen": [_seen(observation) for observation in observations[:OBSERVATIONS]],
        "unseen": max(0, len(observations) - OBSERVATIONS),
        "engines": [part for column, r in zip(columns, row.results, strict=True) if r and (part := _part(column, r))],
        "failing": _failing(row, columns),
        "options": options(row, columns),
    }
    return {name: value for name, value in details.items() if value}


def _seen(observation: Seen) -> list[Any]:
    """[line, what, cells, expected, kind, iteration] without what is empty at the end.

    cells: the text, where every engine shows the same and agrees; else one for each engine.
    """
    texts = {cell.text for cell in observation.cells if cell and cell.agrees and not cell.expected}
    same = len(texts) == 1 and all(cell and cell.agrees and not cell.expected for cell in observation.cells)
    cells = texts.pop() if same else [_cell(cell) for cell in observation.cells]
    kind = "" if observation.kind in ("==", "truth") else one_line(observation.kind)
    found = [observation.line, observation.what, cells, observation.expected, kind, observation.iteration]
    while found and not found[-1]:
        found.pop()
    return found


def _cell(cell: Cell | None) -> Any:
    """A text that agrees; [text, agrees, its own expectation]; None where the engine was never there."""
    if cell is None or (cell.agrees and not cell.expected):
        return cell and cell.text
    return [cell.text, cell.agrees, cell.expected]


def _failing(row: Row, columns: list[Column]) -> dict[int, str]:
    """The program's lines where an engine fails, with the engines' names."""
    failing: dict[int, dict[str, None]] = {}
    for column, result in zip(columns, row.results, strict=True):
        for line in _failing_lines(result) if result else ():
            failing.setdefault(line, {})[column.label] = None
    return {line: f"fails on {', '.join(engines)}" for line, engines in failing.items()}


def _failing_lines(result: Result) -> set[int]:
    lines = {o.line for o in result.observed if not o.agrees}
    if result.verdict not in ("pass", "unsupported", "pending", "blocked"):
        lines |= {d.line for d in result.differences}
    if result.error:
        lines.add(result.error.line)
    return lines - {0}


def _part(column: Column, result: Result) -> dict[str, Any]:
    """What there is to say of one engine besides its observations; empty where it just passes."""
    if result.verdict == "pass" and not (result.differences or result.reason or result.departs):
        return {}
    departs = f"torch departs from its documentation here ({DEPARTURES[result.departs]})" if result.departs else ""
    part = {
        "engine": column.label,
        "letter": LETTERS[result.verdict],
        "finding": one_line(finding(result)),
        "waived": result.waived,
        "notes": [_text(note) for note in (departs, result.reason) if note],
        "missing": [one_line(name) for name in result.missing[:NAMES]],
        "unlisted": max(0, len(result.missing) - NAMES),
        "differences": [_gap(d) for d in result.differences[:DIFFERENCES]],
        "more": max(0, len(result.differences) - DIFFERENCES),
        "error": _error(result.error) if result.error else None,
    }
    return {name: value for name, value in part.items() if value}


def _error(error: ErrorInfo) -> list[str]:
    """The exception in a line, and its traceback."""
    where = f"line {error.line}: " if error.line else ""
    return [f"{where}{clean(error.type, 200)}: {clean(error.message)}", clean_ends(error.traceback, 8_000)]


def _gap(d: Difference) -> list[Any]:
    """[where, line, expected, as whom, observed, how far apart, finding]"""
    sizes = [f"{name} {size}" for name, size in apart(d)] + ([f"at {d.index}"] if d.index else [])
    named = one_line(FINDINGS.get(d.finding, d.finding)) if d.finding else ""
    against = "" if d.against == "specification" else one_line(d.against)
    return [one_line(d.where), d.line, show(d.expected), against, show(d.observed), sizes, named]
