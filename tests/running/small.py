"""A specification of a few cases, and engines of a few lines, for tests of everything around them."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

CHAPTER = """
chapter: small
title: A few behaviours
behaviours:
- id: sum
  claim: The gradient of a sum is one.
  source: torch.Tensor.backward
  program: |
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    x.sum().backward()
    assert x.grad == [1.0, 1.0]
- id: square
  claim: The gradient of the squares' sum is twice the tensor.
  source: torch.Tensor.backward
  needs: [small/sum]
  program: |
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    (x * x).sum().backward()
    assert x.grad == [4.0, 6.0]
- id: scalar-needed
  claim: backward of a tensor of several elements raises without a gradient.
  source: torch.Tensor.backward
  needs: [small/sum]
  program: |
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    x.sum().backward()
    assert x.grad == [1.0, 1.0]
    with raises(RuntimeError, contains="scalar"):
        (x * x).backward()
"""

# One case per function, so that an engine can misbehave in one of them.
FUNCTION = """
- id: {name}
  claim: torch.{name} of a tensor keeps its shape.
  source: torch.{name}
  program: |
    x = torch.tensor([0.25, 0.5])
    y = torch.{name}(x)
    assert y.shape == (2,)
"""

ENGINE = """
import types
import reference_engine

def namespace(**changes):
    found = {name: getattr(reference_engine, name) for name in dir(reference_engine) if not name.startswith("__")}
    return types.SimpleNamespace(**(found | changes))
"""


def specification(folder: Path, functions: tuple[str, ...] = (), more: str = "") -> Path:
    """A specification in `folder`: the chapter above, a case for each function, and `more` cases."""
    folder.mkdir(exist_ok=True)
    for name in ("vocabulary.yaml", "schema.json"):
        shutil.copy(ROOT / "spec" / name, folder)
    (folder / "VERSION").write_text("0.0.1\n")
    text = CHAPTER + "".join(FUNCTION.format(name=name) for name in functions) + textwrap.dedent(more)
    (folder / "small.yaml").write_text(text)
    return folder


def engine(folder: Path, name: str, code: str) -> str:
    """Writes a module with `namespace(**changes)` and `code`; returns what `--engine` takes, `factory` in it."""
    (folder / f"{name}.py").write_text(ENGINE + textwrap.dedent(code))
    return f"{name}:factory"


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without torch: the reference is the oracle, and workers start quickly."""
    from conformance import engines

    known = engines.available
    monkeypatch.setattr(engines, "available", lambda name: name != "torch" and known(name))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_torch: None) -> Path:
    """An empty current folder with the small specification in force."""
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_SPEC", str(specification(tmp_path / "spec")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path
