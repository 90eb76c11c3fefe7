"""One table of operators becomes a chapter: each sample gives a case for each check that applies to it."""

from __future__ import annotations

import ast
import marshal
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from conformance.case import Case, Site, Tolerance
from conformance.errors import Place, SpecError, SpecErrors

from ..chapter import Frame, in_order
from ..checking import Checked, check
from ..reading import Document, Route, read
from ..schema import SAMPLE_KEYS, check_form
from ..specification import Chapter
from . import programs
from .checks import DTYPES, PLAIN, Checks, claim
from .data import Datum, datum, is_complex, mistakes
from .subject import Subject, parts

# What a check's own entry, the sample and the operator may say, the nearest one first.
SAID = ("tolerance", "torch_departs", "pending", "note")

Compiled = tuple[bytes, tuple[Site, ...]]


def read_table(content: bytes, file: str, frame: Frame) -> Chapter:
    """The chapter `ops.<family>` in a table's bytes; `file` is relative to the root. Raises SpecErrors."""
    document = read(content.decode("utf-8", "replace"), file)
    if not document.errors:
        document.errors += check_form(document, frame.schema, frame.schema_file)
    if document.errors:
        raise SpecErrors(in_order(document.errors))
    table = _Table(document, frame)
    cases = tuple(case for index in range(len(document.value["operators"])) for case in table.operator(index))
    if document.errors:
        raise SpecErrors(in_order(document.errors))
    value = document.value
    return Chapter(table.chapter, value["title"], file, cases, value.get("description"))


class _Table:
    def __init__(self, document: Document, frame: Frame) -> None:
        self.doc, self.frame = document, frame
        self.family = document.value["family"]
        self.chapter = f"ops.{self.family}"
        self.compiled: dict[str, Compiled] = {}
        self.checked: dict[tuple[str, tuple[str, ...]], Checked] = {}
        self.names: dict[str, Place] = {}
        stem = PurePosixPath(document.file).stem
        if self.family != stem:
            self.refuse(f"the family '{self.family}' is in a file named '{stem}'", ("family",))

    def refuse(self, what: str, route: Route, hint: str | None = None, *, key: bool = False) -> None:
        self.doc.errors.append(SpecError(what, place=self.doc.place(route, key=key), hint=hint))

    def operator(self, index: int) -> Iterator[Case]:
        """The cases of one operator, sample by sample."""
        operator, route = self.doc.value["operators"][index], ("operators", index)
        name = operator.get("id", operator["op"].rpartition(".")[2])
        self.unique(name, self.names, (*route, "id" if "id" in operator else "op"), "operator")
        samples: dict[str, Place] = {}
        for position, sample in enumerate(operator["samples"]):
            below: Route = (*route, "samples", position)
            self.unique(sample["id"], samples, (*below, "id"), "sample")
            before = len(self.doc.errors)
            found = _Sample(self, operator, sample, route, below)
            if len(self.doc.errors) == before:
                yield from found.cases(name)

    def unique(self, name: str, known: dict[str, Place], route: Route, what: str) -> None:
        place = self.doc.place(route)
        if name in known:
            first = known[name]
            hint = f"first at {first.line}:{first.column}" + ("; give it an `id`" if what == "operator" else "")
            self.refuse(f"the {what} '{name}' is here twice", route, hint)
        known.setdefault(name, place)

    def check(self, text: str, names: tuple[str, ...]) -> Checked:
        """A piece of program, judged; the same text is judged once."""
        key = (text, names)
        if key not in self.checked:
            self.checked[key] = check(text, self.frame.vocabulary, names)
        return self.checked[key]

    def compile(self, program: str) -> Compiled:
        """(marshalled code, sites) of a program whose pieces are checked; the same text is compiled once."""
        if program not in self.compiled:
            code, sites = self.frame.lower(ast.parse(program))
            self.compiled[program] = marshal.dumps(code), sites
        return self.compiled[program]


