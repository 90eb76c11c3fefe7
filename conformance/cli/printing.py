"""What `run` prints: a line about the run, a progress bar on a terminal, failures in full, lists, and the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from conformance.cli.failure import explain, reproduce
from conformance.records import FAILING, VERDICTS, Result, Run, Verdict
from conformance.results import Results
from reports.explain import headline
from reports.text import clean

COLOURS: dict[str, str] = {
    "pass": "green", "fail": "red", "error": "red", "crash": "red", "timeout": "red", "unsupported": "yellow",
    "blocked": "yellow", "pending": "yellow", "waived": "yellow", "departs": "magenta",
}  # fmt: skip
TEXT = 100_000  # characters of one message
NAMES = 8  # cases named in one line of a list
# What is listed after the failures: verdict -> heading
LISTED: dict[Verdict, str] = {
    "blocked": "blocked by a failing case that they build on",
    "pending": "pending: the reference does not do this yet",
    "departs": "torch departs from its documentation, as the case says",
    "waived": "waived",
}


def console(*, stderr: bool = False) -> Console:
    """A console that never breaks lines itself: what is piped stays one line each."""
    out = Console(stderr=stderr, soft_wrap=True, highlight=False, emoji=False)
    if not out.is_terminal:
        out.width = 200
    return out


def say(out: Console, text: str, style: str | None = None) -> None:
    """Prints text that may hold anything: nothing in it is markup, or acts on the terminal."""
    out.print(Text(clean(text, TEXT), style=style or ""))


def progress(out: Console) -> Progress:
    """A bar where the terminal is one, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


def opening(out: Console, header: Run, needed: int) -> None:
    names = ", ".join(f"{e.name} {e.version}" + (f" ({e.device})" if e.device != "cpu" else "") for e in header.engines)
    against = f"; final states compared with {header.oracle}" if header.oracle else ""
    added = f", {needed} of them because others need them" if needed else ""
    cases = "case" if header.selected == 1 else "cases"
    say(out, f"specification {header.spec.version}, {header.selected} {cases}{added}, on {names}{against}")
    for left in header.left_out:
        where = f" on {left.engine}" if left.engine else ""
        say(out, f"not run{where}: {left.reason}: {', '.join(left.cases)}", "yellow")


def closing(out: Console, results: Results) -> None:
    """Everything that a reader needs after a run, the most important last."""
    for result in results.results.values():
        if result.verdict in FAILING:
            say(out, "")
            _failure(out, result, results)
    say(out, "")
    for verdict, heading in LISTED.items():
        _listed(out, heading, [r for r in results.results.values() if r.verdict == verdict])
    _unsupported(out, results.results.values())
    _notes(out, results.results.values())
    _uncompared(out, results)
    out.print(table(results))
    if results.summary is None:
        say(out, f"unfinished: {len(results.results)} of {results.due} results", "bold yellow")


def _failure(out: Console, result: Result, results: Results) -> None:
    text = explain(result, results.cases[result.case], reproduce(result))
    first, _, rest = text.partition("\n")
    say(out, first, f"bold {COLOURS[result.verdict]}")
    say(out, rest)


def _listed(out: Console, heading: str, found: list[Result]) -> None:
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in found:
        by_reason[result.engine, result.reason or headline(result)].append(result.case)
    if found:
        say(out, f"{heading} ({len(found)}):", "yellow")
    for (engine, reason), cases in by_reason.items():
        say(out, f"  {engine}: {', '.join(cases)}: {reason}")


def _unsupported(out: Console, found: Iterable[Result]) -> None:
    """Names that an engine does not spell, those that most cases need first."""
    by_engine: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for result in found:
        if result.verdict == "unsupported":
            for name in result.missing:
                by_engine[result.engine][name].append(result.case)
    for engine, names in by_engine.items():
        say(out, f"{engine} does not spell {len(names)} names:", "yellow")
        for name, cases in sorted(names.items(), key=lambda item: (-len(item[1]), item[0])):
            say(out, f"  {name}: {some(cases)}")


def some(names: list[str]) -> str:
    """The first of the names, and how many more there are."""
    return ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")


def _notes(out: Console, found: Iterable[Result]) -> None:
    """What a passing result still has to say: notes in the specification or in a waiver that are out of date."""
    for result in found:
        if result.verdict == "pass" and result.reason:
            say(out, f"note: {result.case} on {result.engine}: {result.reason}", "yellow")


def _uncompared(out: Console, results: Results) -> None:
    """Cases whose final state was compared with nothing, since the oracle's own run of them was of no use."""
    found = [r for r in results.results.values() if r.engine != results.run.oracle and r.oracle is None]
    cases = [r.case for r in found if r.verdict in ("pass", "fail", "waived")]
    if cases:
        names = ", ".join(dict.fromkeys(cases))
        say(out, f"note: {results.run.oracle}'s own run was of no use, final states not compared: {names}", "yellow")


def table(results: Results) -> Table:
    """Cases that pass of those selected, by chapter and engine, with what else there is."""
    shown = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    shown.add_column("chapter")
    engines = results.run.engines
    for engine in engines:
        shown.add_column(escape(engine.name if engine.device == "cpu" else f"{engine.name} ({engine.device})"))
    chapters: dict[str, dict[tuple[str, str], list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results.results.values():
        chapter = results.cases[result.case].chapter
        for name in (chapter, ""):
            chapters[name][result.engine, result.device].append(result)
    total = chapters.pop("", {})
    for chapter in sorted(chapters):
        shown.add_row(escape(chapter), *[_cell(chapters[chapter][e.name, e.device]) for e in engines])
    if len(chapters) > 1:
        shown.add_section()
        shown.add_row("all", *[_cell(total[e.name, e.device]) for e in engines], style="bold")
    return shown


def _cell(found: list[Result]) -> Text:
    counts = {verdict: sum(r.verdict == verdict for r in found) for verdict in VERDICTS}
    cell = Text(f"{counts['pass']} of {len(found)}", style="green" if counts["pass"] == len(found) else "")
    for verdict, count in counts.items():
        if count and verdict != "pass":
            cell.append(f", {count} {verdict}", style=COLOURS[verdict])
    return cell
