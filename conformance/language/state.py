"""The state that a program leaves: what its variables hold, as far as tensors and numbers are reached from them."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType
from typing import Any

from conformance.engines.base import Engine
from conformance.outcome import Items, Mapping, Number, Opaque, Plain
from conformance.text import one_line

from .numerical import Estimate
from .recorded import WarnedList
from .values import DEPTH_LIMIT, ITSELF, Reader, key_text

_NOTHING = object()
_LEFT_OUT = frozenset({int, str, FunctionType, type, WarnedList, Estimate})


class Leftovers:
    """Walks a program's variables. Reads each tensor once, however many names it has.

    Kept are tensors with flags and gradients, floating and complex numbers, bools and None, and the lists, tuples,
    dicts and modules that hold them. Integers and strings are not: they may be addresses, versions or node names,
    which are judged only where a program asserts them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reader = Reader(engine, engine.snapshot)

    def of(self, variables: Iterable[tuple[str, Any]]) -> dict[str, Plain]:
        """The final state by variable name; names that lowering or Python made are passed over."""
        state: dict[str, Plain] = {}
        for name, value in variables:
            if name[0] == "@" or name[:2] == "__":
                continue
            found = self.walk(value, ())
            if found is not _NOTHING:
                state[name] = found
        return state

    def walk(self, value: Any, above: tuple[int, ...]) -> Any:
        """The plain form of `value`, `_NOTHING` for what is no part of the state."""
        kind = type(value)
        if kind in ITSELF:
            return value
        if kind in _LEFT_OUT:
            return _NOTHING
        if isinstance(value, complex):
            return Number(value.real, value.imag)
        try:
            read = self.reader.tensor(value)
            if read is not value:
                return read
            return self._container(value, above)
        except Exception as error:
            return Opaque(type(value).__name__, f"cannot be read: {one_line(error, 200)}")

    def _container(self, value: Any, above: tuple[int, ...]) -> Any:
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
        elif isinstance(value, dict):
            kind = "dict"
        elif (state := self.engine.module_state(value)) is not None:
            kind, value = "module", state
        else:
            return _NOTHING
        if id(value) in above or len(above) >= DEPTH_LIMIT:
            return Opaque(kind, "contains itself" if id(value) in above else "too deep")
        above = (*above, id(value))
        if isinstance(value, dict):
            return Mapping({key_text(key): self._item(item, above) for key, item in value.items()})
        return Items(kind, tuple([self._item(item, above) for item in value]))

    def _item(self, value: Any, above: tuple[int, ...]) -> Plain:
        """A container keeps its length: what is no part of the state stands as an Opaque, which is never compared."""
        found = self.walk(value, above)
        return Opaque(type(value).__name__, "") if found is _NOTHING else found
