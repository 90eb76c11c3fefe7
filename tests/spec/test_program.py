"""The program checker: what is refused, where, with which words; and that honest programs pass."""

# ruff: noqa: E501 - programs are one literal each

from __future__ import annotations

import contextlib
import importlib

import pytest

from conformance.spec.checking import Vocabulary, check, read_vocabulary

from .conftest import REAL, Folder


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return read_vocabulary((REAL / "vocabulary.yaml").read_bytes(), "vocabulary.yaml")


SAME = "same(a, b) compares anywhere as an assert does; a mask is a.eq(b)"
ENGINE = "the engine's names are not the program's"
IMPORT = "import is not part of the program language"

# (program, "line:column: message (hint)") for every problem of the program, in order.
REFUSED = [
    # constructs
    ("import math", [f"1:1: {IMPORT} (math is there without it)"]),
    ("import os", [f"1:1: {IMPORT} (torch and the kit's words are there without it)"]),
    ("import warnings", [f"1:1: {IMPORT} (use `with recorded_warnings() as w:` or `with warns(Type):`)"]),
    ("from torch.func import grad as g", [f"1:1: {IMPORT} (write g = torch.func.grad)"]),
    ("import torch.nn.functional as F", [f"1:1: {IMPORT} (write F = torch.nn.functional)"]),
    ("from torch.autograd.gradcheck import gradcheck", [
        "1:38: the import of gradcheck from torch.autograd.gradcheck is not in the vocabulary (what is imported from there: "
        "get_analytical_jacobian, get_numerical_jacobian)"]),
    ("x = 1\nfrom torch.autograd.gradcheck import get_analytical_jacobian, get_numerical_jacobain", [
        "2:63: the import of get_numerical_jacobain from torch.autograd.gradcheck is not in the vocabulary "
        "(did you mean get_numerical_jacobian or get_analytical_jacobian?)"]),
    ("from torch.autograd.gradcheck import *", [
        "1:38: the import of * from torch.autograd.gradcheck is not in the vocabulary (what is imported from there: "
        "get_analytical_jacobian, get_numerical_jacobian)"]),
    ("from torch.autograd import gradcheck as check", [f"1:1: {IMPORT} (write check = torch.autograd.gradcheck)"]),
    ("import torch.autograd.gradcheck as g", [f"1:1: {IMPORT} (write g = torch.autograd.gradcheck)"]),
    ("from .autograd.gradcheck import get_numerical_jacobian", [
        f"1:1: {IMPORT} (torch and the kit's words are there without it)"]),
    ("def f():\n    from torch.autograd.gradcheck import get_numerical_jacobian", [
        "2:5: an import inside a block (import at the top of the program)"]),
    ("from torch.autograd.gradcheck import get_numerical_jacobian as torch", [
        "1:38: 'torch' keeps its meaning and cannot be bound (choose another name)"]),
    ("from torch.autograd.gradcheck import get_numerical_jacobian as open", [
        "1:38: 'open' is Python's own and no name for a variable (choose another name)"]),
    ("torch.autograd.gradcheck.get_numerical_jacobian", [
        "1:26: the attribute 'get_numerical_jacobian' is not in the vocabulary "
        "(from torch.autograd.gradcheck import get_numerical_jacobian)"]),
    ("from torch.autograd.gradcheck import get_numerical_jacobian as n\nn.grad = 1", [
        f"2:1: assignment to torch.autograd.gradcheck:get_numerical_jacobian.grad: {ENGINE}"]),
    ("try:\n    pass\nexcept ValueError:\n    pass", [
        '1:1: try is not part of the program language (expect an error with `with raises(Type, contains="..."):`)']),
    ("async def f():\n    pass", [
        "1:1: async is not part of the program language (programs run in one thread, in order)"]),
    ("match 1:\n    case 1:\n        pass", ["1:1: match is not part of the program language (use if)"]),
    ("x: float = 1.0", ["1:1: a variable annotation is not part of the program language (assign without it)"]),
    ("def f(x: float) -> float:\n    return x", [
        "1:10: an annotation is not part of the program language (leave it out)",
        "1:20: an annotation is not part of the program language (leave it out)"]),
    ("x = = 1", ["1:5: not valid Python: invalid syntax"]),
    ("return 1", ["1:1: not valid Python: 'return' outside function"]),
    ("x = 1\nassert x is 1", ['2:8: not valid Python: "is" with a literal. Did you mean "=="?']),
    ("assert (1, 'x')", ["1:1: not valid Python: assertion is always true, perhaps remove parentheses?"]),
    ("raise AssertionError('no error')", [
        "1:1: raise AssertionError hides an expectation (state it with assert)"]),
    # names
    ("assert x", ["1:8: unknown name 'x'"]),
    ("weights = 1\nassert weigths", ["2:8: unknown name 'weigths' (did you mean weights?)"]),
    ("print(1)", ["1:1: Python's print is not part of the program language (state it with assert)"]),
    ("open('f')", ["1:1: Python's open is not part of the program language (programs read no files)"]),
    ("eval('1')", ["1:1: Python's eval is not part of the program language (write the expression out)"]),
    ("e = exec", ["1:5: Python's exec is not part of the program language (write the statements out)"]),
    ("__import__('os')", ["1:1: Python's __import__ is not part of the program language"]),
    ("globals()", ["1:1: Python's globals is not part of the program language"]),
    ("input = 1", ["1:1: 'input' is Python's own and no name for a variable (choose another name)"]),
    ("def f(open):\n    return open\nopen('x')", [
        "3:1: Python's open is not part of the program language (programs read no files)"]),
    ("class A:\n    open = 1\n    x = open", [
        "3:9: Python's open is not part of the program language (programs read no files)"]),
    ("[open for open in (1, 2)]\nopen('x')", [
        "2:1: Python's open is not part of the program language (programs read no files)"]),
    ("torch = 1", ["1:1: 'torch' keeps its meaning and cannot be bound (choose another name)"]),
    ("def f(same):\n    pass", ["1:7: 'same' keeps its meaning and cannot be bound (choose another name)"]),
    ("for raises in ():\n    pass", ["1:5: 'raises' keeps its meaning and cannot be bound (choose another name)"]),
    ("__x = 1", ["1:1: the name '__x' with two leading underscores is refused"]),
    ("def f():\n    y = 1\nassert y", ["3:8: unknown name 'y'"]),
    # attributes
    ("x = torch.ones(2)\nx.gradd", ["2:3: the attribute 'gradd' is not in the vocabulary (did you mean grad or add?)"]),
    ("x = 1\nx.__class__", ["2:3: the attribute '__class__' with two leading underscores is refused"]),
    ("f = lambda: 1\nf.__globals__", ["2:3: the attribute '__globals__' with two leading underscores is refused"]),
    ("'{0.x}'.format(1)", ["1:9: the attribute 'format' is refused"]),
    ("g = (i for i in ())\ng.gi_frame", ["2:3: the attribute 'gi_frame' is refused"]),
    ("class A:\n    gi_frame = 1\ng = A()\ng.gi_frame", ["4:3: the attribute 'gi_frame' is refused"]),
    ("x = 1\ngetattr(x, 'grad' + 'd')", ["2:12: getattr takes a literal name (write it out, or loop over functions)"]),
    ("x = 1\ngetattr(x, '__class__')", ["2:12: the attribute '__class__' with two leading underscores is refused"]),
    ("x = 1\nsetattr(x, 'gradd', 1)", ["2:12: the attribute 'gradd' is not in the vocabulary (did you mean grad or add?)"]),
    ("getattr(*[1, '__class__'])", ["1:1: getattr takes an object and a literal name"]),
    ("g = getattr", ["1:5: getattr is called with a literal name, not passed around"]),
    ("type('A', (), {})", ["1:1: type with three arguments is refused (write a class statement)"]),
    # the engine's names
    ("torch.os.system('x')", ["1:1: torch.os.system is not in the vocabulary"]),
    ("torch.load('x')", ["1:1: torch.load is not in the vocabulary"]),
    ("torch.hub.load('x')", ["1:1: torch.hub.load is not in the vocabulary"]),
    ("torch.nn.functional.sotfmax(1)", [
        "1:1: torch.nn.functional.sotfmax is not in the vocabulary "
        "(did you mean torch.nn.functional.softmax?)"]),
    ("torch.gradcheck", ["1:1: torch.gradcheck is not in the vocabulary (did you mean torch.autograd.gradcheck?)"]),
    ("F = torch.nn.functional\nF.warnings", ["2:1: torch.nn.functional.warnings is not in the vocabulary"]),
    ("class A:\n    os = 1\nF = torch.nn\nF.os", ["4:1: torch.nn.os is not in the vocabulary"]),
    ("x = [torch]", ["1:6: the module torch is used as a value (give it a name once, at the top)"]),
    ("f = lambda m: m\nf(torch.nn)", ["2:3: the module torch.nn is used as a value (give it a name once, at the top)"]),
    ("torch.tensor = 1", [f"1:1: assignment to torch.tensor: {ENGINE}"]),
    ("T = torch.Tensor\nT.add = 1", [f"2:1: assignment to torch.Tensor.add: {ENGINE}"]),
    ("del torch.tensor", [f"1:5: assignment to torch.tensor: {ENGINE}"]),
    ("setattr(torch.Tensor, 'add', 1)", [f"1:1: setattr on the engine: {ENGINE}"]),
    ("torch.Tensor.__init__.__code__", [
        "1:23: the attribute '__code__' with two leading underscores is refused"]),
    # comparisons
    ("x = torch.ones(1)\nif x == 1.0:\n    pass", [f"2:4: == with a float or list outside the top of an assert ({SAME})"]),
    ("x = 1\nassert all(y == [1] for y in (x,))", [
        f"2:12: == with a float or list outside the top of an assert ({SAME})"]),
    ("x = 1\nassert x == 1.0 or x == 2", [f"2:8: == with a float or list outside the top of an assert ({SAME})"]),
    ("x = 1\nassert not x == -1.0", [f"2:12: == with a float or list outside the top of an assert ({SAME})"]),
    ("x = 1\ny = x != (1.0, 2)", [f"2:5: != with a float or list outside the top of an assert ({SAME})"]),
    ("f = lambda a: a == [1.0] * 3", [f"1:15: == with a float or list outside the top of an assert ({SAME})"]),
]  # fmt: skip


