"""Two final states of one program, walked side by side: every tensor's value, dtype, shape, flags and grad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from conformance.case import Tolerance
from conformance.language.compare import compare
from conformance.outcome import Items, Mapping, Measure, Opaque, Plain, TensorValue

ABSENT = Opaque("absent", "(absent)")


class Found(NamedTuple):
    """One place where two states differ."""

    where: str
    observed: Plain
    expected: Plain
    finding: str
    measure: Measure | None = None


@dataclass(frozen=True)
class States:
    """How states are compared.

    values: False compares dtype, shape and flags only. text: False passes over strings (messages of an engine that does
    not claim torch's).
    """

    tolerance: Tolerance | None = None
    values: bool = True
    text: bool = True

    def differ(self, observed: dict[str, Plain], expected: dict[str, Plain]) -> Iterator[Found]:
        """The differences of two final states, by variable name."""
        for name in dict.fromkeys((*expected, *observed)):
            if name not in observed or name not in expected:
                yield Found(name, observed.get(name, ABSENT), expected.get(name, ABSENT), "semantics")
            else:
                yield from self.walk(name, observed[name], expected[name])

    def walk(self, where: str, observed: Plain, expected: Plain) -> Iterator[Found]:
        if isinstance(observed, TensorValue) and isinstance(expected, TensorValue):
            if observed != expected:
                yield from self._tensors(where, observed, expected)
        elif isinstance(observed, TensorValue) or isinstance(expected, TensorValue):
            yield Found(where, observed, expected, "semantics")
        elif isinstance(observed, Mapping) and isinstance(expected, Mapping):
            yield from self._mappings(where, observed, expected)
        elif isinstance(observed, Items) and isinstance(expected, Items):
            yield from self._items(where, observed, expected)
        else:
            yield from self._others(where, observed, expected)

    def _tensors(self, where: str, observed: TensorValue, expected: TensorValue) -> Iterator[Found]:
        if observed.dtype != expected.dtype:
            yield Found(f"{where}.dtype", observed.dtype, expected.dtype, "dtype")
        if observed.shape != expected.shape:
            shapes = (Items("tuple", observed.shape), Items("tuple", expected.shape))
            yield Found(f"{where}.shape", *shapes, "shape")
        elif self.values:
            found = compare(observed, expected, self.tolerance)
            if not found.agrees:
                yield Found(where, observed, expected, found.finding or "wrong", found.measure)
        for flag in ("requires_grad", "is_leaf"):
            ours, theirs = getattr(observed, flag), getattr(expected, flag)
            if ours is not None and theirs is not None and ours != theirs:
                yield Found(f"{where}.{flag}", ours, theirs, "semantics")
        if observed.grad is not None and expected.grad is not None:
            yield from self.walk(f"{where}.grad", observed.grad, expected.grad)
        elif observed.grad is not expected.grad:
            yield Found(f"{where}.grad", observed.grad, expected.grad, "semantics")

    def _mappings(self, where: str, observed: Mapping, expected: Mapping) -> Iterator[Found]:
        for key in dict.fromkeys((*expected.items, *observed.items)):
            if key not in observed.items or key not in expected.items:
                pair = observed.items.get(key, ABSENT), expected.items.get(key, ABSENT)
                yield Found(f"{where}[{key!r}]", *pair, "semantics")
            else:
                yield from self.walk(f"{where}[{key!r}]", observed.items[key], expected.items[key])

    def _items(self, where: str, observed: Items, expected: Items) -> Iterator[Found]:
        if observed.type != expected.type:
            yield Found(f"type({where})", observed.type, expected.type, "semantics")
        if len(observed.items) != len(expected.items):
            yield Found(f"len({where})", len(observed.items), len(expected.items), "semantics")
        for index, (ours, theirs) in enumerate(zip(observed.items, expected.items, strict=False)):
            yield from self.walk(f"{where}[{index}]", ours, theirs)

    def _others(self, where: str, observed: Plain, expected: Plain) -> Iterator[Found]:
        both_text = isinstance(observed, str) and isinstance(expected, str)
        if not self.values or (both_text and not self.text):
            return
        found = compare(observed, expected, self.tolerance)
        if not found.agrees:
            yield Found(where, observed, expected, found.finding or "semantics", found.measure)
