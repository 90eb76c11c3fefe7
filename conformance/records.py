"""The result file: one JSON object per line. This module is the format, and the only one that reads or writes it.

A header (`run`), the cases looked at (`case`: claim, source, program, so that a result file can be shown without the
specification at hand), one `result` per case and engine, and a `summary`. A file without its summary is an unfinished
run. Numbers that JSON lacks are written as the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from conformance.errors import Place, ResultsError, RunError

Verdict = Literal["pass", "fail", "error", "crash", "timeout", "unsupported", "blocked", "pending", "waived", "departs"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
FAILING: frozenset[Verdict] = frozenset({"fail", "error", "crash", "timeout"})  # what makes a run exit with 1
FINDINGS = (
    "wrong", "not-a-subgradient", "nan-at-kink", "convention", "semantics", "no-error", "dtype", "shape",
)  # fmt: skip


class SpecInfo(msgspec.Struct):
    """Which specification was run: its version, the digest over all its files, and how many cases it holds."""

    version: str
    digest: str
    cases: int = 0


class EngineInfo(msgspec.Struct):
    """An engine as it was loaded: the name it is asked for by, its version, the devices it ran on."""

    name: str
    version: str
    device: str = "cpu"
    drop_in: bool = True


class LeftOut(msgspec.Struct):
    """Cases that were asked for and not run, with the reason: another torch version, no GPU. Never counted as run.

    engine: the engine that the reason holds for, None where it holds for all.
    """

    reason: str
    cases: list[str]
    engine: str | None = None


class Run(msgspec.Struct, tag_field="kind", tag="run"):
    """The header. `oracle` names the engine whose final states were compared with; `selected` counts the cases run."""

    spec: SpecInfo
    engines: list[EngineInfo]
    environment: dict[str, str]
    kit: str = ""
    oracle: str | None = None
    selected: int = 0
    patterns: list[str] = msgspec.field(default_factory=list)
    left_out: list[LeftOut] = msgspec.field(default_factory=list)
    profile: str | None = None


class CaseInfo(msgspec.Struct, tag_field="kind", tag="case", omit_defaults=True):
    """A case as a report shows it. `expected` lists what the program asserts: line and source text."""

    case: str
    chapter: str
    claim: str
    source: str
    program: str
    file: str
    line: int
    program_line: int
    covers: list[str] = msgspec.field(default_factory=list)
    requires: list[str] = msgspec.field(default_factory=list)
    torch_departs: str | None = None
    pending: str | None = None
    note: str | None = None


class Observed(msgspec.Struct, omit_defaults=True):
    """One observation as it is shown; the values are JSON values, a tensor is {"dtype", "shape", "value"}."""

    line: int
    what: str
    value: Any
    expected: Any = None
    kind: str = "=="
    agrees: bool = True
    iteration: int = 0


class Difference(msgspec.Struct, omit_defaults=True):
    """Where an engine differs: from a written expectation, or from the oracle's final state (`against` names it)."""

    where: str
    line: int
    expected: Any
    observed: Any
    max_abs: float | str | None = None
    max_rel: float | str | None = None
    ulps: float | str | None = None
    index: list[int] | None = None
    finding: str | None = None
    against: str = "specification"


class ErrorInfo(msgspec.Struct, omit_defaults=True):
    """An exception that the program did not expect, or the way a process ended."""

    type: str
    message: str
    line: int = 0
    traceback: str = ""


class Result(msgspec.Struct, tag_field="kind", tag="result"):
    """One case on one engine.

    verdict: as in the verdict table of docs/results-format.md. "departs" is torch breaking a claim that the case says
        torch is known to break (`torch_departs`): neither a pass nor a failure, counted and listed apart.
    departs: torch breaks a written expectation; "expected" where the case says so (`torch_departs`), "found" where it
        does not (the verdict is then fail or error); "no-longer" where the case says so and torch keeps the claim.
    oracle: the engine whose final state was compared with, None where there was none.
    waived: the verdict that a waiver covers, where the verdict is "waived".
    """

    case: str
    engine: str
    device: str
    verdict: Verdict
    finding: str | None = None
    observed: list[Observed] = msgspec.field(default_factory=list)
    differences: list[Difference] = msgspec.field(default_factory=list)
    missing: list[str] = msgspec.field(default_factory=list)
    error: ErrorInfo | None = None
    seconds: float = 0.0
    oracle: str | None = None
    departs: Literal["expected", "found", "no-longer"] | None = None
    reason: str | None = None
    state: dict[str, Any] = msgspec.field(default_factory=dict)
    waived: Verdict | None = None


