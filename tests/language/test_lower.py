"""Lowering changes what `assert` and `raises` do, and nothing else: order, places, names, lifetimes stay Python's."""

from __future__ import annotations

import ast
import marshal

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from conformance.engines import TorchLike
from conformance.language.lower import FILENAME, lower
from tests.language.programs import agreed, case, engine, run


def codes(code):
    yield code
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from codes(constant)


def test_code_is_marshallable_and_carries_the_programs_lines():
    """The file name is the program's own; every instruction of an assertion has its line, in functions too."""
    text = "x = 1\n\n\ndef f():\n    assert (x ==\n            1)\nf()\n"
    code, sites = lower(ast.parse(text))
    again = list(codes(marshal.loads(marshal.dumps(code))))
    assert {found.co_filename for found in again} == {FILENAME}
    lines = {line for found in again for _, _, line in found.co_lines() if line}
    assert lines <= {0, 1, 4, 5, 6, 7}
    assert [(site.line, site.column, site.kind, site.text) for site in sites] == [(5, 13, "==", "x")]


def test_sites_name_their_place_their_kind_and_their_left_side():
    """One site per link, at the link's own place; one per block; words that compare show both sides."""
    sites = case("""
        assert 1 == 2 < 3 and not 4
        assert same(5, 6)
        assert same(7, 8) or 9
        with raises(ValueError, contains="x") as e, warns(UserWarning):
            pass
    """).sites
    assert [(s.line, s.column, s.kind, s.text) for s in sites] == [
        (1, 8, "==", "1"), (1, 13, "<", "2"), (1, 23, "truth", "not 4"), (2, 8, "same", "5"),
        (3, 8, "truth", "same(7, 8) or 9"), (4, 6, "raises", "raises(ValueError, contains='x')"),
        (4, 45, "warns", "warns(UserWarning)"),
    ]  # fmt: skip


# Tests made of look(n), which notes n and returns it.
looks = st.integers(0, 3).map(lambda n: f"look({n})")
comparisons = st.builds(
    lambda first, rest: first + "".join(f" {sign} {value}" for sign, value in rest),
    looks,
    st.lists(st.tuples(st.sampled_from(["<", "<=", "==", "!=", "is", "in"]), looks), min_size=1, max_size=3),
).map(lambda text: text.replace(" in look", " in looks"))
terms = st.one_of(
    comparisons, looks, st.builds("not {}".format, comparisons), st.builds("({} or {})".format, looks, looks)
)
tests = st.lists(terms, min_size=1, max_size=4).map(" and ".join)


@given(tests)
@settings(max_examples=150, deadline=None)
def test_assertions_evaluate_what_python_evaluates_in_the_same_order(test):
    """Left to right, middles once, stopping at the first link that does not hold, which is the one that disagrees."""
    words = (
        "seen = []\ndef look(n):\n    seen.append(float(n))\n    return n\ndef looks(n):\n    look(n)\n    return [n]\n"
    )
    python: dict = {}
    try:
        exec(f"{words}held = bool({test})", python)
    except TypeError:  # a list has no place in an order
        reject()
    end = run(f"{words}assert {test}\nlook(9)")
    assert end.error is None
    assert list(end.state["seen"].items) == [*python["seen"], 9.0]
    assert all(o.agrees for o in end.observations) is python["held"]
    assert all(o.agrees for o in end.observations[:-1])


def test_assertions_work_wherever_python_has_them():
    """In functions, methods, class bodies, lambdas' callers, loops, generators, with blocks, nested functions."""
    assert (
        agreed("""
        def outer(n):
            def inner():
                nonlocal n
                n += 1
                assert n == 2 < 3 and n
            inner()
            return n
        class A:
            size = 3
            assert size == 3 and 1 < size < 4
            def grow(self):
                assert self.size == 3, "why"
                return [v for v in range(self.size)]
        def counting():
            for i in range(2):
                assert (yield i) is None
        assert outer(1) == 2
        assert A().grow() == [0, 1, 2]
        assert list(counting()) == [0, 1]
        while True:
            with torch.no_grad():
                assert 1 < 2
            break
    """)
        == [True] * 13
    )


