"""Running a case: what is left behind, and that nothing else is."""

from __future__ import annotations

import gc
import sys
import warnings
from types import SimpleNamespace

import pytest

import reference_engine
from conformance.case import Given
from conformance.engines import TorchLike
from conformance.language import execute
from conformance.outcome import Items, Mapping, Outcome, TensorValue
from tests.language.programs import agreed, case, engine, run


def test_the_final_state_holds_every_tensor_with_its_flags():
    """Value, dtype, shape, requires_grad, is_leaf and grad; lists, dicts and modules are walked; functions are not."""
    end = run("""
        x = torch.tensor([2.0], requires_grad=True)
        y = x * 3
        y.sum().backward()
        held = [x, {"y": y}]
        layer = torch.nn.Linear(2, 1)
        def f(): return 1
        number = 5
    """)
    x = end.state["x"]
    assert (x.dtype, x.shape, x.requires_grad, x.is_leaf) == ("float32", (1,), True, True)
    assert x.grad == TensorValue("float32", (1,), x.grad.data, False, True)
    assert end.state["y"].is_leaf is False
    assert end.state["y"].grad is None
    assert isinstance(end.state["held"], Items)
    assert isinstance(end.state["layer"], Mapping)
    assert set(end.state["layer"].items) == {"weight", "bias"}
    assert "f" not in end.state


def test_reading_the_state_neither_warns_nor_runs_hooks():
    """The `.grad` of a plain non-leaf is not read, since reading it warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        end = run("""
            x = torch.ones(1, requires_grad=True)
            y = x * 2
        """)
    assert end.error is None


LEAKS = {
    "inference mode": "mode = torch.inference_mode()\nmode.__enter__()",
    "grad mode": "torch.set_grad_enabled(False)",
    "default dtype": "torch.set_default_dtype(torch.float64)",
    "anomaly mode": "torch.autograd.set_detect_anomaly(True)",
    "random state": "torch.manual_seed(7)",
    "an open no_grad block": "mode = torch.no_grad()\nmode.__enter__()",
}
PROBE = """
    x = torch.tensor([1.0], requires_grad=True)
    assert torch.is_grad_enabled() is True
    assert torch.get_default_dtype() is torch.float32
    assert (x * 2).requires_grad is True
    drawn = torch.rand(3)
"""


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_what_a_case_leaves_behind_does_not_reach_the_next(leak):
    """Global modes and the generator are put back, so that order never matters."""
    on = engine()
    before = run(PROBE, on)
    run(leak, on)
    after = run(PROBE, on)
    assert [o.agrees for o in after.observations] == [True, True, True]
    assert before.state["drawn"] == after.state["drawn"]


def test_the_process_around_a_case_is_left_as_it_was():
    """Filters, recursion limit and the engine's own modes are those of before."""
    filters, limit, mode = warnings.filters[:], sys.getrecursionlimit(), reference_engine.is_grad_enabled()

    def deep(*args, **kwargs):
        sys.setrecursionlimit(limit + 500)
        warnings.simplefilter("ignore")

    run("torch.set_grad_enabled(False)\ntorch.zeros(1)", engine(zeros=deep))
    assert (warnings.filters[:], sys.getrecursionlimit(), reference_engine.is_grad_enabled()) == (filters, limit, mode)


def test_drawing_from_the_engines_generator_is_noticed():
    """Values that depend on the engine's own generator are not comparable between engines."""
    assert run("x = torch.rand(2)").random is True
    assert run("x = torch.ones(2)").random is False


def test_given_data_is_the_same_bit_for_bit():
    """Drawn once by NumPy's generator and handed to every engine."""
    given = (Given("x", "normal", (2, 3), 4),)
    first, second = run("y = x * 2", given=given), run("y = x * 2", given=given)
    assert first.state == second.state
    assert first.state["x"].shape == (2, 3)
    assert first.random is False


def test_an_engine_that_exits_costs_its_case_only():
    """SystemExit and the like from an engine are an error of the program."""

    def leave(*args, **kwargs):
        raise SystemExit(3)

    end = run("torch.zeros(1)", engine(zeros=leave))
    assert end.error.type == "SystemExit"


def test_an_interrupt_passes_through():
    """The user's Ctrl-C is nobody's fault and ends the run."""

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    for program in ("torch.zeros(1)", "assert torch.zeros(1) == [0.0]", "with raises(Exception):\n    torch.zeros(1)"):
        with pytest.raises(KeyboardInterrupt):
            run(program, engine(zeros=interrupt))


