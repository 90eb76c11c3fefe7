"""What `assert` means: the rules of the program language, each with a program that would end otherwise without it."""

from __future__ import annotations

import pytest

from tests.language.programs import agreed, run


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("torch.tensor([1.0, 2.0]) == [1.0, 2.0]", True),
        ("torch.tensor([1.0, 2.0]) == [1.0, 2.5]", False),
        ("torch.tensor([1.0, 2.0]) == torch.tensor([1.0, 2.0])", True),
        ("torch.tensor([1.0]) == 1.0", False),  # shape exactly: (1,) is not ()
        ("torch.tensor(1.0) == 1.0", True),
        ("torch.tensor([[1.0]]) == [1.0]", False),
        ("torch.tensor([0.1]) == [0.1]", True),  # at float32's precision
        ("torch.tensor([1.0 + 1e-3]) == [1.0]", False),
        ("torch.tensor([1.0 + 1e-9], dtype=torch.float64) == [1.0 + 3e-8]", False),  # at float64's
        ("torch.tensor([float('nan')]) == [math.nan]", True),
        ("torch.tensor([math.inf]) == [math.inf]", True),
        ("torch.tensor([math.inf]) == [-math.inf]", False),
        ("torch.tensor([math.inf]) == [1e38]", False),
        ("True == 1", False),  # bool is never a number
        ("torch.tensor([True]) == [1]", False),
        ("torch.tensor([1]) == [1]", True),
        ("torch.tensor([1, 2]) == [1, 3]", False),
        ("'text' == 'text'", True),
        ("torch.float32 == torch.float32", True),
        ("torch.float32 == torch.float64", False),
        ("torch.ones(2, 3).shape == (2, 3)", True),
        ("torch.ones(2, 3).shape == (3, 2)", False),
        ("[1, [2.0, None]] == [1, [2.0, None]]", True),
        ("None is None", True),
        ("torch.ones(1) is None", False),
        ("identical(torch.tensor([0.0]), torch.tensor([-0.0]))", False),  # bit for bit
        ("torch.tensor([0.0]) == torch.tensor([-0.0])", True),
        ("torch.ones(2) != [1.0, 1.0]", False),
        ("1 < 2", True),
        ("torch.tensor(1.0) < 0.5", False),
        ("2 in [1, 2]", True),
        ("3 not in [1, 2]", True),
        ("3 in [1, 2]", False),
        ("torch.ones(2) in [[2.0, 2.0], [1.0, 1.0]]", True),  # as == compares, where Python's own would be ambiguous
        ("torch.ones(2) not in (None, [1.0, 2.0])", True),
    ],
)
def test_what_agrees(claim, holds):
    """Shape exactly, values at the precision of the dtype, NaN equal to NaN, bool never 1, everything else exactly."""
    assert agreed(f"assert {claim}") == [holds]


def test_each_link_is_an_observation():
    """`and` and chained comparisons give one observation per link, with its own text and place."""
    end = run("""
        x = torch.tensor([1.0, 2.0])
        assert x == [1.0, 2.0] and x.requires_grad is False and 1 < 2 < 3
    """)
    assert [(o.kind, o.what, o.line) for o in end.observations] == [
        ("==", "x", 2), ("is", "x.requires_grad", 2), ("<", "1", 2), ("<", "2", 2),
    ]  # fmt: skip
    assert all(o.agrees for o in end.observations)


def test_links_stop_where_python_would():
    """After a link that does not hold the rest of the assert is not evaluated; `or` stays whole."""
    end = run("""
        seen = []
        def look(value):
            seen.append(value)
            return value
        assert look(1) == 2 and look(3) == 3
        assert look(4) == 4 or look(5) == 5
        assert seen == [1, 4]
    """)
    assert [o.agrees for o in end.observations] == [False, True, True]


def test_a_failed_assertion_does_not_end_the_program():
    """What comes after a failed assertion, or an exception inside one, is still observed."""
    end = run("""
        assert 1 == 2
        assert [1][5] == 1
        assert 3 == 3
    """)
    assert [(o.agrees, o.error is not None) for o in end.observations] == [(False, False), (False, True), (True, False)]
    assert end.error is None


def test_an_unexpected_exception_is_the_programs_error_with_its_line():
    """An exception outside assertions ends the program; type, message and line are kept."""
    end = run("""
        x = torch.ones(2)
        assert x == [1.0, 1.0]
        [][1]
        assert x == [2.0, 2.0]
    """)
    assert (end.error.type, end.error.line) == ("IndexError", 3)
    assert [o.agrees for o in end.observations] == [True]


def test_observations_count_how_often_a_place_was_reached():
    """In loops, functions and hooks an observation has its iteration, so a hook that never ran is a difference."""
    program = """
        x = torch.tensor([3.0], requires_grad=True)
        def hook(g):
            assert g == [6.0]
        x.register_hook(hook)
        for _ in range(2):
            (x * x).sum().backward()
            assert x.grad is not None
    """
    sites = [(o.site, o.iteration) for o in run(program).observations]
    assert sites == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_observed_values_are_taken_at_once():
    """A value is read when the assertion runs, not when the program ends."""
    end = run("""
        x = torch.tensor([1.0])
        assert x == [1.0]
        x[0] = 5.0
    """)
    assert end.observations[0].agrees
    assert end.state["x"].data != end.observations[0].value.data


def test_observing_keeps_nothing_alive():
    """What an assertion looked at can be freed right after it."""
    assert agreed("""
        x = torch.tensor([1.0])
        r = weak(x)
        assert x == [1.0] and x.shape == (1,)
        del x
        assert r() is None
    """) == [True, True, True]


def test_a_tolerance_of_the_case_replaces_that_of_the_dtype():
    """A case may widen the tolerance, element by element or over the whole tensor."""
    from conformance.case import Tolerance

    program = "assert torch.tensor([100.0, 0.001]) == [100.1, 0.002]"
    assert agreed(program) == [False]
    assert agreed(program, tolerance=Tolerance("measured", rtol=1e-2, atol=1e-2)) == [True]
    assert agreed(program, tolerance=Tolerance("as a whole", relative_l2=2e-3)) == [True]


def test_the_worst_element_is_measured():
    """Where numbers differ, the observation says by how much, and where."""
    measure = run("assert torch.tensor([1.0, 2.0, 3.0]) == [1.0, 2.5, 3.001]").observations[0].measure
    assert measure.index == (1,)
    assert measure.max_abs == pytest.approx(0.5)
    assert measure.max_rel == pytest.approx(0.2)