def shown(problems: tuple) -> list[str]:
    return [f"{p.line}:{p.column}: {p.what}" + (f" ({p.hint})" if p.hint else "") for p in problems]


@pytest.mark.parametrize(("program", "problems"), REFUSED)
def test_refused(vocabulary: Vocabulary, program: str, problems: list[str]) -> None:
    """Each rule has an example that it refuses, exactly there and in these words."""
    assert shown(check(program, vocabulary).problems) == problems


ACCEPTED = [
    "x = torch.tensor([2.0], requires_grad=True)\n(x * x).sum().backward()\nassert x.grad == [4.0] and x.is_leaf",
    "assert 0.1 < 0.2 == 0.2 < 1.0",
    "F, nn = torch.nn.functional, torch.nn\nassert F.relu(torch.ones(())) == 1.0\nassert nn.Linear(1, 1).bias is not None",
    "with raises(RuntimeError, contains='second time', match='.*') as e:\n    raise RuntimeError('x')\nassert 'x' in e.message",
    "class Square(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, input):\n        ctx.kept = input\n"
    "        return input * input\n    @staticmethod\n    def backward(ctx, g):\n        return 2 * ctx.kept * g",
    "class M(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.register_buffer('count', torch.zeros(()))\n    def forward(self, x):\n        return x + self.count",
    "def f(*args, key=1, **rest):\n    global total\n    total = len(args)\n    yield from args\nlist(f(1))\nassert total == 1",
    "def outer():\n    n = 0\n    def inner():\n        nonlocal n\n        n += 1\n        return n\n    return inner()\nouter()",
    "xs = [i for i in range(3) if (j := i) > 0]\nassert j == 2",
    "d = {k: v for k, v in zip('ab', (1, 2))}\nassert {**d}['a'] == 1 and f'{d!r:>{10}}' != ''",
    "x = torch.ones(2)\nsetattr(x, 'requires_grad', True)\nassert hasattr(x, 'anything') is False",
    "torch.utils.backcompat.broadcast_warning.enabled = True",
    "assert math.pi > 3 and OrderedDict(a=1) == {'a': 1} and weak(torch.ones(1))() is None",
    "x = torch.ones(2)\nx.grad = None\nx.data[0] = 3\ndel x",
    "while True:\n    break\nelse:\n    pass\nif 1 == 1:\n    pass",
    "for f in (torch.sin, torch.Tensor.cos):\n    assert f(torch.zeros(())) is not None, f.__name__",
    "assert (lambda *, input=1: input)() == 1",
    "from torch.autograd.gradcheck import get_numerical_jacobian as numerical\nassert numerical is not None",
    "class A:\n    limit = 3\n    double = limit * 2\nassert A().double == 6",
]


