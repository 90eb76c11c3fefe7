"""The verdict table: from what a case left behind to a verdict, a finding, and whose fault it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.case import Case, Site, Tolerance
from conformance.outcome import Items, Mapping, Number, Observation, Opaque, Outcome, Raised, TensorValue
from conformance.records import EngineInfo, ErrorInfo
from conformance.running.judge import conforms, judge, usable
from conformance.running.process import Died

MINE = EngineInfo("mine", "1")
FOREIGN = EngineInfo("foreign", "1", drop_in=False)
TORCH = EngineInfo("torch", "2.13.0")
REFERENCE = EngineInfo("reference", "1")


def case(**fields):
    sites = tuple(Site(n + 1, 8, "==", f"v{n}") for n in range(3))
    return Case("c", "x", "claim", "source", "program", "f.yaml", 1, 2, sites=sites, **fields)


def tensor(values, dtype="float32", **flags):
    array = np.array(values, dtype)
    return TensorValue(dtype, array.shape, array.tobytes(), **flags)


def seen(value=1.0, expected=1.0, finding=None, site=0, iteration=0, error=None):
    agrees = finding is None
    return Observation(site, site + 1, 8, iteration, "==", f"v{site}", value, expected, agrees, finding, error=error)


def outcome(*observations, state=None, **fields):
    return Outcome("c/x", list(observations), state or {}, **fields)


def verdict_of(end, oracle=None, engine=MINE, **fields):
    return judge(case(**fields), end, oracle, engine, "torch" if oracle else None)


BROKEN = outcome(seen(2.0, 1.0, "wrong"))


def test_every_assertion_holds_and_the_state_agrees():
    """That is a pass, and it names the oracle."""
    end = outcome(seen(), state={"x": tensor([1.0])})
    result = verdict_of(end, end)
    assert (result.verdict, result.finding, result.oracle, result.differences) == ("pass", None, "torch", [])


def test_a_pass_holds_a_digest_of_its_state_and_all_else_the_state():
    """What a pass ends in is the oracle's state; of what does not pass every value is there."""
    state = {"x": tensor([1.0])}
    passing, failing = (verdict_of(outcome(seen(finding=finding), state=state)) for finding in (None, "wrong"))
    assert (passing.state, len(passing.digest)) == ({}, 16)
    assert (failing.state["x"]["value"], failing.digest) == ([1.0], None)


@pytest.mark.parametrize("finding", ["wrong", "semantics", "no-error", "dtype", "shape"])
def test_a_broken_expectation_fails_with_its_finding(finding):
    """The finding is that of the first observation that does not agree, and the difference is shown."""
    result = verdict_of(outcome(seen(), seen(2.0, 1.0, finding, site=1), seen(3.0, 1.0, "dtype", site=2)))
    assert (result.verdict, result.finding) == ("fail", finding)
    assert [(d.line, d.where, d.observed) for d in result.differences] == [(2, "v1", 2.0), (3, "v2", 3.0)]


def test_an_unexpected_exception_is_an_error():
    """Whether it leaves the program or is raised inside an assertion."""
    assert verdict_of(outcome(seen(), error=Raised("TypeError", "no", 2))).verdict == "error"
    inside = verdict_of(outcome(seen(None, None, "semantics", error="TypeError: no")))
    assert (inside.verdict, inside.differences[0].observed) == ("error", "TypeError: no")


@pytest.mark.parametrize("verdict", ["crash", "timeout"])
def test_a_lost_process_is_a_verdict_of_its_own(verdict):
    """A crash or a timeout is never anything else, not even on the reference where the case is pending."""
    end = Died(verdict, ErrorInfo("ProcessDied", "killed"), 1.0)
    assert judge(case(pending="later"), end, None, REFERENCE, None).verdict == verdict


def test_a_wrong_value_seen_before_a_name_is_missed_is_a_failure():
    """Unsupported never hides what was observed to be wrong; a link that could not be evaluated is no such value."""
    assert verdict_of(outcome(seen(2.0, 1.0, "wrong"), missing=("Tensor.storage",))).verdict == "fail"
    broken = seen(None, 1.0, "semantics", error="AttributeError: no storage")
    assert verdict_of(outcome(broken, missing=("Tensor.storage",))).verdict == "unsupported"


