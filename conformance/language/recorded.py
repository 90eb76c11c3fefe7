"""Warnings of a run: all of them are shown to the program, none reaches the kit's own output."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from conformance.text import safe_text


class Warned(NamedTuple):
    """One warning: its class, and its text."""

    category: type[Warning]
    message: str


class WarnedList(list[Warned]):
    """What `recorded_warnings()` and `warns()` give; a type of its own, so that it is no part of a final state."""


# What `warnings.simplefilter("always")` puts there.
_ALWAYS = (("always", None, Warning, None, 0),)


class Warnings:
    """Receives every warning while it is installed, and hands it to the blocks that listen."""

    def __init__(self) -> None:
        self._listening: list[WarnedList] = []

    def install(self) -> None:
        """Replaces the process's filters and its way to show warnings, until `remove`."""
        self._kept = warnings.filters[:], warnings.showwarning
        warnings.filters[:] = _ALWAYS  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        warnings.showwarning = self._receive  # type: ignore[assignment]

    def remove(self) -> None:
        """Puts back what `install` replaced."""
        warnings.filters[:], warnings.showwarning = self._kept  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]

    def listen(self) -> WarnedList:
        """A list that receives every warning from now on, until `leave`."""
        seen = WarnedList()
        self._listening.append(seen)
        return seen

    def leave(self, seen: list[Warned]) -> None:
        """Ends `listen`."""
        self._listening = [other for other in self._listening if other is not seen]

    def _receive(self, message: Any, category: type[Warning], *_: Any) -> None:
        for seen in self._listening:
            seen.append(Warned(category, safe_text(message)))


class Recording:
    """A block whose warnings are kept, in order."""

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings

    def __enter__(self) -> WarnedList:
        self._seen = self._warnings.listen()
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._warnings.leave(self._seen)
