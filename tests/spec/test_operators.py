"""Tables of operators: the cases that samples give, their programs, and mistakes with their place."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import reference_engine
from conformance.drawing import draw
from conformance.engines import TorchLike
from conformance.engines import load as load_engine
from conformance.language import execute
from conformance.spec import load
from conformance.spec.operators import entries
from conformance.spec.standalone import standalone

from .conftest import REAL, Folder

FORWARD = ["jacobian", "linearize", "vmap"]
LAWS = ["value", "vjp", "jvp", "double", *FORWARD, "hessian"]
SMOOTH = [*LAWS, "float32"]


def checks(folder: Folder) -> list[str]:
    return [case.id.partition(",")[2][:-1] for case in folder.load().cases]


@pytest.mark.parametrize(
    ("operator", "sample", "expected"),
    [
        ("", "x: [1.0]", SMOOTH),
        ("complex: true", "x: [1.0]", [*SMOOTH, "complex", "complex-jvp", "complex-double"]),
        ("orders: 1", "x: [1.0]", ["value", "vjp", "jvp", *FORWARD, "float32"]),
        ("orders: 0", "x: [1.0]", ["value", "float32"]),
        ("forward: false", "x: [1.0]", ["value", "vjp", "double", "vmap", "float32"]),
        ("dtypes: [float16, bfloat16]", "x: [1.0]", [*LAWS, "float16", "bfloat16"]),
        ("", "x: {data: [1], dtype: int64}", ["value", "float32"]),
        ("", "x: [true]", ["value", "float32"]),
        ("", "x: [1.0]\nkind: kink\ngradient: {x: [0.0]}", ["value", "gradient"]),
        ("", "x: [1.0]\nkind: singular", ["value"]),
        ("", "x: [1.0]\nonly: [vjp]", ["vjp"]),
        ("checks: {jvp: {left_out: because}}", "x: [1.0]", [check for check in SMOOTH if check != "jvp"]),
        ("", "x: [1.0]\nchecks: {jvp: {left_out: because}}", [check for check in SMOOTH if check != "jvp"]),
    ],
)
def test_which_checks_a_sample_gets(folder: Folder, operator: str, sample: str, expected: list[str]) -> None:
    """What an operator and a sample say decides which checks are made."""
    assert checks(folder.table(operator, sample)) == expected


def test_a_case_knows_where_it_comes_from(folder: Folder) -> None:
    """Name, place, claim, source and the operator's entries."""
    case = folder.table("op: exp\nclaim: It grows.\nentries: [exp, expm1]").load("ops.table/exp[a,vjp]").cases[0]
    assert (case.chapter, case.id, case.file, case.line) == ("ops.table", "exp[a,vjp]", "ops/table.yaml", 8)
    assert (case.source, case.entries) == ("torch.exp", ("exp", "expm1"))
    assert case.requires == ("exp",)
    value = folder.load("ops.table/exp[a,value]").cases[0]
    assert value.claim == "It grows."
    assert case.claim == "Backward through torch.exp agrees with the numerical derivative of its forward."
    assert len(folder.load("ops.table/exp").cases) == len(SMOOTH)


def test_what_is_said_of_one_check(folder: Folder) -> None:
    """Tolerance, departure and the like: what stands nearest to the check holds."""
    folder.table(
        "pending: operator\nchecks: {vjp: {note: one}, jvp: {pending: check}}",
        "x: [1.0]\ntorch_departs: here\nchecks: {vjp: {tolerance: {reason: wide, rtol: 0.5}}}",
    )
    cases = {case.id: case for case in folder.load().cases}
    vjp, jvp = cases["exp[a,vjp]"], cases["exp[a,jvp]"]
    assert (vjp.pending, vjp.note, vjp.torch_departs, vjp.tolerance.rtol) == ("operator", "one", "here", 0.5)
    assert (jvp.pending, jvp.note, jvp.torch_departs, jvp.tolerance) == ("check", None, "here", None)


PROGRAM = """\
x = x.mT.requires_grad_()

def f(x, y):
    out = x + y
    result = torch.sort(out)
    return result.values

result = f(x, y)
cotangent = direction(result)
result.backward(cotangent)
expected_x, expected_y = numerical_vjp(f, [x, y], cotangent)
assert x.grad.dtype == x.dtype
assert y.grad.dtype == y.dtype
assert x.grad == expected_x
assert y.grad == expected_y
"""


