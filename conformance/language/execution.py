"""Running one case on one engine, in this process, and putting everything back afterwards."""

from __future__ import annotations

import io
import linecache
import marshal
import sys
import time
import traceback
from typing import Any

from conformance.case import Case
from conformance.drawing import draw
from conformance.engines.base import Engine, Modes, missing_paths
from conformance.outcome import Outcome, Raised
from conformance.text import one_line, safe_text, short

from .lower import FILENAME
from .missing import line_of
from .observe import Recorder
from .recorded import Warnings
from .state import Leftovers
from .words import WORDS, constant_words

MESSAGE_LIMIT = 2000  # characters of an exception's message, and of what an engine printed
TRACEBACK_LIMIT = 6000
_NO_STATE = WORDS | {"torch"}


def execute(case: Case, engine: Engine) -> Outcome:
    """Runs `case` on `engine`. Whatever the engine does is in the outcome; only KeyboardInterrupt passes through."""
    if missing := missing_paths(engine, case.requires):
        return Outcome(case.name, missing=tuple(missing))
    try:
        outer, defaults = engine.capture(), engine.defaults()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Outcome(case.name, error=_raised(error, case))
    outcome = Outcome(case.name)
    surroundings = _Surroundings()
    try:
        engine.restore(defaults, outer)
        _run(case, engine, defaults, outcome, surroundings.warnings)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the engine could not be brought to its defaults
        outcome.error = outcome.error or _raised(error, case)
    finally:
        outcome.printed = surroundings.leave()
        _quietly(engine, outer, defaults)
    return outcome


def _run(case: Case, engine: Engine, defaults: Modes, outcome: Outcome, warnings: Warnings) -> None:
    recorder = Recorder(case, engine, warnings)
    variables = constant_words(engine).copy()
    variables.update(recorder.names())
    try:
        if case.parameters:
            variables.update(_parameters(case, engine))
        if case.given:
            variables.update(_given(case, engine))
        _call(case, recorder, variables, outcome)
        outcome.random = engine.restore(defaults)
        outcome.state = Leftovers(engine).of(variables, _NO_STATE.union(case.parameters))
    finally:
        # Functions hold their globals and are held by them; what is left of the program must not outlive it.
        variables.clear()
        outcome.observations = recorder.observations
        outcome.missing = tuple(recorder.missing)


def _call(case: Case, recorder: Recorder, variables: dict[str, Any], outcome: Outcome) -> None:
    code = marshal.loads(case.code)
    start = time.perf_counter()
    try:
        exec(code, variables)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if recorder.lacks(error) is None:
            outcome.error = _raised(error, case)
    finally:
        outcome.seconds = time.perf_counter() - start


def _parameters(case: Case, engine: Engine) -> dict[str, Any]:
    """The case's point of its `with`; a string that spells a torch path ("torch.float64") names the engine's own."""
    return {
        name: engine.get(value.removeprefix("torch."), value)
        if isinstance(value, str) and value.startswith("torch.") else value
        for name, value in case.parameters.items()
    }  # fmt: skip


def _given(case: Case, engine: Engine) -> dict[str, Any]:
    """The case's drawn data, bit for bit the same for every engine, as leaves of this one."""
    return {given.name: engine.make(draw(given), given.dtype, given.requires_grad) for given in case.given}


class _Surroundings:
    """What a process has one of: standard output, warnings filters, the recursion limit."""

    def __init__(self) -> None:
        self._stdout, self._limit = sys.stdout, sys.getrecursionlimit()
        self._printed = sys.stdout = io.StringIO()
        self.warnings = Warnings()
        self.warnings.install()

    def leave(self) -> str:
        """Puts everything back. Returns what was printed."""
        self.warnings.remove()
        sys.stdout = self._stdout
        if sys.getrecursionlimit() != self._limit:
            sys.setrecursionlimit(self._limit)
        return short(self._printed.getvalue(), MESSAGE_LIMIT)


def _quietly(engine: Engine, outer: Modes, defaults: Modes) -> None:
    """Restores the engine's modes; an engine that cannot has said so in the outcome already."""
    try:
        engine.restore(outer, defaults)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return


def _raised(error: BaseException, case: Case) -> Raised:
    linecache.cache[FILENAME] = (len(case.program), None, case.program.splitlines(True), FILENAME)
    try:
        lines = traceback.format_exception(error, limit=-12)
    except Exception:
        lines = [one_line(error)]
    message = short(safe_text(error), MESSAGE_LIMIT)
    text = "".join(lines)
    return Raised(type(error).__name__, message, line_of(error), text[-TRACEBACK_LIMIT:])
