"""Planting every fault in every operator at a number of elements, and counting."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from conformance.case import Case
from conformance.engines import Engine, load
from conformance.language import execute
from reference_engine.autograd import gradcheck, gradgradcheck

from .planting import FAULTS_PLANTED, Planted, applied, function_of, node_of
from .samples import BROADCAST, SUBJECTS, TIES, cases

SIZES = (10, 100, 1000)
SECOND = ("constant", "no-second")  # faults that only a derivative of the gradient shows


class Found(NamedTuple):
    """Of a fault at a size: the operators in which it was planted, and those where no check failed."""

    fault: str
    size: int
    planted: list[str]
    missed: list[str]


def fails(case: Case, engine: Engine) -> bool:
    """Whether a check does not hold on the engine, by its own assertions: no oracle takes part."""
    end = execute(case, engine)
    assert not end.missing, f"{case.name}: {end.missing}"
    return end.error is not None or not all(o.agrees for o in end.observations)


def detection(size: int, faults: Iterable[Planted] = FAULTS_PLANTED) -> Iterator[Found]:
    """Each fault in each of its operators."""
    engine = load("reference")
    for fault in faults:
        checks = _cases(fault.subjects, size)
        missed = []
        for name, own in checks.items():
            with applied(fault, node_of(next(c for c in own if c.id.endswith((",vjp]", ",gradient]"))))):
                if not any(fails(case, engine) for case in own):
                    missed.append(name)
        yield Found(fault.name, size, list(checks), missed)


def gradchecked(size: int, fast: bool, faults: Iterable[Planted] = FAULTS_PLANTED) -> Iterator[Found]:
    """The same, asked of gradcheck: the reference's, which compares what torch's compares; gradgradcheck where the fault
    is one of second derivatives. Not where elements lie at a kink, since there it accuses correct operators too.
    """
    for fault in faults:
        if fault.name == "ties":
            continue
        wanted = "complex" if fault.name == "conjugate" else "vjp"
        checks = {name: next(c for c in own if c.id.endswith(f",{wanted}]"))
                  for name, own in _cases(fault.subjects, size).items()}  # fmt: skip
        check = gradgradcheck if fault.name in SECOND else gradcheck
        missed = []
        for name, case in checks.items():
            function, arguments = function_of(case)
            inputs = tuple(x for x in arguments if x.requires_grad)
            assert len(inputs) == len(arguments)
            with applied(fault, node_of(case)):
                if check(function, inputs, fast_mode=fast, raise_exception=False, check_undefined_grad=False):
                    missed.append(name)
        yield Found(fault.name, size, list(checks), missed)


def accused(size: int, engine: str, dtypes: list[str]) -> list[str]:
    """Checks of correct operators that fail, in the derivatives' own dtypes and in coarser ones."""
    loaded = load(engine)
    every = [*SUBJECTS, *TIES, *(s._replace(family=f"{s.family}-broadcast") for s in BROADCAST)]
    return [case.id for own in _cases(every, size, dtypes).values() for case in own if fails(case, loaded)]


def _cases(subjects: list, size: int, dtypes: list[str] | None = None) -> dict[str, list[Case]]:
    with tempfile.TemporaryDirectory() as folder:
        return cases(Path(folder), subjects, size, dtypes)