@pytest.mark.parametrize("program", ACCEPTED)
def test_accepted(vocabulary: Vocabulary, program: str) -> None:
    """Honest programs of every allowed construct pass."""
    assert shown(check(program, vocabulary).problems) == []


@pytest.mark.parametrize(
    ("program", "requires"),
    [
        ("torch.autograd.grad(torch.tensor(1.0), [])", ("autograd.grad", "tensor")),
        ("F = torch.nn.functional\nF.relu(torch.ones(1))", ("nn.functional.relu", "ones")),
        ("nn = torch.nn\nf = nn.functional\nf.relu(1)", ("nn.functional.relu",)),
        ("torch.Tensor.add_", ("Tensor.add_",)),
        ("torch.autograd.graph.save_on_cpu.__init__", ("autograd.graph.save_on_cpu",)),
        ("x = torch.ones(1).relu()", ("ones",)),
        ("g = torch.func.grad\ng(g)", ("func.grad",)),
        ("from torch.autograd.gradcheck import get_numerical_jacobian as n\nn(torch.neg, ())", (
            "autograd.gradcheck:get_numerical_jacobian", "neg")),
        ("assert 1", ()),
    ],
)
def test_requires(vocabulary: Vocabulary, program: str, requires: tuple[str, ...]) -> None:
    """The literal torch paths of a program, through the names that it gives to modules, sorted."""
    assert check(program, vocabulary).requires == requires


