"""Judging in this process, case by case and on demand: what the pytest plugin does.

Quicker to start than workers, and easier to debug; but a crash ends everything and a hang stays. Needs, oracles and
verdicts are those of a `session`.
"""

from __future__ import annotations

from collections.abc import Mapping

from conformance import engines
from conformance.case import Case
from conformance.engines import Engine
from conformance.language import execute
from conformance.outcome import Outcome
from conformance.records import EngineInfo, Result
from conformance.running.judge import BLOCKING, blocked, judge, usable
from conformance.running.process import Key

KEPT = 16  # outcomes kept for the next engine; a case's engines come one after the other


class InProcess:
    """Judges cases of `by_name`; final states are compared with the first usable of `oracles`."""

    def __init__(self, by_name: Mapping[str, Case], oracles: list[Key]) -> None:
        self._by_name, self._oracles = by_name, oracles
        self._engines: dict[Key, Engine] = {}
        self._outcomes: dict[tuple[str, Key], Outcome] = {}
        self._results: dict[tuple[str, Key], Result] = {}

    def engine(self, key: Key) -> Engine:
        """The engine, imported once. Raises EngineError."""
        if key not in self._engines:
            self._engines[key] = engines.load(key.engine, key.device)
        return self._engines[key]

    def judge(self, case: Case, key: Key) -> Result:
        """The result of a case on an engine, after judging what the case needs."""
        found = self._results.get((case.name, key))
        if found is None:
            found = self._results[case.name, key] = self._judge(case, key)
        return found

    def _judge(self, case: Case, key: Key) -> Result:
        engine = self.engine(key)
        info = EngineInfo(key.engine, engine.version, engine.device, engine.drop_in)
        for name in case.needs:
            if name in self._by_name and self.judge(self._by_name[name], key).verdict in BLOCKING:
                return blocked(case, info, name)
        outcome = self._outcome(case, key)
        for oracle in self._oracles:
            if oracle == key:
                break
            other = self._outcome(case, oracle)
            if usable(other):
                return judge(case, outcome, other, info, oracle.engine)
        return judge(case, outcome, None, info, None)

    def _outcome(self, case: Case, key: Key) -> Outcome:
        found = self._outcomes.get((case.name, key))
        if found is None:
            found = self._outcomes[case.name, key] = execute(case, self.engine(key))
            while len(self._outcomes) > KEPT:
                del self._outcomes[next(iter(self._outcomes))]
        return found