def test_missing_names_are_unsupported():
    """Also where an assertion failed because of the missing name; the names are listed."""
    result = verdict_of(outcome(seen(None, None, "semantics", error="no fft"), missing=("fft.fft", "fft")))
    assert (result.verdict, result.missing) == ("unsupported", ["fft", "fft.fft"])
    assert conforms(result)
    assert not conforms(judge(case(), outcome(missing=("fft",)), None, REFERENCE, None))


@pytest.mark.parametrize("end", [BROKEN, outcome(missing=("fft",)), outcome(error=Raised("TypeError", "no"))])
def test_only_the_reference_may_be_pending(end):
    """A pending case that does not pass is pending on the reference and judged on every other engine."""
    assert verdict_of(end, engine=REFERENCE, pending="later").verdict == "pending"
    assert verdict_of(end, engine=MINE, pending="later").verdict != "pending"


def test_a_pending_case_that_passes_passes():
    """And says that the note is out of date."""
    result = verdict_of(outcome(seen()), engine=REFERENCE, pending="later")
    assert (result.verdict, result.reason) == ("pass", "passes; the case is still marked pending: later")


def test_torch_departs_from_its_documentation():
    """A claim that torch breaks: found where nobody said so, expected where the case does; both are on record."""
    found = verdict_of(BROKEN, engine=TORCH)
    assert (found.verdict, found.departs, conforms(found)) == ("fail", "found", False)
    expected = verdict_of(BROKEN, engine=TORCH, torch_departs="known")
    assert (expected.verdict, expected.departs, expected.reason) == ("departs", "expected", "known")
    assert conforms(expected)
    assert expected.differences
    killed = Died("crash", ErrorInfo("ProcessDied", "killed"), 1.0)
    crashed = judge(case(torch_departs="known"), killed, None, TORCH, None)
    assert (crashed.verdict, crashed.departs, crashed.error.message) == ("departs", "expected", "killed")
    late = judge(case(torch_departs="known"), Died("timeout", killed.error, 1.0), None, TORCH, None)
    assert late.verdict == "timeout"


def test_torch_no_longer_departs():
    """A case that says torch departs, on a torch that does not, passes and says so."""
    result = verdict_of(outcome(seen()), engine=TORCH, torch_departs="known")
    assert (result.verdict, result.departs) == ("pass", "no-longer")
    assert "no longer departs" in result.reason


def test_a_claim_that_torch_breaks_binds_every_other_engine():
    """torch_departs excuses torch only; the others are compared with torch by dtype, shape and flags."""
    oracle = outcome(seen(2.0, 1.0, "wrong"), state={"x": tensor([2.0], is_leaf=True)})
    kept = outcome(seen(), state={"x": tensor([1.0], is_leaf=True)})
    assert verdict_of(kept, oracle, torch_departs="known").verdict == "pass"
    assert verdict_of(BROKEN, oracle, torch_departs="known").verdict == "fail"
    flagged = outcome(seen(), state={"x": tensor([1.0], is_leaf=False)})
    assert verdict_of(flagged, oracle, torch_departs="known").finding == "semantics"


def test_a_noted_departure_is_not_held_against_others_in_the_state_either():
    """Where the case says that torch departs, the values of torch's final state bind nobody, whatever it asserts."""
    ends = outcome(seen(), state={"x": tensor([1.0])}), outcome(seen(), state={"x": tensor([2.0])})
    assert verdict_of(*ends, torch_departs="known").verdict == "pass"
    assert verdict_of(*ends).verdict == "fail"


def test_an_oracle_that_breaks_the_claim_is_not_believed():
    """Also without a note: values of a torch that fails the case are not held against others."""
    oracle = outcome(seen(2.0, 1.0, "wrong"), state={"x": tensor([2.0])})
    assert verdict_of(outcome(seen(), state={"x": tensor([1.0])}), oracle).verdict == "pass"