def test_columns_count_characters(vocabulary: Vocabulary) -> None:
    """A column counts characters even where Python counts bytes."""
    (problem,) = check("s = 'äöü'; nope", vocabulary).problems
    assert (problem.line, problem.column) == (1, 12)


def test_given_names_are_known(vocabulary: Vocabulary) -> None:
    """Drawn data and parameters are names of the program."""
    assert not check("assert x is not None", vocabulary, ["x"]).problems


def test_problems_are_placed_in_the_file(folder: Folder) -> None:
    """The line and column of a problem are those of the chapter file."""
    found = folder.behaviour("id: a\nprogram: |\n  # a comment\n\n  x = 1\n  if x:\n      torch.load").mistakes()
    assert found == ["chapter.yaml:10:9: torch.load is not in the vocabulary"]


def test_words_are_those_of_the_language(vocabulary: Vocabulary) -> None:
    """The vocabulary's words are exactly those that programs are run with."""
    from conformance.language.words import WORDS

    assert vocabulary.words == WORDS


def test_the_vocabulary_is_what_torch_spells(vocabulary: Vocabulary) -> None:
    """Every path in the vocabulary exists in the torch that is installed."""
    torch = pytest.importorskip("torch")
    absent = []
    for path in sorted(vocabulary.paths):
        value = torch
        for index, part in enumerate(path.split(".")):
            if not hasattr(value, part) and isinstance(value, type(torch)):
                with contextlib.suppress(ImportError):
                    importlib.import_module("torch." + ".".join(path.split(".")[: index + 1]))
            value = getattr(value, part, None)
        if value is None and path not in ("newaxis",):
            absent.append(path)
    assert absent == []