def test_an_assertions_message_is_evaluated_only_if_it_is_needed():
    """It is kept with the observation that failed."""
    end = run("""
        said = []
        def why(n):
            said.append(float(n))
            return f"because of {n}"
        assert 1 == 1 and 2 == 2, why(1)
        assert 1 == 1 and 2 == 3, why(2)
    """)
    assert list(end.state["said"].items) == [2.0]
    assert [o.note for o in end.observations] == [None, None, None, "because of 2"]


def test_a_chain_keeps_nothing_alive_and_leaves_no_names():
    """The middle of a chain is held only while it is compared."""
    end = run("""
        assert torch.ones(2) == torch.ones(2) == [1.0, 1.0] and 1 < 2
        x = torch.ones(2)
        r = weak(x)
        assert [1.0, 1.0] == x == [1.0, 1.0]
        assert [1.0, 1.0] == x == [2.0, 1.0]
        del x
        assert r() is None
    """)
    assert [o.agrees for o in end.observations] == [True, True, True, True, True, True, False, True]
    assert end.state == {}


def test_names_of_the_kit_cannot_be_reached_by_a_program():
    """What lowered code calls has names that are no identifiers."""
    code, _ = lower(ast.parse("assert 1 == 2 == 3, 'x'\nwith raises(ValueError):\n    pass"))
    assert [name for name in code.co_names if name.isidentifier()] == ["ValueError"]


@pytest.mark.parametrize("place", ["assert [][1] == 1", "assert [][1]", "assert 1 == 1 and [][1] == 1"])
def test_an_exception_inside_an_assertion_belongs_to_the_block_around_it(place):
    """By nesting in time: an assertion in a hook that runs inside the block belongs to it as well."""
    inside = [o.kind for o in run(f"with raises(IndexError):\n    {place}").observations if o.agrees]
    assert inside[-1] == "raises"
    hooked = run(f"""
        def f(g):
            {place}
        x = torch.ones(1, requires_grad=True)
        x.register_hook(f)
        with raises(IndexError):
            (x * 2).sum().backward()
        (x * 2).sum().backward()
        assert 1 == 1
    """)
    kinds = [(o.kind, o.agrees, o.error is not None) for o in hooked.observations]
    assert ("raises", True, False) in kinds
    assert kinds[-1] == ("==", True, False)
    assert any(error for _, _, error in kinds)  # outside the block the assertion records it, and the hook goes on
    assert hooked.error is None


def test_a_failed_assertion_inside_raises_is_recorded_and_is_not_the_error():
    """An assertion that merely does not hold raises nothing."""
    end = run("with raises(Exception):\n    assert 1 == 2")
    assert [(o.kind, o.agrees, o.finding) for o in end.observations] == [
        ("==", False, "wrong"), ("raises", False, "no-error"),
    ]  # fmt: skip


def test_what_a_program_says_of_messages_is_judged_for_drop_in_engines_only():
    """The site knows that it reads an error's type or message; on another engine it is recorded, not judged."""
    program = """
        x = torch.ones(1, requires_grad=True)
        with raises(RuntimeError) as e:
            x.detach().sum().backward()
        assert "surely not these words" in e.message
        assert e.type == "SomeError"
        with recorded_warnings() as w:
            (x * 2).grad
        assert w[0].message == "other words"
        assert x == [2.0]
    """
    assert [site.drop_in for site in case(program).sites] == [False, True, True, True, False]
    assert agreed(program) == [True, False, False, False, False]
    foreign = TorchLike(engine().namespace, name="foreign", drop_in=False)
    assert agreed(program, foreign) == [True, True, True, True, False]


def test_observations_of_other_threads_are_counted_and_belong_to_no_block_of_the_first():
    """Iterations never repeat, whatever thread makes them; an exception stays in its own thread's assertions."""
    end = run("""
        def work():
            for i in range(200):
                assert i < 500
            assert [][1] == 1
        with raises(IndexError):
            run_threads(work, work, work)
            [][1]
    """)
    first = [o.iteration for o in end.observations if o.site == 0]
    assert sorted(first) == list(range(600))
    assert [o.agrees for o in end.observations if o.site == 1] == [False] * 3
    assert end.observations[-1].agrees