def test_a_program_reads_as_a_person_would_write_it(folder: Folder) -> None:
    """Layout, a call of several lines, outputs by name, two inputs."""
    folder.table(
        "op: sort\noutputs: [values]\ncall: |\n  out = x + y\n  torch.sort(out)",
        "x: {data: [[1.0, 4.0], [2.0, 7.0]], layout: transposed}\n"
        "y: {distribution: normal, shape: [], seed: 1}\nonly: [vjp]",
    )
    (case,) = folder.load().cases
    assert case.program == PROGRAM


def test_a_closed_form_for_each_output(folder: Folder) -> None:
    """A written value is text for one output as for the whole result: an expression, or a complex number."""
    folder.table(
        "op: frexp\noutputs: [mantissa]",
        'x: [0.5, 4.0]\nvalue: {mantissa: torch.sign(x) / 2, exponent: [0, 3], 0: "1+2j"}\nonly: [value]',
    )
    (case,) = folder.load().cases
    assert case.program == (
        "result = torch.frexp(x)\nassert result.mantissa == torch.sign(x) / 2\n"
        "assert result.exponent == [0, 3]\nassert result[0] == 1+2j\n"
    )
    assert case.requires == ("frexp", "sign")


@pytest.mark.parametrize("layout", ["", "layout: transposed", "layout: strided"])
def test_data_are_what_the_table_says(folder: Folder, layout: str) -> None:
    """Whatever the layout, a literal has its shape and elements; drawn data have their shape."""
    folder.table(
        "call: x + y\nchecks: {value: {note: here}}",
        f"x: {{data: [[1.0, 2.0, 3.0], [4.0, 5.0, .inf]], {layout}}}\n"
        f"y: {{distribution: normal, shape: [2, 3], seed: 1, {layout}}}\nonly: [value]",
    )
    end = execute(folder.load().cases[0], load_engine("reference"))
    assert end.error is None
    x, y = end.state["x"], end.state["y"]
    assert np.frombuffer(x.data).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, np.inf]
    assert y.shape == (2, 3)


def test_complex_and_real_data(folder: Folder) -> None:
    """In the check `complex` floating data are complex128; a `real` one stays real."""
    folder.table("call: x * y\ncomplex: true", "x: ['1+2j', 3]\ny: {data: [1.0, 2.0], real: true}\nonly: [complex]")
    x, y = folder.load().cases[0].given
    assert (draw(x).tolist(), x.dtype, y.dtype) == ([1 + 2j, 3], "complex128", "float64")


