"""A case of the specification, checked and ready to run. Plain data: it can be cached and sent to a worker."""

from __future__ import annotations

from typing import Any

import msgspec


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """Drawn data: made once by NumPy's Philox generator and handed to every engine bit for bit.

    The distribution "literal" is written data: `data` has the elements in C order, complex numbers and NaN
    (which is not equal to itself) as text.
    """

    name: str
    distribution: str
    shape: tuple[int, ...]
    seed: int
    dtype: str = "float32"
    parameters: dict[str, float] = {}
    requires_grad: bool = False
    data: tuple[bool | int | float | str, ...] = ()


class Tolerance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Widens the default of the dtype, for a stated reason.

    `relative_l2` compares a tensor as a whole (||a - b|| / ||b||) instead of element by element.
    """

    reason: str
    rtol: float | None = None
    atol: float | None = None
    relative_l2: float | None = None


class Site(msgspec.Struct, frozen=True):
    """A place in the program that makes observations; `text` is the source of its left side.

    drop_in: it looks at an error's type or message, by which only drop-in engines are judged.
    """

    line: int
    column: int
    kind: str
    text: str
    drop_in: bool = False


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """One documented behaviour and the program that shows it.

    chapter/id name it. `line` is where the case starts in `file` (relative to the spec's root), `program_line` where
    the first line of its program stands, so that a program's line n is line program_line + n - 1 of the file.
    requires: torch paths read from the program's syntax tree ("tensor", "autograd.grad"), what an engine must spell.
    code: the lowered program, marshalled; `sites` describes its observation sites by number.
    parameters: this case's point in the `with` cross product, by name (already bound into the program's globals).
    entries: rows of the list of operators that it shows. A case that a table of operators gives has the program that
    its template makes, in no file: program_line is then where the sample stands.
    """

    chapter: str
    id: str
    claim: str
    source: str
    program: str
    file: str
    line: int
    program_line: int
    requires: tuple[str, ...] = ()
    code: bytes = b""
    sites: tuple[Site, ...] = ()
    covers: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    device: str | None = None
    tolerance: Tolerance | None = None
    given: tuple[Given, ...] = ()
    parameters: dict[str, Any] = {}
    kink: bool = False
    torch_departs: str | None = None
    pending: str | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """The case's full name, unique in the specification."""
        return f"{self.chapter}/{self.id}"

    @property
    def check(self) -> str:
        """Of a case that a table of operators gives, `operator[sample,check]`, the check; else empty."""
        return self.id.rstrip("]").rpartition(",")[2] if self.entries else ""