def test_what_is_importable_is_reached_by_no_path(vocabulary: Vocabulary) -> None:
    """An import is listed where the torch that is installed has the name in that module, and no path leads there."""
    torch = pytest.importorskip("torch")
    assert vocabulary.importable
    for spelled in vocabulary.importable:
        module, _, name = spelled.partition(":")
        assert hasattr(importlib.import_module(f"torch.{module}"), name)
        value = torch
        for part in (*module.split("."), name):
            value = getattr(value, part, None)
        assert value is None, spelled


UNSAFE = ("load", "save", "compile", "hub", "jit", "os", "from_file", "eval_", "exec", "package", "export", "onnx")


def test_the_vocabulary_has_nothing_unsafe(vocabulary: Vocabulary) -> None:
    """No path or attribute reads or writes files, runs text, or reaches another module."""
    parts = {part for path in vocabulary.paths for part in path.split(".")} | vocabulary.attributes
    assert not parts & set(UNSAFE)
    assert not vocabulary.builtins & {
        "open",
        "eval",
        "exec",
        "compile",
        "globals",
        "locals",
        "vars",
        "input",
        "__import__",
    }


def test_vocabulary_lists_are_sorted() -> None:
    """Each list is sorted without regard to case and holds no name twice, so that changes to it stay readable."""
    import yaml

    def lists(value: object):
        if isinstance(value, dict):
            for inner in value.values():
                yield from lists(inner)
        else:
            yield str(value).split()

    for words in lists(yaml.safe_load((REAL / "vocabulary.yaml").read_text())):
        assert words == sorted(set(words), key=lambda w: (w.lower(), w))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("words: >-", "wordz: >-"), "the list 'words' is missing"),
        (("\ndunders: >-", "\nextra: x\ndunders: >-"), "unknown list 'extra'"),
    ],
)
def test_a_broken_vocabulary_is_named(folder: Folder, change: tuple[str, str], message: str) -> None:
    """A vocabulary of another form is refused with its place."""
    folder.behaviour("id: a")
    path = folder.root / "vocabulary.yaml"
    path.write_text(path.read_text().replace(*change))
    assert any(message in text and text.startswith("vocabulary.yaml:") for text in folder.mistakes())


@pytest.mark.parametrize(
    "deep", ["(" * 300 + "1" + ")" * 300, "+".join(["1.0"] * 3000), "x" + "[0]" * 3000, "-" * 3000 + "1"]
)
def test_a_program_nested_too_deeply_is_one_message(folder: Folder, deep: str) -> None:
    """Depth beyond what Python can walk is a mistake in the file, not a traceback."""
    messages = folder.behaviour(f"id: a\nprogram: |\n  x = 1\n  assert x == {deep}").mistakes()
    assert len(messages) == 1
    assert messages[0].startswith("chapter.yaml:")


def test_no_listed_path_is_a_module(vocabulary: Vocabulary) -> None:
    """What may be used as a value is never a module: modules would reach beyond the vocabulary."""
    torch = pytest.importorskip("torch")
    for path in vocabulary.paths:
        value = torch
        for part in path.split("."):
            value = getattr(value, part, None)
        assert not isinstance(value, type(torch)), path
