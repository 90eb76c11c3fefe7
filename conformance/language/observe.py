"""The recorder: what lowered programs call, and what they leave behind as observations.

One recorder serves one run of one case. It is called from the program's own thread, from hooks inside the engine, and
from threads of the engine, so that it keeps what belongs to a thread by thread.
"""

from __future__ import annotations

import operator
import re
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar

import msgspec

from conformance.arrays import decode
from conformance.case import Case
from conformance.engines.base import Engine, Unsupported
from conformance.outcome import Observation, Plain, TensorValue
from conformance.text import one_line, safe_text, short

from .compare import AGREE, SEMANTICS, Comparison, compare, identical
from .missing import missing_name, named
from .recorded import Recording, Warned, Warnings
from .values import ITSELF, Reader

Check = Callable[["Recorder", Any, Any, Reader], Comparison]


class Recorder:
    """Observations of one run, in the order in which they were made, and the names that the engine lacked."""

    def __init__(self, case: Case, engine: Engine, warnings: Warnings) -> None:
        self.case, self.engine, self.warnings = case, engine, warnings
        self.sites = case.sites
        self.observations: list[Observation] = []
        self.missing: dict[str, None] = {}
        self._reached = [count() for _ in case.sites]  # count() steps atomically, whatever thread asks
        self._expecting: dict[int, int] = {}  # thread: how many `raises` blocks it is inside

    def names(self) -> dict[str, Any]:
        """The words of this run, and what lowered code calls, by names that no program can spell."""
        return {
            "same": self.same, "identical": self.identical, "recorded_warnings": self.recorded_warnings,
            "@link": self.link, "@truth": self.truth, "@failed": self.failed, "@note": self.note, "@any": BaseException,
            "@raises": self.raises, "@warns": self.warns, "@imported": self.imported,
        }  # fmt: skip

    # --- words ---

    def same(self, left: Any, right: Any) -> bool:
        """Whether two values agree as they must at the top of an assert."""
        return compare(left, right, self.case.tolerance, Reader(self.engine).tensor).agrees

    def identical(self, left: Any, right: Any) -> bool:
        """Whether two values are equal bit for bit."""
        return identical(left, right, Reader(self.engine).tensor)

    def imported(self, path: str) -> Any:
        """What an engine has in the place of what `from torch.X import name` names ("X:name")."""
        found = self.engine.get(path, self)
        if found is self:
            raise Unsupported(path)
        return found

    def recorded_warnings(self) -> Recording:
        """`with recorded_warnings() as w`: w is a list of what was warned in the block."""
        return Recording(self.warnings)

    # --- assertions ---

    def link(self, site: int, left: Any, right: Any) -> bool:
        """A comparison at the top of an assert. Returns whether it holds."""
        kind = self.sites[site].kind
        if kind == "is" and type(left) in ITSELF and type(right) in ITSELF:
            return self._record(site, left, right, AGREE if left is right else SEMANTICS)
        reader = Reader(self.engine)
        if kind == "==" or kind == "same":
            value, expected = reader.plain(left), reader.plain(right)
            if reader.lossy:  # objects that only the program can compare
                found = compare(left, right, self.case.tolerance, reader.tensor)
            else:
                found = compare(value, expected, self.case.tolerance)
        else:
            value, expected = reader.look(left), reader.look(right)
            found = CHECKS[kind](self, left, right, reader)
        return self._record(site, value, expected, found)

    def truth(self, site: int, value: Any) -> bool:
        """An assert of anything but a comparison. Returns whether it is true."""
        found = AGREE if value else SEMANTICS
        return self._record(site, Reader(self.engine).look(value), True, found)

    def failed(self, site: int) -> bool:
        """Called while an exception of an assertion is handled. Whether it goes on to the `raises` around it."""
        error = sys.exc_info()[1]
        assert error is not None
        if isinstance(error, KeyboardInterrupt | GeneratorExit) or self._expecting.get(threading.get_ident()):
            return True
        self.lacks(error)
        self._record(site, None, None, SEMANTICS, one_line(error))
        return False

    def note(self, first: int, end: int, message: Any) -> None:
        """An assert's own message, given to the observation of this assert that failed."""
        for index in range(len(self.observations) - 1, -1, -1):
            made = self.observations[index]
            if first <= made.site < end and not made.agrees:
                self.observations[index] = msgspec.structs.replace(made, note=short(safe_text(message)))
                return

    # --- blocks ---

    def raises(self, site: int, types: Any, contains: str | None = None, match: str | None = None) -> Raises:
        """`with raises(Type, contains="...", match="regex") as e`."""
        return Raises(self, site, types, contains, match)

    def warns(self, site: int, category: Any, contains: str | None = None, match: str | None = None) -> Warns:
        """`with warns(Category, contains="...", match="regex")`."""
        return Warns(self, site, category, contains, match)

    def expecting(self, step: int) -> None:
        """Enters (1) or leaves (-1) a `raises` block in this thread."""
        thread = threading.get_ident()
        self._expecting[thread] = self._expecting.get(thread, 0) + step

    def lacks(self, error: BaseException) -> str | None:
        """The name that the engine lacks, kept for the outcome, if that is what `error` says."""
        name = missing_name(error, self.case.program, self.engine)
        if name is not None:
            self.missing[name] = None
        return name

    def _record(self, site: int, value: Plain, expected: Plain, found: Comparison, error: str | None = None) -> bool:
        place = self.sites[site]
        agrees, finding, measure = found
        if place.drop_in and not self.engine.drop_in:
            agrees, finding = True, None
        self.observations.append(
            Observation(site, place.line, place.column, next(self._reached[site]), place.kind, place.text, value,
                        expected, agrees, finding, measure, error)
        )  # fmt: skip
        return agrees

    def record(self, site: int, value: Plain, expected: Plain, finding: str | None, error: str | None = None) -> None:
        """An observation of a block. It agrees where there is no finding."""
        self._record(site, value, expected, AGREE if finding is None else Comparison(False, finding), error)


