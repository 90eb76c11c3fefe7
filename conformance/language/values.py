"""What a program's values look like from outside: plain data (`outcome.Plain`) that keeps no engine's object alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.arrays import decode, encode, nested
from conformance.outcome import Items, Mapping, Number, Opaque, Plain, TensorValue
from conformance.text import LIMIT, safe_text, short

from .numerical import Estimate

if TYPE_CHECKING:
    from conformance.engines.base import Engine

__all__ = ["ITSELF", "Reader", "decode", "encode", "key_text", "nested", "opaque"]

DEPTH_LIMIT = 40
INT64 = range(-(2**63), 2**64)  # what MessagePack can carry

_NUMPYS = (np.ndarray, np.generic)
_FLOATS = {float}
# Types whose values are plain data already.
ITSELF = frozenset({type(None), bool, float})
# Types of engines whose text names the value: torch.float32, device(type='cpu'), torch.strided.
_NAMED = frozenset({"dtype", "device", "layout", "memory_format"})


class Reader:
    """Reads values of one engine. Each tensor is read once per reader, so use one reader per moment."""

    __slots__ = ("_read", "_seen", "engine", "lossy")

    def __init__(self, engine: Engine, read: Callable[[Any], TensorValue] | None = None) -> None:
        self.engine = engine
        self._read = read or engine.read
        self._seen: dict[int, TensorValue] = {}
        self.lossy = False  # whether something that `plain` returned stands for more than it says

    def tensor(self, value: Any) -> Any:
        """The TensorValue of a tensor, a numerical derivative or a NumPy array; any other value as it is."""
        if self.engine.is_tensor(value):
            found = self._seen.get(id(value))
            if found is None:
                found = self._seen[id(value)] = self._read(value)
            return found
        if type(value) is Estimate:
            return value.value
        if isinstance(value, _NUMPYS):
            return encode(value) if isinstance(value, np.ndarray) else value.item()
        return value

    def plain(self, value: Any, above: tuple[int, ...] = ()) -> Plain:
        """`value` as plain data. Raises what the engine raises when one of its tensors cannot be read."""
        kind = type(value)
        if kind in ITSELF:
            return value
        if kind is list or kind is tuple:
            if set(map(type, value)) == _FLOATS:
                return Items(kind.__name__, tuple(value))
            return self._items(kind.__name__, value, above)
        read = self.tensor(value)
        if type(read) is TensorValue:
            return read
        return self._other(read, above)

    def look(self, value: Any) -> Plain:
        """As `plain`, but what cannot be read becomes an Opaque that says why."""
        try:
            return self.plain(value)
        except Exception as error:
            return Opaque(type(value).__name__, f"cannot be read: {short(safe_text(error), 200)}")

    def _items(self, name: str, value: Any, above: tuple[int, ...]) -> Plain:
        if id(value) in above or len(above) >= DEPTH_LIMIT:
            self.lossy = True
            return Opaque(name, "contains itself" if id(value) in above else "too deep")
        above = (*above, id(value))
        return Items(name, tuple([self.plain(item, above) for item in value]))

    def _other(self, value: Any, above: tuple[int, ...]) -> Plain:
        kind = type(value)
        if kind.__name__ in _NAMED:
            return self._opaque(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, int):
            return int(value) if value in INT64 else self._opaque(value)
        if isinstance(value, str):
            self.lossy = self.lossy or len(value) > LIMIT
            return short(str(value))
        if isinstance(value, complex):
            return Number(value.real, value.imag)
        if isinstance(value, list | tuple):
            return self._items("list" if isinstance(value, list) else "tuple", value, above)
        if isinstance(value, dict):
            return self._mapping(value, above)
        return self._opaque(value)

    def _opaque(self, value: Any) -> Opaque:
        self.lossy = True
        return opaque(value)

    def _mapping(self, value: dict[Any, Any], above: tuple[int, ...]) -> Plain:
        if id(value) in above or len(above) >= DEPTH_LIMIT:
            self.lossy = True
            return Opaque("dict", "contains itself" if id(value) in above else "too deep")
        above = (*above, id(value))
        self.lossy = self.lossy or not all(type(key) is str for key in value)
        return Mapping({key_text(key): self.plain(item, above) for key, item in value.items()})


def key_text(key: Any) -> str:
    """A dict's key as text: a string as it is, a number as Python writes it, anything else by its type."""
    if isinstance(key, str):
        return key
    return repr(key) if isinstance(key, int | float | bool | None) else f"<{type(key).__name__}>"


def opaque(value: Any) -> Opaque:
    """A value that the kit does not look into. Its own __repr__ is not called: it might be the engine's, and run it."""
    kind = type(value).__name__
    if isinstance(value, type) or kind in ("function", "builtin_function_or_method", "method"):
        return Opaque(kind, short(str(getattr(value, "__name__", "")), 200))
    if kind in _NAMED or isinstance(value, int):
        return Opaque(kind, short(safe_text(value), 200))
    if isinstance(value, set | frozenset) and all(isinstance(item, int | float | str | None) for item in value):
        return Opaque(kind, short(", ".join(sorted(map(repr, value))), 200))
    return Opaque(kind, "")
