"""The records of a result file, which is one JSON object per line. `conformance.results` reads and writes it.

A header (`run`), the cases looked at (`case`: claim, source, program, so that a result file can be shown without the
specification at hand), one `result` per case and engine, and a `summary`. A file without its summary is an unfinished
run. Numbers that JSON lacks are written as the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

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
    """A case as a report shows it.

    check: of a case that a table of operators gives, whose name is `chapter/operator[sample,check]`.
    """

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
    check: str = ""


EQUAL = "=="
"""The kind of most observations. Defaults are left out where they are this very object: a struct is not asked for equality."""


class Observed(msgspec.Struct, omit_defaults=True):
    """One observation as it is shown; the values are JSON values, a tensor is {"dtype", "shape", "value"}.

    `expected` is left out of an equality that holds: it is `value`, within the tolerance.
    """

    line: int
    what: str
    value: Any
    expected: Any = None
    kind: str = EQUAL
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


class Result(msgspec.Struct, tag_field="kind", tag="result", omit_defaults=True):
    """One case on one engine.

    verdict: as in the verdict table of docs/results-format.md. "departs" is torch breaking a claim that the case says
        torch is known to break (`torch_departs`): neither a pass nor a failure, counted and listed apart.
    departs: torch breaks a written expectation; "expected" where the case says so (`torch_departs`), "found" where it
        does not (the verdict is then fail or error); "no-longer" where the case says so and torch keeps the claim.
    oracle: the engine whose final state was compared with, None where there was none.
    state, digest: the final state by variable; of a pass, which has the oracle's within the tolerance, a digest of its
        bits only, by which two runs are compared.
    rules: (node, its derivative rules as text) of what made the result of a table's operator, where the engine tells.
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
    digest: str | None = None
    rules: list[tuple[str, list[str]]] = msgspec.field(default_factory=list)
    waived: Verdict | None = None


class Summary(msgspec.Struct, tag_field="kind", tag="summary"):
    """Counts per engine and verdict. Its presence says that the run was finished."""

    counts: dict[str, dict[str, int]]
    seconds: float = 0.0


Record = Run | CaseInfo | Result | Summary
