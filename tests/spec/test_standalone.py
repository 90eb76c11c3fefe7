"""Scripts for plain torch: they compile, they print OK where the case holds, and stop where it does not."""

from __future__ import annotations

import ast
import contextlib
import io
import subprocess
import sys
import warnings

import pytest

from conformance.spec import load
from conformance.spec.standalone import rewrite, standalone

from .conftest import REAL, Folder

with pytest.MonkeyPatch.context() as _patch:  # the tests leave no cache behind
    _patch.setenv("AUTOGRAD_CONFORMANCE_CACHE", "")
    # Tables of operators have scripts by the thousand, of one make: test_operators.py runs some of each kind.
    CASES = [case for case in load(root=REAL).cases if not case.chapter.startswith("ops.")]


@pytest.mark.parametrize(
    ("program", "rewritten"),
    [
        ("assert x.grad == [3.0, 2.0]", "assert same(x.grad, [3.0, 2.0])"),
        ("assert a == 1 and b != [2.0], 'why'  # c", "assert same(a, 1) and not same(b, [2.0]), 'why'  # c"),
        ("assert a == b == c", "assert same(a, b) and same(b, c)"),
        ("assert a == f(b) == c", "assert same(a, (_0 := f(b))) and same(_0, c)"),
        ("assert 0 < a == 2.0", "assert 0 < a and same(a, 2.0)"),
        ("assert (a ==\n        [1.0])", "assert (same(a, [1.0]))"),
        (
            "if a == 1:\n    assert 'ü' and b == 'x' and c == 2.0",
            "if a == 1:\n    assert 'ü' and b == 'x' and same(c, 2.0)",
        ),
        ("assert x.shape == (2,) and x.dtype == torch.float32", "assert x.shape == (2,) and x.dtype == torch.float32"),
        ("assert a == 1 or b == 2", "assert a == 1 or b == 2"),
        ("assert a is b and c in d", "assert a is b and c in d"),
    ],
)
def test_rewrite(program: str, rewritten: str) -> None:
    """`==` at the top of an assert becomes same(...), as the kit compares; nothing else changes."""
    assert rewrite(program) == rewritten


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_compiles(case) -> None:
    """Every case's script is valid Python without imports beyond torch, NumPy and the standard library."""
    tree = ast.parse(standalone(case))
    imported = {a.name.partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert imported <= set(sys.stdlib_module_names) | {"torch", "numpy"}


def run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::SyntaxWarning", "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, timeout=120, check=False)


GOOD = """
    id: good
    given:
      x: {distribution: normal, shape: [3, 2], seed: 1, requires_grad: true}
      big: {distribution: uniform, shape: [50, 50], seed: 2, dtype: float64, low: -1}
      z: {distribution: normal, shape: [40, 2], seed: 3, dtype: complex64}
    with:
      dtype: [torch.float64]
    program: |
      y = (x * 2).sum()
      y.backward()
      assert x.grad == [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]] and x.grad.dtype == torch.float32
      with raises(RuntimeError, contains="does not require grad", match="element 0") as e:
          x.detach().sum().backward()
      assert "grad_fn" in e.message and e.type == "RuntimeError"
      with recorded_warnings() as silent:
          x.sum().backward()
      assert len(silent) == 0
      with warns(UserWarning, contains="not a leaf"):
          assert (x * 2).grad is None
      assert same(0.1 + 0.2, 0.3) and not same(1, True) and identical(torch.zeros(1), [0.0])
      assert not identical(torch.zeros(1), [-0.0]) and same_storage(x, x.view(-1))
      copied = deep_copy(big)
      assert copied == big and not same_storage(copied, big)
      assert big.dtype == dtype and abs(big).max() <= 1.0 and z.dtype == torch.complex64
      class Thing:
          pass
      thing = Thing()
      gone = weak(thing)
      del thing
      collect()
      assert gone() is None
      assert defaults(torch.autograd.backward)["create_graph"] is False
      assert math.sqrt(4.0) == 2.0 and OrderedDict(a=1) == {"a": 1}
"""


def test_a_script_with_every_word_runs(folder: Folder) -> None:
    """A script that uses every word and large and small drawn data prints OK on plain torch."""
    pytest.importorskip("torch")
    (case,) = folder.behaviour(GOOD).load().cases
    result = run(standalone(case))
    assert (result.stdout, result.returncode) == ("OK\n", 0), result.stderr


