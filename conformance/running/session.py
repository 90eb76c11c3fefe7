"""One run: cases go to workers, outcomes come back, results are judged and handed on as they are settled."""

from __future__ import annotations

import platform
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from conformance import __version__
from conformance.case import Case
from conformance.errors import ResultsError
from conformance.outcome import Outcome
from conformance.records import EngineInfo, Record, Result, Run, SpecInfo, Summary, Verdict
from conformance.results import Results
from conformance.running.judge import BLOCKING, blocked, judge, usable
from conformance.running.plan import Plan
from conformance.running.pool import Pool
from conformance.running.process import Died, Key
from conformance.running.shown import case_info
from conformance.running.waivers import Waivers


@dataclass(frozen=True)
class Options:
    """How cases are run; timeouts in seconds, `import_timeout` for importing an engine.

    isolate: a process for each case of the engines that are judged; an oracle that is not judged keeps its worker.
    """

    jobs: int = 1
    timeout: float = 60.0
    import_timeout: float = 300.0
    isolate: bool = False


@dataclass
class Session:
    """A run of `plan` on the engines `keys`, their final states compared with the first usable of `oracles`.

    A context manager. `start` imports the engines and gives the header, `records` everything after it.
    """

    spec: SpecInfo
    plan: Plan
    keys: list[Key]
    oracles: list[Key]
    options: Options = field(default_factory=Options)
    waivers: Waivers = field(default_factory=Waivers)

    def __post_init__(self) -> None:
        how = self.options
        self._pool = Pool(
            [*self.oracles, *self.keys],
            jobs=how.jobs,
            timeout=how.timeout,
            import_timeout=how.import_timeout,
            isolate=self.keys if how.isolate else (),
        )
        self._ends: dict[str, dict[Key, Outcome | Died | None]] = defaultdict(dict)
        self._verdicts: dict[tuple[str, Key], Verdict] = {}
        self._announced: set[str] = set()
        self._by_name = {case.name: case for case in self.plan.cases}
        self._needed_by: dict[str, list[Case]] = defaultdict(list)
        for case in self.plan.cases:
            for need in case.needs:
                self._needed_by[need].append(case)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def start(self) -> Run:
        """Imports every engine. Raises EngineError for one that cannot be imported."""
        self._started = time.monotonic()
        found = self._pool.start()
        # An engine is called what it was asked for by, whatever it calls itself: the name has to find it again.
        self.infos = {k: EngineInfo(k.engine, i.version, i.device, i.drop_in) for k, i in found.items()}
        return Run(
            spec=self.spec,
            engines=[self.infos[key] for key in self.keys],
            environment=environment(),
            kit=__version__,
            oracle=self.oracles[0].engine if self.oracles else None,
            selected=len(self.plan.cases),
            patterns=list(self.plan.patterns),
            left_out=list(self.plan.left_out),
            profile=self.plan.profile,
        )

    def resume(self, before: Results, header: Run) -> None:
        """Takes over the results of an interrupted run. Raises ResultsError where it was another run."""
        for what in ("spec", "engines", "oracle", "patterns", "profile", "selected"):
            old, new = getattr(before.run, what), getattr(header, what)
            if old != new:
                raise ResultsError(
                    f"{before.path} holds another run; {what} there: {_short(old)}, here: {_short(new)}",
                    hint="run the same command as before, or name another file",
                )
        self._announced |= before.cases.keys()
        key_of = {(info.name, info.device): key for key, info in self.infos.items()}
        for (case, engine, device), result in before.results.items():
            self._verdicts[case, key_of[engine, device]] = result.verdict

    def records(self) -> Iterator[Record]:
        """Cases and results as they are settled, then the summary."""
        queues = {key: [c for c in self.plan.cases if self._to_run(c, key)] for key in self._pool.keys}
        for finished in self._pool.run(queues, self._wanted):
            self._ends[finished.case.name][finished.key] = finished.end
            yield from self._settle(finished.case)
        yield self._summary()

    # --- which cases run -------------------------------------------------------------------------------------------

    def _to_run(self, case: Case, key: Key) -> bool:
        mine = key in self.keys and (case.name, key) not in self._verdicts
        helps = key in self.oracles and any((case.name, k) not in self._verdicts for k in self.keys)
        return self.plan.applies(case, key) and (mine or helps)

    def _wanted(self, key: Key, case: Case) -> bool:
        """A case that is blocked already need not run, unless its outcome is what others are compared with."""
        return key in self.oracles or self._blocked_by(case, key) is None

    # --- judging ----------------------------------------------------------------------------------------------------

    def _settle(self, case: Case) -> Iterator[Record]:
        """Judges what can be judged now that something of this case has come in, and what waited for that."""
        todo = deque([case])
        while todo:
            case = todo.popleft()
            for key in self.keys:
                if not self._judgeable(case, key):
                    continue
                result = self._judge(case, key)
                self._verdicts[case.name, key] = result.verdict
                if case.name not in self._announced:
                    self._announced.add(case.name)
                    yield case_info(case)
                yield result
                todo.extend(self._needed_by[case.name])
            if all((case.name, key) in self._verdicts or not self.plan.applies(case, key) for key in self.keys):
                self._ends.pop(case.name, None)

    def _judgeable(self, case: Case, key: Key) -> bool:
        ends = self._ends.get(case.name, {})
        return (
            key in ends
            and (case.name, key) not in self._verdicts
            and all(o in ends for o in self.oracles if self.plan.applies(case, o))
            and all((need.name, key) in self._verdicts for need in self._needs(case, key))
        )

    def _judge(self, case: Case, key: Key) -> Result:
        info = self.infos[key]
        end = self._ends[case.name][key]
        need = self._blocked_by(case, key)
        if need is not None or end is None:
            return blocked(case, info, need or "")
        oracle, against = self._oracle(case, key)
        return self.waivers.apply(judge(case, end, oracle, info, against))

    def _needs(self, case: Case, key: Key) -> list[Case]:
        """The needed cases that run on this engine; one that does not apply here blocks nothing."""
        needed = [self._by_name[name] for name in case.needs if name in self._by_name]
        return [need for need in needed if self.plan.applies(need, key)]

    def _blocked_by(self, case: Case, key: Key) -> str | None:
        return next((need for need in case.needs if self._verdicts.get((need, key)) in BLOCKING), None)

    def _oracle(self, case: Case, key: Key) -> tuple[Outcome | None, str | None]:
        """The outcome to compare with: of the first oracle whose run of this case is usable, none for itself."""
        for oracle in self.oracles:
            if oracle == key:
                return None, None
            end = self._ends[case.name].get(oracle)
            if usable(end):
                return end, oracle.engine  # type: ignore[return-value]
        return None, None

    def _summary(self) -> Summary:
        counts: dict[str, Counter[str]] = {self.infos[key].name: Counter() for key in self.keys}
        for (_, key), verdict in self._verdicts.items():
            counts[self.infos[key].name][verdict] += 1
        return Summary({name: dict(c) for name, c in counts.items()}, time.monotonic() - self._started)


def environment() -> dict[str, str]:
    """Where a run took place."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "numpy": np.__version__,
        "threads": "1 per worker",
        "byteorder": sys.byteorder,
    }


def _short(value: object) -> str:
    """A field of a header in a few words."""
    match value:
        case SpecInfo():
            return f"{value.version} ({value.digest})"
        case EngineInfo():
            return f"{value.name} {value.version} ({value.device})"
        case list():
            return ", ".join(map(_short, value)) or "none"
    return "none" if value is None else str(value)
