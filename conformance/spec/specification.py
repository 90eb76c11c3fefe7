"""A loaded specification: its cases in the order of files and lines, by name, and selected by pattern."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from conformance.case import Case
from conformance.errors import Place, SpecError, UsageError


class Chapter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A chapter with its cases. `file` is relative to the specification's root.

    `warnings` are (line, column, text): worth an author's look, not wrong.
    """

    name: str
    title: str
    file: str
    cases: tuple[Case, ...]
    description: str | None = None
    warnings: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True)
class Specification:
    """All cases of a specification, or a selection of them.

    digest: "sha256:..." over every file that gives the cases their meaning, of the whole specification even where this
    is a selection of it.
    """

    root: Path
    version: str
    digest: str
    chapters: tuple[Chapter, ...]
    cases: tuple[Case, ...]

    @cached_property
    def by_name(self) -> dict[str, Case]:
        """The cases by their full name."""
        return {case.name: case for case in self.cases}

    @cached_property
    def warnings(self) -> tuple[SpecError, ...]:
        """What is worth an author's look: errors without a positive control, claims that do not say what is."""
        return tuple(
            SpecError(text, place=Place(chapter.file, line, column))
            for chapter in self.chapters
            for line, column, text in chapter.warnings
        )

    def select(self, patterns: Iterable[str]) -> Specification:
        """The cases that any pattern names, in the specification's order; all of them for no pattern.

        A pattern is a case (`chapter/id`, with or without `[...]`), a chapter, or a glob with * and ? over full names.
        Raises UsageError for a pattern that matches nothing.
        """
        wanted: set[str] = set()
        patterns = tuple(patterns)
        for pattern in patterns:
            found = self._matches(pattern)
            if not found:
                raise UsageError(f"no case matches '{pattern}'", hint=self._near(pattern))
            wanted |= found
        if not patterns:
            return self
        cases = tuple(case for case in self.cases if case.name in wanted)
        return Specification(self.root, self.version, self.digest, self.chapters, cases)

    def _matches(self, pattern: str) -> set[str]:
        if pattern in self.by_name:
            return {pattern}
        if "*" in pattern or "?" in pattern:
            # Only * and ? are special: [ ] are part of names.
            form = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
            matcher = re.compile(form if "/" in pattern else f"{form}|{form}/.*|.*/{form}")
            return {case.name for case in self.cases if matcher.fullmatch(case.name)}
        family = f"{pattern}["
        return {c.name for c in self.cases if c.chapter == pattern or c.name.startswith(family)}

    def _near(self, pattern: str) -> str | None:
        chapters = list(dict.fromkeys(case.chapter for case in self.cases))
        families = list(dict.fromkeys(case.name.partition("[")[0] for case in self.cases))
        close = difflib.get_close_matches(pattern, {*chapters, *families, *self.by_name}, n=3, cutoff=0.6)
        if not close and "/" not in pattern:
            close = [name for name in families if name.partition("/")[2] == pattern][:3]
        if close:
            return f"did you mean {' or '.join(close)}?"
        return f"chapters: {', '.join(chapters)}" if chapters else None
