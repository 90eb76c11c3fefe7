"""The words about threads."""

from __future__ import annotations

import threading

import pytest

from conformance.language.threads import lock, run_threads, thread_id
from conformance.spec.prelude import PIECES
from tests.language.programs import agreed


def test_functions_run_at_the_same_time_and_give_results_in_order():
    """Each function waits for the others: one after the other they would never end."""
    meeting = threading.Barrier(3, timeout=10)

    def meet(k):
        meeting.wait()
        return k

    assert run_threads(*[lambda k=k: meet(k) for k in range(3)]) == [0, 1, 2]


def test_every_function_has_a_thread_of_its_own():
    """thread_id() differs between the functions and from the caller's."""
    meeting = threading.Barrier(4, timeout=10)
    found = run_threads(*[lambda: (meeting.wait(), thread_id())[1]] * 4)
    assert len({*found, thread_id()}) == 5


def test_no_functions_no_threads():
    """run_threads() gives an empty list."""
    assert run_threads() == []


def test_the_first_error_is_raised_when_all_have_ended():
    """The error is that of the first function that failed, in their order; the others have run to their end."""
    done = []

    def fail(kind):
        raise kind("in a thread")

    with pytest.raises(KeyError, match="in a thread"):
        run_threads(lambda: done.append(1), lambda: fail(KeyError), lambda: fail(ValueError), lambda: done.append(2))
    assert sorted(done) == [1, 2]


def test_a_lock_lets_one_in():
    """While one thread is in the block, no other is."""
    one_at_a_time, inside, most = lock(), [], []

    def enter():
        for _ in range(200):
            with one_at_a_time:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    run_threads(*[enter] * 4)
    assert max(most) == 1


def test_a_program_expects_an_error_from_a_thread():
    """`raises` around run_threads sees the error of a function; an assertion inside of a thread is an observation."""
    found = agreed("""
        x = torch.tensor([0.0], requires_grad=True)
        y = x.exp()
        y.backward()
        with raises(RuntimeError, contains="second time"):
            run_threads(y.backward)
        def looks():
            assert torch.is_grad_enabled() is True
            return thread_id()
        assert run_threads(looks) != [thread_id()]
    """)
    assert found == [True, True, True]


def test_standalone_scripts_have_the_same_words():
    """The source text for plain torch behaves as the words do: results in order, the first error raised."""
    scope: dict = {}
    exec("import concurrent.futures, threading\n" + "".join(PIECES[w].text for w in ("run_threads", "lock", "thread_id")),
         scope)  # fmt: skip
    assert scope["run_threads"](lambda: 1, lambda: 2) == [1, 2]
    assert scope["run_threads"]() == []
    assert scope["run_threads"](scope["thread_id"]) != [scope["thread_id"]()]
    with scope["lock"](), pytest.raises(ZeroDivisionError):
        scope["run_threads"](lambda: 1 / 0, lambda: 2)
