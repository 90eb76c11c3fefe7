"""Running one case on one engine, in this process, and putting everything back afterwards."""

from __future__ import annotations

import gc
import io
import linecache
import marshal
import sys
import time
import traceback
from itertools import islice
from typing import Any

from conformance.case import Case
from conformance.drawing import draw
from conformance.engines.base import DRAWING, Engine, Modes, missing_paths
from conformance.outcome import Outcome, Raised
from conformance.text import one_line, safe_text, short

from .lower import FILENAME
from .missing import line_of
from .observe import Recorder
from .recorded import Warnings
from .state import Leftovers
from .words import constant_words

MESSAGE_LIMIT = 2000  # characters of an exception's message, and of what an engine printed
TRACEBACK_LIMIT = 6000
EXPLAINED = ("vjp", "complex")  # checks of tables whose `result` has the operator's graph behind it


def execute(case: Case, engine: Engine, *, alone: bool = False) -> Outcome:
    """Runs `case` on `engine`. Whatever the engine does is in the outcome; only KeyboardInterrupt passes through.

    alone: nobody else uses the engine in this process. Its global settings are then left at their defaults afterwards,
    for the next case, which is cheaper than putting back those of before.
    """
    if missing := missing_paths(engine, case.requires):
        return Outcome(case.name, missing=tuple(missing))
    outcome = Outcome(case.name)
    surroundings = _Surroundings()
    outer = defaults = None
    restored = False
    try:
        defaults = engine.defaults()
        if not alone:
            outer = engine.capture()
            engine.restore(defaults, outer)
        elif not engine.settled:
            engine.restore(defaults)
        engine.settled = False
        _run(case, engine, defaults, outcome, surroundings.warnings)
        restored = True
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the engine could not be brought to its defaults
        outcome.error = outcome.error or _raised(error, case)
    finally:
        if defaults is not None:
            _settle(engine, outer, defaults, case)
            engine.settled = alone and restored
        outcome.printed = surroundings.leave()
    return outcome


def _run(case: Case, engine: Engine, defaults: Modes, outcome: Outcome, warnings: Warnings) -> None:
    recorder = Recorder(case, engine, warnings)
    variables = constant_words(engine).copy()
    variables.update(recorder.names())
    if case.parameters:
        variables.update(_parameters(case, engine))
    ours = len(variables)
    try:
        if case.given:
            variables.update(given_data(case, engine))
        _call(case, recorder, variables, outcome)
        if case.check in EXPLAINED:
            outcome.rules = engine.explain(variables.get("result"))
        outcome.random = engine.restore(defaults)
        if defaults.generator is None:  # not shown by the engine: the text has to tell
            outcome.random = not DRAWING.isdisjoint(case.requires)
        # The language's check sees to it that no name of the kit is bound or deleted: those come first, and stay.
        outcome.state = Leftovers(engine).of(islice(variables.items(), ours, None))
    finally:
        # Functions hold their globals and are held by them; what is left of the program must not outlive it.
        variables.clear()
        if "yield" in case.program:
            gc.collect()  # a suspended generator in a cycle would leave its `with` in the middle of a later case
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


def given_data(case: Case, engine: Engine) -> dict[str, Any]:
    """The case's drawn data, bit for bit the same for every engine, as leaves of this one."""
    return {given.name: engine.make(draw(given), given.dtype, given.requires_grad) for given in case.given}


def _nothing(_: object) -> None:
    return None


class _Surroundings:
    """What a process has one of: standard output, warnings filters, the recursion limit, the hook for what fails while
    objects are freed (a suspended generator whose block was ended already): that is nobody's expectation."""

    def __init__(self) -> None:
        self._stdout, self._limit = sys.stdout, sys.getrecursionlimit()
        self._printed = sys.stdout = io.StringIO()
        self._hook, sys.unraisablehook = sys.unraisablehook, _nothing
        self.warnings = Warnings()
        self.warnings.install()

    def leave(self) -> str:
        """Puts everything back. Returns what was printed."""
        self.warnings.remove()
        sys.stdout, sys.unraisablehook = self._stdout, self._hook
        if sys.getrecursionlimit() != self._limit:
            sys.setrecursionlimit(self._limit)
        return short(self._printed.getvalue(), MESSAGE_LIMIT)


def _settle(engine: Engine, outer: Modes | None, defaults: Modes, case: Case) -> None:
    """Brings the engine from its defaults to the modes of before, if those are to be put back.

    Where freeing what the program left may have run more of it (the end of a suspended `with`), the settings are read
    again. An engine that cannot be restored has said so in the outcome already.
    """
    try:
        if outer is not None or "yield" in case.program or "__" in case.program:
            engine.restore(outer or defaults, Modes(engine.settings(), defaults.generator))
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
