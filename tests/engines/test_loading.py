"""Engines by name: what is found, and the one clear line where something is not."""

from __future__ import annotations

import sys
import textwrap

import pytest

from conformance.engines import TorchLike, available, load
from conformance.errors import EngineError

MODULES = {
    "fine": "import reference_engine\ndef engine(): return reference_engine\n",
    "spaced": "import types, reference_engine\nengine = types.SimpleNamespace(tensor=reference_engine.tensor)\n",
    "raises": "raise ValueError('broken on purpose')\n",
    "exits": "import sys\nsys.exit(4)\n",
    "needs": "import surely_not_installed\n",
    "garbage": "def engine(): return 42\n",
    "failing": "def engine(): raise RuntimeError('no licence')\n",
    "prints": "import os\nprint('hello')\nos.write(1, b'raw bytes')\nimport reference_engine as engine\n",
    "device": "import conformance.engines as e, reference_engine as r\n"
    "def engine(device): return e.TorchLike(r, device=device)\n",
    "panics": "class Panic(BaseException): pass\ndef engine(): raise Panic('in compiled code')\n",
    "mute": "class Text(Exception):\n    def __str__(self): raise ValueError\ndef engine(): raise Text\n",
    "number": "engine = 3\n",
    "broken": "import types\ndef tensor(x): raise OSError('no device')\nengine = types.SimpleNamespace(tensor=tensor)\n",
    "interrupted": "raise KeyboardInterrupt\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """Small engines in the current folder, under names that no test has imported before."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}_engine.py").write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, f"{name}_engine", raising=False)
    monkeypatch.chdir(tmp_path)
    path = sys.path[:]
    yield
    sys.path[:] = path


def test_the_built_in_engines():
    """torch is the module itself, the reference is the package; both claim to be torch in every respect."""
    reference = load("reference")
    assert (reference.name, reference.drop_in, reference.namespace.__name__) == ("reference", True, "reference_engine")
    torch = pytest.importorskip("torch")
    assert load("torch").namespace is torch


@pytest.mark.parametrize("name", ["fine_engine:engine", "spaced_engine:engine"])
def test_a_namespace_stands_in_for_torch(name):
    """A function that returns a namespace, or the namespace itself: the name is what was asked for."""
    engine = load(name)
    assert isinstance(engine, TorchLike)
    assert (engine.name, engine.drop_in) == (name, False)
    assert engine.read(engine.namespace.tensor([1.0])).shape == (1,)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refrence", "did you mean 'reference'"),
        ("nowhere:engine", "there is no module 'nowhere'"),
        ("raises_engine:engine", "broken on purpose"),
        ("exits_engine:engine", "exits (SystemExit 4)"),
        ("needs_engine:engine", "surely_not_installed"),
        ("garbage_engine:engine", "returned a int"),
        ("failing_engine:engine", "no licence"),
        ("fine_engine:engin", "did you mean engine"),
        ("fine_engine:a.b", "'a.b'"),
        ("fine_engine", "package.module:factory"),
        ("fine_engine:1x", "package.module:factory"),
        ("number_engine:engine", "is a int"),
        ("panics_engine:engine", "in compiled code"),
        ("mute_engine:engine", "without text"),
        ("broken_engine:engine", "no device"),
    ],
)
def test_what_cannot_be_loaded_says_why(name, words):
    """One line with what was wrong, and exit code 2; never a traceback."""
    with pytest.raises(EngineError) as caught:
        load(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_engine_that_prints_at_import_does_not_disturb_standard_output(capfd):
    """Standard output is for data; what an engine prints goes to standard error."""
    load("prints_engine:engine")
    out, err = capfd.readouterr()
    assert out == ""
    assert "hello" in err
    assert "raw bytes" in err


def test_a_device_goes_to_the_factories_that_take_one():
    """The others run on the CPU, and asking them for another device is an error."""
    assert load("device_engine:engine", "mine:1").device == "mine:1"
    assert load("device_engine:engine").device == "cpu"
    with pytest.raises(EngineError, match="does not run on 'cuda'"):
        load("fine_engine:engine", "cuda")


def test_an_interrupt_at_import_passes_through():
    """Ctrl-C is the user's."""
    with pytest.raises(KeyboardInterrupt):
        load("interrupted_engine:engine")


def test_the_current_directory_comes_first_at_import_and_does_not_stay_in_front(tmp_path, monkeypatch):
    """A local module wins over an installed one of the same name; afterwards nothing local shadows what is installed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fine_engine.py").write_text("engine = 3\n")
    monkeypatch.syspath_prepend(elsewhere)
    front = sys.path[0]
    assert load("fine_engine:engine").version
    assert sys.path[0] == front
    assert str(tmp_path) in sys.path


def test_the_reference_runs_on_the_cpu_only():
    """Another device is an error that says so."""
    with pytest.raises(EngineError, match="cuda"):
        load("reference", "cuda")


def test_availability_is_known_without_importing():
    """`available` imports no engine."""
    assert available("reference")
    assert available("raises_engine:engine")
    assert not available("nowhere:engine")
    assert "raises_engine" not in sys.modules
