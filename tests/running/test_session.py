"""A run as a whole: needs, resuming, the order of cases, and what an oracle is for."""

import itertools

import pytest

from conformance import spec
from conformance.errors import ResultsError
from conformance.records import CaseInfo, Result, SpecInfo, Summary
from conformance.results import Results, Writer, read
from conformance.running.inprocess import InProcess
from conformance.running.plan import plan
from conformance.running.process import Key
from conformance.running.session import Options, Session
from tests.running.small import engine, specification

REFERENCE = Key("reference")
WRONG_SUM = """
import os

class Halved:
    def __init__(self, inner):
        self.inner = inner

def tensor(values, **options):
    made = reference_engine.tensor(values, **options)
    if made.requires_grad:
        made.register_hook(lambda g: g / 2)
    return made

def factory():
    return namespace(tensor=tensor, exp=lambda x: os._exit(1))
"""


@pytest.fixture
def whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = """
    - id: third
      claim: Builds on a case that builds on another.
      source: torch.Tensor.backward
      needs: [small/square]
      program: |
        assert True
    """
    more = more.replace("\n    ", "\n")
    return spec.load(root=specification(tmp_path / "spec", ("exp", "sin"), more))


def session(whole, keys, oracles=(REFERENCE,), seed=None, **options):
    planned = plan(whole.cases, whole.by_name, keys, torch=None)
    planned = planned if seed is None else planned.shuffled(seed)
    info = SpecInfo(whole.version, whole.digest, len(whole.cases))
    return Session(info, planned, list(keys), list(oracles), Options(**options))


def results(whole, keys, **options):
    with session(whole, keys, **options) as running:
        running.start()
        records = list(running.records())
    return {(r.case, r.engine): r for r in records if isinstance(r, Result)}, records


def test_what_builds_on_a_failing_case_is_blocked(whole, tmp_path):
    """One fault is one failure: what needs it, and what needs that, is blocked and shows nothing of its own."""
    name = engine(tmp_path, "halving", WRONG_SUM)
    found, records = results(whole, [Key(name), REFERENCE])
    verdicts = {case.removeprefix("small/"): r.verdict for (case, e), r in found.items() if e == name}
    assert verdicts == {
        "sum": "fail", "square": "blocked", "scalar-needed": "blocked", "third": "blocked",
        "exp": "crash", "sin": "pass",
    }  # fmt: skip
    assert found["small/third", name].reason == "needs small/square, which does not pass"
    assert found["small/square", name].observed == []
    assert {r.verdict for (_, e), r in found.items() if e == "reference"} == {"pass"}
    assert records[-1].counts[name] == {"fail": 1, "blocked": 3, "crash": 1, "pass": 1}


@pytest.mark.parametrize("seed", [1, 2])
def test_order_does_not_matter(whole, tmp_path, seed):
    """Shuffled, every case has the same verdict for the same reason; case records precede their results."""
    name = engine(tmp_path, "halving", WRONG_SUM)
    straight, _ = results(whole, [Key(name)])
    shuffled, records = results(whole, [Key(name)], seed=seed, jobs=2)
    assert {k: (r.verdict, r.reason, r.finding) for k, r in straight.items()} == {
        k: (r.verdict, r.reason, r.finding) for k, r in shuffled.items()
    }
    announced = set()
    for record in records:
        if isinstance(record, CaseInfo):
            announced.add(record.case)
        elif isinstance(record, Result):
            assert record.case in announced


def test_in_process_judges_as_workers_do(whole, tmp_path):
    """The pytest plugin's way and the workers' way give the same verdicts."""
    name = engine(tmp_path, "halving", WRONG_SUM.replace("os._exit(1)", "x * 2"))
    apart, _ = results(whole, [Key(name), REFERENCE])
    here = InProcess(whole.by_name, [REFERENCE])
    for (case, e), result in apart.items():
        same = here.judge(whole.by_name[case], Key(e))
        assert (same.verdict, same.finding, same.reason, same.differences) == (
            result.verdict, result.finding, result.reason, result.differences,
        )  # fmt: skip


def interrupted(whole, keys, path, count):
    """Writes a run that stops after `count` records."""
    with session(whole, keys) as running, Writer(path) as writer:
        writer.append(running.start())
        for record in itertools.islice(running.records(), count):
            writer.append(record)


@pytest.mark.parametrize("count", [0, 2, 11])
def test_an_interrupted_run_is_continued(whole, tmp_path, count):
    """Resumed after any record, every case has one result, the same as without the interruption."""
    name = engine(tmp_path, "halving", WRONG_SUM)
    keys = [Key(name), REFERENCE]
    path = tmp_path / "r.jsonl"
    interrupted(whole, keys, path, count)
    assert read(path).summary is None
    with session(whole, keys) as running, Writer(path, resume=True) as writer:
        running.resume(read(path), running.start())
        for record in running.records():
            writer.append(record)
    found = read(path)
    straight, records = results(whole, keys)
    assert isinstance(records[-1], Summary)
    assert found.summary.counts == records[-1].counts
    assert {k: r.verdict for k, r in straight.items()} == {k[:2]: r.verdict for k, r in found.results.items()}


def test_another_run_is_not_continued(whole, tmp_path):
    """Other engines, or another specification: the message names what differs."""
    path = tmp_path / "r.jsonl"
    interrupted(whole, [REFERENCE], path, 2)
    name = engine(tmp_path, "halving", WRONG_SUM)
    engines = r"engines there: reference .*\(cpu\), here: halving:factory"
    with session(whole, [Key(name)]) as running, pytest.raises(ResultsError, match=engines):
        running.resume(read(path), running.start())
    specification(tmp_path / "spec", ("exp",))
    other = spec.load(root=tmp_path / "spec")
    specifications = r"spec there: 0\.0\.1 \(sha256:\w+\), here: 0\.0\.1 \(sha256:\w+\)"
    with session(other, [REFERENCE]) as running, pytest.raises(ResultsError, match=specifications):
        running.resume(read(path), running.start())


def test_results_hold_every_case_once(whole, tmp_path):
    """The records of a run fit together: Results takes them in without complaint."""
    with session(whole, [REFERENCE], jobs=2) as running:
        taken = Results(tmp_path / "none", running.start())
        assert [wrong for record in running.records() if (wrong := taken.add(record))] == []
    assert len(taken.results) == taken.due == len(whole.cases)