def test_the_reference_is_at_fault_where_it_differs_from_torch():
    """No expectation is broken, the final state differs: the reason says whose fault it is."""
    result = verdict_of(
        outcome(seen(), state={"x": tensor([1.0])}), outcome(seen(), state={"x": tensor([2.0])}), REFERENCE
    )
    assert (result.verdict, result.reason) == ("fail", "the reference differs from torch")


X = tensor([1.0, 2.0], requires_grad=True, is_leaf=True)
STATES = {
    "value": (tensor([1.0, 2.5], requires_grad=True, is_leaf=True), "x", "wrong"),
    "rounding": (tensor([1.0, 2.000001], requires_grad=True, is_leaf=True), None, None),
    "dtype": (tensor([1.0, 2.0], "float64", requires_grad=True, is_leaf=True), "x.dtype", "dtype"),
    "shape": (tensor([[1.0, 2.0]], requires_grad=True, is_leaf=True), "x.shape", "shape"),
    "requires_grad": (tensor([1.0, 2.0], requires_grad=False, is_leaf=True), "x.requires_grad", "semantics"),
    "is_leaf": (tensor([1.0, 2.0], requires_grad=True, is_leaf=False), "x.is_leaf", "semantics"),
    "unknown flags": (tensor([1.0, 2.0]), None, None),
    "a grad too many": (tensor([1.0, 2.0], grad=tensor([0.0])), "x.grad", "semantics"),
    "no tensor": (Items("list", (1.0, 2.0)), "x", "semantics"),
    "nothing": (None, "x", "semantics"),
}


@pytest.mark.parametrize("name", STATES)
def test_the_final_state_is_compared(name):
    """Value, dtype, shape and flags of every tensor; a flag that an engine does not have is not compared."""
    other, where, finding = STATES[name]
    result = verdict_of(outcome(state={"x": other}), outcome(state={"x": X}))
    assert [(d.where, d.finding, d.against) for d in result.differences] == (
        [(where, finding, "torch")] if where else []
    )
    assert result.verdict == ("fail" if where else "pass")


@pytest.mark.parametrize(
    ("other", "where"),
    [
        (Mapping({"a": tensor([1.0]), "b": Items("list", (1, tensor([3.0])))}), "m['b'][1]"),
        (Mapping({"a": tensor([1.0])}), "m['b']"),
        (Mapping({"a": tensor([1.0]), "b": Items("tuple", (1, tensor([2.0])))}), "type(m['b'])"),
        (Mapping({"a": tensor([1.0]), "b": Items("list", (1,))}), "len(m['b'])"),
        (Mapping({"a": tensor([1.0]), "b": Items("list", (True, tensor([2.0])))}), "m['b'][0]"),
    ],
)
def test_containers_and_modules_are_walked(other, where):
    """A difference deep in a container is named by its place."""
    oracle = Mapping({"a": tensor([1.0]), "b": Items("list", (1, tensor([2.0])))})
    result = verdict_of(outcome(state={"m": other}), outcome(state={"m": oracle}))
    assert [d.where for d in result.differences] == [where]


def test_gradients_are_walked():
    """grad is compared like any tensor, and named."""
    ours, theirs = (tensor([1.0], grad=tensor([g])) for g in (1.0, 2.0))
    assert verdict_of(outcome(state={"x": ours}), outcome(state={"x": theirs})).differences[0].where == "x.grad"


def test_a_variable_too_many_or_too_few_differs():
    """A program that took another branch leaves other variables."""
    result = verdict_of(outcome(state={"a": 1.0}), outcome(state={"b": 1.0}))
    assert [(d.where, d.finding) for d in result.differences] == [("b", "semantics"), ("a", "semantics")]


def test_objects_that_the_kit_does_not_look_into_agree():
    """Types and texts of opaque values are an engine's own."""
    assert verdict_of(outcome(state={"f": Opaque("f", "1")}), outcome(state={"f": Opaque("g", "2")})).verdict == "pass"