@pytest.mark.parametrize(
    ("operator", "sample", "message"),
    [
        ("op: expp", "x: [1.0]", "ops/table.yaml:4:7: torch.expp is not in the vocabulary (did you mean"),
        ("call: torch.exp(x) + z", "x: [1.0]", "ops/table.yaml:4:24: unknown name 'z'"),
        ("call: |\n  y = x\n  torch.expp(y)", "x: [1.0]", "ops/table.yaml:6:5: torch.expp is not in the"),
        ("call: y = torch.exp(x)", "x: [1.0]", "ops/table.yaml:4:9: the last line of a call is an expression"),
        ("call: torch.exp(x)", "x: [1.0]\ny: [1.0]", "ops/table.yaml:10:5: 'y' is never used"),
        ("", "x: [[1.0], [1.0, 2.0]]", "ops/table.yaml:8:8: 'x' is no regular nested list"),
        ("", "x: [one]", "ops/table.yaml:8:8: 'x' holds 'one', which is no number"),
        ("", "x: {distribution: normal, shape: [2]}", "ops/table.yaml:8:8: the key 'seed' is missing"),
        ("", "x: {data: [1.0], layout: transpose}", "ops/table.yaml:8:30: \"transpose\" is no valid 'layout' (did you"),
        ("", "x: [1.0]\nkidn: kink", "ops/table.yaml:9:11: \"kink\" is no valid 'kidn' (did you mean kind?)"),
        ("", "x: one", "\"one\" is no valid 'x' (data are drawn, a number, a nested list, or"),
        ("checks: {vpj: {note: a}}", "x: [1.0]", "ops/table.yaml:4:12: unknown key 'vpj' (one of value, vjp, jvp"),
        ("", "x: {distribution: normal, shape: [2], seed: 1, low: 2}", "normal takes mean and std, not low"),
        ("", "x: {data: [1.0], layout: transposed}", "'x' has 1 dimensions; this layout needs 2"),
        ("", "f: [1.0]", "ops/table.yaml:8:5: 'f' keeps its meaning and is no name for a datum"),
        ("", "x: [1.0]\nkind: kinky", "ops/table.yaml:9:11: \"kinky\" is no valid 'kind' (did you mean"),
        ("", "x: [1.0]\nkind: kink", "ops/table.yaml:9:11: a kink has the documented gradient"),
        ("", "x: [1.0]\ngradient: {y: [1.0]}", "ops/table.yaml:9:16: 'y' has no gradient here"),
        ("", "x: [1.0]\nonly: [complex]", "ops/table.yaml:9:11: the check 'complex' does not apply here"),
        ("differentiable: [y]", "x: [1.0]", "ops/table.yaml:4:19: 'y' is no floating datum"),
        ("orders: 3", "x: [1.0]", "ops/table.yaml:4:11: 3 is no valid 'orders' (one of 0, 1, 2)"),
        ("elementwize: true", "x: [1.0]", "unknown key 'elementwize' (did you mean elementwise?)"),
        ("value: torch.sin(q)", "x: [1.0]", "ops/table.yaml:4:20: unknown name 'q'"),
        ("outputs: [0]", "x: [1.0]\nvalue: {0: torch.sin(q)}", "ops/table.yaml:10:26: unknown name 'q'"),
        ("outputs: [0]", "x: [1.0]\nvalue: {0: torch.sine(x)}", "ops/table.yaml:10:16: torch.sine is not in the"),
        ("", "x: [1.0]\nvalue: [torch.exp(x)]", "ops/table.yaml:9:13: 'torch.exp(x)' is no number"),
        ("", "x: [1.0]\nvalue: {values: [[1.0, null]]}", "ops/table.yaml:9:28: None is no number"),
        ("", "x: [1.0]\ngradient: {x: [one]}", "ops/table.yaml:9:20: 'one' is no number"),
        ("", "x: [1.0]\ngradient: {x: x}", "ops/table.yaml:9:19: 'x' is no number"),
    ],
)
def test_mistakes_have_their_place(folder: Folder, operator: str, sample: str, message: str) -> None:
    """What is wrong in a table is said where it stands, with what would be right."""
    found = folder.table(operator, sample).mistakes()
    assert any(message in mistake for mistake in found), found


def test_names_are_unique(folder: Folder) -> None:
    """Operators in a family, samples in an operator; a family is named as its file."""
    entry = "- {op: exp, claim: It grows., samples: [{id: a, x: 1.0}, {id: a, x: 2.0}]}\n"
    folder.write(f"family: other\ntitle: T\noperators:\n{entry}{entry}", "ops/table.yaml")
    found = "\n".join(folder.mistakes())
    assert "the family 'other' is in a file named 'table'" in found
    assert "the operator 'exp' is here twice (first at 4:8; give it an `id`)" in found
    assert "the sample 'a' is here twice" in found


def test_an_engine_with_backward_alone_is_checked(folder: Folder) -> None:
    """`vjp`, `value` and `float32` need no autograd.grad and no forward mode; what needs them is unsupported."""
    names = ("tensor", "Tensor", "float32", "float64", "exp", "zeros")
    engine = TorchLike(SimpleNamespace(**{name: getattr(reference_engine, name) for name in names}), name="small")
    ends = {case.id: execute(case, engine) for case in folder.table("").load().cases}
    missing = {name: end.missing for name, end in ends.items()}
    assert missing == {
        "exp[a,value]": (), "exp[a,vjp]": (), "exp[a,float32]": (), "exp[a,jvp]": ("func.jvp",),
        "exp[a,double]": ("autograd.grad",), "exp[a,jacobian]": ("func.jacfwd", "func.jacrev"),
        "exp[a,linearize]": ("func.jvp", "func.linearize", "func.vjp"), "exp[a,vmap]": ("func.vjp", "func.vmap", "stack"),
        "exp[a,hessian]": ("func.hessian", "func.jacfwd", "func.jacrev"),
    }  # fmt: skip
    assert all(o.agrees for end in ends.values() for o in end.observations)
    assert all(end.error is None for end in ends.values())


