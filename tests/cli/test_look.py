"""`list`, `show`, `report` and `compare`."""

import json

import pytest

from conformance.cli import call
from conformance.records import CaseInfo, EngineInfo, Result, Run, SpecInfo, Summary
from conformance.results import Writer


def run(capsys, *arguments):
    code = call([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_list_names_every_case(place, capsys):
    """Name, claim, source and the names that an engine must spell."""
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "small/sum", "small/square", "small/scalar-needed",
    ]  # fmt: skip
    assert "  The gradient of a sum is one." in out
    assert "  needs from an engine: tensor" in out


def test_list_as_json(place, capsys):
    """The same for programs, with the case's program."""
    found = json.loads(run(capsys, "list", "small/square", "--json")[1])
    assert [case["case"] for case in found] == ["small/square"]
    assert found[0]["needs"] == ["small/sum"]
    assert found[0]["program"].startswith("x = torch.tensor")


def test_show_prints_claim_and_program(place, capsys):
    """With line numbers; `small` alone names several cases, which show refuses."""
    code, out, _ = run(capsys, "show", "small/sum")
    assert code == 0
    assert "The gradient of a sum is one." in out
    assert "   3  assert x.grad == [1.0, 1.0]" in out
    code, _, err = run(capsys, "show", "small")
    assert (code, "small names 3 cases" in err) == (2, True)


def test_show_standalone_is_a_script(place, capsys):
    """The script compiles, and needs torch only."""
    _, out, _ = run(capsys, "show", "small/square", "--standalone")
    compile(out, "script", "exec")
    assert "import torch" in out
    assert "conformance" not in out


def write(path, verdicts, *, engine="mine", summary=True, version="1", digest="d", state=None):
    with Writer(path) as writer:
        names = {case for case, _ in verdicts.items()}
        writer.append(Run(SpecInfo(version, digest), [EngineInfo(engine, "1")], {}, selected=len(names)))
        for case, verdict in verdicts.items():
            writer.append(CaseInfo(case, case.partition("/")[0], "claim", "source", "pass\n", "f.yaml", 1, 2))
            writer.append(Result(case, engine, "cpu", verdict, digest=state))
        if summary:
            writer.append(Summary({engine: {}}))
    return path


@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        ({"c/a": "pass"}, {"c/a": "pass"}, 0, ["no verdict changed in 1 results"]),
        ({"c/a": "fail"}, {"c/a": "pass"}, 0, ["fixed (1)", "c/a on mine: fail -> pass"]),
        ({"c/a": "pass"}, {"c/a": "fail"}, 1, ["broken (1)", "c/a on mine: pass -> fail"]),
        ({"c/a": "pass"}, {"c/a": "unsupported"}, 1, ["broken (1)"]),
        ({"c/a": "departs"}, {"c/a": "fail"}, 1, ["broken (1)"]),
        ({"c/a": "fail"}, {"c/a": "crash"}, 0, ["changed (1)"]),
        ({"c/a": "pass"}, {"c/a": "pass", "c/b": "fail"}, 0, ["new (1)", "c/b on mine: not run -> fail"]),
        ({"c/a": "pass", "c/b": "pass"}, {"c/a": "pass"}, 0, ["gone (1)", "c/b on mine: pass -> not run"]),
    ],
)
def test_compare_says_what_changed(tmp_path, capsys, before, after, code, said):
    """Fixed, broken, changed, new and gone; the exit code is 1 only where something got worse."""
    found, out, _ = run(capsys, "compare", write(tmp_path / "a", before), write(tmp_path / "b", after))
    assert found == code
    for text in said:
        assert text in out


def test_compare_matches_engines(tmp_path, capsys):
    """One engine each: they are compared whatever they are called, as two versions or two engines are."""
    a = write(tmp_path / "a", {"c/a": "pass"}, engine="torch")
    b = write(tmp_path / "b", {"c/a": "fail"}, engine="reference")
    code, out, _ = run(capsys, "compare", a, b)
    assert (code, "c/a on reference: pass -> fail" in out) == (1, True)


def test_compare_tells_passes_that_end_elsewhere(tmp_path, capsys):
    """Two passes whose final states differ in a bit are told, and break nothing; of a packed file as of a plain one."""
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    cases = {f"c/{letter}": "pass" for letter in "abcdefghij"}
    write(a, cases, state="one")
    code, out, _ = run(capsys, "compare", a, write(b, cases, state="other"))
    assert code == 0
    assert "note: 10 pass as before and end in another state, within the tolerance: c/a on mine, c/b on mine" in out
    assert "c/h on mine and 2 more" in out
    for same in ("one", None):
        assert "end in another" not in run(capsys, "compare", a, write(b, cases, state=same))[1]


def test_compare_tells_unfinished_runs_and_other_specifications(tmp_path, capsys):
    """Both are said before the changes."""
    a = write(tmp_path / "a", {"c/a": "pass"})
    b = write(tmp_path / "b", {"c/a": "pass"}, summary=False, version="2", digest="e")
    _, out, _ = run(capsys, "compare", a, b)
    assert "b is unfinished: 1 of 1 results" in out
    assert "the specification changed: 1 to 2" in out


@pytest.mark.parametrize("suffix", ["html", "xml", "md"])
def test_report_writes_pages(tmp_path, capsys, suffix):
    """Several files make one report; one that is unfinished is said to be."""
    a = write(tmp_path / "a", {"c/a": "pass"})
    b = write(tmp_path / "b", {"c/a": "fail"}, engine="other", summary=False)
    code, out, _ = run(capsys, "report", a, b, "-o", tmp_path / f"r.{suffix}")
    assert code == 0
    assert "b is unfinished" in out
    assert "other" in (tmp_path / f"r.{suffix}").read_text()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("", ["report", "r", "-o", "x.html"], "r: this file holds no results"),
        ("{}\n", ["report", "r", "-o", "x.html"], "r:1: this line is no result record"),
        ("{}", ["compare", "r", "r"], "r:1: the last line is torn"),
        (None, ["compare", "r", "r"], "r: cannot be read"),
        ("", ["report", "r", "-o", "x.pdf"], "x.pdf: what format is that?"),
        ("", ["report", "r", "-o", "no/x.html"], "there is no folder no"),
        ("", ["report", "-o", "x.html"], "FILE"),
    ],
)
def test_bad_files_are_one_message(tmp_path, monkeypatch, capsys, content, arguments, said):
    """Exit code 2 and the line of the file."""
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "r").write_text(content)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert said in err
