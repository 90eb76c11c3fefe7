"""From a folder to a specification: files that are missing or unreadable, selection by pattern, the digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.errors import SpecError, UsageError
from conformance.spec import load

from .conftest import Folder

CHAPTER = "chapter: {}\ntitle: T\nbehaviours:\n"
BEHAVIOUR = "- id: {}\n  claim: It holds.\n  source: s\n{}  program: |\n    assert True\n"


# --- files and folders ---


def test_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    """A root that is not there is named."""
    with pytest.raises(UsageError, match=r"no specification at .*nowhere"):
        load(root=tmp_path / "nowhere")


def test_a_missing_folder_from_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says where the wrong folder came from."""
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_SPEC", "/nowhere")
    with pytest.raises(UsageError, match=r"from \$AUTOGRAD_CONFORMANCE_SPEC"):
        load()


def test_a_folder_without_chapters(folder: Folder) -> None:
    """An empty specification is refused."""
    with pytest.raises(SpecError, match="no chapters here"):
        folder.load()


def test_a_missing_vocabulary(folder: Folder) -> None:
    """A folder without a vocabulary is no specification."""
    folder.behaviour("id: a")
    (folder.root / "vocabulary.yaml").unlink()
    with pytest.raises(SpecError, match=r"vocabulary\.yaml: No such file"):
        folder.load()


def test_a_chapter_that_is_not_text(folder: Folder) -> None:
    """A file that is not UTF-8 is refused at its line."""
    (folder.root / "chapter.yaml").write_bytes(b"chapter: chapter\ntitle: \xff\n")
    assert folder.mistakes() == ["chapter.yaml:2: not UTF-8 text"]


def test_line_ends_of_windows(folder: Folder) -> None:
    """A checkout with CRLF gives the same program and places."""
    folder.behaviour("id: a\nprogram: |\n  x = 1\n  assert x == 1")
    path = folder.root / "chapter.yaml"
    plain = folder.load().cases[0]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    case = folder.load().cases[0]
    assert (case.program, case.program_line, case.sites) == (plain.program, plain.program_line, plain.sites)


def test_programs_folder(folder: Folder) -> None:
    """Whole workloads in programs/ are chapters as well."""
    folder.write(CHAPTER.format("net") + BEHAVIOUR.format("a", ""), "programs/net.yaml")
    (case,) = folder.load().cases
    assert (case.name, case.file) == ("net/a", "programs/net.yaml")


# --- selection ---


@pytest.fixture
def three(folder: Folder) -> Folder:
    folder.write(CHAPTER.format("one") + BEHAVIOUR.format("a", "") + BEHAVIOUR.format("ab", ""), "one.yaml")
    text = "- id: p\n  claim: A.\n  source: s\n  with: {n: [1, 2]}\n  program: |\n    assert n > 0\n"
    return folder.write(CHAPTER.format("two") + text, "two.yaml")


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ((), ["one/a", "one/ab", "two/p[1]", "two/p[2]"]),
        (("one/a",), ["one/a"]),
        (("one",), ["one/a", "one/ab"]),
        (("two/p",), ["two/p[1]", "two/p[2]"]),
        (("two/p[2]",), ["two/p[2]"]),
        (("two/p[*]",), ["two/p[1]", "two/p[2]"]),
        (("one/a*",), ["one/a", "one/ab"]),
        (("one/a?",), ["one/ab"]),
        (("t*",), ["two/p[1]", "two/p[2]"]),
        (("*b",), ["one/ab"]),
        (("two/p[2]", "one/a"), ["one/a", "two/p[2]"]),
    ],
)
def test_select(three: Folder, patterns: tuple[str, ...], names: list[str]) -> None:
    """Names, chapters and globs select, in the specification's order; brackets are part of names."""
    assert [case.name for case in three.load(*patterns).cases] == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("one/abc", r"no case matches 'one/abc' \(did you mean one/ab"),
        ("oen", r"no case matches 'oen' \(did you mean one\?\)"),
        ("p", r"no case matches 'p' \(did you mean two/p\?\)"),
        ("zzz", r"no case matches 'zzz' \(chapters: one, two\)"),
        ("zz*", r"no case matches 'zz\*' \(chapters: one, two\)"),
    ],
)
def test_an_unknown_pattern(three: Folder, pattern: str, message: str) -> None:
    """A pattern that matches nothing is an error with what may be meant."""
    with pytest.raises(UsageError, match=message):
        three.load(pattern)


# --- the digest ---


def test_digest_depends_on_content_only(folder: Folder, tmp_path: Path) -> None:
    """The same files elsewhere have the same digest; another word has another."""
    folder.behaviour("id: a")
    first = folder.load().digest
    other = Folder(tmp_path / "elsewhere").behaviour("id: a")
    assert other.load().digest == first
    assert first.startswith("sha256:")
    other.behaviour("id: b")
    assert other.load().digest != first
