"""What can go wrong before an engine is judged, in the order of a run.

A specification is read (`SpecError`), an engine is loaded (`EngineError`), results are written and read back
(`ResultsError`). Each says where, what was wrong, and what would be right. None of them ever reaches a user as a
traceback: the command line prints `str(error)` and exits with `exit_code`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A position in a file; line and column count from 1, 0 means unknown."""

    file: Path | str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [str(self.file)]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)


class KitError(Exception):
    """A mistake in what the kit was given. `place` may be None; `hint` says what would be right."""

    exit_code = 2

    def __init__(self, what: str, *, place: Place | None = None, hint: str | None = None) -> None:
        self.what, self.place, self.hint = what, place, hint
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.place}: {self.what}" if self.place else self.what
        return f"{text} ({self.hint})" if self.hint else text


class UsageError(KitError):
    """The command itself is wrong: an unknown case, profile or option value."""


class SpecError(KitError):
    """A specification file is wrong. Always has a place."""


class SpecErrors(SpecError):
    """Several mistakes found in one load, each with its own place."""

    def __init__(self, errors: list[SpecError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(e) for e in errors), place=None)

    def __str__(self) -> str:
        return self.what


class EngineError(KitError):
    """An engine cannot be found, imported or constructed."""


class ResultsError(KitError):
    """A result file is truncated, corrupted or of another format. Has the line where there is one."""


class RunError(KitError):
    """The run itself could not be completed: workers do not start, the disk is full."""

    exit_code = 3
