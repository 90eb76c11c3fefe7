"""The cases of a chapter as the HTML page shows them: a line each, and a body with everything known about it."""

from __future__ import annotations

import base64
import json
import zlib
from typing import NamedTuple

from jinja2 import Template
from markupsafe import Markup

from conformance.records import VERDICTS, Difference, ErrorInfo, Result
from reports.explain import DEPARTURES, FINDINGS, SYMBOLS, apart, finding, reproduce
from reports.matrix import Column, Row
from reports.observations import seen
from reports.program import highlighted
from reports.text import clean, clean_ends, one_line
from reports.values import show

OBSERVATIONS = 200
"""Observations of one case that are shown."""
DIFFERENCES = 50
"""Differences of one case and engine that are shown."""
LETTERS = dict(zip((*VERDICTS, "not run"), "pfectubnwd-", strict=True))
"""One letter per verdict: a case's verdicts are a word with a letter per engine, which the page's filter reads."""


class _Pill(NamedTuple):
    slug: str
    symbol: str
    label: str
    note: str


class _Line(NamedTuple):
    """A case as the list shows it. Its body stands in the page, or is number `packed` of its chapter's pack."""

    name: str
    id: str
    claim: str
    letters: str
    pills: list[_Pill]
    body: Markup | None
    packed: int


class Section(NamedTuple):
    chapter: str
    rows: list[_Line]
    packed: Markup


def section(chapter: str, rows: list[Row], columns: list[Column], written: set[str], template: Template) -> Section:
    """A chapter: bodies of cases named in `written` stand in the page, the others are packed."""
    lines: list[_Line] = []
    pack: list[Markup] = []
    for row in rows:
        body = Markup(_body(row, columns, template))
        in_page = row.info.case in written
        lines.append(_line(row, columns, body if in_page else None, len(pack)))
        if not in_page:
            pack.append(body)
    return Section(chapter, lines, _deflated(pack) if pack else Markup())


def _line(row: Row, columns: list[Column], body: Markup | None, packed: int) -> _Line:
    letters, pills = [], []
    for n, column in enumerate(columns):
        verdict = row.verdict(n)
        result = row.results[n]
        letters.append(LETTERS[verdict])
        note = "" if verdict == "pass" else verdict
        if result and result.finding and verdict != "pass":
            note += f", {result.finding}"
        pills.append(_Pill(slug(verdict), SYMBOLS[verdict], column.label, note))
    info = row.info
    identity = info.case.removeprefix(f"{info.chapter}/")
    return _Line(info.case, identity, info.claim, "".join(letters), pills, body, packed)


def _deflated(bodies: list[Markup]) -> Markup:
    """The bodies as base64 of a deflated JSON array."""
    return Markup(base64.b64encode(zlib.compress(json.dumps(bodies).encode(), 6)).decode())


class _ProgramLine(NamedTuple):
    html: Markup
    failing: str


def _body(row: Row, columns: list[Column], template: Template) -> str:
    observations = seen(row)
    parts = [part for column, r in zip(columns, row.results, strict=True) if r and (part := _part(column, r))]
    return template.render(
        info=row.info,
        lines=_program(row, columns),
        seen=observations[:OBSERVATIONS],
        unseen=max(0, len(observations) - OBSERVATIONS),
        columns=columns,
        parts=parts,
        command=reproduce(row, columns),
    )


def _program(row: Row, columns: list[Column]) -> list[_ProgramLine]:
    """The program's lines, with the names of the engines that fail there."""
    failing: dict[int, dict[str, None]] = {}
    for column, result in zip(columns, row.results, strict=True):
        for line in _failing_lines(result) if result else ():
            failing.setdefault(line, {})[column.label] = None
    return [
        _ProgramLine(html, f"fails on {', '.join(failing[n])}" if n in failing else "")
        for n, html in enumerate(highlighted(row.info.program), 1)
    ]


def _failing_lines(result: Result) -> set[int]:
    lines = {o.line for o in result.observed if not o.agrees}
    if result.verdict not in ("pass", "unsupported", "pending", "blocked"):
        lines |= {d.line for d in result.differences}
    if result.error:
        lines.add(result.error.line)
    return lines - {0}


class _Gap(NamedTuple):
    where: str
    line: int
    expected: str
    observed: str
    against: str
    apart: Markup
    finding: str


class _Part(NamedTuple):
    """What there is to say of one engine besides its observations."""

    label: str
    result: Result
    finding: str
    departs: str
    differences: list[_Gap]
    more: int
    error: ErrorInfo | None


def _part(column: Column, result: Result) -> _Part | None:
    if not (result.differences or result.error or result.missing or result.reason or result.departs):
        return None if result.verdict == "pass" else _Part(column.label, result, finding(result), "", [], 0, None)
    error = result.error
    if error:
        error = ErrorInfo(clean(error.type, 200), clean(error.message), error.line, clean_ends(error.traceback, 8_000))
    return _Part(
        column.label,
        result,
        finding(result),
        f"torch departs from its documentation here ({DEPARTURES[result.departs]})" if result.departs else "",
        [_gap(d) for d in result.differences[:DIFFERENCES]],
        max(0, len(result.differences) - DIFFERENCES),
        error,
    )


def _gap(d: Difference) -> _Gap:
    sizes = [f"{name} {size}" for name, size in apart(d)]
    if d.index:
        sizes.append(f"at {d.index}")
    named = FINDINGS.get(d.finding, d.finding) if d.finding else ""
    return _Gap(
        one_line(d.where), d.line, show(d.expected), show(d.observed), d.against, Markup("<br>").join(sizes), named
    )


def slug(verdict: str) -> str:
    """The verdict as a class of the style sheet."""
    return verdict.replace(" ", "-")
