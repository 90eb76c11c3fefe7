"""The specification's cases as pytest items of an engine."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points

import pytest

from tests.running.small import ROOT, engine, specification
from tests.running.test_session import WRONG_SUM

INSTALLED = any(point.name == "autograd-conformance" for point in entry_points(group="pytest11"))
PLUGIN = ("-p", "no:cacheprovider", *(() if INSTALLED else ("-p", "conformance.pytest_plugin")))
# On a machine without torch, in the pytest that is started.
CONFTEST = """
import pytest
from conformance import engines
known = engines.available
engines.available = lambda name: name != "torch" and known(name)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs pytest in a folder of its own with the small specification and the given options."""
    specification(pytester.path / "spec", ("exp", "sin"))
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_SPEC", str(pytester.path / "spec"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)

    def run(*options):
        return pytester.runpytest_subprocess(*PLUGIN, *options)

    return run


def test_cases_are_items_with_readable_ids(run):
    """autograd-conformance::chapter/id[engine], in the order of the specification."""
    done = run("--autograd-engine", "reference", "--collect-only", "-q")
    assert [line for line in done.outlines if "::" in line] == [
        f"autograd-conformance::small/{name}[reference]" for name in ("sum", "square", "scalar-needed", "exp", "sin")
    ]


def test_an_engine_that_conforms_passes(run):
    """Every item passes, and the header says where the cases run."""
    done = run("--autograd-engine", "reference", "-v")
    done.assert_outcomes(passed=5)
    done.stdout.fnmatch_lines(["autograd-conformance: specification 0.0.1 on reference *; in this process: a crash*"])
    assert done.ret == 0


def test_a_failure_explains_itself(run, pytester):
    """Claim, program with the failing line marked, expected, observed, and one line to reproduce; no traceback."""
    name = engine(pytester.path, "halving", WRONG_SUM.replace("os._exit(1)", "x * 2"))
    done = run("--autograd-engine", name, "-rs")
    done.assert_outcomes(failed=2, skipped=2, passed=1)
    done.stdout.fnmatch_lines(
        [
            f"*FAIL small/sum on {name}: mathematically wrong",
            "*The gradient of a sum is one.",
            "*>   3  assert x.grad == [[]1.0, 1.0]",
            "*expected [[]1.0, 1.0], observed [[]0.5, 0.5]*",
            f"*reproduce: autograd-conformance run small/sum --engine {name}",
            "SKIPPED*blocked: needs small/sum, which does not pass",
        ]
    )
    assert "Traceback" not in done.stdout.str()
    assert done.ret == 1


def test_several_engines(run, pytester):
    """Each case is an item for each engine."""
    name = engine(pytester.path, "halving", WRONG_SUM)
    done = run("--autograd-engine", "reference", "--autograd-engine", name, "--autograd-cases", "small/sum")
    done.assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("options", "outcomes"),
    [
        (("-k", "square or exp"), {"passed": 2, "deselected": 3}),
        (("-k", "small and not sum"), {"passed": 4, "deselected": 1}),
        (("--autograd-cases", "small/s*"), {"passed": 4}),
        (("--autograd-cases", "small/exp", "--autograd-cases", "small/sin"), {"passed": 2}),
        (("-n", "2"), {"passed": 5}),
    ],
)
def test_selecting_and_distributing(run, options, outcomes):
    """-k, patterns, and xdist."""
    run("--autograd-engine", "reference", *options).assert_outcomes(**outcomes)


def test_stop_at_the_first_failure(run, pytester):
    """-x ends after the first failing case."""
    name = engine(pytester.path, "halving", WRONG_SUM)
    run("--autograd-engine", name, "-x").assert_outcomes(failed=1)


def test_junit(run, pytester):
    """The XML has one testcase for each item, with the claim and its source as properties."""
    run("--autograd-engine", "reference", "--junitxml", "r.xml", "--autograd-cases", "small/sum").assert_outcomes(
        passed=1
    )
    (case,) = ET.parse(pytester.path / "r.xml").iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("autograd-conformance", "small/sum[reference]")
    assert {p.get("name"): p.get("value") for p in case.iter("property")} == {
        "claim": "The gradient of a sum is one.", "source": "torch.Tensor.backward",
    }  # fmt: skip


def test_what_is_not_judged_is_skipped_with_its_reason(run, pytester):
    """Unsupported, left out and pending: counted, with the reason."""
    more = (
        "- id: gpu\n  claim: Runs on a GPU.\n  source: torch\n  device: cuda\n  program: |\n    assert True\n"
        "- id: later\n  claim: Comes later.\n  source: torch\n  pending: not yet\n  program: |\n    assert False\n"
    )
    specification(pytester.path / "spec", ("exp", "sin"), more)
    code = "def factory():\n    found = namespace()\n    del found.sin\n    return found"
    name = engine(pytester.path, "lacking", code)
    done = run("--autograd-engine", name, "-rs", "--autograd-cases", "small/sin", "--autograd-cases", "small/gpu")
    done.assert_outcomes(skipped=2)
    done.stdout.fnmatch_lines_random(["SKIPPED*unsupported: sin", "SKIPPED*needs a CUDA device*"])
    done = run("--autograd-engine", "reference", "-rx", "--autograd-cases", "small/later")
    done.assert_outcomes(xfailed=1)
    done.stdout.fnmatch_lines(["XFAIL*pending: not yet"])


def test_ordinary_tests_run_beside(run, pytester):
    """A project's own tests are collected as ever."""
    pytester.makepyfile("def test_mine(): pass")
    run("--autograd-engine", "reference").assert_outcomes(passed=6)
    run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--autograd-engine", "nope"), "unknown engine 'nope'"),
        (("--autograd-engine", "reference", "--autograd-cases", "smal"), "no case matches 'smal'"),
        (("--autograd-cases", "small"), "--autograd-cases needs --autograd-engine"),
    ],
)
def test_a_wrong_option_is_one_message(run, options, said):
    """pytest's own way of saying that the command is wrong."""
    done = run(*options)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert said in done.stderr.str()
    assert "Traceback" not in done.stderr.str() + done.stdout.str()


