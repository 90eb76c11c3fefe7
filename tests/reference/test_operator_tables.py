"""The reference keeps what the tables of operators say: written values and gradients, and every derived check."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from conformance.case import Case
from conformance.engines import load as load_engine
from conformance.language import execute
from conformance.spec import load

CASES = [case for case in load().cases if case.chapter.startswith("ops.") and case.pending is None]
FAMILIES = sorted({case.chapter for case in CASES})
FIRST = {}  # the first sample of each operator
for case in CASES:
    FIRST.setdefault((case.chapter, case.id.partition("[")[0]), case.id.rpartition(",")[0])


def wrong(cases: Iterable[Case]) -> list[str]:
    """Those that do not hold, by their own assertions, which need no other engine."""
    engine, found = load_engine("reference"), []
    for case in cases:
        end = execute(case, engine, alone=True)
        if end.error is not None or end.missing or not all(o.agrees for o in end.observations):
            found.append(case.name)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_one_sample_of_each_operator_and_every_kink(family: str) -> None:
    """Every check of the first sample, and the written gradients of the others."""
    own = [case for case in CASES if case.chapter == family]
    first = [c for c in own if FIRST[family, c.id.partition("[")[0]] == c.id.rpartition(",")[0]]
    assert wrong([*first, *(case for case in own if case.id.endswith(",gradient]"))]) == []


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_check_of_a_family(family: str) -> None:
    """Every sample of every operator."""
    assert wrong(case for case in CASES if case.chapter == family) == []
