"""`coverage`: what of the inventory is shown by cases, and what of the list of operators by tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from conformance import engines, spec
from conformance.case import Case
from conformance.cli import printing
from conformance.engines import Engine
from conformance.errors import SpecErrors
from conformance.records import FAILING
from conformance.results import Results, read
from conformance.running.judge import REFERENCE
from conformance.spec import inventory
from conformance.spec.operators.entries import Entry, entries, mistakes, specified
from conformance.spec.specification import Specification

COUNTS = ("entries", "specified", "implemented", "left_out")


@click.command()
@click.option("--operators", is_flag=True, help="The list of operators, by tier and family, instead of the inventory.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON, with the names behind each number.")
@click.option("--results", "file", type=click.Path(path_type=Path), metavar="FILE",
              help="A result file: how many operators pass on each of its engines.")  # fmt: skip
def coverage(operators: bool, as_json: bool, file: Path | None) -> None:
    """Counts what the specification shows of the inventory, and of the list of differentiable operators."""
    specification = spec.load()
    out = printing.console()
    if operators:
        found = operator_coverage(specification, read(file) if file is not None else None)
    else:
        found = {name: asdict(chapter) for name, chapter in inventory.coverage(specification).items()}
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif operators:
        _print_operators(out, found)
    else:
        _print_chapters(out, found)


def _print_chapters(out: Console, chapters: dict[str, Any]) -> None:
    shown = _table("chapter", "rows", "covered", "uncovered", "on a GPU only")
    total = [0, 0, 0, 0]
    for name, chapter in chapters.items():
        numbers = [chapter["rows"], chapter["covered"], len(chapter["uncovered"]), len(chapter["gpu_only"])]
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        shown.add_row(name, *map(str, numbers), style="green" if not chapter["uncovered"] else "")
    shown.add_section()
    shown.add_row("all", *map(str, total), style="bold")
    out.print(shown)


def operator_coverage(specification: Specification, results: Results | None = None) -> dict[str, Any]:
    """Entries of the list, specified, implemented by the reference, left out: by tier and by family, with names."""
    if wrong := mistakes(specification):
        raise SpecErrors(list(wrong))
    cases = specified(specification)
    reference = engines.load(REFERENCE)
    rows = [_row(entry, cases.get(entry.name, []), reference, results) for entry in entries(specification.root)]
    return {
        "tiers": {str(tier): _counts([r for r in rows if r["tier"] == tier]) for tier in (1, 2, 3)},
        "families": {name: _counts([r for r in rows if r["family"] == name]) for name in sorted({r["family"] for r in rows})},
        "all": _counts(rows),
        "operators": rows,
    }  # fmt: skip


def _row(entry: Entry, cases: list[Case], reference: Engine, results: Results | None) -> dict[str, Any]:
    needed = {path for case in cases if case.id.endswith(",value]") for path in case.requires}
    spelled = any(reference.spells(path) for path in (entry.path, f"Tensor.{entry.path}"))
    row: dict[str, Any] = {
        "entry": entry.name, "family": entry.family, "tier": entry.tier, "cases": len(cases),
        "specified": bool(cases), "implemented": (spelled or bool(cases)) and all(map(reference.spells, needed)),
        "left_out": entry.left_out or None,
    }  # fmt: skip
    if results is not None:
        row["passing"] = {engine.name: _passes(cases, engine.name, results) for engine in results.run.engines}
    return row


def _passes(cases: list[Case], engine: str, results: Results) -> bool:
    """Whether every case of an operator was run on the engine and none fails."""
    found = [r for r in results.results.values() if r.engine == engine and r.case in {case.name for case in cases}]
    bad = FAILING | {"unsupported", "blocked", "pending", "waived"}
    return len(found) >= len(cases) > 0 and not any(r.verdict in bad for r in found)


def _counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "entries": len(rows),
        "specified": sum(row["specified"] for row in rows),
        "implemented": sum(row["implemented"] for row in rows),
        "left_out": sum(row["left_out"] is not None for row in rows),
        "missing": [r["entry"] for r in rows if not r["specified"] and r["left_out"] is None],
    }
    for engine in sorted({name for row in rows for name in row.get("passing", {})}):
        found.setdefault("passing", {})[engine] = sum(row["passing"][engine] for row in rows)
    return found


def _print_operators(out: Console, found: dict[str, Any]) -> None:
    passing = list(found["all"].get("passing", {}))
    headings = ("", "entries", "specified", "implemented", "left out", *(f"pass on {name}" for name in passing))
    for groups, label in ((found["tiers"], "tier {}"), (found["families"], "{}")):
        shown = _table(*headings)
        for name, counts in groups.items():
            _add(shown, label.format(name), counts, passing)
        shown.add_section()
        _add(shown, "all", found["all"], passing)
        out.print(shown)
    for family, counts in found["families"].items():
        if counts["missing"]:
            printing.say(out, f"not specified, {family}: {', '.join(counts['missing'])}")
    for row in found["operators"]:
        if row["left_out"]:
            printing.say(out, f"left out: {row['entry']}: {row['left_out']}", "dim")


def _add(shown: Table, name: str, counts: dict[str, Any], passing: list[str]) -> None:
    numbers = [*(counts[key] for key in COUNTS), *(counts["passing"][engine] for engine in passing)]
    style = "green" if counts["specified"] + counts["left_out"] == counts["entries"] else ""
    shown.add_row(name, *map(str, numbers), style=style)


def _table(first: str, *others: str) -> Table:
    shown = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    shown.add_column(first)
    for heading in others:
        shown.add_column(heading, justify="right")
    return shown
