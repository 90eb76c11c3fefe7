"""The rules of ARCHITECTURE.md, enforced: who imports whom, what an import costs, how large things grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = ("conformance", "reference_engine", "reports")
FILE_LINES = 400
FUNCTION_LINES = 60
# Files that may be longer, each with the reason: tables read better in one piece.
LONG_FILES: dict[str, str] = {}


class Import(NamedTuple):
    """One import, wherever it stands in the file. `module` is as far as it can be told: a.b for `from a import b`."""

    file: str
    line: int
    module: str

    def inside(self, *packages: str) -> bool:
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def files(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, in functions and under TYPE_CHECKING too, and import_module with a literal name."""
    name = path.relative_to(ROOT)
    package = [*name.parent.parts]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for module in _modules(node, package):
            yield Import(str(name), node.lineno, module)  # type: ignore[attr-defined]


def _modules(node: ast.AST, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        return [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return []


def standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


ALL = [found for path in files(*SHIPPED) for found in imports(path)]


def breaking(package: str, *allowed: str) -> list[str]:
    """The imports in a package (or file) that are neither of the standard library nor of what is allowed."""
    return [str(i) for i in ALL if i.file.startswith(package) and not standard(i.module) and not i.inside(*allowed)]


def test_the_reference_engine_stands_alone():
    """reference_engine imports NumPy and SciPy, nothing of the kit, no torch: it can be read and used by itself."""
    assert breaking("reference_engine/", "reference_engine", "numpy", "scipy") == []


def test_reports_know_result_records_only():
    """A report is a function of result records: of the kit, reports imports conformance.records and errors."""
    assert breaking("reports/", "reports", "jinja2", "markupsafe", "conformance.records", "conformance.errors") == []


def test_only_the_torch_adapter_imports_torch():
    """The kit works on a machine without torch: one file imports it."""
    assert {i.file for i in ALL if i.inside("torch")} <= {"conformance/engines/torch.py"}


def test_only_its_adapter_imports_the_reference_engine():
    """For the kit the reference is an engine like any other: one file imports it."""
    outside = [i for i in ALL if not i.file.startswith("reference_engine/") and i.inside("reference_engine")]
    assert {i.file for i in outside} <= {"conformance/engines/reference.py"}


def test_only_what_people_see_imports_reports():
    """Loading, running and judging know nothing of pages: only the command line and the pytest plugin show things."""
    allowed = ("conformance/cli/", "conformance/pytest_plugin")
    assert [str(i) for i in ALL if i.inside("reports") and not i.file.startswith(("reports/", *allowed))] == []


def test_the_specification_loader_knows_no_engine():
    """Reading the specification needs no engine: spec/ imports neither engines, running, nor the command line."""
    engines = ("conformance.engines", "conformance.running", "conformance.cli", "conformance.pytest_plugin")
    assert [str(i) for i in ALL if i.file.startswith("conformance/spec/") and i.inside(*engines)] == []


def test_only_the_plugin_imports_pytest():
    """pytest is one way to run the kit, not a part of it."""
    assert {i.file for i in ALL if i.inside("pytest", "_pytest")} <= {"conformance/pytest_plugin.py"}


def test_nothing_that_ships_imports_tests_or_benchmarks():
    """What the wheel carries needs nothing that it does not carry."""
    assert [str(i) for i in ALL if i.inside("tests", "benchmarks")] == []


def test_third_party_imports_are_declared():
    """What conformance imports is in the dependencies of pyproject.toml (torch: an extra)."""
    declared = ("click", "jsonschema", "msgspec", "numpy", "pytest", "rich", "scipy", "yaml", "torch")
    assert breaking("conformance/", *SHIPPED, *declared) == []


@pytest.mark.parametrize(
    ("statement", "modules"),
    [
        ("import a.b, c", ["a.b", "c"]),
        ("from a import b", ["a.b"]),
        ("from . import b", ["pack.age.b"]),
        ("from ..x import b", ["pack.x.b"]),
        ("def f():\n    import torch", ["torch"]),
        ("importlib.import_module('torch')", ["torch"]),
        ("__import__('torch')", ["torch"]),
        ("x.torch", []),
    ],
)
def test_the_check_sees_every_form_of_import(statement, modules):
    """The rules above would be worth nothing if an import could hide in a function, a relative form or a call."""
    tree = ast.walk(ast.parse(statement))
    assert [module for node in tree for module in _modules(node, ["pack", "age"])] == modules


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("conformance", ("torch", "pytest", "_pytest", "yaml", "jinja2", "scipy", "reference_engine", "rich")),
        ("conformance.cli", ("torch", "pytest", "_pytest", "yaml", "jinja2", "scipy", "reference_engine")),
        ("conformance.records", ("torch", "yaml", "jinja2", "scipy", "numpy")),
        ("reference_engine", ("torch", "conformance", "pytest", "yaml", "jinja2")),
    ],
)
def test_an_import_brings_only_what_it_needs(package, unwanted):
    """Starting is quick because heavy libraries are imported where they are used."""
    code = f"import sys, {package}; print([m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_files_stay_short():
    """A file that has grown beyond a screenful of ideas is split, unless it is a table with its reason above."""
    long = {str(path.relative_to(ROOT)): _lines(path) for path in files(*SHIPPED) if _lines(path) > FILE_LINES}
    assert {name: lines for name, lines in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) <= set(long), "a file listed as long no longer is"


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_functions_stay_short():
    """No function is longer than a page, docstring aside."""
    long = {}
    for path in files(*SHIPPED, "tests", "benchmarks"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = _length(node)
                if lines > FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert long == {}


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_the_architecture_fits_on_two_pages():
    """ARCHITECTURE.md stays short enough to be read, and names every package that ships."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert len(text.splitlines()) <= 80
    assert [package for package in SHIPPED if f"{package}/" not in text] == []


def test_documents_name_nothing_of_a_workplace():
    """Documents, commands and the specification hold for any machine: no absolute paths of ours, no temporary folders."""
    places = ("/work" + "/", "/tmp" + "/", "/root" + "/", "/home" + "/")
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "Makefile", *ROOT.glob("spec/**/*.yaml")]
    assert len(documents) > 5
    found = [(path.name, place) for path in documents for place in places if place in path.read_text("utf-8")]
    assert found == []
