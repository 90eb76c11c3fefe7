"""The list of operators (spec/inventory/operators.csv), and which of them the tables show.

A row is `entry,family,tier,complex,forward,left_out`: a name, or name:variant, of an operator that PyTorch lists as
differentiable; the table that it belongs into; 1 everyday, 2 the rest of the public interface, 3 sparse, fused, private
and copies; whether torch differentiates it with complex numbers and in forward mode; why no table has it, or nothing.
"""

from __future__ import annotations

import csv
import difflib
import io
from dataclasses import dataclass
from pathlib import Path

from conformance.case import Case
from conformance.errors import Place, SpecError, SpecErrors

from .. import root as roots
from ..specification import Specification

FILE = "inventory/operators.csv"
COLUMNS = ["entry", "family", "tier", "complex", "forward", "left_out"]
TIERS = ("1", "2", "3")


@dataclass(frozen=True)
class Entry:
    """One row. `line` is where it stands."""

    name: str
    family: str
    tier: int
    complex: bool
    forward: bool
    left_out: str
    line: int

    @property
    def path(self) -> str:
        """The name without its variant: a path below torch, or a tensor's method."""
        return self.name.partition(":")[0].removeprefix("torch.")


def entries(root: Path) -> tuple[Entry, ...]:
    """All rows below `root`; none where there is no list. Raises SpecErrors."""
    path = root / FILE
    if not path.is_file():
        return ()
    reader = csv.reader(io.StringIO(roots.read_bytes(path).decode(errors="replace")))
    found: dict[str, Entry] = {}
    errors = []
    if next(reader, None) != COLUMNS:
        raise SpecErrors([SpecError(f"the columns are {','.join(COLUMNS)}", place=Place(path, 1))])
    for row in reader:
        line = reader.line_num
        if len(row) != len(COLUMNS) or row[2] not in TIERS or not {*row[3:5]} <= {"0", "1"}:
            errors.append(SpecError(f"no row of this list: {','.join(row)}", place=Place(path, line)))
        elif row[0] in found:
            errors.append(SpecError(f"'{row[0]}' is here twice", place=Place(path, line)))
        else:
            name, family, tier, is_complex, forward, left_out = row
            found[name] = Entry(name, family, int(tier), is_complex == "1", forward == "1", left_out, line)
    if errors:
        raise SpecErrors(errors)
    return tuple(found.values())


def specified(specification: Specification) -> dict[str, list[Case]]:
    """The cases of each entry that a table shows."""
    found: dict[str, list[Case]] = {}
    for case in specification.cases:
        for name in case.entries:
            found.setdefault(name, []).append(case)
    return found


def mistakes(specification: Specification) -> tuple[SpecError, ...]:
    """What tables say of the list that is not so: an entry that it lacks, or that it has in another family."""
    known = {entry.name: entry for entry in entries(specification.root)}
    found = []
    for name, cases in specified(specification).items():
        place = Place(cases[0].file, cases[0].line)
        entry = known.get(name)
        if entry is None:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else "an operator of none says entries: []"
            found.append(SpecError(f"shows {name}, which is no row of {FILE}", place=place, hint=hint))
        elif entry.left_out:
            found.append(SpecError(f"shows {name}, which {FILE} leaves out: {entry.left_out}", place=place))
        elif cases[0].chapter != f"ops.{entry.family}":
            hint = f"move it to ops/{entry.family}.yaml, or change {FILE}:{entry.line}"
            found.append(SpecError(f"shows {name}, which belongs to {entry.family}", place=place, hint=hint))
    return tuple(found)
