"""Waivers: somebody answers for a failure until a day, and nothing hides behind one."""

import datetime

import pytest

from conformance.errors import UsageError
from conformance.records import Result
from conformance.running.waivers import load

TODAY = datetime.date(2026, 6, 1)


def waivers(tmp_path, **fields):
    entry = {
        "engine": "mine",
        "case": "hooks/*",
        "owner": "jane",
        "reason": "issue 12",
        "expires": "2026-06-01",
    } | fields
    path = tmp_path / "waivers.yaml"
    path.write_text("- " + "\n  ".join(f"{name}: {value!r}" for name, value in entry.items()))
    found = load(path)
    found.today = TODAY
    return found


def result(verdict="fail", case="hooks/order", engine="mine"):
    return Result(case, engine, "cpu", verdict, finding="semantics")


def test_a_failure_is_waived_until_its_day(tmp_path):
    """On the last day the waiver still holds; the record keeps what was waived, and why."""
    found = waivers(tmp_path).apply(result())
    assert (found.verdict, found.waived, found.finding) == ("waived", "fail", "semantics")
    assert found.reason == "jane, until 2026-06-01: issue 12"


def test_an_expired_waiver_fails(tmp_path):
    """A day later the case fails, and the reason says whose waiver expired."""
    found = waivers(tmp_path, expires="2026-05-31").apply(result())
    assert (found.verdict, found.waived) == ("fail", None)
    assert "jane expired on 2026-05-31" in found.reason


def test_a_waiver_that_is_not_needed_is_reported(tmp_path):
    """A waived case that passes says so."""
    assert "no longer needed" in waivers(tmp_path).apply(result("pass")).reason


@pytest.mark.parametrize(
    "other", [result(case="leaves/order"), result(engine="other"), result("unsupported"), result("blocked")]
)
def test_a_waiver_covers_what_it_names(tmp_path, other):
    """Another case, another engine and verdicts that are no failures stay as they are."""
    verdict = other.verdict
    assert waivers(tmp_path).apply(other).verdict == verdict


def test_a_chapter_can_be_waived_and_unused_waivers_are_known(tmp_path):
    """A chapter's name covers its cases; a waiver that covered nothing is named after the run."""
    found = waivers(tmp_path, case="hooks")
    assert found.unused == list(found.waivers)
    assert found.apply(result("crash")).verdict == "waived"
    assert found.unused == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- engine: e\n", "waivers.yaml:1:3: this waiver has no case"),
        ("engine: e\n", "waivers.yaml:1:1: waivers are a list"),
        ("- 3\n", "waivers.yaml:1:3: a waiver is a mapping"),
        ("- {engine: e, case: c, owner: o, reason: r, expires: soon}\n", "not soon"),
        ("- {engine: e, case: c, owner: '', reason: r, expires: 2026-01-01}\n", "owner is a text that is not empty"),
        ("- {engine: e, case: c, owner: o, reason: r, expires: 2026-01-01, x: y}\n", "no field x"),
        ("- {engine: e, engine: f}\n", "here twice"),
        ("[1, }", "not valid YAML"),
    ],
)
def test_mistakes_have_a_place(tmp_path, text, said, monkeypatch):
    """Everything wrong with a waivers file is one message with file, line and column."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waivers.yaml").write_text(text)
    with pytest.raises(UsageError) as e:
        load("waivers.yaml")
    assert said in str(e.value)
    assert str(e.value).startswith("waivers.yaml:1:")


def test_a_missing_file_is_one_message(tmp_path):
    """A file that is not there is a UsageError with its name."""
    with pytest.raises(UsageError, match=r"none\.yaml: the waivers cannot be read"):
        load(tmp_path / "none.yaml")
