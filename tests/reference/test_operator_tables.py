"""The reference keeps what the tables of operators say: written values and gradients, and every derived check."""

from __future__ import annotations

import pytest

from conformance.engines import load as load_engine
from conformance.language import execute
from conformance.spec import load

CASES = [case for case in load().cases if case.chapter.startswith("ops.") and case.pending is None]


@pytest.mark.parametrize("family", sorted({case.chapter for case in CASES}))
def test_every_check_of_a_family_holds(family: str) -> None:
    """By its own assertions, which need no other engine."""
    engine, wrong = load_engine("reference"), []
    for case in CASES:
        if case.chapter == family:
            end = execute(case, engine, alone=True)
            if end.error is not None or end.missing or not all(o.agrees for o in end.observations):
                wrong.append(case.name)
    assert wrong == []
