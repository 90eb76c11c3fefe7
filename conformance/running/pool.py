"""Workers for several engines, fed with cases; the process of each case is one that can be lost.

At most `jobs` workers are at work at any time. An engine's worker gets a lease of some cases, then another engine has
its turn, so that the outcomes of one case on all engines come close together. A worker that dies, or does not answer
before the deadline, costs the case that it was running; what had been sent ahead goes back to the front of the queue.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from conformance.case import Case
from conformance.errors import EngineError, RunError
from conformance.outcome import Outcome
from conformance.records import EngineInfo, ErrorInfo
from conformance.running.messages import Done, Ready, Refused, Reply
from conformance.running.process import GRACE, Died, Key, Worker

TICK = 0.25  # seconds between looks at the clock and at processes that ended without closing their pipes
WINDOW = 8  # cases sent ahead to one worker
LEASE = 32  # cases before another engine has its turn


class Finished(NamedTuple):
    """A case has been run on an engine; `end` is None where `wanted` said that it need not be."""

    key: Key
    case: Case
    end: Outcome | Died | None


class Pool:
    """Worker processes of some engines. A context manager: leaving it leaves no process behind."""

    def __init__(
        self,
        keys: Iterable[Key],
        *,
        jobs: int = 1,
        timeout: float = 60.0,
        import_timeout: float = 300.0,
        isolate: Collection[Key] = (),
    ) -> None:
        """jobs: workers at work at a time. timeouts in seconds. isolate: engines with a process for each case."""
        self.keys = list(dict.fromkeys(keys))
        self.jobs, self.timeout, self.import_timeout, self.isolate = jobs, timeout, import_timeout, isolate
        self.infos: dict[Key, EngineInfo] = {}
        self.workers: list[Worker] = []
        self.queues: dict[Key, deque[Case]] = {key: deque() for key in self.keys}
        self._import_seconds: dict[Key, float] = {}
        self._case_seconds = dict.fromkeys(self.keys, 0.0)  # sum over the cases answered
        self._answered = dict.fromkeys(self.keys, 0)
        self._selector = selectors.DefaultSelector()
        self._finished: deque[Finished] = deque()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        """Lets idle workers go and kills what is still there."""
        for worker in self.workers:
            worker.leave()
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and not all(w.busy or w.ended() for w in self.workers):
            time.sleep(0.002)
        for worker in list(self.workers):
            self._discard(worker)
        self._selector.close()

    def start(self) -> dict[Key, EngineInfo]:
        """Imports every engine once, in a worker that stays. Raises EngineError for one that cannot be imported."""
        missing = deque(self.keys)
        while missing or any(not w.ready for w in self.workers):
            while missing and sum(not w.ready for w in self.workers) < self.jobs:
                self._employ(missing.popleft())
            self._turn()
        return self.infos

    def run(self, cases: Mapping[Key, Iterable[Case]], wanted: Callable[[Key, Case], bool]) -> Iterator[Finished]:
        """Runs the cases of each engine, in their order, and yields each as it ends.

        wanted: asked as a case is about to be sent; a case that is not wanted ends at once with None.
        Raises RunError where an engine that was imported before cannot be imported again.
        """
        for key, queue in cases.items():
            self.queues[key].extend(queue)
        while True:
            self._feed(wanted)
            while self._finished:
                yield self._finished.popleft()
            if not any(self.queues.values()) and not any(w.cases for w in self.workers):
                if not self._finished:
                    return
            else:
                self._turn()

    # --- who works on what -----------------------------------------------------------------------------------------

    def _feed(self, wanted: Callable[[Key, Case], bool]) -> None:
        """Gives every free job a worker, and every worker with a lease the cases that it may be sent ahead."""
        for worker in self.workers:
            if worker.cases:
                self._send(worker, wanted)
        while sum(w.busy for w in self.workers) < self.jobs and (free := self._next()) is not None:
            free.lease = LEASE
            self._send(free, wanted)

    def _next(self) -> Worker | None:
        """A worker for the engine with the longest queue: one that is idle, else a new one where that pays."""
        for key in sorted(self.queues, key=lambda k: -len(self.queues[k])):
            if not self.queues[key]:
                return None
            mine = [w for w in self.workers if w.key == key]
            for worker in mine:
                if not worker.busy:
                    return worker
            if not mine or key in self.isolate or self._pays(key, len(mine)):
                return self._employ(key)
        return None

    def _pays(self, key: Key, workers: int) -> bool:
        """Whether the cases still waiting take longer than importing the engine once more."""
        if not self._answered[key]:
            return False
        left = len(self.queues[key]) * self._case_seconds[key] / self._answered[key] / workers
        return left > self._import_seconds[key]

    def _send(self, worker: Worker, wanted: Callable[[Key, Case], bool]) -> None:
        queue = self.queues[worker.key]
        window = 1 if worker.key in self.isolate else WINDOW
        while worker.ready and queue and worker.lease > 0 and len(worker.cases) < window:
            case = queue.popleft()
            if wanted(worker.key, case):
                worker.run(case)
            else:
                self._finished.append(Finished(worker.key, case, None))
        if worker.waiting:
            with contextlib.suppress(KeyError):  # it is waited for already
                self._selector.register(worker.outgoing, selectors.EVENT_WRITE, (worker, "send"))

    def _employ(self, key: Key) -> Worker:
        worker = Worker(key)
        self.workers.append(worker)
        self._selector.register(worker.incoming, selectors.EVENT_READ, (worker, "receive"))
        self._selector.register(worker.output, selectors.EVENT_READ, (worker, "listen"))
        return worker

    def _discard(self, worker: Worker) -> None:
        worker.kill()
        for fd in (worker.incoming, worker.output, worker.outgoing):
            if fd >= 0 and fd in self._selector.get_map():
                self._selector.unregister(fd)
        worker.close()
        self.workers.remove(worker)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Waits for something to happen, at most a tick, and deals with it."""
        for chosen, _ in self._selector.select(TICK):
            worker, what = chosen.data
            if worker not in self.workers:
                continue
            if what == "receive":
                self._receive(worker)
            elif what == "listen":
                if not worker.listen():
                    self._selector.unregister(worker.output)
            else:
                worker.flush()
                if not worker.waiting:
                    self._selector.unregister(worker.outgoing)
        now = time.monotonic()
        for worker in list(self.workers):
            limit = self.timeout if worker.ready else self.import_timeout
            if worker.busy and now - worker.since > limit:
                self._receive(worker)  # the answer may have come while the parent was at work elsewhere
                if worker in self.workers and worker.busy and now - worker.since > limit:
                    self._give_up(worker, limit)
            elif worker.ended():
                self._receive(worker)

    def _receive(self, worker: Worker) -> None:
        gone = worker.ended()  # asked first: what it wrote before it ended is then all there to be read
        replies, open_ = worker.receive()
        for reply in replies:
            self._reply(worker, reply)
        if worker in self.workers and (gone or not open_):
            self._burial(worker, "crash", worker.how_it_ended())

    def _reply(self, worker: Worker, reply: Reply) -> None:
        match reply:
            case Ready(info=info):
                worker.ready = True
                self.infos.setdefault(worker.key, info)
                self._import_seconds[worker.key] = time.monotonic() - worker.since
            case Refused(what=what, hint=hint):
                self._discard(worker)
                self._no_engine(worker, what, hint)
            case Done(outcome=outcome):
                case, seconds = worker.answer()
                self._case_seconds[worker.key] += seconds
                self._answered[worker.key] += 1
                self._finished.append(Finished(worker.key, case, outcome))
                if worker.key in self.isolate:
                    self._discard(worker)

    def _give_up(self, worker: Worker, limit: float) -> None:
        worker.interrogate()
        self._burial(worker, "timeout", f"it did not answer within {limit:g} s")

    def _burial(self, worker: Worker, verdict: Literal["crash", "timeout"], how: str) -> None:
        """Removes a worker that is lost, and blames the case that it was running, or its import."""
        seconds = time.monotonic() - worker.since
        worker.kill()
        tail = worker.tail
        self._discard(worker)
        if not worker.ready:
            self._no_engine(worker, f"its process was lost while importing it: {how}", _last_line(tail))
        if worker.cases:
            case = worker.cases.popleft()
            kind = "ProcessDied" if verdict == "crash" else "DeadlineMissed"
            self._finished.append(Finished(worker.key, case, Died(verdict, ErrorInfo(kind, how, 0, tail), seconds)))
        self.queues[worker.key].extendleft(reversed(worker.cases))

    def _no_engine(self, worker: Worker, what: str, hint: str | None) -> None:
        if worker.key in self.infos:
            raise RunError(f"engine {worker.key.engine} was imported before and now is not: {what}", hint=hint)
        name = worker.key.engine
        raise EngineError(what if name in what else f"engine {name}: {what}", hint=hint)


def _last_line(text: str) -> str | None:
    lines = text.splitlines()
    return f"its last words: {lines[-1].strip()}" if lines else None
