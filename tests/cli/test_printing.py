"""What `run` prints at the end, from results alone."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from conformance.cli import printing
from conformance.records import CaseInfo, Difference, EngineInfo, ErrorInfo, Result, Run, SpecInfo, Summary
from conformance.results import Results


def closing(*results, oracle="torch", summary=True, engines=("mine",)):
    taken = Results(Path("r"), Run(SpecInfo("1", "d"), [EngineInfo(e, "1") for e in engines], {}, oracle=oracle))
    for name in dict.fromkeys(r.case for r in results):
        program = "x = torch.tensor([1.0])\nassert x == [2.0]\n"
        taken.add(CaseInfo(name, name.partition("/")[0], "The claim.", "torch.x", program, "f.yaml", 7, 9))
    for result in results:
        assert taken.add(result) is None
    taken.run.selected = len(taken.cases)
    if summary:
        taken.add(Summary({}))
    out = io.StringIO()
    printing.closing(Console(file=out, width=200, soft_wrap=True, highlight=False), taken)
    return out.getvalue()


def result(verdict, case="c/x", engine="mine", **fields):
    return Result(case, engine, "cpu", verdict, oracle="torch", **fields)


@pytest.mark.parametrize("verdict", ["fail", "error", "crash", "timeout"])
def test_failures_are_in_full(verdict):
    """Claim, source, place, program with the line marked, difference or error, and the command that shows it again."""
    difference = Difference("x", 2, [2.0], [1.0], max_abs=1.0)
    error = ErrorInfo("ProcessDied", "it was killed by SIGKILL (signal 9)", 2, "last\nwords")
    shown = closing(result(verdict, differences=[difference], error=error))
    for said in (
        f"{verdict.upper()} c/x on mine",
        "The claim.",
        "source: torch.x",
        "f.yaml:7",
        "    1  x = torch.tensor([1.0])",
        ">   2  assert x == [2.0]",
        "line 2: x: expected [2.0], observed [1.0]; max abs 1",
        "line 2: ProcessDied: it was killed by SIGKILL (signal 9)",
        "| words",
        "reproduce: autograd-conformance run c/x --engine mine",
    ):
        assert said in shown


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("blocked", "blocked by a failing case that they build on (1):\n  mine: c/x: why"),
        ("pending", "pending: the reference does not do this yet (1):\n  mine: c/x: why"),
        ("departs", "torch departs from its documentation, as the case says (1):\n  mine: c/x: why"),
        ("waived", "waived (1):\n  mine: c/x: why"),
        ("pass", "note: c/x on mine: why"),
    ],
)
def test_what_is_neither_pass_nor_failure_is_listed(verdict, said):
    """By name and with its reason."""
    shown = closing(result(verdict, reason="why"))
    assert said in shown
    assert verdict == "pass" or f"0 of 1, 1 {verdict}" in shown


def test_a_comparison_that_could_not_be_made_is_said():
    """Where the oracle's own run is of no use, a pass rests on the written expectations alone, and that is said."""
    alone = Result("c/y", "mine", "cpu", "pass")
    shown = closing(result("pass"), alone)
    assert "note: torch's own run was of no use, final states not compared: c/y\n" in shown
    assert "not compared" not in closing(result("pass"))
    assert "not compared" not in closing(Result("c/y", "torch", "cpu", "pass"), engines=("torch",))


def test_the_table_counts_by_chapter_and_engine():
    """A row for each chapter, a column for each engine, and a last row over all."""
    shown = closing(
        result("pass", "a/x"), result("pass", "b/x"), result("fail", "b/y"),
        result("pass", "a/x", "other"), result("pass", "b/x", "other"), result("pending", "b/y", "other"),
        engines=("mine", "other"),
    )  # fmt: skip
    rows = [" ".join(line.split()) for line in shown.splitlines()[-4:]]
    assert rows == [
        "chapter mine other",
        "a 1 of 1 1 of 1",
        "b 1 of 2, 1 fail 1 of 2, 1 pending",
        "all 2 of 3, 1 fail 2 of 3, 1 pending",
    ]


def test_an_unfinished_run_says_so():
    """Last, below the table."""
    assert closing(result("pass"), summary=False).splitlines()[-1] == "unfinished: 1 of 1 results"


def test_text_of_an_engine_does_nothing_to_the_terminal():
    """Markup, escape sequences and carriage returns from an engine are shown, not obeyed."""
    shown = closing(result("error", error=ErrorInfo("E", "[bold]a[/bold] \x1b[31mred\r\x07 [/]", 1)))
    assert "[bold]a[/bold]" in shown
    assert not {"\x1b", "\r", "\x07"} & set(shown)
