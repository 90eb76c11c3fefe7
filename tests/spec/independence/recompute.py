"""Cases run with every derivative recomputed, and the written expectations held against what came out."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import reference_engine
from conformance.case import Case, Tolerance
from conformance.engines.reference import ReferenceEngine
from conformance.language import execute
from conformance.language.observe import Recorder
from conformance.outcome import Outcome
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch
from tests.spec.independence.following import LARGE, Follower, Gradient, Shadow
from tests.spec.independence.patches import followed
from tests.spec.independence.trace import lifted

DIFFERENCES = "the program takes differences itself"
TAKING = re.compile(r"\bnumerical_[jv][jv]?p\b")  # words of the program language
ASKING = re.compile(
    r"backward|grad\(|\.grad\b|autograd|func|vjp|jvp|jac|hess|step\("
)  # who asks for derivatives says so
FORWARD = "derivatives by forward mode"
FORWARDS = re.compile(r"forward_ad|fwAD|jvp|jacfwd")
COMPARING = frozenset({"==", "same", "identical"})
# Relative and absolute: float32's, also for float64, whose differences are not better by much; the narrow types' own.
TOLERANCES = {
    "float16": (4e-3, 1e-3), "complex32": (4e-3, 1e-3), "bfloat16": (3.2e-2, 8e-3),
    "float8_e4m3fn": (0.25, 0.0625), "float8_e5m2": (0.5, 0.125),
}  # fmt: skip
DEFAULT = (1e-5, 1e-6)


@dataclass(frozen=True)
class Finding:
    """A written expectation beside the recomputed value. reasons: why they may differ."""

    line: int
    text: str
    expected: Any
    recomputed: Any
    agrees: bool
    reasons: frozenset[str]


@dataclass
class Report:
    """What came of one case."""

    case: Case
    findings: list[Finding] = field(default_factory=list)
    passes: int = 0
    large: bool = False
    differs_itself: bool = False  # it compares with differences that it takes itself, and was not run
    broken: tuple[str, ...] = ()  # how the program ended otherwise than it does when nobody follows it
    gradients: list[Gradient] = field(default_factory=list)
    compared: int = 0  # assertions that compare values, on a derivative or not

    @property
    def wrong(self) -> list[Finding]:
        """Expectations that are not what was recomputed, and have no reason not to be."""
        return [f for f in self.findings if not f.agrees and not f.reasons]

    @property
    def recomputed(self) -> bool:
        """Whether at least one expectation was recomputed and none is wrong."""
        return any(f.agrees for f in self.findings) and not self.wrong

    @property
    def chained(self) -> bool:
        """Whether no expectation was recomputed, but every gradient was from which the program's values come."""
        return not self.findings and bool(self.gradients) and all(g.agrees for g in self.gradients)

    @property
    def astray(self) -> list[Gradient]:
        """Gradients of the reference that are not what was recomputed, and have no reason not to be."""
        return [g for g in self.gradients if not g.agrees and not g.reasons and not self.case.kink]

    @property
    def why_not(self) -> str:
        """Why no expectation of this case was recomputed."""
        if self.differs_itself:
            return DIFFERENCES
        if self.large:
            return LARGE
        if self.findings:
            return " and ".join(sorted(frozenset().union(*(f.reasons for f in self.findings))))
        if not self.passes:
            return FORWARD if FORWARDS.search(self.case.program) else "no derivative is computed"
        return "no tensor of a derivative is compared" if self.compared else "no value is compared"

    def complaints(self) -> Iterator[str]:
        """A line for each wrong expectation: case, place, what is written, what was recomputed."""
        for f in self.wrong:
            place = f"{self.case.file}:{self.case.program_line + f.line - 1}"
            yield f"{self.case.name} ({place}): {f.text} is written as {f.expected}, recomputed as {f.recomputed}"
        yield from (f"{self.case.name}, followed: {text}" for text in self.broken)
        for g in self.astray:
            yield f"{self.case.name}: the reference gives a gradient {g.given.tolist()}, recomputed as {g.recomputed.tolist()}"


def recompute(cases: Sequence[Case]) -> list[Report]:
    """Runs cases on the reference, and recomputes."""
    engine = ReferenceEngine(reference_engine, name="reference", drop_in=True)
    reports: list[Report] = []
    with followed() as current, _observed(current, reports):
        for case in cases:
            current[0] = Follower()
            reports.append(Report(case, differs_itself=TAKING.search(case.program) is not None))
            if reports[-1].differs_itself or not ASKING.search(case.program):
                continue
            outcome = execute(case, engine)
            reports[-1].broken = () if current[0].large else tuple(_broken(outcome, reports[-1]))
            reports[-1].passes, reports[-1].large = current[0].passes, current[0].large
            reports[-1].gradients = current[0].gradients
    for report in reports:
        if report.broken and tuple(_broken(execute(report.case, engine), report)):
            report.broken = ()  # nor does it hold unfollowed: then it is the engine's
    return reports


