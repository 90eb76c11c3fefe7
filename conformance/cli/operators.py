"""`operators`: what the tables of operators say, with the reference's derivative rules: as text, or as pages."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from conformance import engines, spec
from conformance.case import Case
from conformance.cli import printing
from conformance.engines import Engine
from conformance.language.execution import EXPLAINED, given_data
from conformance.running.judge import REFERENCE

HEADER = "<!-- Written by `autograd-conformance operators --markdown docs/operators`; do not edit. -->"


@dataclass
class Shown:
    """One entry of a table: the cases of its samples by check."""

    family: str
    name: str
    claim: str = ""
    source: str = ""
    entries: tuple[str, ...] = ()
    samples: dict[str, list[Case]] = field(default_factory=dict)

    def add(self, case: Case, sample: str) -> None:
        """Takes a case in."""
        self.samples.setdefault(sample, []).append(case)
        self.source, self.entries = case.source, case.entries
        if case.check == "value" and not (self.claim and case.kink):
            self.claim = self.claim or case.claim


@click.command()
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option("--markdown", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Write a page for each family there.")  # fmt: skip
def operators(patterns: tuple[str, ...], folder: Path | None) -> None:
    """Shows operators of the tables: what they compute, the reference's derivative rules, samples and kinks."""
    shown = tables(spec.load(patterns or ("ops.*",)).cases)
    reference = engines.load(REFERENCE)
    if folder is None:
        out = printing.console()
        for entry in shown:
            printing.say(out, f"{entry.family}/{entry.name}", "bold")
            for line in description(entry, reference):
                printing.say(out, f"  {line}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for family, page in pages(shown, reference).items():
        (folder / f"{family}.md").write_text(page, encoding="utf-8")
    click.echo(f"{len(shown)} operators in {folder}")


def tables(cases: Iterable[Case]) -> list[Shown]:
    """The entries that the cases of tables stand for, in the order of the tables."""
    found: dict[tuple[str, str], Shown] = {}
    for case in cases:
        if not case.entries:
            continue
        name, _, rest = case.id.partition("[")
        sample = rest.rpartition(",")[0]
        family = case.chapter.removeprefix("ops.")
        found.setdefault((family, name), Shown(family, name)).add(case, sample)
    return list(found.values())


def pages(shown: list[Shown], reference: Engine) -> dict[str, str]:
    """A Markdown page for each family."""
    parts: dict[str, list[str]] = {}
    for entry in shown:
        page = parts.setdefault(entry.family, [HEADER, f"# Operators: {entry.family}"])
        page += [f"## {entry.name}", *(f"- {_escaped(line)}" for line in description(entry, reference))]
    return {family: "\n\n".join(_joined(lines)) + "\n" for family, lines in parts.items()}


def _joined(lines: list[str]) -> Iterator[str]:
    """Items of one list stand below each other, all else apart."""
    run: list[str] = []
    for line in lines:
        if line.startswith("- "):
            run.append(line)
            continue
        if run:
            yield "\n".join(run)
            run = []
        yield line
    if run:
        yield "\n".join(run)


def _escaped(line: str) -> str:
    """A line for Markdown; what stands between backticks is code already."""
    words, code, rest = line.partition("`")
    return words.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_") + code + rest


def description(entry: Shown, reference: Engine) -> Iterator[str]:
    """What is to be said of an operator, a line each."""
    yield " ".join(entry.claim.split())
    yield f"source: {entry.source}"
    for node, rules in _rules(entry, reference):
        yield f"rule of {node}: `{'; '.join(rules)}`"
    smooth: list[tuple[str, list[Case], list[str]]] = []
    special: list[tuple[str, list[Case], list[str]]] = []
    for name, cases in entry.samples.items():
        checks = [case.check for case in cases]
        (smooth if "vjp" in checks or "gradient" not in checks else special).append((name, cases, checks))
    if smooth:
        yield "samples: " + ", ".join(name for name, _, _ in smooth)
        yield "checks: " + ", ".join(dict.fromkeys(check for _, _, checks in smooth for check in checks))
    for name, cases, _ in special:
        written = next((case for case in cases if case.check == "gradient"), cases[0])
        yield f"at a kink or pole, {name}: {' '.join(written.claim.split())}"
    for reason in dict.fromkeys(c.torch_departs for cases in entry.samples.values() for c in cases if c.torch_departs):
        yield f"torch departs: {' '.join(reason.split())}"


def _rules(entry: Shown, reference: Engine) -> list[tuple[str, list[str]]]:
    """The rules behind the operator's first sample that is differentiated."""
    for cases in entry.samples.values():
        for case in cases:
            if case.check in EXPLAINED and case.device is None:
                return reference.explain(_result(case, reference))
    return []


def _result(case: Case, reference: Engine) -> Any:
    """What a law's function gives, recorded."""
    tree = ast.parse(case.program)
    defined = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "f")
    variables: dict[str, Any] = {"torch": reference.namespace, "math": math, **given_data(case, reference)}
    exec(compile(ast.Module([defined], []), f"<{case.name}>", "exec"), variables)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return variables["f"](*[variables[argument.arg] for argument in defined.args.args])