def _ordered(compare_numbers: Callable[[Any, Any], Any]) -> Check:
    def check(recorder: Recorder, left: Any, right: Any, reader: Reader) -> Comparison:
        return AGREE if compare_numbers(_number(left, reader), _number(right, reader)) else SEMANTICS

    return check


def _number(value: Any, reader: Reader) -> Any:
    """A tensor of one element as the number in it: comparing sizes must not go through the engine's arithmetic."""
    read = reader.tensor(value)
    return decode(read).item() if type(read) is TensorValue else read


def _unequal(recorder: Recorder, left: Any, right: Any, reader: Reader) -> Comparison:
    return SEMANTICS if compare(left, right, recorder.case.tolerance, reader.tensor).agrees else AGREE


def _inside(recorder: Recorder, left: Any, right: Any, reader: Reader) -> Comparison:
    if isinstance(right, list | tuple):
        tolerance = recorder.case.tolerance
        return AGREE if any(
            left is item or compare(left, item, tolerance, reader.tensor).agrees for item in right
        ) else SEMANTICS  # fmt: skip
    return AGREE if left in right else SEMANTICS


def _outside(recorder: Recorder, left: Any, right: Any, reader: Reader) -> Comparison:
    return SEMANTICS if _inside(recorder, left, right, reader).agrees else AGREE


def _bitwise(recorder: Recorder, left: Any, right: Any, reader: Reader) -> Comparison:
    if identical(left, right, reader.tensor):
        return AGREE
    found = compare(left, right, recorder.case.tolerance, reader.tensor)
    return found if not found.agrees else Comparison(False, "wrong")


CHECKS: dict[str, Check] = {
    "!=": _unequal,
    "<": _ordered(operator.lt), "<=": _ordered(operator.le), ">": _ordered(operator.gt), ">=": _ordered(operator.ge),
    "is": lambda recorder, left, right, reader: AGREE if left is right else SEMANTICS,
    "is not": lambda recorder, left, right, reader: AGREE if left is not right else SEMANTICS,
    "in": _inside, "not in": _outside,
    "identical": _bitwise,
}  # fmt: skip


class _Block:
    """A `with` block that expects something. `kind` says what, for the observation."""

    kind: ClassVar[str]

    def __init__(self, recorder: Recorder, site: int, types: Any, contains: str | None, match: str | None) -> None:
        self.recorder, self.site, self.types, self.contains, self.match = recorder, site, types, contains, match

    @property
    def expected(self) -> str:
        every = self.types if isinstance(self.types, tuple) else (self.types,)
        text = " or ".join(getattr(item, "__name__", str(item)) for item in every)
        text += f" containing {self.contains!r}" if self.contains is not None else ""
        return text + (f" matching {self.match!r}" if self.match is not None else "")

    def accepts(self, kind: type, message: str) -> bool:
        """Whether type and message are those expected; only drop-in engines are judged by them."""
        if not self.recorder.engine.drop_in:
            return True
        return (
            issubclass(kind, self.types)
            and (self.contains is None or self.contains in message)
            and (self.match is None or re.search(self.match, message) is not None)
        )


class Raises(_Block):
    """After the block: `message` and `type` (the class's name) of the exception, empty if there was none."""

    def __enter__(self) -> Raises:
        self.message = self.type = ""
        self.recorder.expecting(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> bool:
        self.recorder.expecting(-1)
        if error is None:
            self.recorder.record(self.site, None, self.expected, "no-error")
            return False
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            return False
        self.type, self.message = type(error).__name__, safe_text(error)
        finding = None if self._passes(error) else "semantics"
        self.recorder.record(self.site, one_line(error), self.expected, finding)
        return True

    def _passes(self, error: BaseException) -> bool:
        """Never by accident: what the engine lacks does not count as the error that was due, unless it was named."""
        kinds = (NotImplementedError, AttributeError, TypeError)
        chosen = any(isinstance(error, kind) and named(self.types, kind) for kind in kinds)
        if (not chosen or isinstance(error, Unsupported)) and self.recorder.lacks(error) is not None:
            return False
        return self.accepts(type(error), self.message)


class Warns(_Block):
    """The block must warn at least once as described. An exception in it goes on, as it would without the block."""

    def __enter__(self) -> list[Warned]:
        self.seen = self.recorder.warnings.listen()
        return self.seen

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        self.recorder.warnings.leave(self.seen)
        if error is not None:
            return
        held = any(self.accepts(warned.category, warned.message) for warned in self.seen)
        seen = "; ".join(f"{warned.category.__name__}: {warned.message}" for warned in self.seen)
        self.recorder.record(self.site, short(seen) or None, self.expected, None if held else "semantics")