def _broken(outcome: Outcome, report: Report) -> Iterator[str]:
    lines = {f.line for f in report.wrong}
    if outcome.error is not None:
        yield f"{outcome.error.type}: {outcome.error.message}"
    yield from (f"{o.what} in line {o.line} does not hold" for o in outcome.observations
                if not o.agrees and o.line not in lines)  # fmt: skip


class _observed(Patch):
    """Assertions that compare values hold them against the recomputed ones."""

    def __init__(self, current: list[Follower], reports: list[Report]) -> None:
        super().__init__()
        link, same = Recorder.link, Recorder.same

        def link_followed(self: Recorder, site: int, left: Any, right: Any) -> bool:
            place = self.sites[site]
            if place.kind in COMPARING:
                note(place.line, place.text, left, right)
            return link(self, site, left, right)

        def same_followed(self: Recorder, left: Any, right: Any) -> bool:
            note(sys._getframe(1).f_lineno, "same(...)", left, right)
            return same(self, left, right)

        def note(line: int, text: str, left: Any, right: Any) -> None:
            reports[-1].compared += 1
            found = finding(current[0], reports[-1].case, line, text, left, right)
            if found is not None:
                reports[-1].findings.append(found)

        self.set(Recorder, "link", link_followed)
        self.set(Recorder, "same", same_followed)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        self.undo()


def finding(follower: Follower, case: Case, line: int, text: str, left: Any, right: Any) -> Finding | None:
    """What a comparison says of a recomputed value; None where it looks at none."""
    tensors = [*_tensors(left), *_tensors(right)]
    shadows = [s for s in map(follower.shadows.get, tensors) if s is not None]
    if not shadows:
        return None
    values = _told(left, follower), _told(right, follower)
    noted = frozenset().union(*(s.reasons for s in shadows))
    narrow = noted & TOLERANCES.keys()
    agrees = _agree(*values, _tolerance(tensors, case.tolerance, narrow))
    reasons = noted - narrow
    if case.kink:
        reasons |= {"kink: true"}
    mine = any(follower.shadows.get(t) for t in _tensors(left))
    recomputed, expected = values if mine else values[::-1]
    return Finding(line, text, expected, recomputed, agrees, reasons)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _told(value: Any, follower: Follower) -> Any:
    """A value with recomputed arrays in the place of tensors."""
    if isinstance(value, Tensor):
        shadow: Shadow | None = follower.shadows.get(value)
        return shadow.value if shadow else lifted(value._array)
    if isinstance(value, dict):
        return {k: _told(v, follower) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(v, follower) for v in value]
    return value


def _tolerance(tensors: Sequence[Tensor], wider: Tolerance | None, narrow: frozenset[str]) -> tuple[float, float]:
    names = [str(t.dtype).removeprefix("torch.") for t in tensors]
    found = [TOLERANCES.get(name, DEFAULT) for name in (*names, *narrow)]
    relative, absolute = max((f[0] for f in found), default=0), max((f[1] for f in found), default=0)
    if wider is None:
        return relative, absolute
    return max(relative, wider.rtol or wider.relative_l2 or 0), max(absolute, wider.atol or 0)


def _agree(a: Any, b: Any, tolerance: tuple[float, float]) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_agree(a[k], b[k], tolerance) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_agree(x, y, tolerance) for x, y in zip(a, b, strict=True))
    try:
        arrays = np.asarray(a), np.asarray(b)
    except ValueError:
        return False
    if arrays[0].shape != arrays[1].shape:
        return False
    if any(x.dtype.kind not in "biufc" for x in arrays):
        return a is b or a == b
    bound = tolerance[1] + tolerance[0] * np.maximum(*np.abs(arrays))
    with np.errstate(invalid="ignore"):
        close = np.abs(arrays[0] - arrays[1]) <= bound
    return bool(np.all(close | (arrays[0] == arrays[1]) | (np.isnan(arrays[0]) & np.isnan(arrays[1]))))


def tally(reports: Sequence[Report]) -> Counter[str]:
    """How many cases were not recomputed, by reason."""
    return Counter(report.why_not for report in reports if not report.recomputed and not report.wrong)
