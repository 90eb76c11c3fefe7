"""The wheel works by itself: built, installed into an empty environment, run from a folder that is not the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.network  # build and install fetch hatchling, NumPy and the other dependencies


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "AUTOGRAD_CONFORMANCE_SPEC")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """The folder of commands of an environment that holds the wheel and its dependencies, without torch."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    run(binaries / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return binaries


def test_the_wheel_carries_the_specification_and_the_templates(wheel):
    """Data that is not Python travels too: every chapter, the schema, the page's templates, the licence, the types' mark."""
    names = set(zipfile.ZipFile(wheel).namelist())
    chapters = {f"conformance/_spec/{p.relative_to(ROOT / 'spec')}" for p in (ROOT / "spec").rglob("*") if p.is_file()}
    pages = {f"reports/templates/{p.name}" for p in (ROOT / "reports/templates").iterdir()}
    assert chapters | pages | {"conformance/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_installed_command_lists_the_specification_from_anywhere(commands, tmp_path):
    """`autograd-conformance list` from another folder finds the specification inside the wheel."""
    assert "worked_examples/" in run(commands / "autograd-conformance", "list", cwd=tmp_path)


def test_the_installed_kit_judges_the_reference_without_torch(commands, tmp_path):
    """Without torch the reference is judged alone, against what the specification expects, and the page is written."""
    out = run(commands / "autograd-conformance", "run", "worked_examples", "--html", "report.html", cwd=tmp_path)
    assert "torch is not installed" in out
    assert "<title>" in (tmp_path / "report.html").read_text("utf-8")


def test_naming_an_engine_that_is_not_installed_is_a_mistake_of_the_command(commands, tmp_path):
    """`--engine torch` without torch is exit code 2 and one clear line."""
    run(commands / "autograd-conformance", "run", "worked_examples", "--engine", "torch", cwd=tmp_path, code=2)
