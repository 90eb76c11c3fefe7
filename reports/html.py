"""One HTML file that shows a matrix of results: offline, without a framework.

Summary, and what does not conform, are in the page itself, readable without JavaScript. The cases, thousands of them, are
packed (`cases`): the page's script lists them by chapter, those of tables by operator, sample and check, and unpacks
details when they are opened. 20,000 cases on two engines stay below three megabytes, and open at once.

Every text goes through `clean`, and Jinja2's autoescape or the script's text nodes; besides, the page's content security
policy names its one script and its one style sheet by digest, so that nothing else could run.
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

from conformance.records import FAILING, Record, Result
from reports.cases import LETTERS, index, packs, slug
from reports.explain import DEPARTURES, MEANINGS, SYMBOLS, details, finding, headline, progress, subtitle
from reports.matrix import Column, Matrix, Row, build
from reports.text import clean, one_line, plural

TITLE = "Autograd conformance"
OPENED = 10
"""Up to this many failing cases stand open."""
ATTENTION = 100
"""Results that do not conform whose details stand in the page itself; the cases have the others."""
_SHOWN = 10_000  # characters of any one text of the page
_MARKS = re.compile(r"([.:/_])")
_TEMPLATES = Path(__file__).with_name("templates")


def render(records: Iterable[Record], title: str = TITLE) -> str:
    """The page for the records of one or several runs (several files: one after the other, each with its header)."""
    matrix = build(records)
    failing = list(_failing(matrix))
    opened = [row.info.case for row in matrix.failing] if len(matrix.failing) <= OPENED else []
    return _template().render(
        title=title,
        matrix=matrix,
        kit=", ".join(dict.fromkeys(run.header.kit for run in matrix.runs)),
        progress=progress(matrix),
        subtitle=subtitle(matrix),
        chapters=list(matrix.chapters().items()),
        index=index(matrix, [clean(name, _SHOWN) for name in opened]),
        packs=list(packs(matrix)),
        attention=[_Attention.of(*found) for found in failing[:ATTENTION]],
        attention_total=len(failing),
        departing=list(_departing(matrix)),
        verdicts=list(_present(matrix)),
    )


class _Attention(NamedTuple):
    """A result that does not conform."""

    case: str
    engine: str
    verdict: str
    finding: str
    why: str
    details: str

    @classmethod
    def of(cls, row: Row, column: Column, result: Result) -> _Attention:
        why, everything = headline(result), details(row, column, result)
        return cls(row.info.case, column.label, result.verdict, finding(result), why, everything)


def _failing(matrix: Matrix) -> Iterator[tuple[Row, Column, Result]]:
    for row in matrix.failing:
        for column, result in zip(matrix.columns, row.results, strict=True):
            if result and result.verdict in FAILING:
                yield row, column, result


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


@functools.cache
def _template() -> Template:
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
        "script": _asset("cases.js", "page.js"),
    }
    return environment.get_template("report.html.j2")


def _asset(*names: str) -> _Asset:
    text = "".join((_TEMPLATES / name).read_text("utf-8") for name in names)
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
