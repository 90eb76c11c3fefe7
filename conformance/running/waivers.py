"""Failures that somebody answers for: a YAML list of engine, case, owner, reason and expiry date.

- engine: my_engine.adapter:engine
  case: hooks/*              # a case's name, a chapter or a glob
  owner: jane@example.org
  reason: hooks run in reverse order; see issue 12
  expires: 2027-01-31        # the last day on which the waiver holds
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from conformance.errors import KitError, Place, UsageError
from conformance.records import FAILING, Result

FIELDS = ("engine", "case", "owner", "reason", "expires")


class WaiverErrors(UsageError):
    """Everything that is wrong with a waivers file, each with its place."""

    def __init__(self, errors: Iterable[KitError]) -> None:
        super().__init__("\n".join(str(e) for e in errors))


@dataclass(frozen=True)
class Waiver:
    """One entry of a waivers file."""

    engine: str
    case: str
    owner: str
    reason: str
    expires: datetime.date

    def covers(self, result: Result) -> bool:
        chapter = result.case.rpartition("/")[0]
        return self.engine == result.engine and (self.case == chapter or fnmatchcase(result.case, self.case))


@dataclass
class Waivers:
    """The waivers of a run; `used` are those that covered any result, passing or not."""

    waivers: tuple[Waiver, ...] = ()
    today: datetime.date = field(default_factory=datetime.date.today)
    used: set[Waiver] = field(default_factory=set)

    @property
    def unused(self) -> list[Waiver]:
        """Waivers that covered no result of the run: a name that no longer exists, or was not selected."""
        return [w for w in self.waivers if w not in self.used]

    def apply(self, result: Result) -> Result:
        """Turns a failure that a waiver covers into `waived`; says where one has expired or is no longer needed."""
        waiver = next((w for w in self.waivers if w.covers(result)), None)
        if waiver is None:
            return result
        self.used.add(waiver)
        if result.verdict in FAILING:
            if waiver.expires < self.today:
                result.reason = f"the waiver of {waiver.owner} expired on {waiver.expires}: {waiver.reason}"
            else:
                result.waived, result.verdict = result.verdict, "waived"
                result.reason = f"{waiver.owner}, until {waiver.expires}: {waiver.reason}"
        elif result.verdict == "pass":
            result.reason = f"passes; the waiver of {waiver.owner} is no longer needed: {waiver.reason}"
        return result


def load(path: Path | str) -> Waivers:
    """Reads a waivers file. Raises WaiverErrors with file, line and column of every mistake."""
    from conformance.spec import reading

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        raise UsageError(f"the waivers cannot be read: {reason}", place=Place(path)) from None
    document = reading.read(text, path)
    errors: list[KitError] = [*document.errors]
    found = []
    if not errors and not isinstance(document.value, list):
        errors.append(UsageError("waivers are a list", place=Place(path, 1, 1), hint=f"each with {', '.join(FIELDS)}"))
    if not errors:
        for number, entry in enumerate(document.value):
            wrong = _mistakes(entry)
            errors += [
                UsageError(what, place=document.place((number, name) if name else (number,), key=bool(name)))
                for name, what in wrong
            ]
            if not wrong:
                fields = entry | {"expires": datetime.date.fromisoformat(entry["expires"])}
                found.append(Waiver(**fields))
    if errors:
        raise WaiverErrors(errors)
    return Waivers(tuple(found))


def _mistakes(entry: Any) -> list[tuple[str, str]]:
    """(field, what is wrong with it) for one entry."""
    if not isinstance(entry, dict):
        return [("", f"a waiver is a mapping with {', '.join(FIELDS)}")]
    wrong = [(name, f"a waiver has no field {name}") for name in entry if name not in FIELDS]
    wrong += [("", f"this waiver has no {name}") for name in FIELDS if name not in entry]
    for name in FIELDS:
        if name in entry and not (isinstance(entry[name], str) and entry[name].strip()):
            wrong.append((name, f"{name} is a text that is not empty"))
    if not wrong:
        try:
            datetime.date.fromisoformat(entry["expires"])
        except ValueError:
            wrong.append(("expires", f"expires is a date such as 2027-01-31, not {entry['expires']}"))
    return wrong
