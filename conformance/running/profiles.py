"""Profiles: the named, fixed sets of cases in spec/profiles.yaml."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from conformance.errors import SpecError, SpecErrors, UsageError
from conformance.spec import Specification, reading

FILE = "profiles.yaml"
FIELDS = {"name", "title", "description", "cases", "except"}


def select(whole: Specification, name: str) -> Specification:
    """The cases of a profile, in the specification's order.

    Raises UsageError for an unknown name, SpecErrors with line and column for what is wrong in the file.
    """
    path = whole.root / FILE
    document = _read(path)
    names = [profile["name"] for profile in document.value["profiles"]]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
        raise UsageError(f"there is no profile {name}", hint=hint)
    number = names.index(name)
    chosen, errors = [set[str](), set[str]()], []
    for found, field in zip(chosen, ("cases", "except"), strict=True):
        for index, pattern in enumerate(document.value["profiles"][number].get(field, ())):
            try:
                found |= {case.name for case in whole.select([pattern]).cases}
            except UsageError as e:
                errors.append(SpecError(e.what, place=document.place(("profiles", number, field, index)), hint=e.hint))
    if errors:
        raise SpecErrors(errors)
    return whole.select(sorted(chosen[0] - chosen[1]))


def _read(path: Path) -> reading.Document:
    try:
        document = reading.read(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"the profiles cannot be read from {path}: {e}") from None
    errors = document.errors or [SpecError(w, place=document.place(route)) for route, w in _mistakes(document.value)]
    if errors:
        raise SpecErrors(errors)
    return document


def _mistakes(value: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """(where, what) is wrong with the shape of the file."""
    if not isinstance(value, dict) or not isinstance(value.get("profiles"), list):
        return [((), "a profiles file is a mapping with a list `profiles`")]
    wrong: list[tuple[tuple[str | int, ...], str]] = []
    for number, profile in enumerate(value["profiles"]):
        here = ("profiles", number)
        if not isinstance(profile, dict) or not isinstance(profile.get("name"), str):
            wrong.append((here, "a profile is a mapping with a name"))
            continue
        wrong += [((*here, field), f"a profile has no field {field}") for field in profile.keys() - FIELDS]
        for field in ("cases", "except"):
            patterns = profile.get(field, [])
            if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
                wrong.append(((*here, field), f"{field} is a list of patterns"))
        if not profile.get("cases"):
            wrong.append((here, "a profile names cases"))
    return wrong
