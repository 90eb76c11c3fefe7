"""`run` on the command line: what it prints, what it writes, and the exit code."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from conformance.cli import call
from conformance.results import read
from tests.running.small import ROOT, engine, specification
from tests.running.test_pool import gone, until
from tests.running.test_session import WRONG_SUM

NO_TORCH = """
import sys
from conformance import engines
known = engines.available
engines.available = lambda name: name != "torch" and known(name)
from conformance.cli import main
main(sys.argv[1:])
"""


# For a worker: no finder finds torch.
WITHOUT_TORCH = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] == "torch" else find(name, *rest)
"""


def run(capsys, *arguments):
    """(exit code, standard output, standard error) of a command."""
    code = call([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_everything_conforms(place, capsys):
    """Without torch the reference is run alone, said in one line; the table counts by chapter; the exit code is 0."""
    code, out, err = run(capsys, "run")
    assert (code, err) == (0, "")
    assert "torch is not installed: the reference is judged alone" in out.splitlines()[0]
    assert "3 of 3" in out.splitlines()[-1]


def test_something_does_not_conform(place, capsys):
    """A failure is shown in full: claim, source, place, program with its line marked, both values, a command."""
    name = engine(place, "halving", WRONG_SUM)
    code, out, _ = run(capsys, "run", "--engine", name)
    assert code == 1
    for said in (
        f"FAIL small/sum on {name}: mathematically wrong",
        "The gradient of a sum is one.",
        "source: torch.Tensor.backward",
        "small.yaml:5",
        ">   3  assert x.grad == [1.0, 1.0]",
        "expected [1.0, 1.0], observed [0.5, 0.5]",
        f"reproduce: autograd-conformance run small/sum --engine {name}",
        "blocked by a failing case that they build on (2)",
        "0 of 3, 1 fail, 2 blocked",
    ):
        assert said in out


def test_pattern_profile_and_needs(place, capsys):
    """A pattern names a case; what it needs runs too and is said; a percentage comes with a profile only."""
    code, out, _ = run(capsys, "run", "small/square")
    assert code == 0
    assert "2 cases, 1 of them because others need them" in out
    assert "%" not in out
    (place / "spec" / "profiles.yaml").write_text("profiles:\n- name: few\n  cases: [small]\n  except: [small/sum]\n")
    code, out, _ = run(capsys, "run", "--profile", "few")
    assert (code, out.splitlines()[-1]) == (0, "few: reference passes 2 of 2, 100.0 %")
    assert "3 cases, 1 of them because others need them" in out
    name = engine(place, "halving", WRONG_SUM)
    code, out, _ = run(capsys, "run", "--profile", "few", "--engine", name)
    assert (code, out.splitlines()[-1]) == (1, f"few: {name} passes 0 of 2, 0.0 %")


def test_files_are_written(place, capsys):
    """Results, the HTML report and JUnit XML of one run."""
    code, _, _ = run(capsys, "run", "--results", "r.jsonl", "--html", "r.html", "--junit", "r.xml", "-j", 2)
    assert code == 0
    assert read("r.jsonl").summary.counts == {"reference": {"pass": 3}}
    lines = [json.loads(line) for line in (place / "r.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["run", *["case", "result"] * 3, "summary"]
    assert "3 of 3 <small>100 %" in (place / "r.html").read_text()
    assert len(list(ET.parse(place / "r.xml").iter("testcase"))) == 3


def test_unsupported_is_listed_and_no_failure(place, capsys):
    """Names that an engine lacks are listed; only where it supports nothing at all is the exit code 1."""
    specification(place / "spec", ("exp", "sin"))
    name = engine(place, "small_engine", "def factory():\n    found = namespace()\n    del found.sin\n    return found")
    code, out, _ = run(capsys, "run", "--engine", name)
    assert (code, "4 of 5, 1 unsupported" in out) == (0, True)
    assert f"{name} does not spell 1 names:\n  sin: small/sin\n" in out
    code, out, _ = run(capsys, "run", "--engine", name, "small/sin")
    assert (code, "supports none of these cases" in out) == (1, True)


def test_a_device_that_is_not_there(place, capsys):
    """Cases about CUDA are named where there is none."""
    more = "- id: gpu\n  claim: Runs on a GPU.\n  source: torch\n  device: cuda\n  program: |\n    assert True\n"
    specification(place / "spec", more=more)
    code, out, _ = run(capsys, "run")
    assert code == 0
    assert "not run: needs a CUDA device: run with --device cuda: small/gpu" in out


def test_waivers(place, capsys):
    """A waived failure conforms and is listed; an expired waiver does not; one for nothing is named."""
    name = engine(place, "halving", WRONG_SUM)
    entry = f"- {{engine: {name}, case: small/sum, owner: jane, reason: issue 12, expires: %s}}\n"
    (place / "w.yaml").write_text(entry % "2999-01-01")
    code, out, _ = run(capsys, "run", "--engine", name, "--waivers", "w.yaml")
    assert (code, "jane, until 2999-01-01: issue 12" in out, "1 waived" in out) == (0, True, True)
    (place / "w.yaml").write_text(entry % "2020-01-01")
    code, out, _ = run(capsys, "run", "--engine", name, "--waivers", "w.yaml")
    assert (code, "the waiver of jane expired on 2020-01-01" in out) == (1, True)
    (place / "w.yaml").write_text((entry % "2999-01-01").replace("small/sum", "small/other"))
    _, out, _ = run(capsys, "run", "--engine", name, "--waivers", "w.yaml")
    assert "covers nothing" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "smal"], "no case matches 'smal' (did you mean small"),
        (["run", "--engine", "torch"], "pip install 'autograd-conformance[torch]'"),
        (["run", "--engine", "nope"], "unknown engine 'nope'"),
        (["run", "--engine", "nope:factory"], "there is no module 'nope'"),
        (["run", "--profile", "few"], "the profiles cannot be read"),
        (["run", "--profile", "few", "small"], "a profile is run as a whole"),
        (["run", "--resume"], "--resume needs --results FILE"),
        (["run", "--results", "no/r.jsonl"], "there is no folder no"),
        (["run", "--html", "no/r.html"], "there is no folder no"),
        (["run", "--waivers", "no.yaml"], "no.yaml: the waivers cannot be read"),
        (["run", "-j", "0"], "0"),
        (["run", "--device", "tpu"], "tpu"),
        (["run", "--timeout", "0"], "0"),
        (["run", "--frob"], "--frob"),
        (["frob"], "frob"),
    ],
)
def test_a_wrong_command_is_one_message(place, capsys, monkeypatch, arguments, said):
    """Exit code 2 and what is wrong; nothing on standard output."""
    if "torch" in arguments:
        (place / "sitecustomize.py").write_text(WITHOUT_TORCH)
        monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{ROOT}")
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert said in err