def test_without_the_option_nothing_of_the_kit_is_imported():
    """Every pytest of an environment loads the plugin: it costs the import of one small module."""
    code = (
        "import sys, pytest; import conformance.pytest_plugin;"
        "print(sorted(m for m in sys.modules if re.match('conformance|reference_engine|numpy|msgspec|click|yaml', m)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import re; " + code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert re.sub(r"\s", "", done.stdout) == "['conformance','conformance.pytest_plugin']"


WAIVER = "- {{engine: '{0}', case: {1}, owner: jane, reason: issue 12, expires: {2}}}\n"


def test_waivers(run, pytester):
    """A waived failure is expected, an expired one fails; what passes, and what covers nothing, is said at the end."""
    name = engine(pytester.path, "halving", WRONG_SUM.replace("os._exit(1)", "x * 2"))
    entries = [("sum", "2999-01-01"), ("exp", "2020-01-01"), ("sin", "2999-01-01"), ("none", "2999-01-01")]
    pytester.path.joinpath("w.yaml").write_text(
        "".join(WAIVER.format(name, f"small/{case}", day) for case, day in entries)
    )
    done = run("--autograd-engine", name, "--autograd-waivers", "w.yaml", "-rx")
    done.assert_outcomes(xfailed=1, failed=1, skipped=2, passed=1)
    done.stdout.fnmatch_lines(["*waived: jane, until 2999-01-01: issue 12*"])
    done.stdout.fnmatch_lines(["*the waiver of jane expired on 2020-01-01: issue 12*"])
    done.stdout.fnmatch_lines(["note: small/sin*the waiver of jane is no longer needed: issue 12"])
    done.stdout.fnmatch_lines([f"note: the waiver of jane for small/none on {name} covers nothing here"])


def test_a_waivers_file_with_a_mistake(run, pytester):
    """A usage error with its place, and no traceback; without an engine there is nothing to waive."""
    pytester.path.joinpath("w.yaml").write_text("- {engine: a}\n")
    done = run("--autograd-engine", "reference", "--autograd-waivers", "w.yaml")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["*w.yaml:1:3: this waiver has no case*"])
    done = run("--autograd-waivers", "w.yaml")
    done.stderr.fnmatch_lines(["*--autograd-waivers needs --autograd-engine*"])
