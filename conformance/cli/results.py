"""`report` and `compare`: result files in, pages and changes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console

from conformance.cli import printing
from conformance.cli.output import format_of, render_to, writable
from conformance.records import Record, Result
from conformance.results import Results, read
from reports.explain import headline

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option("-o", "--output", required=True, type=FILE, metavar="FILE", help="Where to: .html, .xml (JUnit) or .md.")
def report(files: tuple[Path, ...], output: Path) -> None:
    """Writes one report of one or several result files; each engine of each file is a column."""
    format_ = format_of(output)
    writable(output)
    records: list[Record] = []
    out = printing.console()
    for path in files:
        results = read(path)
        records += results.records
        _unfinished(out, results)
    render_to(output, format_, records)
    printing.say(out, f"wrote {output}")


@click.command()
@click.argument("before", metavar="A", type=FILE)
@click.argument("after", metavar="B", type=FILE)
def compare(before: Path, after: Path) -> int:
    """Says what changed from run A to run B. Exit code 1 if something got worse."""
    out = printing.console()
    old, new = read(before), read(after)
    for results in (old, new):
        _unfinished(out, results)
    if old.run.spec.digest != new.run.spec.digest:
        printing.say(out, f"the specification changed: {old.run.spec.version} to {new.run.spec.version}", "yellow")
    changes = list(changed(old, new))
    for kind in KINDS:
        _list(out, kind, [change for change in changes if change.kind == kind])
    if not changes:
        printing.say(out, f"no verdict changed in {len(new.results)} results", "green")
    if others := list(elsewhere(old, new)):
        said = f"note: {len(others)} pass as before and end in another state, within the tolerance: "
        printing.say(out, said + printing.some([f"{now.case} on {now.engine}" for now in others]))
    return 1 if any(change.kind == "broken" for change in changes) else 0


# kind of change -> what it means, in the order in which they are printed
KINDS = {
    "fixed": "passes now",
    "changed": "another verdict that is no pass",
    "new": "was not run before",
    "gone": "is not run any more",
    "broken": "passed before",
}


class Change(NamedTuple):
    """A case on an engine with another verdict than before; None where it was not run."""

    kind: str
    case: str
    engine: str
    old: Result | None
    new: Result | None


def changed(old: Results, new: Results) -> Iterator[Change]:
    """The changes between two runs, engine by engine.

    Engines are matched by name and device; where each run has one engine only, these two are compared.
    """
    before = _matched(old, new)
    for key in dict.fromkeys((*before, *new.results)):
        was, now = before.get(key), new.results.get(key)
        kind = _kind(was, now)
        if kind is not None:
            yield Change(kind, key[0], key[1], was, now)


def elsewhere(old: Results, new: Results) -> Iterator[Result]:
    """The passes of both runs whose final states differ in some bit, as far as both files tell."""
    before = _matched(old, new)
    for key, now in new.results.items():
        was = before.get(key)
        if was and was.verdict == now.verdict == "pass" and was.digest and now.digest and was.digest != now.digest:
            yield now


def _matched(old: Results, new: Results) -> dict[tuple[str, str, str], Result]:
    """The earlier results by the key of the later ones."""
    renamed = _renamed(old, new)
    return {(case, *renamed.get((e, d), (e, d))): result for (case, e, d), result in old.results.items()}


def _renamed(old: Results, new: Results) -> dict[tuple[str, str], tuple[str, str]]:
    ours, theirs = ([(e.name, e.device) for e in results.run.engines] for results in (old, new))
    return {ours[0]: theirs[0]} if len(ours) == len(theirs) == 1 else {}


def _kind(was: Result | None, now: Result | None) -> str | None:
    if was is None:
        return "new"
    if now is None:
        return "gone"
    if was.verdict == now.verdict:
        return None
    if now.verdict == "pass":
        return "fixed"
    return "broken" if was.verdict in ("pass", "departs") else "changed"


def _list(out: Console, kind: str, changes: list[Change]) -> None:
    if changes:
        printing.say(out, f"{kind} ({len(changes)}): {KINDS[kind]}", "red" if kind == "broken" else "bold")
    for change in changes:
        old = change.old.verdict if change.old else "not run"
        new = change.new.verdict if change.new else "not run"
        why = headline(change.new) if change.new and change.new.verdict != "pass" else ""
        printing.say(out, f"  {change.case} on {change.engine}: {old} -> {new}" + (f": {why}" if why else ""))


def _unfinished(out: Console, results: Results) -> None:
    if results.summary is None:
        said = f"{results.path} is unfinished: {len(results.results)} of {results.due} results"
        printing.say(out, said, "bold yellow")
