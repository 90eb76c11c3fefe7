"""One HTML file that shows a matrix of results: offline, without a framework, readable without JavaScript.

Every text goes through `clean` and Jinja2's autoescape; besides, the page's content security policy names its one
script and its one style sheet by digest, so that nothing else could run. Cases that conform carry their details
deflated, a pack per chapter that is unpacked when first opened: 2,000 cases and five engines stay within a few
hundred kilobytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from conformance.records import FAILING, Record
from reports.cases import LETTERS, section, slug
from reports.explain import DEPARTURES, MEANINGS, SYMBOLS, finding, headline, progress, subtitle
from reports.matrix import Matrix, build
from reports.text import clean, one_line, plural

TITLE = "Autograd conformance"
WRITTEN_OUT = 400
"""Failing cases whose details stand in the page itself; further ones are packed like those that conform."""
OPENED = 10
"""Up to this many failing cases stand open."""
ATTENTION = 100
_SHOWN = 10_000  # characters of any one text of the page
_MARKS = re.compile(r"([.:/_])")
_TEMPLATES = Path(__file__).with_name("templates")


def render(records: Iterable[Record], title: str = TITLE) -> str:
    """The page for the records of one or several runs (several files: one after the other, each with its header)."""
    matrix = build(records)
    pages = _templates()
    chapters = matrix.chapters()
    written = {row.info.case for row in matrix.failing[:WRITTEN_OUT]}
    attention = list(_attention(matrix))
    return pages.report.render(
        title=title,
        matrix=matrix,
        kit=", ".join(dict.fromkeys(run.header.kit for run in matrix.runs)),
        progress=progress(matrix),
        subtitle=subtitle(matrix),
        chapters=list(chapters.items()),
        sections=[section(name, rows, matrix.columns, written, pages.case) for name, rows in chapters.items()],
        attention=attention[:ATTENTION],
        attention_total=len(attention),
        departing=list(_departing(matrix)),
        opened=len(matrix.failing) <= OPENED,
        failing_shown=len(written),
        failing_left=len(matrix.failing) > len(written),
        verdicts=list(_present(matrix)),
    )


class _Attention(NamedTuple):
    case: str
    engine: str
    verdict: str
    finding: str
    why: str


def _attention(matrix: Matrix) -> Iterator[_Attention]:
    for row in matrix.failing:
        for column, result in zip(matrix.columns, row.results, strict=True):
            if result and result.verdict in FAILING:
                yield _Attention(row.info.case, column.label, result.verdict, finding(result), headline(result))


class _Departing(NamedTuple):
    case: str
    engine: str
    how: str
    why: str


def _departing(matrix: Matrix) -> Iterator[_Departing]:
    for row in matrix.rows:
        for column, result in zip(matrix.columns, row.results, strict=True):
            if result and result.departs:
                why = row.info.torch_departs or headline(result)
                yield _Departing(row.info.case, column.label, DEPARTURES[result.departs], one_line(why, 300))


def _present(matrix: Matrix) -> Iterator[tuple[str, str, int]]:
    """The verdicts that occur: name, letter in the page's data, count."""
    total = [matrix.tally(matrix.rows, column).counts for column in range(len(matrix.columns))]
    for verdict, letter in LETTERS.items():
        count = sum(counts[verdict] for counts in total)
        if count:
            yield verdict, letter, count


class _Asset(NamedTuple):
    """A style sheet or script of the page, and its digest for the page's policy."""

    text: Markup
    digest: str


class _Templates(NamedTuple):
    report: Template
    case: Template


@functools.cache
def _templates() -> _Templates:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"slug": slug, "plural": plural, "fragment": fragment, "breakable": breakable}
    environment.globals |= {
        "symbols": SYMBOLS,
        "meanings": MEANINGS,
        "style": _asset("style.css"),
        "script": _asset("page.js"),
    }
    return _Templates(environment.get_template("report.html.j2"), environment.get_template("case.html.j2"))


def _asset(name: str) -> _Asset:
    text = (_TEMPLATES / name).read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return _Asset(Markup(text), f"sha256-{digest}")


def fragment(name: str) -> str:
    """A name as part of an address; of the same harmless text as the element's id, so that the two agree."""
    return quote(clean(name, _SHOWN))


def breakable(name: str) -> Markup:
    """A name that may be broken after its own marks, where the line is too short for it."""
    return Markup(_MARKS.sub(r"\1<wbr>", str(escape(clean(name, _SHOWN)))))


def _harmless(value: Any) -> Any:
    """What every expression of the templates passes through before it is escaped."""
    return clean(value, _SHOWN) if type(value) is str else value
