"""`raises`, `warns`, `recorded_warnings`: never passed by accident."""

from __future__ import annotations

from conformance.engines import TorchLike, Unsupported
from tests.language.programs import agreed, engine, forward_only, run

BACKWARD_TWICE = """
    x = torch.tensor([3.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with raises(RuntimeError, contains="second time") as e:
        y.backward()
    assert "Specify retain_graph" in e.message and e.type == "RuntimeError"
"""


def test_the_error_that_is_due_passes():
    """Type and message as expected, and the block's name holds both."""
    assert agreed(BACKWARD_TWICE) == [True, True, True]


def test_no_error_is_a_finding():
    """A block that raises nothing is the finding no-error, not a mere failure."""
    end = run("""
        with raises(RuntimeError):
            torch.ones(1)
    """)
    assert [(o.agrees, o.finding) for o in end.observations] == [(False, "no-error")]


def test_another_type_or_message_does_not_pass_on_a_drop_in_engine():
    """An engine that claims to be torch is judged by the type and the words of its errors."""
    assert agreed("""
        with raises(ValueError):
            [][1]
        with raises(IndexError, contains="no such words"):
            [][1]
        with raises(IndexError, match="list .* out"):
            [][1]
    """) == [False, False, True]


def test_an_engine_that_is_not_drop_in_has_to_raise_something():
    """Type and message of other engines are their own."""
    foreign = TorchLike(engine().namespace, name="foreign", drop_in=False)
    assert agreed("""
        with raises(ValueError, contains="torch's own words"):
            [][1]
    """, foreign) == [True]  # fmt: skip
    end = run("""
        with raises(ValueError):
            pass
    """, foreign)  # fmt: skip
    assert end.observations[0].finding == "no-error"


def test_an_engine_without_backward_passes_no_error_case():
    """A missing method raises AttributeError: the name is reported missing, the block does not pass."""
    end = run("""
        x = torch.tensor([1.0, 2.0])
        with raises(RuntimeError):
            (x * 2).backward()
    """, forward_only())  # fmt: skip
    assert [o.agrees for o in end.observations] == [False]
    assert "backward" in " ".join(end.missing)


def test_not_implemented_does_not_pass_unless_it_is_the_type_named():
    """NotImplementedError and Unsupported mean that the engine does not do it, not that it refuses it."""

    def refuse(*args, **kwargs):
        raise NotImplementedError("no such thing here")

    def unsupported(*args, **kwargs):
        raise Unsupported("flip")

    changed = engine(zeros=refuse, flip=unsupported)
    end = run("""
        with raises(RuntimeError):
            torch.zeros(2)
        with raises(NotImplementedError):
            torch.zeros(2)
        with raises(RuntimeError):
            torch.flip(torch.ones(2), 0)
    """, changed)  # fmt: skip
    assert [o.agrees for o in end.observations] == [False, True, False]
    assert "flip" in end.missing


def test_an_assertion_inside_raises_belongs_to_it():
    """An exception while an assertion inside the block is evaluated is the error that the block expects."""
    assert agreed("""
        with raises(IndexError):
            assert [1][5] == 1
    """) == [True]


def test_a_name_that_the_engine_does_not_spell_is_known_before_the_program_runs():
    """What the syntax tree requires is looked up first: the program does not start."""
    end = run("assert torch.nowhere(1) == 2", requires=("nowhere",))
    assert end.missing == ("nowhere",)
    assert end.observations == []


def test_warnings():
    """`warns` wants one that matches; `recorded_warnings` holds them all, with class and text."""
    assert agreed("""
        y = torch.ones(1, requires_grad=True) * 2
        with warns(UserWarning, contains="not a leaf"):
            y.grad
        with warns(UserWarning, contains="not a leaf"):
            pass
        with recorded_warnings() as seen:
            y.grad
            y.grad
        assert len(seen) == 2
        assert seen[0].category is UserWarning and "not a leaf" in seen[0].message
    """) == [True, False, True, True, True]


def test_a_warning_that_is_given_once_per_process_is_seen_in_every_case():
    """Warn-once flags are reset: order of cases never matters."""
    program = """
        x = torch.tensor([2.0], requires_grad=True)
        with warns(UserWarning, contains="reference cycle"):
            (x ** 3).sum().backward(create_graph=True)
    """
    assert agreed(program) == agreed(program) == [True]