def test_a_wrong_specification_is_exit_2(place, capsys):
    """A mistake in a chapter has its file, line and column."""
    (place / "spec" / "small.yaml").write_text("chapter: small\nbehaviours:\n- id: x\n")
    code, _, err = run(capsys, "run")
    assert code == 2
    assert "small.yaml:3:3" in err


@pytest.mark.parametrize("content", ["import os\n", '{"kind": "case"}\n', "{}"])
def test_a_file_that_holds_no_results_is_not_replaced(place, capsys, content):
    """--results of a file that is something else is refused, and the file stays as it is."""
    (place / "precious.py").write_text(content)
    code, _, err = run(capsys, "run", "--results", "precious.py")
    assert (code, (place / "precious.py").read_text()) == (2, content)
    assert "not replaced" in err


def test_a_finished_run_is_replaced_and_an_unfinished_one_is_kept(place, capsys):
    """A slip loses nothing: an unfinished run is continued or replaced only when that is said."""
    run(capsys, "run", "--results", "r.jsonl")
    assert run(capsys, "run", "small/sum", "--results", "r.jsonl")[0] == 0
    assert len(read("r.jsonl").results) == 1
    content = (place / "r.jsonl").read_text()
    code, out, _ = run(capsys, "run", "small/sum", "--results", "r.jsonl", "--resume")
    assert (code, "is finished: nothing to resume" in out) == (0, True)
    unfinished = "".join(content.splitlines(keepends=True)[:2])
    (place / "r.jsonl").write_text(unfinished + '{"kind": "res')
    code, _, err = run(capsys, "run", "small/sum", "--results", "r.jsonl")
    assert (code, "holds an unfinished run with 0 results (--resume continues" in err) == (2, True)
    assert (place / "r.jsonl").read_text().startswith(unfinished)
    code, _, err = run(capsys, "run", "--results", "r.jsonl", "--resume")
    assert (code, "patterns there: small/sum, here: none" in err) == (2, True)
    assert run(capsys, "run", "small/sum", "--results", "r.jsonl", "--resume")[0] == 0
    assert [r.verdict for r in read("r.jsonl").results.values()] == ["pass"]
    (place / "r.jsonl").write_text(unfinished)
    assert run(capsys, "run", "small/sum", "--results", "r.jsonl", "--overwrite")[0] == 0
    assert read("r.jsonl").summary is not None