class _Sample:
    """One sample with what its operator says: looked at once, then made into cases."""

    def __init__(self, table: _Table, operator: dict[str, Any], sample: dict[str, Any], above: Route, route: Route):
        self.table, self.operator, self.sample, self.above, self.route = table, operator, sample, above, route
        self.data: list[Datum] = []
        for name, value in sample.items():
            if name not in SAMPLE_KEYS:
                self._datum(name, value)
        if len(self.data) == sum(name not in SAMPLE_KEYS for name in sample):
            self.subject = self._subject()
            self.checks = Checks(operator, sample, self.subject)
            for key, what, hint in self.checks.mistakes():
                table.refuse(what, (*route, key), hint)

    def said(self, key: str, default: Any = None) -> Any:
        return self.sample.get(key, self.operator.get(key, default))

    def place(self, key: str) -> Route:
        """Where `key` stands: in the sample, else in the operator."""
        return (*self.route, key) if key in self.sample else (*self.above, key)

    def _datum(self, name: str, value: Any) -> None:
        refuse = self.table.refuse
        if name in self.table.frame.vocabulary.names or name in programs.NAMES or name.startswith(programs.PREFIXES):
            refuse(f"'{name}' keeps its meaning and is no name for a datum", (*self.route, name), key=True)
            return
        wrong = list(mistakes(name, value))
        for below, what in wrong:
            refuse(what, (*self.route, name, *below))
        if not wrong:
            self.data.append(datum(name, value))

    def _subject(self) -> Subject:
        floating = tuple(d.name for d in self.data if d.floating)
        differentiable = floating if self.operator.get("orders", 2) else ()
        if (asked := self.said("differentiable")) is not None:
            for name in (n for n in asked if n not in floating):
                self.table.refuse(f"'{name}' is no floating datum of this sample", self.place("differentiable"))
            differentiable = tuple(name for name in floating if name in asked and differentiable)
        for name in self.sample.get("gradient", {}):
            if name not in differentiable:
                self.table.refuse(f"'{name}' has no gradient here", (*self.route, "gradient", name), key=True)
        return Subject(
            call=self._call(),
            floating=floating,
            differentiable=differentiable,
            layouts={d.name: d.layout for d in self.data if d.layout},
            outputs=tuple(self.said("outputs", ())),
            elementwise=self.operator.get("elementwise", False),
            analytic=self.operator.get("analytic", False),
            empty=any(0 in d.shape for d in self.data if d.name in differentiable),
            value=self._value(),
            gradient=self.sample.get("gradient", {}),
        )

    def _call(self) -> str:
        names = [d.name for d in self.data]
        written = self.said("call")
        if written is None:
            path = self.operator["op"]
            owner, rest = (names[0], names[1:]) if path.startswith("Tensor.") and names else ("torch", names)
            text = f"{owner}.{path.removeprefix('Tensor.')}({', '.join(rest)})"
            where = (*self.above, "op")
        else:
            text, where = written.rstrip(), self.place("call")
        used = self._text(text, where)
        for name in names:
            if used is not None and name not in used:
                self.table.refuse(f"'{name}' is never used", (*self.route, name), "the call names each datum", key=True)
        try:
            parts(text)
        except SyntaxError:
            pass  # said already
        except ValueError as error:
            self.table.refuse(str(error), where)
        return text

    def _value(self) -> Any:
        written, route = self.said("value"), self.place("value")
        if isinstance(written, dict) and not all(isinstance(key, str) for key in written):
            self.table.refuse("a value for each output is by its name or number", route)
            return written
        for below, value in self._written(written, route):
            if isinstance(value, str):
                self._text(value.strip(), below)
            else:
                self._literal(value, below)
        for name, value in self.sample.get("gradient", {}).items():
            self._literal(value, (*self.route, "gradient", name))
        return written

    def _written(self, written: Any, route: Route) -> list[tuple[Route, Any]]:
        """(place, value) of each output's written value: closed forms and literals."""
        if isinstance(written, dict):
            return [((*route, key), value) for key, value in written.items()]
        return [] if written is None else [(route, written)]

    def _literal(self, value: Any, route: Route) -> None:
        """Refuses what is no number, truth value or nested list of them; complex numbers are text."""
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._literal(item, (*route, index))
        elif not (isinstance(value, bool | int | float) or is_complex(value)):
            self.table.refuse(f"{value!r} is no number", route, "numbers, nested lists of them, complex ones as text")

    def _text(self, text: str, route: Route) -> frozenset[str] | None:
        """The names that a piece of program reads, which is checked at its place; None where something is refused."""
        checked = self.table.check(text, tuple(d.name for d in self.data))
        line, column = self.table.doc.values.get(route, (1, 1))
        if route in self.table.doc.blocks:
            line, column = self.table.doc.blocks[route][0], self.table.doc.blocks[route][1] + 1
        for problem in checked.problems:
            place = Place(self.table.doc.file, line + problem.line - 1, column + problem.column - 1)
            self.table.doc.errors.append(SpecError(problem.what, place=place, hint=problem.hint))
        return None if checked.problems else checked.names

    # --- cases ---

    def cases(self, name: str) -> Iterator[Case]:
        """A case for each check that applies."""
        for kind in self.checks.made():
            text = programs.program(kind, self.subject)
            code, sites = self.table.compile(text)
            line = self.table.doc.place(self.route).line
            yield Case(
                chapter=self.table.chapter,
                id=f"{name}[{self.sample['id']},{kind}]",
                claim=self._claim(kind),
                source=" ".join(self.said("source", f"torch.{self.operator['op']}").split()),
                program=text,
                file=self.table.doc.file,
                line=line,
                program_line=line,
                requires=self._requires(kind, text),
                code=code,
                sites=sites,
                covers=(*self.operator.get("covers", ()), *self.sample.get("covers", ())),
                entries=tuple(self.operator.get("entries", [self.operator["op"].removeprefix("Tensor.")])),
                given=tuple(d.given(DTYPES.get(kind, kind), self._leaf(d, kind)) for d in self.data),
                kink=self.sample.get("kind") == "kink",
                **self._notes(kind),
            )

    def _requires(self, kind: str, text: str) -> tuple[str, ...]:
        """The torch paths of the program: those of its pieces, and of the template around them."""
        pieces = [self.subject.call]
        if kind == "value":
            pieces += [v.strip() for _, v in self._written(self.subject.value, ()) if isinstance(v, str)]
        names = tuple(d.name for d in self.data)
        found = {path for piece in pieces for path in self.table.check(piece, names).requires}
        return tuple(sorted(found.union(path for path in programs.REQUIRES if f"torch.{path}(" in text)))

    def _leaf(self, datum: Datum, kind: str) -> bool:
        return kind not in PLAIN and datum.name in self.subject.differentiable

    def _claim(self, kind: str) -> str:
        written = self.sample.get("claim") or self.operator["claim"]
        return claim(kind, " ".join(written.split()), self.operator["op"])

    def _notes(self, kind: str) -> dict[str, Any]:
        """tolerance, torch_departs, pending, note: what is nearest to the check."""
        notes = {}
        places = [s.get("checks", {}).get(kind, {}) for s in (self.sample, self.operator)]
        for key in SAID:
            found = next((p[key] for p in (*places, self.sample, self.operator) if key in p), None)
            if found is not None:
                notes[key] = Tolerance(**found) if key == "tolerance" else found
        return notes
