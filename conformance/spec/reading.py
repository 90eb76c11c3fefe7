"""YAML as the specification uses it: plain values, and a line and column for every one of them.

The subset is small on purpose. Duplicate keys, anchors, aliases, merge keys and tags are refused, since each of them
lets a file say something other than what it shows. Scalars follow YAML 1.2's core schema (`on`, `off`, `yes`, `no` are
strings, `1e3` is a number). The events of libyaml's parser are read rather than `compose()`'s nodes: nodes no longer
show anchors, and a second pass to find them would double the time of a cold load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from conformance.errors import Place, SpecError

Loader = getattr(yaml, "CLoader", yaml.Loader)
Position = tuple[int, int]
Route = tuple[str | int, ...]

INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
DIGITS = 4000  # Python reads no longer number from text
NAMED: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass
class Document:
    """A file's plain value, with the position (line, column, from 1) of every value and key by its route from the root.

    `blocks` are the literal block scalars (`|`): route -> (line of their first line, columns that the indent takes).
    """

    file: str
    value: Any = None
    values: dict[Route, Position] = field(default_factory=dict)
    keys: dict[Route, Position] = field(default_factory=dict)
    blocks: dict[Route, Position] = field(default_factory=dict)
    errors: list[SpecError] = field(default_factory=list)

    def place(self, route: Route, *, key: bool = False) -> Place:
        """Where the value (or its key) stands; for a missing one, where its nearest container does."""
        table = self.keys if key and route in self.keys else self.values
        while route and route not in table:
            route, table = route[:-1], self.values
        return Place(self.file, *table.get(route, (1, 1)))

    def refuse(self, what: str, position: Position, hint: str | None = None) -> None:
        self.errors.append(SpecError(what, place=Place(self.file, *position), hint=hint))


def read(text: str, file: str | Path) -> Document:
    """Read one YAML document. Mistakes are collected in `errors`; a syntax error ends the reading."""
    document = Document(str(file))
    try:
        _Reader(document, text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        context = f" {error.context}" if error.context else ""
        document.refuse(f"not valid YAML: {error.problem or ''}{context}".rstrip(), position)
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes.
        before = text.encode("utf-8", "surrogatepass")[: error.position].decode("utf-8", "ignore")
        position = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        document.refuse(f"not valid YAML: the character U+{ord(text[len(before)]):04X} is not allowed", position)
    except RecursionError:
        document.refuse("nested too deeply", (1, 1))
    return document


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar by YAML 1.2's core schema."""
    if text in NAMED:
        return NAMED[text]
    if INT.fullmatch(text) and len(text) < DIGITS:
        return int(text, 8 if text[:2] == "0o" else 16 if text[:2] == "0x" else 10)
    return float(text) if FLOAT.fullmatch(text) else text


def _at(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Reader:
    def __init__(self, document: Document, text: str) -> None:
        self.doc, self.lines = document, text.split("\n")
        self.events: Iterator[Any] = yaml.parse(text, Loader=Loader)

    def document(self) -> None:
        next(self.events)  # the stream starts
        if isinstance(next(self.events), yaml.StreamEndEvent):
            self.doc.refuse("the file is empty", (1, 1))
            return
        self.doc.value = self.value(next(self.events), ())
        next(self.events)  # the document ends
        following = next(self.events)
        if not isinstance(following, yaml.StreamEndEvent):
            self.doc.refuse("a second document: a file holds one", _at(following))

    def value(self, event: Any, route: Route) -> Any:
        self.doc.values[route] = _at(event)
        self.plainness(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(route)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(route)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, route)
        return None  # an alias, refused already

    def plainness(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            self.doc.refuse(f"the alias *{event.anchor}: write the value out", _at(event))
            return
        if event.anchor is not None:
            self.doc.refuse(f"the anchor &{event.anchor}: write the value out where it is used", _at(event))
        if event.tag is not None:
            self.doc.refuse(f"the tag {event.tag}: values have the type that they are written in", _at(event))

    def scalar(self, event: Any, route: Route) -> Any:
        if event.style == "|":
            first = event.start_mark.line + 1
            self.doc.blocks[route] = (first + 1, self.indent(first, event.value))
        return event.value if event.style else scalar(event.value)

    def indent(self, first: int, content: str) -> int:
        """How many columns YAML took off the block that starts at the 0-based line `first`."""
        for offset, line in enumerate(content.split("\n")):
            if line.strip() and first + offset < len(self.lines):
                return len(self.lines[first + offset].rstrip("\r")) - len(line.rstrip("\r"))
        return 0

    def sequence(self, route: Route) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.value(event, (*route, len(items))))
        return items

    def mapping(self, route: Route) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, items, route)
            value = self.value(next(self.events), (*route, key))
            items.setdefault(key, value)
        return items

    def key(self, event: Any, items: dict[str, Any], route: Route) -> str:
        position = _at(event)
        if not isinstance(event, yaml.ScalarEvent):
            self.value(event, (*route, ""))
            self.doc.refuse("a key that is not a name", position)
            return ""
        self.plainness(event)
        key = event.value
        if key == "<<" and not event.style:
            self.doc.refuse("a merge key: write the keys out", position)
        elif key in items:
            line, column = self.doc.keys[(*route, key)]
            self.doc.refuse(f"the key '{key}' is here twice", position, f"first at {line}:{column}")
        self.doc.keys.setdefault((*route, key), position)
        return key
