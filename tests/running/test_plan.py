"""Which cases run, in which order, and which are left out and said so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.case import Case
from conformance.running.plan import plan
from conformance.running.process import Key

CPU, CUDA = Key("engine"), Key("engine", "cuda")


def case(name, **fields):
    chapter, _, id_ = name.partition("/")
    return Case(chapter, id_, "claim", "source", "pass", "f.yaml", 1, 2, **fields)


def planned(cases, asked=None, keys=(CPU,), torch=None):
    by_name = {c.name: c for c in cases}
    return plan([by_name[name] for name in asked or by_name], by_name, keys, torch=torch)


@given(st.data(), st.integers(1, 8))
def test_needs_come_first_and_are_added(data, count):
    """Whatever is asked for, everything that it needs, and what that needs, runs before it, once."""
    cases = [
        case(f"c/{n}", needs=tuple(f"c/{m}" for m in data.draw(st.sets(st.integers(0, n - 1))) if m != n) if n else ())
        for n in range(count)
    ]
    asked = data.draw(st.lists(st.sampled_from([c.name for c in cases]), min_size=1, unique=True))
    found = planned(cases, asked)
    names = [c.name for c in found.cases]
    assert len(names) == len(set(names))
    assert set(asked) <= set(names)
    assert found.needed == set(names) - set(asked)
    for c in found.cases:
        assert all(names.index(need) < names.index(c.name) for need in c.needs)


@pytest.mark.parametrize(
    ("fields", "torch", "reason"),
    [
        ({"since": "2.14"}, "2.13.0", "holds since torch 2.14, here is 2.13.0"),
        ({"since": "2.13"}, "2.13.0+cpu", None),
        ({"since": "2.9"}, "2.13.0", None),
        ({"until": "2.12"}, "2.13.0", "held until torch 2.12, here is 2.13.0"),
        ({"until": "2.13"}, "2.13.1", None),
        ({"until": "2.12"}, None, "held until torch 2.12"),
        ({"since": "2.14"}, None, None),
        ({"device": "cuda"}, "2.13.0", "needs a CUDA device: run with --device cuda"),
    ],
)
def test_what_does_not_apply_is_named(fields, torch, reason):
    """A case of another version of torch, or of a device that no engine is on, is listed with its reason."""
    found = planned([case("c/x", **fields), case("c/y")], torch=torch)
    assert [(left.reason, left.cases) for left in found.left_out] == ([(reason, ["c/x"])] if reason else [])
    assert len(found.cases) == (1 if reason else 2)


def test_a_cuda_case_runs_on_the_cuda_engine_only():
    """Beside an engine on CUDA, one on the CPU leaves the case out, by name."""
    reference = Key("reference")
    found = planned([case("c/x", device="cuda")], keys=[CUDA, reference])
    assert [(left.engine, left.cases) for left in found.left_out] == [("reference", ["c/x"])]
    assert found.applies(found.cases[0], CUDA)
    assert not found.applies(found.cases[0], reference)


def test_shuffling_keeps_the_cases():
    """Another seed is another order of the same cases; the same seed is the same order."""
    cases = [case(f"c/{n}") for n in range(20)]
    found = planned(cases)
    assert found.shuffled(1).cases == found.shuffled(1).cases != found.shuffled(2).cases
    assert sorted(c.name for c in found.shuffled(1).cases) == sorted(c.name for c in cases)
