"""One chapter file becomes its cases: the form is checked, programs are checked and lowered, `with` is expanded."""

from __future__ import annotations

import ast
import marshal
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import CodeType
from typing import Any

from conformance import drawing
from conformance.case import Case, Given, Site, Tolerance
from conformance.errors import Place, SpecError, SpecErrors

from . import given as drawn
from .checking import Vocabulary, check, missing_controls
from .expand import Point, points, substitute, suffix
from .reading import Document, Route, read
from .schema import check_form
from .specification import Chapter

COPIED = ("id", "claim", "source", "since", "until", "device", "kink", "torch_departs", "pending", "note")
Lower = Callable[[ast.Module], tuple[CodeType, tuple[Site, ...]]]


@dataclass(frozen=True)
class Frame:
    """What every chapter is read with."""

    vocabulary: Vocabulary
    schema: bytes
    schema_file: Path
    lower: Lower


def read_chapter(content: bytes, file: str, frame: Frame) -> Chapter:
    """The chapter in a file's bytes; `file` is relative to the specification's root. Raises SpecErrors."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecErrors([SpecError("not UTF-8 text", place=Place(file, line))]) from None
    document = read(text, file)
    if not document.errors:
        document.errors += check_form(document, frame.schema, frame.schema_file)
    if document.errors:
        raise SpecErrors(in_order(document.errors))
    reader = _Reader(document, frame)
    cases = tuple(case for index in range(len(document.value["behaviours"])) for case in reader.cases(index))
    reader.identities(cases)
    if document.errors:
        raise SpecErrors(in_order(document.errors))
    value = document.value
    warnings = tuple(sorted(reader.warnings))
    return Chapter(value["chapter"], value["title"], file, cases, value.get("description"), warnings)


def in_order(errors: list[SpecError]) -> list[SpecError]:
    """The errors by their place in the file."""
    return sorted(errors, key=lambda e: (str(e.place.file), e.place.line, e.place.column) if e.place else ("", 0, 0))


class _Reader:
    def __init__(self, document: Document, frame: Frame) -> None:
        self.doc, self.frame = document, frame
        self.chapter = document.value["chapter"]
        self.warnings: list[tuple[int, int, str]] = []

    def refuse(self, what: str, place: Place, hint: str | None = None) -> None:
        self.doc.errors.append(SpecError(what, place=place, hint=hint))

    def identities(self, cases: tuple[Case, ...]) -> None:
        """The chapter is named as its file; ids are unique, expanded ones too."""
        stem = PurePosixPath(self.doc.file).stem
        if self.chapter != stem:
            self.refuse(f"the chapter '{self.chapter}' is in a file named '{stem}'", self.doc.place(("chapter",)))
        first: dict[str, Place] = {}
        for index, behaviour in enumerate(self.doc.value["behaviours"]):
            place = self.doc.place(("behaviours", index, "id"))
            if behaviour["id"] in first:
                before = first[behaviour["id"]]
                hint = f"first at {before.line}:{before.column}"
                self.refuse(f"the id '{behaviour['id']}' is here twice", place, hint)
            first.setdefault(behaviour["id"], place)
            names = [case.id for case in cases if case.line == self.doc.place(("behaviours", index)).line]
            for name in sorted({name for name in names if names.count(name) > 1}):
                self.refuse(f"two points of `with` are both named {name}", place)

    def cases(self, index: int) -> Iterator[Case]:
        """The cases of one behaviour: one, or one per point of `with`. None where something is refused."""
        route: Route = ("behaviours", index)
        behaviour = self.doc.value["behaviours"][index]
        before = len(self.doc.errors)
        self.claim(route, behaviour["claim"])
        names = self.names(route, behaviour)
        requires, code, sites = self.program(route, behaviour, names)
        self.data(route, behaviour)
        paths = self.parameter_paths(route, behaviour)
        if len(self.doc.errors) > before:
            return
        common = {key: behaviour[key] for key in COPIED if key in behaviour}
        common |= {"claim": behaviour["claim"].strip(), "program": behaviour["program"], "chapter": self.chapter}
        common |= {"file": self.doc.file, "line": self.doc.place(route).line}
        common |= {"program_line": self.doc.blocks[(*route, "program")][0], "code": code, "sites": sites}
        common |= {key: tuple(self.full(name) for name in behaviour.get(key, ())) for key in ("covers", "needs")}
        if "tolerance" in behaviour:
            common["tolerance"] = Tolerance(**behaviour["tolerance"])
        for point in points(behaviour.get("with")):
            own = {v.removeprefix("torch.") for v in point.values() if isinstance(v, str) and v in paths}
            yield Case(
                **{**common, "id": common["id"] + suffix(point)},
                requires=tuple(sorted({*requires, *own})),
                given=tuple(self.givens(route, behaviour, point)),
                parameters=point,
            )

    def claim(self, route: Route, claim: str) -> None:
        """A claim says what is: a modal verb is worth a look."""
        if modal := re.search(r"\b(should|must|shall|ought)\b", claim):
            place = self.doc.place((*route, "claim"))
            self.warnings.append((place.line, place.column, f"the claim says '{modal[0]}' (say what is)"))

    def full(self, name: str) -> str:
        """chapter/id; a bare id means this chapter."""
        return name if "/" in name else f"{self.chapter}/{name}"

    def names(self, route: Route, behaviour: dict[str, Any]) -> list[str]:
        """The names that `given` and `with` bind in the program, each free to be bound."""
        names: list[str] = []
        for key in ("given", "with"):
            for name in behaviour.get(key, {}):
                place = self.doc.place((*route, key, name), key=True)
                if name in self.frame.vocabulary.names or name.startswith("__"):
                    self.refuse(f"'{name}' keeps its meaning and cannot be bound", place, "choose another name")
                if name in names:
                    self.refuse(f"'{name}' is drawn data and a parameter as well", place)
                names.append(name)
        return names

    def program(self, route: Route, behaviour: dict[str, Any], names: list[str]) -> tuple[tuple[str, ...], bytes, Any]:
        """(required paths, marshalled code, sites) of the program, which is checked first."""
        route = (*route, "program")
        if route not in self.doc.blocks:
            self.refuse("a program is a literal block (program: |)", self.doc.place(route), "so that its lines count")
            return (), b"", ()
        line, indent = self.doc.blocks[route]
        checked = check(behaviour["program"], self.frame.vocabulary, names)
        for problem in checked.problems:
            place = Place(self.doc.file, line + problem.line - 1, indent + problem.column)
            self.refuse(problem.what, place, problem.hint)
        used = checked.names | {v[1:] for g in behaviour.get("given", {}).values() for v in g.values() if _dollar(v)}
        for name in names:
            if name not in used and not checked.problems:
                key = "given" if name in behaviour.get("given", {}) else "with"
                self.refuse(f"'{name}' is never used", self.doc.place((*route[:-1], key, name), key=True))
        if checked.problems:
            return (), b"", ()
        self.warnings += [
            (line + problem.line - 1, indent + problem.column, f"{problem.what} ({problem.hint})")
            for problem in missing_controls(checked.tree)
        ]
        try:
            code, sites = self.frame.lower(checked.tree)
        except RecursionError:
            self.refuse("the program is nested too deeply", self.doc.place(route))
            return (), b"", ()
        return checked.requires, marshal.dumps(code), sites

    def data(self, route: Route, behaviour: dict[str, Any]) -> None:
        """Drawn data are well described, and `$name` names a parameter."""
        parameters = behaviour.get("with", {})
        for name, value in behaviour.get("given", {}).items():
            for key, what in drawn.mistakes(name, value):
                self.refuse(what, self.doc.place((*route, "given", name, key)))
            for key, item in value.items():
                place = self.doc.place((*route, "given", name, key))
                if _dollar(item) and item[1:] not in parameters:
                    self.refuse(f"{item} is no parameter of `with`", place)
                elif _dollar(item) and not all(_fits(key, v) for v in parameters[item[1:]]):
                    self.refuse(f"{item} does not always hold a {key}", place)

    def parameter_paths(self, route: Route, behaviour: dict[str, Any]) -> frozenset[str]:
        """The values of `with` that are torch paths, each in the vocabulary."""
        paths = set()
        for name, values in behaviour.get("with", {}).items():
            for index, value in enumerate(values):
                if _too_large(value):
                    self.refuse("an integer of more than 64 bits", self.doc.place((*route, "with", name, index)))
                if isinstance(value, str) and value.startswith("torch."):
                    if value.removeprefix("torch.") not in self.frame.vocabulary.paths:
                        self.refuse(f"{value} is not in the vocabulary", self.doc.place((*route, "with", name, index)))
                    paths.add(value)
        return frozenset(paths)

    def givens(self, route: Route, behaviour: dict[str, Any], point: Point) -> Iterator[Given]:
        """The drawn data at one point of `with`."""
        for name, value in behaviour.get("given", {}).items():
            filled = {key: substitute(item, point) for key, item in value.items()}
            dtype = str(filled.get("dtype", "float32")).removeprefix("torch.")
            yield Given(
                name=name,
                distribution=filled["distribution"],
                shape=tuple(filled["shape"]),
                seed=filled["seed"],
                dtype=dtype,
                parameters={k: filled[k] for k in drawing.DEFAULTS[filled["distribution"]] if k in filled},
                requires_grad=filled.get("requires_grad", False),
            )


def _fits(key: str, value: Any) -> bool:
    """Whether a parameter's value can be the shape or dtype of drawn data."""
    if key == "shape":
        return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
    return isinstance(value, str) and value.removeprefix("torch.") in drawing.DTYPES


def _too_large(value: Any) -> bool:
    """Whether a parameter holds an integer that records cannot carry."""
    if isinstance(value, list | dict):
        return any(map(_too_large, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _dollar(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$")
