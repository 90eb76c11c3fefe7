"""Result files, read and written: the only module that does either. docs/results-format.md describes them."""

from __future__ import annotations

import fcntl
import json
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from conformance.errors import Place, ResultsError, RunError
from conformance.records import CaseInfo, Record, Result, Run, Summary


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


GZIP = b"\x1f\x8b"  # what a gzip file starts with
_WBITS = 31  # gzip's own form, for zlib

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def finite(value: Any) -> Any:
    """The value with numbers that JSON lacks as strings: nan -> "nan", infinities -> "inf", "-inf"."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    return value


def encode(record: Record) -> bytes:
    """The record as one line of a result file, newline included. Text that is no Unicode loses what cannot be kept."""
    plain = msgspec.to_builtins(record)
    try:
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(finite(plain), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


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
        content, _ = unpacked(path.read_bytes())
    except OSError as e:
        raise ResultsError(f"cannot be read: {e.strerror}", place=Place(path)) from None
    except zlib.error as e:
        raise ResultsError(f"cannot be unpacked: {e}", place=Place(path)) from None
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


def unpacked(content: bytes) -> tuple[bytes, bool]:
    """What a file holds, packed by gzip or not, and whether it ends where a writer ends it.

    Of a gzip file whose writer was killed everything that was flushed is there. Raises zlib.error for one that is corrupted.
    """
    parts, whole = [], True
    while content.startswith(GZIP):
        member = zlib.decompressobj(wbits=_WBITS)
        parts.append(member.decompress(content))
        content, whole = member.unused_data, member.eof
    return b"".join([*parts, content]), whole


class Writer:
    """Appends records to a result file, one write each, so that an interrupted run loses nothing.

    A file named *.gz is packed, and flushed after each record. The file is locked: a second run on the same file raises
    ResultsError. A full disk raises RunError.
    """

    def __init__(self, path: Path | str, *, resume: bool = False) -> None:
        """Opens the file; without `resume` it is emptied, with it the torn rest of a last line is cut off."""
        self.path = Path(path)
        self._fd = self._opened()
        self._pack = zlib.compressobj(wbits=_WBITS) if self.path.suffix == ".gz" else None
        content = self.path.read_bytes() if resume else b""
        text, whole = unpacked(content)
        end = text.rfind(b"\n") + 1
        self.empty = end == 0
        if self._pack and end and not (whole and end == len(text)):
            self._replace(text[:end])
        else:
            size = len(content) if self._pack and end else end
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)

    def _opened(self) -> int:
        """The file, open and locked."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as e:
            raise ResultsError(f"cannot be written: {e.strerror}", place=Place(self.path)) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise ResultsError("another run is writing this file", place=Place(self.path)) from None
        return fd

    def _replace(self, text: bytes) -> None:
        """A packed file that was cut off is written anew beside itself: at no moment is a result in neither."""
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        packed = zlib.compressobj(wbits=_WBITS)
        partial.write_bytes(packed.compress(text) + packed.flush())
        partial.replace(self.path)
        old, self._fd = self._fd, self._opened()
        os.close(old)
        os.lseek(self._fd, 0, os.SEEK_END)

    def append(self, record: Record) -> None:
        line = encode(record)
        self._write(self._pack.compress(line) + self._pack.flush(zlib.Z_SYNC_FLUSH) if self._pack else line)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as e:
            self._pack = None  # what lacks a piece is not continued
            raise RunError(f"a result could not be written: {e.strerror}", place=Place(self.path)) from None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._pack:
                self._write(self._pack.flush())
        finally:
            os.close(self._fd)