class Summary(msgspec.Struct, tag_field="kind", tag="summary"):
    """Counts per engine and verdict. Its presence says that the run was finished."""

    counts: dict[str, dict[str, int]]
    seconds: float = 0.0


Record = Run | CaseInfo | Result | Summary


class Results(msgspec.Struct):
    """A result file as it was read. `summary` is None where the run was not finished."""

    path: Path
    run: Run
    cases: dict[str, CaseInfo] = msgspec.field(default_factory=dict)
    results: dict[tuple[str, str, str], Result] = msgspec.field(default_factory=dict)
    summary: Summary | None = None

    @property
    def records(self) -> Iterator[Record]:
        """Every record in the order of a file: header, cases, results, summary."""
        yield self.run
        yield from self.cases.values()
        yield from self.results.values()
        if self.summary is not None:
            yield self.summary

    @property
    def due(self) -> int:
        """How many results the finished run has."""
        return self.run.selected * len(self.run.engines) - sum(len(x.cases) for x in self.run.left_out if x.engine)

    def add(self, record: Record) -> str | None:
        """Takes one record in. Returns what is wrong with it in this place, None where nothing is."""
        if self.summary is not None:
            return "there is a record after the summary"
        match record:
            case Run():
                return "there is a second header"
            case CaseInfo():
                if record.case in self.cases:
                    return f"case {record.case} is here a second time"
                self.cases[record.case] = record
            case Result():
                key = (record.case, record.engine, record.device)
                if record.case not in self.cases:
                    return f"there is a result of {record.case}, but no `case` record before it"
                if not any((e.name, e.device) == key[1:] for e in self.run.engines):
                    return f"there is a result on {record.engine} ({record.device}), an engine that the header lacks"
                if key in self.results:
                    return f"there is a second result of {record.case} on {record.engine} ({record.device})"
                self.results[key] = record
            case Summary():
                self.summary = record
        return None


def finite(value: Any) -> Any:
    """The value with numbers that JSON lacks as strings: nan -> "nan", infinities -> "inf", "-inf"."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    return value


_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """The record as one line of a result file, newline included."""
    return msgspec.json.encode(finite(msgspec.to_builtins(record))) + b"\n"


def decode(line: bytes, place: Place) -> Record:
    """One line of a result file as a record. Raises ResultsError at `place` where it is none."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ResultsError(f"this line is no result record: {e}", place=place) from None


def read(path: Path | str, *, repair: bool = False) -> Results:
    """Reads a result file. Raises ResultsError with the line where it is truncated or corrupted.

    repair: a last line that was torn off while it was written is dropped instead, as `Writer(..., resume=True)` does.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as e:
        raise ResultsError(f"cannot be read: {e.strerror}", place=Place(path)) from None
    lines = content.split(b"\n")
    if lines.pop() and not repair:
        hint = "the run was cut off while writing; `run --resume` drops this line and continues"
        raise ResultsError("the last line is torn", place=Place(path, len(lines) + 1), hint=hint)
    if not lines:
        raise ResultsError("this file holds no results", place=Place(path))
    header = decode(lines[0], Place(path, 1))
    if not isinstance(header, Run):
        raise ResultsError("a result file starts with its header, kind `run`", place=Place(path, 1))
    results = Results(path, header)
    for number, line in enumerate(lines[1:], start=2):
        place = Place(path, number)
        if wrong := results.add(decode(line, place)):
            raise ResultsError(wrong, place=place)
    return results


class Writer:
    """Appends records to a result file, one write each, so that an interrupted run loses nothing.

    The file is locked: a second run on the same file raises ResultsError. A full disk raises RunError.
    """

    def __init__(self, path: Path | str, *, resume: bool = False) -> None:
        """Opens the file; without `resume` it is emptied, with it the torn rest of a last line is cut off."""
        self.path = Path(path)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as e:
            raise ResultsError(f"cannot be written: {e.strerror}", place=Place(self.path)) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise ResultsError("another run is writing this file", place=Place(self.path)) from None
        end = self.path.read_bytes().rfind(b"\n") + 1 if resume else 0
        self.empty = end == 0
        os.ftruncate(self._fd, end)
        os.lseek(self._fd, end, os.SEEK_SET)

    def append(self, record: Record) -> None:
        line = memoryview(encode(record))
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError as e:
            raise RunError(f"a result could not be written: {e.strerror}", place=Place(self.path)) from None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
