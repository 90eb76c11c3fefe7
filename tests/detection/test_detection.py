"""Small faults of derivatives are noticed at any number of elements, and correct operators are not accused."""

from __future__ import annotations

import dataclasses

import pytest

from conformance.engines import available

from .planting import FAULTS_PLANTED
from .table import SIZES, accused, detection, gradchecked

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


@pytest.mark.parametrize(("size", "missed"), [(10, []), (1000, ["elementwise_unary-exp"])])
def test_fast_gradcheck_misses_one_element_of_a_thousand(size, missed):
    """What docs/detection-power.md says, of the reference's gradcheck; torch's says the same of the same fault."""
    one = FAULTS_PLANTED[0]
    exp = dataclasses.replace(one, subjects=[subject for subject in one.subjects if subject.op == "exp"])
    [found] = gradchecked(size, True, [exp])
    assert (found.planted, found.missed) == (["elementwise_unary-exp"], missed)
    torch = pytest.importorskip("torch")

    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.exp())
            return x.exp()

        @staticmethod
        def backward(ctx, g):
            [value] = ctx.saved_tensors
            factor = torch.ones_like(value)
            factor[value.argmax()] = 1.1
            return g * value * factor

    x = torch.linspace(-1, 1, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Exp.apply, (x,), fast_mode=True, raise_exception=False) is bool(missed)
    if size == 10:
        assert not torch.autograd.gradcheck(Exp.apply, (x,), raise_exception=False)
