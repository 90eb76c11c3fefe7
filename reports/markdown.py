"""Results as a few lines of Markdown, for a comment on a pull request or a job's summary.

Names and messages stand in code spans, where Markdown and HTML mean nothing; `|` is escaped for the tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from conformance.records import FAILING, Record
from reports.explain import SYMBOLS, finding, headline, progress, subtitle
from reports.matrix import Matrix, Tally, build
from reports.text import one_line, plural

_LISTED = 20
_MEANT = re.compile(r"([\\`*_{}\[\]<>()#+!|~@&$:-])")


def render(records: Iterable[Record]) -> str:
    """The summary by chapter and engine, and the first results that do not conform."""
    return "\n".join(_lines(build(records))).rstrip() + "\n"


def _lines(matrix: Matrix) -> Iterator[str]:
    yield f"### Autograd conformance: {_outcome(matrix)}"
    yield ""
    yield _plain(subtitle(matrix))
    yield ""
    if not matrix.finished:
        yield f"**UNFINISHED** {_plain(progress(matrix))}"
        yield ""
    for notice in matrix.notices:
        yield f"> {_plain(notice)}"
        yield ""
    yield from _summary(matrix)
    yield ""
    yield from _failures(matrix)
    for group in matrix.left_out:
        yield f"- Left out: {plural(len(group.cases), 'case')}: {_plain(group.reason)}"


def _outcome(matrix: Matrix) -> str:
    failing = sum(1 for row in matrix.rows for result in row.results if result and result.verdict in FAILING)
    if failing:
        return f"{plural(failing, 'result')} {'does' if failing == 1 else 'do'} not conform"
    return "everything that ran conforms" if matrix.finished else "unfinished"


def _summary(matrix: Matrix) -> Iterator[str]:
    yield f"| chapter | {' | '.join(_code(c.label) for c in matrix.columns)} |"
    yield f"| --- |{' --- |' * len(matrix.columns)}"
    for chapter, rows in [*matrix.chapters().items(), ("", matrix.rows)]:
        cells = [_tally(matrix.tally(rows, n)) for n in range(len(matrix.columns))]
        yield f"| {_code(chapter) if chapter else '**all**'} | {' | '.join(cells)} |"


def _tally(tally: Tally) -> str:
    passed = f"{tally.passes:,} of {tally.run:,}" + ("" if tally.whole else " run")
    return "<br>".join([passed, *(f"{SYMBOLS[verdict]} {count:,} {verdict}" for verdict, count in tally.others)])


def _failures(matrix: Matrix) -> Iterator[str]:
    lines = []
    for row in matrix.failing:
        for column, result in zip(matrix.columns, row.results, strict=True):
            if result and result.verdict in FAILING:
                word = f"{SYMBOLS[result.verdict]} {result.verdict}"
                named = f", {finding(result)}" if result.finding else ""
                lines.append(
                    f"| {_code(row.info.case)} | {_code(column.label)} | {word}{named} | {_code(headline(result))} |"
                )
    if lines:
        yield "| case | engine | verdict | first difference |"
        yield "| --- | --- | --- | --- |"
        yield from lines[:_LISTED]
        yield ""
    if len(lines) > _LISTED:
        yield f"… and {plural(len(lines) - _LISTED, 'more result')}."
        yield ""


def _code(text: str) -> str:
    """The text in a code span with a fence longer than any run of backticks in it."""
    text = one_line(text, 300).replace("|", "\\|")
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _plain(text: str) -> str:
    """The text outside a code span: nothing in it is markup, a link or a mention."""
    return _MEANT.sub(r"\\\1", one_line(text, 1_000)).replace("\\@", "@\u200b")
