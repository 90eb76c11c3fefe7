"""What a `run` is about: the engines that are judged, and the ones that final states are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple

from conformance import engines
from conformance.running.judge import REFERENCE, TORCH
from conformance.running.process import Key


class Chosen(NamedTuple):
    """keys: judged, in the order named. oracles: compared with, the one with most authority first.

    torch: its version where it takes part. note: a line that tells what the choice could not include.
    """

    keys: list[Key]
    oracles: list[Key]
    torch: str | None
    note: str | None = None


def choose(names: Sequence[str], device: str) -> Chosen:
    """The engines of `--engine NAME ... --device D`; without a name the reference and, where installed, torch."""
    installed = engines.available(TORCH)
    note = None
    if not names:
        names = (REFERENCE, TORCH) if installed else (REFERENCE,)
        if not installed:
            note = "torch is not installed: the reference is judged alone, against what the specification expects"
    keys = [Key(name, "cpu" if name == REFERENCE else device) for name in dict.fromkeys(names)]
    oracles = [Key(TORCH)] if installed else []
    if not installed or Key(REFERENCE) in keys:
        oracles.append(Key(REFERENCE))
    return Chosen(keys, oracles, _version() if installed else None, note)


def _version() -> str | None:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:  # a torch that is importable and was not installed by pip: a source tree
        return None
