"""`list` and `show`: the specification itself."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.syntax import Syntax

from conformance import spec
from conformance.case import Case
from conformance.cli import printing
from conformance.errors import UsageError


@click.command("list")
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="A JSON list with everything but the programs' code.")
def list_(patterns: tuple[str, ...], as_json: bool) -> None:
    """Lists cases: name, claim, source and the names that an engine must spell."""
    cases = spec.load(patterns).cases
    if as_json:
        click.echo(json.dumps([described(case) for case in cases], indent=1))
        return
    out = printing.console()
    for case in cases:
        printing.say(out, case.name, "bold")
        printing.say(out, f"  {' '.join(case.claim.split())}")
        printing.say(out, f"  source: {' '.join(case.source.split())}", "dim")
        printing.say(out, f"  needs from an engine: {', '.join(case.requires) or 'nothing'}", "dim")


def described(case: Case) -> dict[str, object]:
    """A case as JSON, without what is only there for running it."""
    return {
        "case": case.name,
        "chapter": case.chapter,
        "claim": case.claim,
        "source": case.source,
        "file": case.file,
        "line": case.line,
        "requires": list(case.requires),
        "covers": list(case.covers),
        "needs": list(case.needs),
        "since": case.since,
        "until": case.until,
        "device": case.device,
        "kink": case.kink,
        "torch_departs": case.torch_departs,
        "pending": case.pending,
        "note": case.note,
        "program": case.program,
    }


@click.command()
@click.argument("name", metavar="CASE")
@click.option("--standalone", is_flag=True, help="A script that runs on plain torch.")
def show(name: str, standalone: bool) -> None:
    """Shows one case: its claim, its source and its program."""
    cases = spec.load([name]).cases
    if len(cases) != 1:
        names = ", ".join(case.name for case in cases[:5]) + (" ..." if len(cases) > 5 else "")
        raise UsageError(f"{name} names {len(cases)} cases, show prints one", hint=names)
    if standalone:
        from conformance.spec.standalone import standalone as script

        click.echo(script(cases[0]), nl=False)
    else:
        _show(printing.console(), cases[0])


def _show(out: Console, case: Case) -> None:
    printing.say(out, case.name, "bold")
    printing.say(out, f"{case.file}:{case.line}", "dim")
    printing.say(out, "")
    printing.say(out, " ".join(case.claim.split()))
    printing.say(out, f"source: {' '.join(case.source.split())}")
    for label, text in _facts(case):
        printing.say(out, f"{label}: {text}")
    printing.say(out, "")
    if out.is_terminal:
        out.print(Syntax(case.program.rstrip(), "python", line_numbers=True, background_color="default"))
    else:
        for number, line in enumerate(case.program.rstrip().split("\n"), start=1):
            printing.say(out, f"{number:4}  {line}".rstrip())


def _facts(case: Case) -> list[tuple[str, str]]:
    """What else the case says of itself, in the words of its file."""
    facts = {
        "needs": ", ".join(case.needs),
        "covers": ", ".join(case.covers),
        "since": case.since and f"torch {case.since}",
        "until": case.until and f"torch {case.until}",
        "device": case.device,
        "parameters": ", ".join(f"{name} = {value!r}" for name, value in case.parameters.items()),
        "given": ", ".join(f"{g.name} ({g.distribution}, {g.dtype} {list(g.shape)})" for g in case.given),
        "tolerance": case.tolerance and case.tolerance.reason,
        "kink": "the point is not differentiable" if case.kink else None,
        "torch departs": case.torch_departs,
        "pending on the reference": case.pending,
        "note": case.note,
    }
    return [(label, text) for label, text in facts.items() if text]
