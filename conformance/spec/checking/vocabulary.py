"""The names that programs may use, as spec/vocabulary.yaml lists them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from conformance.errors import SpecError, SpecErrors

from ..reading import Document, read

WORD_LISTS = ("words", "builtins", "exceptions", "dunders", "settable")
GROUPS = ("torch", "namespaces", "importable", "attributes")


@dataclass(frozen=True)
class Vocabulary:
    """Closed lists of names. `paths` are spelled without `torch.`; a namespace may be named but is no path.

    `importable` are what no path reaches, spelled "module:name": a program imports it.
    """

    words: frozenset[str]
    builtins: frozenset[str]
    exceptions: frozenset[str]
    dunders: frozenset[str]
    settable: frozenset[str]
    paths: frozenset[str]
    namespaces: frozenset[str]
    importable: frozenset[str]
    listed_attributes: frozenset[str]

    @cached_property
    def names(self) -> frozenset[str]:
        """Names that stand for themselves in every program."""
        return self.words | self.builtins | self.exceptions | {"torch"}

    @cached_property
    def attributes(self) -> frozenset[str]:
        """Names that may follow a dot: those listed, the last parts of paths, and parts of namespaces."""
        parts = {part for namespace in self.namespaces for part in namespace.split(".")}
        return self.listed_attributes | self.dunders | {path.rpartition(".")[2] for path in self.paths} | parts

    def split(self, chain: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
        """(the path that `chain` below torch begins with, what follows it), or None where it begins with none.

        A chain that names a namespace is that namespace, followed by nothing.
        """
        if ".".join(chain) in self.namespaces:
            return ".".join(chain), ()
        for length in range(len(chain), 0, -1):
            if (path := ".".join(chain[:length])) in self.paths or path in self.importable:
                return path, chain[length:]
        return None


def parse(text: str, file: str = "vocabulary.yaml") -> Vocabulary:
    """The vocabulary in `text`. Raises SpecErrors with a place for every mistake."""
    document = read(text, file)
    if not document.errors:
        _check_form(document)
    if document.errors:
        raise SpecErrors(document.errors)
    value = document.value
    lists = {name: frozenset(value[name].split()) for name in WORD_LISTS}
    paths = {name for names in value["torch"].values() for name in names.split()}
    for namespace, names in value["namespaces"].items():
        paths |= {f"{namespace}.{name}" for name in names.split()}
    return Vocabulary(
        **lists,
        paths=frozenset(paths),
        namespaces=frozenset(prefix for namespace in value["namespaces"] for prefix in _prefixes(namespace)),
        importable=frozenset(f"{m}:{name}" for m, names in value["importable"].items() for name in names.split()),
        listed_attributes=frozenset(name for names in value["attributes"].values() for name in names.split()),
    )


@lru_cache(maxsize=4)
def read_vocabulary(content: bytes, file: str | Path) -> Vocabulary:
    """The vocabulary in a file's bytes; the same bytes are parsed once in a process."""
    try:
        return parse(content.decode(), str(file))
    except UnicodeDecodeError:
        raise SpecError(f"{file} is not UTF-8 text") from None


def _prefixes(namespace: str) -> list[str]:
    parts = namespace.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _check_form(document: Document) -> None:
    value = document.value
    if not isinstance(value, dict):
        document.refuse("the vocabulary is a mapping of lists", (1, 1))
        return
    for name in (*WORD_LISTS, *GROUPS):
        if name not in value:
            document.refuse(f"the list '{name}' is missing", (1, 1))
    for name, lists in value.items():
        position = document.keys[(name,)]
        if name not in WORD_LISTS + GROUPS:
            document.refuse(f"unknown list '{name}'", position)
        elif name in WORD_LISTS and not isinstance(lists, str):
            document.refuse(f"'{name}' is a list of words in one block of text (>-)", position)
        elif name in GROUPS and not (isinstance(lists, dict) and all(isinstance(v, str) for v in lists.values())):
            document.refuse(f"'{name}' is groups of words, each in one block of text (>-)", position)
