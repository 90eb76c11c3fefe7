"""Result records as a run writes them, made up: every verdict, every finding, and as many cases as are wanted.

`python -m tests.reports.samples FILE.html [CASES]` writes a page to look at.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from conformance.records import (
    CaseInfo,
    Difference,
    EngineInfo,
    ErrorInfo,
    LeftOut,
    Observed,
    Record,
    Result,
    Run,
    SpecInfo,
    Summary,
)

DIGEST = "sha256:" + "4f1d9c2a" * 8
REFERENCE = EngineInfo("reference", "0.1.0")
TORCH = EngineInfo("torch", "2.13.0")
MINI = EngineInfo("minigrad.adapter:engine", "0.3.2", drop_in=False)
ENVIRONMENT = {"python": "3.11.9", "platform": "Linux x86_64", "numpy": "2.4.6", "threads": "1 per worker"}

SECOND_BACKWARD = """\
x = torch.tensor([2.0, 3.0], requires_grad=True)
y = x[0] * x[1]
y.backward()
assert x.grad == [3.0, 2.0]
with raises(RuntimeError, contains="second time"):
    y.backward()
assert x.grad == [3.0, 2.0]
"""
DIAMOND = """\
x = torch.tensor(3.0, requires_grad=True)
a, b = x * 2, x * 5  # two ways to the same leaf
(a * b).backward()
assert x.grad == 60.0
assert x.grad.dtype == torch.float32
"""
HOOK = """\
x = torch.ones(3, requires_grad=True)
seen = []
x.register_hook(lambda g: seen.append(g))
for k in range(2):
    (x * 2).sum().backward()
    assert len(seen) == k + 1
assert seen[0] == [2.0, 2.0, 2.0]
"""


def tensor(value: Any, shape: list[int], dtype: str = "float32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "value": value}


def case(name: str, claim: str, program: str = DIAMOND, **more: Any) -> CaseInfo:
    chapter = name.partition("/")[0]
    source = more.pop("source", "torch.Tensor.backward, accumulation")
    return CaseInfo(name, chapter, claim, source, program, f"{chapter}.yaml", 12, 17, **more)


def header(*engines: EngineInfo, cases: int = 0, **more: Any) -> Run:
    spec = SpecInfo("0.1", more.pop("digest", DIGEST), cases)
    return Run(
        spec, list(engines), dict(ENVIRONMENT), kit="0.1.0", oracle=more.pop("oracle", "torch"), selected=cases, **more
    )


def passed(name: str, engine: EngineInfo, observed: list[Observed] | None = None, **more: Any) -> Result:
    observed = [Observed(4, "x.grad", tensor(60.0, []), 60.0)] if observed is None else observed
    return Result(name, engine.name, engine.device, "pass", observed=observed, seconds=0.0004, **more)


def failed(name: str, engine: EngineInfo, **more: Any) -> Result:
    wrong = Difference("x.grad", 4, 60.0, tensor(30.0, []), 30.0, 0.5, 4194304.0, finding="wrong")
    observed = [
        Observed(4, "x.grad", tensor(30.0, []), 60.0, agrees=False),
        Observed(5, "x.grad.dtype", "torch.float32", "torch.float32"),
    ]
    fields: dict[str, Any] = {"finding": "wrong", "observed": observed, "differences": [wrong]} | more
    return Result(name, engine.name, engine.device, "fail", seconds=0.0007, **fields)


def finish(records: list[Record]) -> list[Record]:
    """The records with the summary that a finished run ends in."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        if isinstance(record, Result):
            counts.setdefault(record.engine, Counter())[record.verdict] += 1
    return [*records, Summary({engine: dict(count) for engine, count in counts.items()}, 3.2)]


def every_verdict() -> list[Record]:
    """A finished run of three engines in which every verdict occurs, and torch departs once as known and once anew."""
    cases, results = [], []
    for info, row in _verdicts():
        cases.append(info)
        results += row
    left = [LeftOut("no CUDA device", ["leaves/cuda-leaf", "leaves/cuda-grad"])]
    return finish([header(REFERENCE, TORCH, MINI, cases=len(cases), left_out=left), *cases, *results])


def _verdicts() -> list[tuple[CaseInfo, list[Result]]]:
    twice = "retain_graph/second-backward-raises"
    after = [Observed(4, "x.grad", tensor([3.0, 2.0], [2]), [3.0, 2.0])]
    raised = Observed(5, "raises(RuntimeError)", "RuntimeError: backward a second time", "RuntimeError", kind="raises")
    both = [*after, raised, Observed(7, "x.grad", tensor([3.0, 2.0], [2]), [3.0, 2.0])]
    silent = [
        *after,
        Observed(5, "raises(RuntimeError)", None, "RuntimeError", kind="raises", agrees=False),
        Observed(7, "x.grad", tensor([6.0, 4.0], [2]), [3.0, 2.0], agrees=False),
    ]
    no_error = [
        Difference("raises(RuntimeError)", 5, "RuntimeError", None, finding="no-error"),
        Difference("x.grad", 7, [3.0, 2.0], tensor([6.0, 4.0], [2]), 3.0, 1.0, 8388608.0, [0], "wrong"),
        Difference(
            "x.grad", 0, tensor([3.0, 2.0], [2]), tensor([6.0, 4.0], [2]), 3.0, 1.0, None, [0], "wrong", "torch"
        ),
    ]
    hooks = [Observed(6, "len(seen)", k + 1, k + 1, iteration=k) for k in range(2)]
    hooks.append(Observed(7, "seen[0]", tensor([2.0] * 3, [3]), [2.0] * 3))
    crash = ErrorInfo("Crash", "the engine's process died: signal 11 (SIGSEGV)")
    error = ErrorInfo("TypeError", "unsupported operand: 'NoneType'", 3, "Traceback (most recent call last):\n  ...\n")
    return [
        (
            case(twice, "backward() frees what the graph saved, so a second backward raises.", SECOND_BACKWARD,
                 source="torch.Tensor.backward, retain_graph", covers=["backward/frees-graph"]),
            [passed(twice, REFERENCE, both), passed(twice, TORCH, both),
             failed(twice, MINI, finding="no-error", observed=silent, differences=no_error)],
        ),
        (
            case("accumulation/diamond", "A leaf that is used twice receives the sum over both ways."),
            [passed("accumulation/diamond", REFERENCE), passed("accumulation/diamond", TORCH),
             failed("accumulation/diamond", MINI)],
        ),
        *_one_each(crash, error, hooks),
    ]  # fmt: skip