DOCUMENT = (REAL.parent / "docs" / "writing-operators.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_examples_of_the_document_load(folder: Folder, example: str) -> None:
    """Each example is a table, or operators of one, or samples of one."""
    if not example.startswith("family:"):
        operators = example if example.startswith("- op:") else f"- op: where\n  claim: So.\n  samples:\n{example}"
        example = f"family: elementwise_unary\ntitle: T\noperators:\n{operators}"
    assert len(folder.write(example, "ops/elementwise_unary.yaml").load().cases) >= 2


def test_the_document_names_every_key() -> None:
    """Of tables, operators, samples and data, as the schema has them; and every check."""
    schema = json.loads((REAL / "ops" / "schema.json").read_text("utf-8"))["$defs"]
    keys = {*schema["operator"]["properties"], *schema["sample"]["properties"], *schema["check"]["enum"]}
    assert {key for key in keys if f"`{key}`" not in DOCUMENT} == set()


def test_tables_fit_the_list_of_operators() -> None:
    """Every entry that a table shows is a row of the list, in this family, and not left out."""
    assert [str(mistake) for mistake in entries.mistakes(load(root=REAL))] == []
    assert len(entries.entries(REAL)) == 547


CASES = [case for case in load(root=REAL).cases if case.chapter.startswith("ops.")]
ONE_OF_EACH = [next(group) for _, group in itertools.groupby(sorted(CASES, key=lambda c: (c.chapter, c.id.split(",")[-1])),
                                                             key=lambda c: (c.chapter, c.id.split(",")[-1]))]  # fmt: skip


def test_scripts_run_on_plain_torch() -> None:
    """The standalone script of one case for each family and check runs, and says OK."""
    pytest.importorskip("torch")
    kept = [case for case in ONE_OF_EACH if case.torch_departs is None]
    text = "\n".join(f"exec({standalone(case)!r}, {{}})" for case in kept)
    quiet = ["-W", "ignore:Attempted to insert a get_attr"]  # torch's, of its own linearize
    done = subprocess.run([sys.executable, *quiet, "-"], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stderr, done.stdout.split()) == ("", ["OK"] * len(kept))


@pytest.mark.slow
def test_scripts_of_every_operator_hold_on_plain_torch() -> None:
    """The standalone script of the first sample of every operator that has a check."""
    pytest.importorskip("torch")
    engine, failed = load_engine("torch"), []
    before = engine.capture()
    first = {(case.chapter, case.id.partition("[")[0], case.id.rpartition(",")[2]): case for case in reversed(CASES)}
    for case in first.values():
        if case.torch_departs is None:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    exec(compile(standalone(case), case.name, "exec"), {"__name__": "__main__"})
                except Exception as error:
                    failed.append(f"{case.name}: {type(error).__name__}: {error}")
                finally:
                    engine.restore(before)
    assert failed == []


def test_a_script_spells_infinities_and_nan(folder: Folder) -> None:
    """Data and written values that Python has no literal for."""
    folder.table(
        "call: x + y", "x: [.inf, .nan]\ny: [[0.0], [-.inf]]\nonly: [value]\nvalue: [[.inf, .nan], [.nan, .nan]]"
    )
    script = standalone(folder.load().cases[0])
    assert "torch.tensor([torch.inf, torch.nan]" in script
    assert "same(result, [[math.inf, math.nan], [math.nan, math.nan]])" in script


def test_scripts_notice_a_wrong_derivative() -> None:
    """A script whose gradient is 0.1 per cent off stops."""
    case = next(case for case in CASES if case.id == "exp[plain,vjp]")
    wrong = standalone(case).replace("assert same(x.grad, expected)", "assert same(x.grad * 1.001, expected)")
    done = subprocess.run([sys.executable, "-"], input=wrong, capture_output=True, text=True, timeout=120, check=False)
    assert "AssertionError" in done.stderr
