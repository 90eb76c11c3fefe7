"""Small faults of derivatives are noticed at any number of elements, and correct operators are not accused."""

from __future__ import annotations

import pytest

from conformance.engines import available

from .planting import FAULTS_PLANTED
from .table import SIZES, accused, detection

DTYPES = ["float32", "float16", "bfloat16"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", FAULTS_PLANTED, ids=lambda fault: fault.name)
def test_every_planted_fault_is_caught(fault, size):
    """In every operator that it is planted in a check fails, by its own assertions."""
    [found] = detection(size, [fault])
    assert len(found.planted) >= 3
    assert found.missed == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_no_correct_operator_is_accused(engine, size):
    """The control: without a fault every check holds, in float16 and bfloat16 too."""
    if not available(engine):
        pytest.skip(f"{engine} is not installed")
    assert accused(size, engine, DTYPES) == []
