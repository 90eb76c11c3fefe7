"""Worker processes: imported once, kept busy, replaced when they die, and never left behind."""

import os
import time

import pytest

from conformance import spec
from conformance.errors import EngineError, RunError
from conformance.outcome import Outcome
from conformance.running.pool import Pool
from conformance.running.process import Died, Key
from tests.running.small import ROOT, engine, specification

FUNCTIONS = ("abs", "exp", "neg", "sin", "sqrt")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return spec.load(root=specification(tmp_path_factory.mktemp("spec"), FUNCTIONS)).cases


def run(pool, queues, wanted=lambda key, case: True):
    pool.start()
    return [(end.key, end.case.id, end.end) for end in pool.run(queues, wanted)]


def gone(pid):
    """Whether the process is no more; what is left of it to be collected does not count."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_outcomes_come_in_order_and_once(cases):
    """Cases sent ahead are answered in the order in which they were sent, each once."""
    key = Key("reference")
    with Pool([key]) as pool:
        found = run(pool, {key: cases})
    assert [name for _, name, _ in found] == [case.id for case in cases]
    assert all(isinstance(end, Outcome) and end.error is None for _, _, end in found)


def test_nothing_is_left_behind(cases):
    """Leaving the pool, by its end or by an exception, ends its processes and all that they started."""
    key = Key("reference")
    with Pool([key]) as pool:
        pool.start()
        first = [w.process.pid for w in pool.workers]
    second = []

    def interrupt():
        with Pool([key]) as pool:
            pool.start()
            second.extend(w.process.pid for w in pool.workers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert second
    assert all(map(gone, first + second))


def test_at_most_so_many_jobs(cases, tmp_path, monkeypatch):
    """With one job two engines never work at the same time; with two they do."""
    code = """
    import os, time
    def exp(x):
        path = f"busy-{os.getpid()}"
        open(path, "w").close()
        time.sleep(0.15)
        with open("together", "a") as log:
            log.write(f"{sum(name.startswith('busy-') for name in os.listdir())}\\n")
        os.remove(path)
        return x
    def factory():
        return namespace(exp=exp)
    def other():
        return namespace(exp=exp)
    """
    name = engine(tmp_path, "slow", code)
    monkeypatch.chdir(tmp_path)
    keys = [Key(name), Key("slow:other")]
    chosen = [case for case in cases if case.id == "exp"]
    seen = {}
    for jobs in (1, 2):
        with Pool(keys, jobs=jobs) as pool:
            run(pool, dict.fromkeys(keys, chosen))
        seen[jobs] = (tmp_path / "together").read_text().split()
        (tmp_path / "together").unlink()
    assert seen[1] == ["1", "1"]
    assert "2" in seen[2]


def test_what_was_sent_ahead_is_run_again(cases, tmp_path, monkeypatch):
    """The case that killed the worker is the one that is blamed; those behind it run in a new worker, once."""
    code = """
    import os
    def factory():
        return namespace(exp=lambda x: os._exit(1), sin=lambda x: os._exit(2))
    """
    key = Key(engine(tmp_path, "dying", code))
    monkeypatch.chdir(tmp_path)
    with Pool([key]) as pool:
        found = run(pool, {key: cases})
    assert [name for _, name, _ in found] == [case.id for case in cases]
    died = {name: end.error.message for _, name, end in found if isinstance(end, Died)}
    assert died == {"exp": "it exited with code 1", "sin": "it exited with code 2"}


def test_what_is_not_wanted_does_not_run(cases):
    """`wanted` is asked as a case is about to be sent; a case that is not wanted ends with None."""
    key = Key("reference")
    with Pool([key]) as pool:
        found = run(pool, {key: cases}, lambda key, case: case.id != "exp")
    assert [name for _, name, end in found if end is None] == ["exp"]
    assert len(found) == len(cases)


def test_a_slow_consumer_costs_no_case(cases):
    """A parent that is busy for longer than the deadline finds the answers that came meanwhile."""
    key = Key("reference")
    ends = []
    with Pool([key], timeout=1.0) as pool:
        pool.start()
        for finished in pool.run({key: cases}, lambda key, case: True):
            ends.append(finished.end)
            time.sleep(1.3 if len(ends) == 1 else 0)
    assert all(isinstance(end, Outcome) for end in ends)


IMPORTS = {
    "raises": ("raise ValueError('not today')", "importing raises failed: ValueError: not today"),
    "exits": ("import sys; sys.exit(7)", "SystemExit 7"),
    "leaves": ("import os; os._exit(7)", "lost while importing it: it exited with code 7"),
    "dies": ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV (signal 11)"),
    "hangs": ("import time; time.sleep(60)", "it did not answer within 0.8 s"),
    "interrupts": ("raise KeyboardInterrupt", "interrupts"),
    "strange": ("class S(BaseException): pass\nraise S('odd')", "S: odd"),
    "broken": ("def (", "SyntaxError"),
    "failing": ("def factory(): raise ValueError('no GPU')", "its factory failed: ValueError: no GPU"),
    "garbage": ("def factory(): return 3", "the factory returned a int"),
    "number": ("factory = 3", "is a int"),
    "empty": ("", "'factory' is not in empty"),
    "talking": ("print('x' * 100000)\nraise ValueError('at last')", "ValueError: at last"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_an_engine_that_cannot_be_imported_is_one_message(name, tmp_path, monkeypatch):
    """Whatever goes wrong at import is an EngineError: one line that names the engine and says what happened."""
    code, said = IMPORTS[name]
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    limit = 0.8 if name == "hangs" else 60.0
    with pytest.raises(EngineError) as e, Pool([Key(f"{name}:factory")], import_timeout=limit) as pool:
        pool.start()
    assert said in str(e.value)
    assert f"{name}:factory" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["nope", "no.such.module:factory", "json:", ":x", "json:dumps:x", "torch:", ""])
def test_an_unknown_engine_is_one_message(name, tmp_path, monkeypatch):
    """A name that is no engine is an EngineError before anything runs."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError) as e, Pool([Key(name)]) as pool:
        pool.start()
    assert "\n" not in str(e.value)


def test_an_engine_that_imports_only_once_ends_the_run(cases, tmp_path, monkeypatch):
    """When a worker has to be replaced and the engine no longer imports, the run cannot be completed."""
    code = """
    import os
    if os.path.exists("imported"):
        raise ValueError("only once")
    open("imported", "w").close()
    def factory():
        return namespace(abs=lambda x: os._exit(1))
    """
    key = Key(engine(tmp_path, "once", code))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="was imported before and now is not"), Pool([key]) as pool:
        run(pool, {key: cases})


def test_a_worker_dies_with_its_parent(tmp_path):
    """A parent that is killed leaves no worker, not even one that hangs."""
    import signal
    import subprocess
    import sys

    specification(tmp_path / "spec", FUNCTIONS)
    code = """
    import os, time
    def hang(x):
        with open("part", "w") as file:
            file.write(str(os.getpid()))
        os.rename("part", "pid")
        time.sleep(60)
    def factory():
        return namespace(abs=hang)
    """
    name = engine(tmp_path, "hanging", code)
    script = f"""
from conformance import spec
from conformance.running.pool import Pool
from conformance.running.process import Key
with Pool([Key({name!r})]) as pool:
    pool.start()
    list(pool.run({{Key({name!r}): spec.load(root="spec").cases}}, lambda key, case: True))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment)
    until(lambda: (tmp_path / "pid").exists())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    worker = int((tmp_path / "pid").read_text())
    until(lambda: gone(worker))


def until(true, seconds=20.0):
    """Waits until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
