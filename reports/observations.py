"""The observations of a case, engine beside engine.

Engines make the same observations at the same places; a row is one place at one moment (line, iteration, kind, text),
and an engine that never came there has no cell.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from conformance.records import EQUAL, Observed, Result
from reports.matrix import Row
from reports.text import one_line
from reports.values import show


class Cell(NamedTuple):
    """What one engine showed. `expected` only where it has an expectation and the row's is another."""

    text: str
    agrees: bool
    expected: str = ""


class Seen(NamedTuple):
    """One observation of all engines; a cell is None where the engine never made it.

    expected: what it is compared with, where every engine's record says it.
    """

    line: int
    iteration: int
    what: str
    kind: str
    expected: str
    cells: list[Cell | None]


_Key = tuple[int, int, str, str, int]


def seen(row: Row) -> list[Seen]:
    """The observations of one case in the order in which the engine that made most of them made them."""
    columns = [_keyed(result) for result in row.results]
    order: dict[_Key, Observed] = {}
    for keyed in sorted(columns, key=len, reverse=True):
        for key, observed in keyed.items():
            order.setdefault(key, observed)
    return [_together(key, first, [keyed.get(key) for keyed in columns]) for key, first in order.items()]


def _keyed(result: Result | None) -> dict[_Key, Observed]:
    keyed: dict[_Key, Observed] = {}
    count: Counter[tuple[int, int, str, str]] = Counter()
    for o in result.observed if result else ():
        place = (o.line, o.iteration, o.kind, o.what)
        keyed[*place, count[place]] = o
        count[place] += 1
    return keyed


def _together(key: _Key, first: Observed, column: list[Observed | None]) -> Seen:
    own = [_expected(o) for o in column if o]
    expected = own[0] if all(own) else ""  # one that holds is left out: then it stands where it does not hold
    cells = [_cell(o, expected) if o else None for o in column]
    return Seen(key[0], key[1], one_line(first.what, 300), first.kind, expected, cells)


def _cell(observed: Observed, expected: str) -> Cell:
    own = _expected(observed)
    return Cell(show(observed.value), observed.agrees, own if own != expected else "")


def _expected(observed: Observed) -> str:
    """Empty for an equality that holds: records leave out what is the value itself."""
    if observed.kind == EQUAL and observed.agrees and observed.expected is None:
        return ""
    return "true" if observed.kind == "truth" and observed.expected is None else show(observed.expected)
