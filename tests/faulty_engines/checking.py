"""Which cases catch which fault: the specification run in this process on the patched reference.

Outcomes of the unpatched reference serve as the oracle, so no torch is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import reference_engine
from conformance import spec
from conformance.case import Case
from conformance.engines.reference import ReferenceEngine
from conformance.language import execute
from conformance.outcome import Outcome
from conformance.records import EngineInfo
from conformance.running.judge import judge, usable
from tests.faulty_engines import Fault

CAUGHT = frozenset({"fail", "error"})
SLOW = frozenset({"resnet18"})  # whole networks, half a second each: tried on faults of their own


def load() -> list[Case]:
    """The cases that faults are tried on: those of a CPU, but for tables of operators, whose checks have faults of their
    own in tests/detection, and for whole networks at batch 1."""
    chosen = [case for case in spec.load().cases if case.device is None and case.pending is None]
    return [case for case in chosen if not case.chapter.startswith("ops.") and not (
        case.chapter in SLOW and "[1" in case.name)]  # fmt: skip


def engine() -> ReferenceEngine:
    """The reference as it is now, patched or not."""
    return ReferenceEngine(reference_engine, name="reference", drop_in=True)


def outcomes(cases: list[Case]) -> dict[str, Outcome]:
    """What every case leaves behind on the engine as it is."""
    subject = engine()
    return {case.name: execute(case, subject) for case in cases}


def catching(fault: Fault, cases: list[Case], oracle: dict[str, Outcome]) -> Iterator[str]:
    """The names of the cases that catch a fault, in the order tried: its own chapter first."""
    chosen = [case for case in cases if case.chapter not in SLOW or case.chapter == fault.chapter]
    ordered = sorted(chosen, key=lambda case: case.chapter != fault.chapter)
    for case in ordered:
        with fault.applied(), warnings.catch_warnings():
            verdict = verdict_of(case, oracle.get(case.name))
        if verdict in CAUGHT:
            yield case.name


def verdict_of(case: Case, oracle: Outcome | None) -> str:
    """The verdict of a case on the engine as it is now."""
    end = execute(case, engine())
    against = oracle if usable(oracle) else None
    return judge(case, end, against, EngineInfo("reference", "", "cpu", True), "the unpatched reference").verdict