def _one_each(crash: ErrorInfo, error: ErrorInfo, hooks: list[Observed]) -> list[tuple[CaseInfo, list[Result]]]:
    def mini(name: str, verdict: Any, **more: Any) -> list[Result]:
        other = Result(name, MINI.name, "cpu", verdict, **more)
        return [passed(name, REFERENCE), passed(name, TORCH), other]

    def row(name: str, claim: str, results: list[Result], **more: Any) -> tuple[CaseInfo, list[Result]]:
        return case(name, claim, **more), results

    gone = "leaves/hook-fires-once"
    torch_fails = failed("leaves/copy-is-a-leaf", TORCH, departs="found")
    known = Result("leaves/grad-is-kept", "torch", "cpu", "departs", departs="expected", finding="semantics")
    return [
        row("accumulation/grad-is-none", "Before the first backward .grad is None.", mini(
            "accumulation/grad-is-none", "error", error=error)),
        row("accumulation/zero-grad", "zero_grad sets .grad to None.", mini(
            "accumulation/zero-grad", "unsupported", missing=["optim.SGD", "Tensor.zero_grad"])),
        row("accumulation/long-chain", "A chain of 100,000 operators runs backward.", mini(
            "accumulation/long-chain", "crash", error=crash)),
        row("accumulation/while", "A loop of unknown length is recorded as it ran.", mini(
            "accumulation/while", "timeout", reason="no answer within 10 s")),
        row("accumulation/hessian", "Second derivatives accumulate too.", mini(
            "accumulation/hessian", "blocked", reason="needs accumulation/diamond, which fails")),
        row("accumulation/order", "The order of the sum does not matter to the reader.", mini(
            "accumulation/order", "waived", waived="fail", finding="convention",
            reason="kept until 2027-01-01 by A. Owner: our sum is pairwise")),
        row(gone, "A hook on a leaf fires once per backward.", [
            passed(gone, REFERENCE, hooks), passed(gone, TORCH, hooks), passed(gone, MINI, hooks)], program=HOOK),
        row("leaves/forward-ad", "A dual number carries its tangent.", [
            Result("leaves/forward-ad", "reference", "cpu", "pending", reason="forward mode comes with nested levels"),
            passed("leaves/forward-ad", TORCH), passed("leaves/forward-ad", MINI)], pending="forward mode"),
        row("leaves/copy-is-a-leaf", "A deep copy of a leaf is a leaf.", [
            passed("leaves/copy-is-a-leaf", REFERENCE), torch_fails, passed("leaves/copy-is-a-leaf", MINI)]),
        row("leaves/grad-is-kept", "The gradient survives a change of requires_grad.", [
            passed("leaves/grad-is-kept", REFERENCE), known, passed("leaves/grad-is-kept", MINI)],
            torch_departs="the documentation says kept, 2.13 drops it"),
    ]  # fmt: skip


def many(cases: int = 2_000, engines: int = 5, failing: int = 20) -> list[Record]:
    """A finished run of some size; the last engine fails `failing` cases, spread evenly."""
    columns = [REFERENCE, TORCH, *(EngineInfo(f"engine{n}", "1.0") for n in range(engines - 2))]
    infos: list[Record] = []
    results: list[Record] = []
    every = cases // failing if failing else cases + 1
    for n in range(cases):
        name = f"chapter_{n // 60:02}/case-{n:04}-of-many"
        program = DIAMOND + f"z = torch.linspace(0.0, {n}.0, 3)\nassert z[0] == 0.0\nassert z[2] == {n}.0\n"
        infos.append(case(name, f"Behaviour {n} is what the documentation says that it is, for every input.", program))
        for column in columns:
            third = tensor([n / 7, n / 3, 2.0], [3])
            seen = [Observed(line, f"z[{line}]", third, [n / 7, n / 3, 2.0]) for line in (4, 5, 7, 8)]
            bad = column is columns[-1] and n % every == every - 1
            results.append(failed(name, column) if bad else passed(name, column, seen))
    return finish([header(*columns, cases=cases), *infos, *results])


def main() -> None:
    from reports import html

    records = many(int(sys.argv[2])) if len(sys.argv) > 2 else every_verdict()
    Path(sys.argv[1]).write_text(html.render(records), "utf-8")


if __name__ == "__main__":
    main()
