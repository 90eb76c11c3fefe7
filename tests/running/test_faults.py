"""Engines that die, hang, print, close files and return nonsense: each costs its own case and nothing else."""

import pytest

from conformance import spec
from conformance.records import CaseInfo, Result, SpecInfo, Summary
from conformance.running.plan import plan
from conformance.running.process import Key
from conformance.running.session import Options, Session
from tests.running.small import engine, specification
from tests.running.test_pool import gone

FAULTY = """
import ctypes, os, signal, sys, time

class Stranger(BaseException):
    pass

class Garbage:
    shape = (2,)
    dtype = "no such dtype"

def unprintable(x):
    class Worse(Exception):
        def __str__(self):
            raise Worse
    raise Worse

def leaves_a_child(x):
    child = os.fork()
    if child == 0:
        time.sleep(600)
    with open("child", "w") as file:
        file.write(str(child))
    os._exit(5)

def raising(error):
    def function(x):
        raise error
    return function

def printing(x):
    print("the engine says", "hello" * 1000)
    os.write(1, b"raw on 1")
    os.write(2, b"raw on 2")
    return reference_engine.exp(x)

def closing(x):
    os.close(1)
    os.close(2)
    return reference_engine.expm1(x)

def factory():
    return namespace(
        abs=lambda x: os._exit(3),
        acos=lambda x: os.kill(os.getpid(), signal.SIGKILL),
        asin=lambda x: ctypes.string_at(0),
        atan=lambda x: time.sleep(60),
        ceil=lambda x: os.closerange(3, 200),
        cos=lambda x: sys.exit(4),
        cosh=raising(KeyboardInterrupt()),
        erf=raising(Stranger("odd")),
        exp=printing,
        expm1=closing,
        floor=lambda x: Garbage(),
        log1p=lambda x: x * float("nan"),
        neg=lambda x: None,
        sin=unprintable,
        sinh=leaves_a_child,
        sqrt=lambda x: reference_engine.tensor([1.0]),
        tan=lambda x: sys.stderr.write("x" * 3_000_000) and x.tan(),
        tanh=raising(NotImplementedError("tanh is not there yet")),
    )
"""
FUNCTIONS = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor", "log1p", "neg", "sigmoid",
    "sin", "sinh", "sqrt", "tan", "tanh",
)  # fmt: skip
TIMEOUT = 3.0


def run(folder, keys, *, oracles=(), **options):
    """The results of a run of the small specification, by case, and its summary."""
    whole = spec.load(root=folder)
    planned = plan(whole.cases, whole.by_name, keys, torch=None)
    with Session(SpecInfo("0", "d"), planned, list(keys), list(oracles), Options(**options)) as session:
        session.start()
        records = list(session.records())
    assert isinstance(records[-1], Summary)
    assert [r.case for r in records if isinstance(r, CaseInfo)] == list(
        dict.fromkeys(r.case for r in records if isinstance(r, Result))
    )
    return {r.case.removeprefix("small/"): r for r in records if isinstance(r, Result)}, records[-1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One run over every fault."""
    folder = tmp_path_factory.mktemp("faults")
    specification(folder / "spec", FUNCTIONS)
    name = engine(folder, "faulty", FAULTY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found, summary = run(folder / "spec", [Key(name)], oracles=[Key("reference")], jobs=2, timeout=TIMEOUT)
    assert summary.counts[name]["crash"] == 5
    return found | {"child": int((folder / "child").read_text())}


def test_what_a_worker_started_ends_with_it(results):
    """A child that the engine forked holds the worker's pipes; it is killed with the worker's process group."""
    assert gone(results["child"])


def test_isolated_cases_share_no_process(tmp_path, monkeypatch):
    """With a process for each case nothing is sent ahead: what a case leaves in its process ends with it."""
    specification(tmp_path / "spec", ("abs", "exp", "sqrt"))
    code = """
    import os
    def abs_(x):
        os.environ["LEFT"] = "behind"
        return x
    def exp(x):
        assert "LEFT" not in os.environ
        return x
    def factory():
        return namespace(abs=abs_, exp=exp, sqrt=lambda x: os._exit(1))
    """
    name = engine(tmp_path, "leaving", code)
    monkeypatch.chdir(tmp_path)
    together, _ = run(tmp_path / "spec", [Key(name)])
    apart, _ = run(tmp_path / "spec", [Key(name)], isolate=True, jobs=2)
    assert [r.verdict for r in together.values()] == ["pass", "pass", "pass", "pass", "error", "crash"]
    assert [apart[case].verdict for case in together] == ["pass", "pass", "pass", "pass", "pass", "crash"]


@pytest.mark.parametrize(
    ("case", "verdict", "said"),
    [
        ("sum", "pass", None),
        ("square", "pass", None),
        ("sigmoid", "pass", None),
        ("abs", "crash", "it exited with code 3"),
        ("acos", "crash", "it was killed by SIGKILL (signal 9)"),
        ("asin", "crash", "it was killed by SIGSEGV (signal 11)"),
        ("sinh", "crash", "it exited with code 5"),
        ("ceil", "crash", "Bad file descriptor"),
        ("atan", "timeout", f"it did not answer within {TIMEOUT:g} s"),
        ("cos", "error", "SystemExit"),
        ("cosh", "error", "KeyboardInterrupt"),
        ("erf", "error", "odd"),
        ("exp", "pass", None),
        ("expm1", "pass", None),
        ("tan", "pass", None),
        ("sin", "error", "Worse"),
        ("tanh", "unsupported", "tanh"),
    ],
)
def test_a_fault_costs_its_own_case(results, case, verdict, said):
    """The verdict names what happened; cases before and after, in the same process, are judged as if it had not."""
    result = results[case]
    assert result.verdict == verdict
    if said is not None:
        assert said in f"{result.error} {result.missing}"


def test_a_hang_shows_where_it_hangs(results):
    """A worker that misses its deadline says on the way out in which line of the program it was."""
    assert "line 2" in results["atan"].error.traceback
    assert "sleep" in results["atan"].error.traceback or "<lambda>" in results["atan"].error.traceback


def test_a_crash_shows_the_end_of_what_was_printed(results):
    """faulthandler's stack is in the record of a segmentation fault."""
    assert "Segmentation fault" in results["asin"].error.traceback


def test_nan_differs_from_the_oracle(results):
    """NaN where the oracle has numbers is a wrong value, though no assertion looked at it."""
    assert (results["log1p"].verdict, results["log1p"].finding) == ("fail", "wrong")
    assert [d.against for d in results["log1p"].differences] == ["reference"]


def test_a_wrong_shape_is_found_by_the_assertion(results):
    """The written expectation finds the shape; its finding is that of the first difference."""
    assert results["sqrt"].verdict == "fail"
    assert results["sqrt"].differences[0].line == 3


@pytest.mark.parametrize("case", ["floor", "neg"])
def test_garbage_is_no_pass(results, case):
    """An object that is no tensor fails or is an error, and the run goes on."""
    assert results[case].verdict in ("fail", "error", "unsupported")
