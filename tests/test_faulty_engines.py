"""The specification catches every faulty engine, and accuses no faultless one."""

from __future__ import annotations

import gc

import pytest

import reference_engine
from conformance.engines import load as load_engine
from tests.faulty_engines import FAULTS
from tests.faulty_engines.checking import CAUGHT, catching, load, outcomes, verdict_of


@pytest.fixture(scope="module")
def cases():
    """What other tests left on the heap is frozen meanwhile: cases collect garbage, thousands of times here."""
    gc.collect()
    gc.freeze()
    yield load()
    gc.unfreeze()


@pytest.fixture(scope="module")
def oracle(cases):
    return outcomes(cases)


def caught(fault, cases, oracle):
    """At least one case fails on a fault; the cases of its own chapter are tried first."""
    assert next(catching(fault, cases, oracle), None) is not None, f"not caught: {fault.mistake}"


def faults(start, end):
    """The faults of the chapters from letter `start` to letter `end`."""
    chosen = [fault for fault in FAULTS.values() if start <= fault.chapter[0] <= end]
    return pytest.mark.parametrize("fault", chosen, ids=lambda fault: f"{fault.chapter}/{fault.name}")


class TestChaptersAToN:
    """A class is what one process runs (`--dist loadscope`): these are half of the work."""

    @faults("a", "n")
    def test_every_fault_is_caught(self, fault, cases, oracle):
        caught(fault, cases, oracle)


class TestChaptersOToZ:
    """The other half."""

    @faults("o", "z")
    def test_every_fault_is_caught(self, fault, cases, oracle):
        caught(fault, cases, oracle)


def test_the_faultless_reference_is_caught_by_no_case(cases, oracle):
    """The control: without a fault nothing is caught, so what is caught above is the fault's doing."""
    accused = [case.name for case in cases if verdict_of(case, oracle[case.name]) in CAUGHT]
    assert accused == []


def test_a_fault_is_taken_back(cases, oracle):
    """After every fault was planted and removed, every assertion ends as before."""
    for fault in FAULTS.values():
        with fault.applied():
            pass
    again = outcomes(cases)
    changed = [name for name, end in again.items() if _ends(end) != _ends(oracle[name])]
    assert changed == []


def _ends(end):
    return [(o.site, o.iteration, o.agrees) for o in end.observations], end.missing, end.error is None


def test_faults_are_many_and_realistic():
    """There are at least fifteen, of at least nine chapters, and each says its mistake in one sentence."""
    assert len(FAULTS) >= 15
    assert len({fault.chapter for fault in FAULTS.values()}) >= 9
    assert all("a" <= fault.chapter[0] <= "z" for fault in FAULTS.values())
    assert all(fault.mistake.endswith(".") and "\n\n" not in fault.mistake for fault in FAULTS.values())


def test_a_fault_is_an_engine_for_the_command_line():
    """`tests.faulty_engines:NAME` gives an engine with the fault planted; here it is taken back by hand."""
    from tests.faulty_engines import patching

    planted = []
    original = patching.Patch.__init__

    def remember(self):
        original(self)
        planted.append(self)

    patching.Patch.__init__ = remember  # type: ignore[method-assign]
    try:
        engine = load_engine("tests.faulty_engines:detach_keeps_the_graph")
        assert engine.namespace is reference_engine
        x = reference_engine.ones(1, requires_grad=True)
        assert (x * 2).detach().requires_grad
    finally:
        patching.Patch.__init__ = original  # type: ignore[method-assign]
        for patch in planted:
            patch.undo()
    assert not (x * 2).detach().requires_grad
