"""What only the whole specification shows: names that refer to other cases, and circles among them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

import msgspec

from conformance.case import Case
from conformance.errors import Place, SpecError

from .specification import Chapter


def resolve_needs(chapters: Iterable[Chapter]) -> tuple[tuple[Chapter, ...], list[SpecError]]:
    """The chapters with each `needs` spelled out to full case names, and the errors found on the way.

    A name that stands for several cases (a `with`) means the one at the same point where there is one, else all.
    """
    chapters = tuple(chapters)
    families: dict[str, list[Case]] = {}
    for chapter in chapters:
        for case in chapter.cases:
            families.setdefault(case.name.partition("[")[0], []).append(case)
    errors: list[SpecError] = []
    resolved = tuple(_chapter(chapter, families, errors) for chapter in chapters)
    if not errors:
        errors += circles([case for chapter in resolved for case in chapter.cases])
    return resolved, errors


def _chapter(chapter: Chapter, families: dict[str, list[Case]], errors: list[SpecError]) -> Chapter:
    if not any(case.needs for case in chapter.cases):
        return chapter
    cases, told = [], set()
    for case in chapter.cases:
        needs: list[str] = []
        for name in case.needs:
            if name in families:
                needs += _points(case, families[name])
            elif (case.line, name) not in told:
                told.add((case.line, name))
                close = difflib.get_close_matches(name, families, n=1)
                hint = f"did you mean {close[0]}?" if close else None
                errors.append(SpecError(f"needs {name}, which is no case", place=place(case), hint=hint))
        cases.append(msgspec.structs.replace(case, needs=tuple(needs)) if tuple(needs) != case.needs else case)
    return msgspec.structs.replace(chapter, cases=tuple(cases))


def _points(case: Case, family: list[Case]) -> list[str]:
    same = [other.name for other in family if other.parameters == case.parameters]
    return same or [other.name for other in family]


def circles(cases: list[Case]) -> list[SpecError]:
    """An error for the first circle among `needs`, at the case where it starts."""
    by_name = {case.name: case for case in cases}
    try:
        TopologicalSorter({case.name: case.needs for case in cases if case.needs}).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        start = min(circle, key=lambda name: (by_name[name].file, by_name[name].line))
        turned = circle[:-1][circle[:-1].index(start) :] + circle[:-1][: circle[:-1].index(start)]
        what = f"needs goes in a circle: {' <- '.join([*turned, start])}"
        return [SpecError(what, place=place(by_name[start]))]
    return []


def place(case: Case) -> Place:
    """Where a case starts."""
    return Place(case.file, case.line)
