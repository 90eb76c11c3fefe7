"""From what a case left behind to a verdict, by the verdict table of docs/results-format.md.

Written expectations are judged where they stand: an observation says whether it agrees. What is compared here is the
rest: the final state, how often each assertion was reached, and dtype and shape of what assertions looked at, all
against the outcome of the oracle (torch where it is installed, else the reference).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from conformance.arrays import decode
from conformance.case import Case
from conformance.outcome import Measure, Observation, Outcome, Plain, TensorValue
from conformance.records import FAILING, Difference, EngineInfo, Result, Verdict
from conformance.running import shown
from conformance.running.process import Died
from conformance.running.states import States

REFERENCE, TORCH = "reference", "torch"
BUILT_IN = (REFERENCE, TORCH)
BLOCKING: frozenset[Verdict] = FAILING | {"blocked", "waived"}  # of a needed case: what needs it is blocked


def judge(case: Case, end: Outcome | Died, oracle: Outcome | None, engine: EngineInfo, against: str | None) -> Result:
    """The result of one case on one engine.

    oracle: the outcome of the engine named `against`; None where the engine is its own oracle or there is none usable.
    Needs and waivers are not looked at here: they concern more than one result.
    """
    result = Result(case.name, engine.name, engine.device, "pass", oracle=against if oracle is not None else None)
    if isinstance(end, Died):
        result.verdict, result.error, result.seconds = end.verdict, end.error, shown.seconds(end.seconds)
        if case.torch_departs and end.verdict == "crash":  # a timeout may be the machine's fault
            _who(case, engine, result, kept=False)
        return result
    result.seconds = shown.seconds(end.seconds)
    result.observed = [shown.observed(o) for o in end.observations]
    result.missing, result.rules = sorted(end.missing), end.rules
    result.differences = [_broken(case, o) for o in end.observations if not o.agrees]
    kept = not result.differences and end.error is None
    if end.error is not None:
        result.error = shown.error_info(end.error)
    elif oracle is not None and not end.missing:
        result.differences += _against(case, end, oracle, engine, against or "")
    result.verdict = _verdict(end, bool(result.differences))
    result.finding = next((d.finding for d in result.differences), None) if result.verdict == "fail" else None
    _who(case, engine, result, kept)
    if result.verdict == "pass":
        result.digest = shown.digest(end.state)
    else:
        result.state = {name: shown.shown(value) for name, value in end.state.items()}
    return result


def usable(end: Outcome | Died | None) -> bool:
    """Whether an outcome can be an oracle: the program ran to its end."""
    return isinstance(end, Outcome) and end.error is None and not end.missing


def blocked(case: Case, engine: EngineInfo, need: str) -> Result:
    """The result of a case that builds on a failing one. What it observed, if it ran, is not shown: it says nothing."""
    return Result(case.name, engine.name, engine.device, "blocked", reason=f"needs {need}, which does not pass")


def conforms(result: Result) -> bool:
    """Whether a result is one that a conforming engine may have. The built-in engines must spell every name."""
    return result.verdict not in FAILING and not (result.verdict == "unsupported" and result.engine in BUILT_IN)


def _verdict(end: Outcome, differs: bool) -> Verdict:
    if end.missing and all(o.agrees or o.error is not None for o in end.observations):
        return "unsupported"  # a wrong value seen before a name was missed is a wrong value all the same
    if end.error is not None:
        return "error"
    first = next((o for o in end.observations if not o.agrees), None)
    if first is not None and first.error is not None:
        return "error"
    return "fail" if differs else "pass"


def _who(case: Case, engine: EngineInfo, result: Result, kept: bool) -> None:
    """Says whose fault it is: torch departing from its documentation, a reference that does not do this yet."""
    if engine.name == TORCH and result.verdict != "unsupported":
        if not kept:
            result.departs = "expected" if case.torch_departs else "found"
            result.reason = case.torch_departs or "torch departs from its documentation"
            if case.torch_departs:
                result.verdict = "departs"
        elif case.torch_departs:
            result.departs = "no-longer"
            result.reason = f"torch no longer departs here; the case says: {case.torch_departs}"
    elif engine.name == REFERENCE and case.pending:
        if result.verdict == "pass":
            result.reason = f"passes; the case is still marked pending: {case.pending}"
        else:
            result.verdict, result.reason = "pending", case.pending
    elif engine.name == REFERENCE and result.verdict == "fail" and kept:
        result.reason = f"the reference differs from {result.oracle}"


def _broken(case: Case, seen: Observation) -> Difference:
    """A written expectation that does not hold."""
    return Difference(
        where=seen.what if seen.note is None else f"{seen.what} ({seen.note})",
        line=seen.line,
        expected=shown.shown(seen.expected),
        observed=seen.error if seen.error is not None else shown.shown(seen.value),
        finding=_finding(case, seen.finding or "semantics", seen.value, seen.expected),
        **_figures(seen.measure),
    )


def _finding(case: Case, finding: str, value: Plain, expected: Plain) -> str:
    """At a kink a NaN where a finite subgradient exists has a name of its own."""
    if case.kink and finding == "wrong" and _has_nan(value) and not _has_nan(expected):
        return "nan-at-kink"
    return finding


def _has_nan(value: Plain) -> bool:
    if isinstance(value, TensorValue):
        return bool(np.isnan(decode(value)).any())
    return isinstance(value, float) and value != value


def _figures(measure: Measure | None) -> dict[str, Any]:
    if measure is None:
        return {}
    index = None if measure.index is None else list(measure.index)
    return {"max_abs": measure.max_abs, "max_rel": measure.max_rel, "ulps": measure.ulps, "index": index}


def _against(case: Case, end: Outcome, oracle: Outcome, engine: EngineInfo, against: str) -> Iterator[Difference]:
    """What differs from the oracle beyond the written expectations."""
    values = not (case.torch_departs or end.random or oracle.random or not all(o.agrees for o in oracle.observations))
    if all(o.agrees for o in end.observations):
        yield from _reached(case, end, oracle, against)
    yield from _looked_at(end, oracle, against)
    for found in States(case.tolerance, values, engine.drop_in).differ(end.state, oracle.state):
        yield Difference(
            where=found.where,
            line=0,
            expected=shown.shown(found.expected),
            observed=shown.shown(found.observed),
            finding=_finding(case, found.finding, found.observed, found.expected),
            against=against,
            **_figures(found.measure),
        )


def _reached(case: Case, end: Outcome, oracle: Outcome, against: str) -> Iterator[Difference]:
    """Assertions that were reached more or less often: a hook that never ran is a difference."""
    ours, theirs = (Counter(o.site for o in outcome.observations) for outcome in (end, oracle))
    for site in sorted(ours.keys() | theirs.keys()):
        if ours[site] != theirs[site]:
            place = case.sites[site]
            yield Difference(
                where=f"times reached: {place.text}",
                line=place.line,
                expected=theirs[site],
                observed=ours[site],
                finding="semantics",
                against=against,
            )


def _looked_at(end: Outcome, oracle: Outcome, against: str) -> Iterator[Difference]:
    """dtype and shape of what an assertion looked at, where it looked at a tensor on both engines."""
    theirs = {(o.site, o.iteration): o for o in oracle.observations}
    for seen in end.observations:
        other = theirs.get((seen.site, seen.iteration))
        if other is None or not (isinstance(seen.value, TensorValue) and isinstance(other.value, TensorValue)):
            continue
        for what, finding in (("dtype", "dtype"), ("shape", "shape")):
            expected, observed = getattr(other.value, what), getattr(seen.value, what)
            if expected != observed:
                yield Difference(
                    where=f"{seen.what} ({what})",
                    line=seen.line,
                    expected=expected,
                    observed=observed,
                    finding=finding,
                    against=against,
                )