def test_what_an_engine_prints_does_not_reach_standard_output(capsys):
    """It is kept with the outcome."""

    def chatty(*size, **options):
        print("hello from the engine")
        return reference_engine.zeros(*size, **options)

    end = run("torch.zeros(1)", engine(zeros=chatty))
    assert "hello" in end.printed
    assert capsys.readouterr().out == ""


def test_nothing_of_a_case_stays_alive():
    """After a case its tensors are gone."""
    gc.collect()
    before = sum(issubclass(type(o), reference_engine.Tensor) for o in gc.get_objects())
    run("""
        x = torch.ones(100, requires_grad=True)
        y = (x * 2).sum()
        y.backward()
        assert x.grad == [2.0] * 100
    """)
    gc.collect()
    assert sum(issubclass(type(o), reference_engine.Tensor) for o in gc.get_objects()) <= before


def test_words():
    """The words that are no assertions."""
    assert (
        agreed("""
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = x.detach()
        assert same_storage(x, y) and not same_storage(x, x.clone())
        assert same(x, [1.0, 2.0]) and not same(x, [1.0, 3.0])
        assert not all([same(v, 1.0) for v in [x[0], x[1]]])
        c = deep_copy(x)
        assert c is not x and c == [1.0, 2.0]
        r = weak(c)
        del c
        collect()
        assert r() is None
        def f(a, b=None, c=2): return a
        assert defaults(f) == {"b": None, "c": 2}
        assert OrderedDict(a=1)["a"] == 1
        assert math.pi > 3.14
    """)
        == [True] * 11
    )


def test_drawing_is_told_from_the_text_where_the_generator_cannot_be_read():
    """An engine without get_rng_state: what the program requires says whether it draws."""
    names = {n: getattr(reference_engine, n) for n in dir(reference_engine) if not n.startswith("__")}
    bare = TorchLike(SimpleNamespace(**{n: v for n, v in names.items() if n != "get_rng_state"}))
    assert run("x = torch.rand(2)", bare, requires=("rand",)).random is True
    assert run("x = torch.ones(2)", bare, requires=("ones",)).random is False


def test_an_engine_whose_modes_cannot_be_restored_costs_its_cases_only():
    """The case says so; nothing is raised, and the process around it is put back."""

    class Stuck(TorchLike):
        def restore(self, modes, now=None):
            raise OSError("the switch is stuck")

    out = sys.stdout
    for alone in (False, True):
        end = execute(case("x = torch.ones(1)"), Stuck(reference_engine, name="stuck"), alone=alone)
        assert (end.error.type, end.error.message) == ("OSError", "the switch is stuck")
        assert sys.stdout is out


def test_a_panic_or_a_silent_error_of_an_engine_is_told(monkeypatch):
    """A BaseException of compiled code, an error whose text fails, a message without end: all become short text."""

    class Panic(BaseException):
        pass

    class Mute(Exception):
        def __str__(self):
            raise ValueError

    def throw(error):
        def raiser(*args, **kwargs):
            raise error

        return raiser

    assert (
        run("assert torch.zeros(1) == [0.0]", engine(zeros=throw(Panic("deep")))).observations[0].error == "Panic: deep"
    )
    assert "without text" in run("torch.zeros(1)", engine(zeros=throw(Mute()))).error.message
    long = run("torch.zeros(1)", engine(zeros=throw(ValueError("x" * 10**6)))).error
    assert len(long.message) < 2100
    assert len(long.traceback) < 7000
    assert 'File "<case>", line 1' in run("torch.zeros(1)", engine(zeros=throw(OSError("y")))).error.traceback


@pytest.mark.parametrize("garbage", [None, 3, "tensor", object(), [1, [2, "x"]], float("nan"), 2**80, {1: object()}])
def test_garbage_is_compared_and_kept_as_plain_data(garbage):
    """Whatever an engine returns, the observation disagrees and the outcome can be sent to another process."""
    import msgspec

    end = run("x = torch.zeros(1)\nassert x == [0.0]\nheld = [x]", engine(zeros=lambda *a, **k: garbage))
    assert [o.agrees for o in end.observations] == [False]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(end), type=Outcome).case == end.case


def test_mathematics_is_read_only():
    """`math` gives numbers and functions; a program can neither change it nor reach a module through it."""
    from conformance.language.words import Mathematics

    mathematics = Mathematics()
    assert mathematics.cos(0.0) == 1.0
    with pytest.raises(AttributeError):
        mathematics.__loader__
    with pytest.raises(AttributeError):
        mathematics.pi = 3.0
