"""Results in words: how far a run came, what a failing case comes down to, and the command that shows it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from conformance.records import FAILING, Difference, Result
from reports.matrix import Column, Matrix, Row, short
from reports.text import clean, clean_ends, one_line, plural
from reports.values import distance, show

_DIFFERENCES = 20  # in a result's details as text

SYMBOLS = {
    "pass": "✓", "fail": "✗", "error": "!", "crash": "‡", "timeout": "∞", "unsupported": "–",
    "blocked": "⊘", "pending": "…", "waived": "≈", "departs": "≠", "not run": "·",
}  # fmt: skip
MEANINGS = {
    "pass": "every assertion holds and the final state agrees",
    "fail": "something differs",
    "error": "an exception that the program does not expect",
    "crash": "the engine's process died",
    "timeout": "the engine did not answer in time",
    "unsupported": "the engine does not spell a name that the program uses",
    "blocked": "a simpler case that this one builds on fails",
    "pending": "the reference engine does not do this yet",
    "waived": "fails, with an owner, a reason and an expiry date on file",
    "departs": "torch is known to depart from its own documentation here",
    "not run": "the run holds no result",
}
FINDINGS = {
    "wrong": "mathematically wrong",
    "not-a-subgradient": "not a subgradient",
    "nan-at-kink": "NaN where a finite subgradient exists",
    "convention": "a valid convention, not PyTorch's",
    "semantics": "state, order or identity differs",
    "no-error": "an error was due",
    "dtype": "dtype differs",
    "shape": "shape differs",
}
DEPARTURES = {
    "expected": "known",
    "found": "new: the case does not say so",
    "no-longer": "no longer: torch keeps the claim that the case says it breaks",
}


def progress(matrix: Matrix) -> str:
    """How far the unfinished runs came."""
    open_runs = [run for run in matrix.runs if not run.summary]
    if not open_runs:
        return "no run is recorded: there is nothing to show" if not matrix.runs else ""
    done, due = sum(run.results for run in open_runs), sum(run.due for run in open_runs)
    return f"run: {done:,} of {plural(due, 'result')} are there. Nothing here says that an engine conforms."


def subtitle(matrix: Matrix) -> str:
    """Which specification, how many cases, which engines."""
    specs = dict.fromkeys(f"{run.header.spec.version} ({short(run.header.spec.digest)})" for run in matrix.runs)
    engines = ", ".join(f"{c.engine} {c.version}".strip() for c in matrix.columns)
    return f"Specification {', '.join(specs) or 'unknown'} · {plural(len(matrix.rows), 'case')} · {engines}"


def headline(result: Result) -> str:
    """One line on why the verdict is what it is; empty for a plain pass."""
    if result.error:
        where = f"line {result.error.line}: " if result.error.line else ""
        return one_line(f"{where}{result.error.type}: {result.error.message}", 300)
    if result.missing:
        return one_line(f"does not spell {', '.join(result.missing)}", 300)
    if result.differences and result.verdict != "pass":
        more = len(result.differences) - 1
        return difference(result.differences[0]) + (f" (and {more} more)" if more else "")
    return one_line(result.reason or "", 300)


def difference(found: Difference) -> str:
    """A difference on one line: where, what was expected, what was seen, how far apart."""
    line = f"line {found.line}: " if found.line else ""
    against = "" if found.against == "specification" else f" ({found.against})"
    text = f"{line}{found.where}: expected {show(found.expected)}{against}, observed {show(found.observed)}"
    return one_line(f"{text}{_apart(found)}", 400)


def _apart(found: Difference) -> str:
    said = [f"{name} {size}" for name, size in apart(found)]
    return f"; {', '.join(said)}" if said else ""


def apart(found: Difference) -> list[tuple[str, str]]:
    """How far expected and observed are apart: name and size of each measure that says something.

    Units in the last place tell rounding from a wrong formula, and beyond some thousands nothing more.
    """
    near = isinstance(found.ulps, int | float) and found.ulps < 10_000
    measures = (("max abs", found.max_abs), ("max rel", found.max_rel), ("ulps", found.ulps if near else None))
    return [(name, distance(value)) for name, value in measures if value is not None]


def finding(result: Result) -> str:
    """The finding in words, empty where there is none."""
    return FINDINGS.get(result.finding, result.finding) if result.finding else ""


def rerun(case: str, engines: Iterable[str], devices: Iterable[str]) -> str:
    """The command that runs a case: on these engines, on the first of the devices that is not the CPU."""
    return one_line(" ".join(["autograd-conformance run", shlex.quote(case), *_named(engines, devices)]), 1_000)


def _named(engines: Iterable[str], devices: Iterable[str]) -> list[str]:
    words = [word for engine in dict.fromkeys(engines) for word in ("--engine", engine)]
    words += [word for device in devices if device != "cpu" for word in ("--device", device)][:2]
    return list(map(shlex.quote, words))


def options(row: Row, columns: Iterable[Column]) -> str:
    """What follows the case in the command of `reproduce`."""
    chosen = _chosen(columns, row.results)
    return one_line(" ".join(_named((c.engine for c in chosen), (c.device for c in chosen))), 1_000)


def _chosen(columns: Iterable[Column], results: Iterable[Result | None]) -> list[Column]:
    """The engines that fail, or all that have a result where none does."""
    shown = [(column, result) for column, result in zip(columns, results, strict=True) if result]
    failing = [column for column, result in shown if result.verdict in FAILING]
    return failing or [column for column, _ in shown]


def details(row: Row, column: Column, result: Result) -> str:
    """A result that does not conform as text: claim, program, differences, the error, the command that shows it again."""
    parts = [clean(row.info.claim), clean(row.info.program, 8_000)]
    parts += [difference(d) for d in result.differences[:_DIFFERENCES]]
    if len(result.differences) > _DIFFERENCES:
        parts.append(f"… and {len(result.differences) - _DIFFERENCES} more differences in the result file")
    if result.reason:
        parts.append(clean(result.reason))
    if result.error:
        parts.append(clean(f"{result.error.type}: {result.error.message}"))
        parts.append(clean_ends(result.error.traceback, 8_000))
    parts.append(f"Reproduce: {rerun(row.info.case, [column.engine], [column.device])}")
    return "\n".join(part.rstrip("\n") for part in parts if part)
