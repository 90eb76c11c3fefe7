"""A small specification of one's own, in a folder of its own, with its own cache."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest
from hypothesis import settings

from conformance.errors import SpecErrors
from conformance.spec import load
from conformance.spec.root import find

REAL = find()

# Time says nothing of correctness here, and machines are shared.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


class Folder:
    """A specification under construction: the real vocabulary and schema, and chapters that a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "ops").mkdir()
        for name in ("vocabulary.yaml", "schema.json", "ops/schema.json", "VERSION"):
            shutil.copy(REAL / name, root / name)

    def write(self, text: str, name: str = "chapter.yaml") -> Folder:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8", newline="")
        return self

    def behaviour(self, text: str) -> Folder:
        """A chapter with one behaviour, whose keys are `text`; the program, if not given, asserts the truth.

        The text's first line is line 4 of the file, and is indented by two columns.
        """
        lines = textwrap.dedent(text).strip("\n").split("\n")
        present = {line.partition(":")[0] for line in lines if line[:1].strip()}
        defaults = {"id": "a", "claim": "It holds.", "source": "torch.Tensor", "program": "|\n    assert True"}
        lines += [f"{key}: {value}" for key, value in defaults.items() if key not in present]
        body = "\n".join(f"  {line}" if line else "" for line in "\n".join(lines).split("\n"))
        body = body.replace("\n      assert True", "\n    assert True")
        return self.write(f"chapter: chapter\ntitle: A chapter\nbehaviours:\n-{body[1:]}\n")

    def table(self, operator: str, sample: str = "x: [1.0, 2.0]") -> Folder:
        """A table of one operator, keys from line 4, with one sample `a`, whose keys stand in the last lines."""
        lines = textwrap.dedent(operator).strip("\n").split("\n") if operator else []
        present = {line.partition(":")[0] for line in lines}
        lines += [f"{k}: {v}" for k, v in {"op": "exp", "claim": "It is so."}.items() if k not in present]
        lines += ["samples:", "- id: a", *(f"  {line}" for line in textwrap.dedent(sample).strip("\n").split("\n"))]
        body = "\n".join(f"  {line}" if line else "" for line in lines)
        return self.write(f"family: table\ntitle: A table\noperators:\n-{body[1:]}\n", "ops/table.yaml")

    def load(self, *patterns: str):
        return load(patterns, root=self.root)

    def mistakes(self) -> list[str]:
        """The messages of a load that must fail, with the folder taken off."""
        with pytest.raises(SpecErrors) as caught:
            self.load()
        return [str(error).replace(f"{self.root}/", "") for error in caught.value.errors]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An empty specification with a cache of its own."""
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_CACHE", str(tmp_path / "cache"))
    return Folder(tmp_path / "spec")