def test_drawn_data_are_those_of_the_kit(folder: Folder) -> None:
    """Written out or drawn again, a script's data have the bits that engines are given."""
    torch = pytest.importorskip("torch")
    from conformance.drawing import draw

    (case,) = folder.behaviour(GOOD).load().cases
    names: dict[str, object] = {}
    script = standalone(case).replace(case.program.split("\n")[0], "raise SystemExit")
    with contextlib.suppress(SystemExit):
        exec(compile(script, "script", "exec"), names)
    for given in case.given:
        assert torch.equal(names[given.name].detach(), torch.from_numpy(draw(given).copy()))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "wrong",
    [
        "x = torch.ones(2)\n  assert x == [1.0, 1.5]",
        "x = torch.ones(2)\n  assert x == [[1.0, 1.0]]",
        "x = torch.ones(())\n  assert x == True",
        "x = torch.tensor(float('nan'))\n  assert x == 0.0",
        "x = torch.ones(1, dtype=torch.float64) * 0.1\n  assert x == [0.1000001]",
        "with raises(RuntimeError):\n      pass",
        "with raises(RuntimeError):\n      raise NotImplementedError",
        "with raises(RuntimeError, contains='b'):\n      raise RuntimeError('a')",
        "with warns(UserWarning):\n      pass",
        "assert identical(torch.zeros(1), torch.zeros(1, dtype=torch.float64))",
    ],
)
def test_a_script_stops_where_the_case_does_not_hold(folder: Folder, wrong: str) -> None:
    """What the kit calls a difference ends the script with an error."""
    pytest.importorskip("torch")
    (case,) = folder.behaviour(f"id: a\nprogram: |\n  {wrong}").load().cases
    with pytest.raises((AssertionError, NotImplementedError)):
        exec(compile(standalone(case), "script", "exec"), {})


@pytest.mark.parametrize(
    ("tolerance", "holds"),
    [
        ("{reason: Why., rtol: 0.1}", True),
        ("{reason: Why., atol: 0.1}", True),
        ("{reason: Why., relative_l2: 0.1}", True),
        ("{reason: Why., rtol: 1.0e-4}", False),
        ("{reason: Why., relative_l2: 1.0e-4}", False),
    ],
)
def test_a_tolerance_holds_in_the_script(folder: Folder, tolerance: str, holds: bool) -> None:
    """A case's own tolerance is the script's."""
    pytest.importorskip("torch")
    text = f"id: a\ntolerance: {tolerance}\nprogram: |\n  x = torch.ones(2)\n  assert x == [1.05, 1.05]"
    (case,) = folder.behaviour(text).load().cases
    script = standalone(case)
    assert "# Why." in script
    with contextlib.nullcontext() if holds else pytest.raises(AssertionError):
        exec(compile(script, "script", "exec"), {})


def test_scripts_of_the_specification_hold() -> None:
    """The scripts of the specification hold on plain torch, but for departures of torch and absent devices."""
    torch = pytest.importorskip("torch")
    from conformance.engines.loading import load as load_engine

    engine = load_engine("torch")
    before, failed = engine.capture(), []
    for case in CASES:
        if (
            case.torch_departs
            or (case.device == "cuda" and not torch.cuda.is_available())
            or case.chapter == "resnet18"
        ):
            continue
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as out:
            warnings.simplefilter("ignore")
            try:
                exec(compile(standalone(case), case.name, "exec"), {"__name__": "__main__"})
            except Exception as error:
                failed.append(f"{case.name}: {type(error).__name__}: {error}")
            else:
                assert out.getvalue() == "OK\n"
            finally:  # a script is a process's whole program, and may leave modes switched
                engine.restore(before)
    assert failed == []


def test_the_script_compares_as_the_kit_does() -> None:
    """The tolerances written in scripts are the kit's own."""
    pytest.importorskip("torch")
    from conformance.language.numeric import PRECISIONS
    from conformance.spec.prelude import PIECES

    names: dict[str, object] = {}
    exec("import torch\n" + PIECES["same"].text, names)
    table = {str(dtype).removeprefix("torch."): pair for dtype, pair in names["TOLERANCE"].items()}  # type: ignore[attr-defined]
    assert table
    assert all((PRECISIONS[name].rtol, PRECISIONS[name].atol) == pair for name, pair in table.items())