def test_random_values_compare_by_dtype_and_shape():
    """What comes from an engine's own generator has no value to compare."""
    ours, theirs = ({"x": tensor([v]), "n": v} for v in (1.0, 2.0))
    assert verdict_of(outcome(state=ours, random=True), outcome(state=theirs, random=True)).verdict == "pass"
    longer = outcome(state={"x": tensor([1.0, 2.0]), "n": 1.0}, random=True)
    assert verdict_of(longer, outcome(state=theirs, random=True)).finding == "shape"


def test_text_is_compared_on_engines_that_claim_to_be_torch():
    """A message in a variable is the engine's own where it does not claim torch's."""
    ends = outcome(state={"m": "mine"}), outcome(state={"m": "torch's"})
    assert verdict_of(*ends, engine=MINE).verdict == "fail"
    assert verdict_of(*ends, engine=FOREIGN).verdict == "pass"


def test_a_tolerance_of_the_case_holds_for_the_state():
    """The case's own tolerance, with its reason, widens what agrees."""
    ends = outcome(state={"x": tensor([1.0])}), outcome(state={"x": tensor([1.01])})
    assert verdict_of(*ends).verdict == "fail"
    assert verdict_of(*ends, tolerance=Tolerance("wide", rtol=0.1)).verdict == "pass"


def test_assertions_are_counted():
    """A hook that never ran is a difference, though everything that was looked at agreed."""
    result = verdict_of(outcome(seen()), outcome(seen(), seen(site=1), seen(site=1, iteration=1)))
    assert [(d.where, d.line, d.expected, d.observed) for d in result.differences] == [("times reached: v1", 2, 2, 0)]
    assert (result.verdict, result.finding) == ("fail", "semantics")


def test_a_broken_chain_is_not_counted_against_its_later_links():
    """Where an assertion failed, the links after it did not run: one fault, one difference."""
    assert len(verdict_of(BROKEN, outcome(seen(), seen(site=1))).differences) == 1


def test_dtype_and_shape_of_what_was_looked_at_are_compared():
    """[1.0] of another dtype or shape agrees with the literal, and not with torch."""
    ours = outcome(seen(tensor([1.0], "float64")), seen(tensor([[1.0]]), site=1))
    theirs = outcome(seen(tensor([1.0])), seen(tensor([1.0]), site=1))
    assert [d.finding for d in verdict_of(ours, theirs).differences] == ["dtype", "shape"]


def test_nan_at_a_kink_has_a_name():
    """At a point marked as a kink, NaN where a finite value is due is told from a wrong number."""
    nan = outcome(seen(tensor([float("nan")]), tensor([1.0]), "wrong"))
    assert verdict_of(nan, kink=True).finding == "nan-at-kink"
    assert verdict_of(nan).finding == "wrong"
    assert verdict_of(BROKEN, kink=True).finding == "wrong"


def test_only_a_whole_run_is_an_oracle():
    """An oracle that raised, lacked a name or died is not compared with."""
    assert usable(outcome(seen()))
    for end in (outcome(error=Raised("E", "")), outcome(missing=("a",)), Died("crash", ErrorInfo("a", "b"), 0.0), None):
        assert not usable(end)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3)
    | st.builds(Number, st.floats(), st.floats())
    | st.builds(lambda v: tensor(v, is_leaf=True), st.lists(st.floats(width=32), max_size=3)),
    lambda inner: st.builds(lambda v: Items("list", tuple(v)), st.lists(inner, max_size=3))
    | st.builds(Mapping, st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=3), PLAIN, max_size=3))
def test_every_state_agrees_with_itself(state):
    """NaN, infinities, signed zeros, empty containers: no state differs from itself."""
    assert verdict_of(outcome(state=state), outcome(state=state)).verdict == "pass"


@given(PLAIN, PLAIN)
def test_agreement_has_no_direction(one, other):
    """Whether two states agree does not depend on which is the oracle's."""
    a, b = outcome(state={"x": one}), outcome(state={"x": other})
    assert verdict_of(a, b).verdict == verdict_of(b, a).verdict
