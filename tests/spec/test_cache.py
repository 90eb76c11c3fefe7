"""The cache: the same cases as a cold load, never stale, never in the way."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.spec import cache, load

from .conftest import REAL, Folder


def entries(folder: Folder) -> list[Path]:
    return sorted((folder.root.parent / "cache").glob("*.chapter"))


def test_warm_equals_cold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real specification from the cache is the one from its files, code and sites included."""
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_CACHE", str(tmp_path))
    cold, warm = load(root=REAL), load(root=REAL)
    assert cold.digest == warm.digest
    assert [a.name for a, b in zip(warm.cases, cold.cases, strict=True) if a != b] == []
    assert [a.name for a, b in zip(warm.chapters, cold.chapters, strict=True) if a != b] == []
    assert all(marshal.loads(case.code).co_code for case in warm.cases[:5])


def test_warm_load_reads_no_yaml(folder: Folder) -> None:
    """From the cache, neither PyYAML nor jsonschema nor NumPy nor any engine is imported."""
    folder.behaviour("id: a")
    code = (
        "import sys; from conformance.spec import load; load(root=sys.argv[1]);"
        "print([m for m in ('yaml', 'jsonschema', 'numpy', 'torch', 'conformance.engines') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder.root)]
    cold, warm = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert "yaml" in cold
    assert warm.strip() == "[]"


def test_an_entry_per_chapter(folder: Folder) -> None:
    """A change in one chapter leaves the entries of the others in use."""
    folder.behaviour("id: a").load()
    (first,) = entries(folder)
    stamp = first.stat().st_mtime_ns
    folder.write(
        "chapter: b\ntitle: B\nbehaviours:\n- id: a\n  claim: A.\n  source: s\n  program: |\n    assert 1\n", "b.yaml"
    )
    folder.load()
    assert len(entries(folder)) == 2
    assert first.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("content", [b"", b"\x00", b"nonsense", b"\x81\xa4name\x01"])
def test_a_corrupted_entry_is_rebuilt(folder: Folder, content: bytes) -> None:
    """An entry that cannot be decoded counts as absent and is written anew."""
    cold = folder.behaviour("id: a").load().cases
    (entry,) = entries(folder)
    entry.write_bytes(content)
    assert folder.load().cases == cold
    assert entry.read_bytes() != content


def test_a_truncated_entry_is_rebuilt(folder: Folder) -> None:
    """Half an entry is no entry."""
    cold = folder.behaviour("id: a").load().cases
    (entry,) = entries(folder)
    whole = entry.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 17)):
        entry.write_bytes(whole[:length])
        assert folder.load().cases == cold
        assert entry.read_bytes() == whole


@pytest.mark.parametrize("changed", ["chapter.yaml", "vocabulary.yaml", "schema.json"])
def test_a_change_is_seen(folder: Folder, changed: str) -> None:
    """A change of the chapter, the vocabulary or the schema makes another entry."""
    folder.behaviour("id: a").load()
    path = folder.root / changed
    path.write_text(path.read_text() + "\n")
    folder.load()
    assert len(entries(folder)) == 2


def test_the_code_that_loads_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kit or another Python reads other entries."""
    first = cache.key("a.yaml", b"x")
    monkeypatch.setattr(cache, "kit_digest", lambda: b"another")
    assert cache.key("a.yaml", b"x") != first


def test_parts_of_the_key_do_not_run_together() -> None:
    """Moving a byte from one part to the next makes another key."""
    assert cache.key("a", b"bc", b"d") != cache.key("a", b"b", b"cd") != cache.key("ab", b"c", b"d")


def test_mistakes_are_not_cached(folder: Folder) -> None:
    """A chapter with a mistake leaves no entry, and is wrong again the next time."""
    folder.behaviour("id: Upper")
    assert folder.mistakes() == folder.mistakes()
    assert entries(folder) == []


def test_a_folder_that_cannot_be_written_costs_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for the cache, loading works all the same."""
    blocker = folder.root.parent / "file"
    blocker.write_text("")
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_CACHE", str(blocker / "below"))
    assert len(folder.behaviour("id: a").load().cases) == 1


def test_no_home_no_cache(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder has no cache, and no error."""
    monkeypatch.delenv("AUTOGRAD_CONFORMANCE_CACHE")

    def nowhere() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", nowhere)
    assert cache.folder() is None
    assert len(folder.behaviour("id: a").load().cases) == 1


def test_concurrent_loads_agree(folder: Folder) -> None:
    """Processes that fill the same cache at once all see whole entries, and leave nothing half written."""
    folder.behaviour("id: a\nprogram: |\n  x = torch.ones(2)\n  assert x.sum() == 2.0")
    code = "import sys; from conformance.spec import load; print(load(root=sys.argv[1]).cases[0].name)"
    command = [sys.executable, "-c", code, str(folder.root)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in running] == ["chapter/a"] * 4
    assert [path.suffix for path in (folder.root.parent / "cache").iterdir()] == [".chapter"]


def test_old_entries_are_removed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder does not grow for ever; what is in use stays."""
    monkeypatch.setattr(cache, "KEPT", 2)
    for number in range(5):
        folder.behaviour(f"id: a{number}").load()
    assert len(entries(folder)) == 3
    assert len(folder.load().cases) == 1