def test_an_engine_that_does_not_import_costs_no_results(place, capsys):
    """The file of the run before is opened only when every engine is there."""
    run(capsys, "run", "--results", "r.jsonl")
    content = (place / "r.jsonl").read_bytes()
    assert run(capsys, "run", "--engine", "nope", "--results", "r.jsonl")[0] == 2
    assert (place / "r.jsonl").read_bytes() == content


@pytest.mark.parametrize(("number", "file"), [(signal.SIGINT, "r.jsonl"), (signal.SIGTERM, "r.jsonl.gz")])
def test_an_interrupt_keeps_the_results(place, number, file):
    """Interrupted while a case hangs: results so far stay, no worker does, the exit code is 130; --resume goes on."""
    specification(place / "spec", ("exp", "sin"))
    code = """
    import os, time
    def hang(x):
        if not os.path.exists("pid"):
            open("part", "w").write(str(os.getpid()))
            os.rename("part", "pid")
            time.sleep(60)
        return reference_engine.exp(x)
    def factory():
        return namespace(exp=hang)
    """
    name = engine(place, "hanging", code)
    command = [sys.executable, "-c", NO_TORCH, "run", "--engine", name, "--results", file]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: (place / "pid").exists() and (place / file).exists())
    until(lambda: len(read(file, repair=True).results) == 3)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in out
    assert "unfinished: 3 of 5 results" in out
    assert "Traceback" not in out
    assert read(file).summary is None
    until(lambda: gone(int((place / "pid").read_text())))
    done = subprocess.run([*command, "--resume"], cwd=place, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert read(file).summary.counts == {name: {"pass": 5}}


def test_a_run_that_cannot_be_completed_is_exit_3(place, capsys):
    """An engine that no longer imports when its worker has to be replaced: exit code 3; what was judged stays."""
    specification(place / "spec", ("exp", "sin"))
    code = """
    import os
    if os.path.exists("imported"):
        raise ValueError("only once")
    open("imported", "w").close()
    def factory():
        return namespace(exp=lambda x: os._exit(1))
    """
    name = engine(place, "once", code)
    code, out, err = run(capsys, "run", "--engine", name, "--results", "r.jsonl")
    assert code == 3
    assert "was imported before and now is not" in err
    assert "unfinished" in out
    assert len(read("r.jsonl").results) >= 3


def test_a_reader_that_leaves_is_no_error(place):
    """`run | head` ends quietly."""
    shell = f'{sys.executable} -c "$0" run | head -n 1'
    done = subprocess.run(["bash", "-c", shell, NO_TORCH], cwd=place, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["PYTHONIOENCODING=ascii", "LC_ALL=C PYTHONUTF8=0", "exec >&-;", "exec 2>&-;"])
def test_any_output_will_do(place, shell):
    """An encoding without the claim's characters, or output that is closed, changes nothing but what is printed."""
    more = "- id: greek\n  claim: The gradient of λx is λ.\n  source: torch\n  program: |\n    assert 1.0 == 2.0\n"
    specification(place / "spec", more=more)
    command = f'{shell} {sys.executable} -c "$0" run small/greek'
    done = subprocess.run(["bash", "-c", command, NO_TORCH], cwd=place, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert shell == "exec >&-;" or "of " in done.stdout


def test_a_mistake_of_the_kit_is_one_line(place, capsys, monkeypatch):
    """An exception that nobody foresaw is exit code 3 and one line, with a way to see more."""

    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("conformance.cli.run.choose", broken)
    code, _, err = run(capsys, "run")
    assert code == 3
    assert err.count("\n") == 1
    assert "ZeroDivisionError: oops" in err
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        call(["run"])
