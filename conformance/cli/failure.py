"""A result that is no pass, as text: claim, program with the lines that failed marked, expected and observed.

Used by the command line and by the pytest plugin.
"""

from __future__ import annotations

from collections.abc import Iterator

from conformance.records import CaseInfo, Result
from reports.explain import difference, finding, rerun
from reports.text import clean_ends, one_line

DIFFERENCES = 20  # shown of one result
OUTPUT_LINES = 12  # of what a process that died had printed


def title(result: Result) -> str:
    """ "FAIL retain_graph/second-backward-raises on reference: state, order or identity differs"."""
    device = "" if result.device == "cpu" else f" ({result.device})"
    what = finding(result)
    return f"{result.verdict.upper()} {result.case} on {result.engine}{device}" + (f": {what}" if what else "")


def explain(result: Result, case: CaseInfo, command: str) -> str:
    """Everything a reader needs to see why; `command` runs the case again."""
    return "\n".join([title(result), *(f"  {line}".rstrip() for line in _body(result, case, command))])


def _body(result: Result, case: CaseInfo, command: str) -> Iterator[str]:
    yield one_line(case.claim, 1000)
    yield f"source: {one_line(case.source, 300)}"
    yield f"{case.file}:{case.line}"
    yield ""
    yield from _program(result, case)
    yield ""
    if result.reason:
        yield one_line(result.reason, 1000)
    if result.missing:
        yield f"the engine does not spell {', '.join(result.missing)}"
    if result.error is not None:
        yield from _error(result)
    for found in result.differences[:DIFFERENCES]:
        yield difference(found)
    if len(result.differences) > DIFFERENCES:
        yield f"and {len(result.differences) - DIFFERENCES} more differences"
    yield f"reproduce: {command}"


def _program(result: Result, case: CaseInfo) -> Iterator[str]:
    marked = {found.line for found in result.differences}
    if result.error is not None:
        marked.add(result.error.line)
    for number, line in enumerate(case.program.rstrip("\n").split("\n"), start=1):
        yield f"{'>' if number in marked else ' '} {number:3}  {line}"


def _error(result: Result) -> Iterator[str]:
    assert result.error is not None
    where = f"line {result.error.line}: " if result.error.line else ""
    yield one_line(f"{where}{result.error.type}: {result.error.message}", 1000)
    if result.error.traceback:
        lines = clean_ends(result.error.traceback).rstrip().split("\n")
        yield from (f"  | {line}" for line in lines[-OUTPUT_LINES:])


def reproduce(result: Result) -> str:
    """The command that runs one result again."""
    return rerun(result.case, [result.engine], [result.device])
