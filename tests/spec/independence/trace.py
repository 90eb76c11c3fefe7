"""A program's forward computation, kept so that it can be run again in float64 with an element moved by a little.

An event is one step on numbered arrays: a start value, the forward of an operator, a write into memory, a change of value
that no derivative sees, or a derivative that the program itself went on computing with. Views are NumPy's views here too,
so that a write through one is seen by all. No rule of any derivative is called: an operator's `forward` is all that is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from reference_engine.memory import kinds
from reference_engine.ops.elementwise_kind import Elementwise

KEPT = 50_000  # results of runs
WIDE = {"f": np.dtype(np.float64), "c": np.dtype(np.complex128)}


def lifted(array: Any) -> Any:
    """A copy of an array in the widest type of its kind, in the same order of memory; other types stay. A sparse array is
    read as the dense one that it stands for, a masked one as what is no number."""
    if isinstance(array, tuple(kinds)):
        array = array.todense() if hasattr(array, "todense") else np.full(array.shape, np.nan)
    array = np.asarray(array)
    return np.array(array, WIDE.get(array.dtype.kind, array.dtype), order="K")


class At(NamedTuple):
    """The array `slot` as event number `time` left it."""

    slot: int
    time: int


class Push(NamedTuple):
    """One element moved by `delta`, after the event that `at` names."""

    at: At
    index: tuple[int, ...]
    delta: complex


class Slot(NamedTuple):
    """An argument that is an array of the trace; other arguments are constants."""

    number: int


@dataclass
class Event:
    """One step. reads, writes: the slots it needs and those it makes or changes. reasons: why a derivative through it may
    rightly be something else than that of the forward computation."""

    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    reasons: frozenset[str] = frozenset()

    def run(self, arrays: dict[int, np.ndarray], world: World) -> None:
        """Does the step on `arrays`."""
        raise NotImplementedError


@dataclass
class World:
    """In what surroundings an event runs: what was moved, and which slots that can change."""

    trace: Trace
    pushes: tuple[Push, ...] = ()
    changed: frozenset[int] = frozenset()


@dataclass
class Start(Event):
    """A leaf, or memory that the program filled by other means."""

    value: Any = None

    def run(self, arrays: dict[int, np.ndarray], world: World) -> None:
        arrays[self.writes[0]] = np.array(self.value, order="K")


@dataclass
class Call(Event):
    """The forward of an operator."""

    op: Any = None
    args: tuple = ()
    params: dict[str, Any] = field(default_factory=dict)
    outs: tuple[int | None, ...] = ()

    def run(self, arrays: dict[int, np.ndarray], world: World) -> None:
        values = [arrays[a.number] if type(a) is Slot else a for a in self.args]
        for slot, result in zip(self.outs, forward(self.op, values, self.params), strict=True):
            if slot is not None:
                arrays[slot] = result
                world.trace.wild |= not np.all(np.isfinite(result))


@dataclass
class Write(Event):
    """An array overwritten in place by another one, or by constants."""

    source: Any = None

    def run(self, arrays: dict[int, np.ndarray], world: World) -> None:
        arrays[self.writes[0]][...] = arrays[self.source.number] if type(self.source) is Slot else self.source


@dataclass
class Shift(Event):
    """A change of value that no derivative sees: under no_grad, through `.data`. What was moved stays moved as far."""

    value: Any = None
    before: Any = None

    def run(self, arrays: dict[int, np.ndarray], world: World) -> None:
        array = arrays[self.writes[0]]
        array[...] = self.value + (array - self.before)


@dataclass
class Derivative(Event):
    """A gradient that the program computes with further: d(seeds . roots)/d(target), plus what was there before."""

    roots: tuple[At, ...] = ()
    seeds: tuple[Any, ...] = ()
    target: At | None = None
    before: Any = None
    differentiate: Callable[..., Any] | None = None
    known: Any = None  # its value where nothing was moved

    def run(self, arrays: dict[int, np.ndarray], world: World) -> None:
        if self.known is not None and world.changed.isdisjoint(self.reads):
            value = self.known
        else:
            seeds = tuple(arrays[s.number].copy() if type(s) is Slot else s for s in self.seeds)
            value = self.differentiate(world.trace, self.roots, seeds, self.target, world.pushes)  # type: ignore[misc]
        if self.known is None:
            self.known = np.array(value)
        if self.before is not None:
            value = value + (arrays[self.before.number] if type(self.before) is Slot else self.before)
        arrays[self.writes[0]] = np.array(value)


def forward(op: Any, values: Sequence[Any], params: dict[str, Any]) -> tuple:
    """What an operator computes from arrays, one array per output, types of one width only."""
    params = {k: WIDE.get(v.kind, v) if isinstance(v, np.dtype) else v for k, v in params.items()}
    values = [np.asarray(v, np.result_type(v, np.float64)) if type(v) in (int, float, complex) else v for v in values]
    results = op.ufunc(*values) if isinstance(op, Elementwise) else op.forward(*values, **params)
    several = isinstance(results, (tuple, list))
    results = tuple(results)[: len(op.outputs) if op.aux else None] if several else (results,)
    arrays = [np.asarray(r) for r in results]
    if op.view:
        return tuple(arrays)
    given = [v for v in values if isinstance(v, np.ndarray)]  # a result is never the memory of an argument
    return tuple(np.array(r) if any(np.may_share_memory(r, v) for v in given) else r for r in arrays)


class Trace:
    """The events of one program, the arrays as they are now (`base`), and which memory each slot is a part of."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.base: dict[int, np.ndarray] = {}
        self.memory: list[int] = []  # slot -> the slot that owns its memory
        self.live: list[bool] = []  # by slot that owns memory: whether a derivative may pass through it
        self._plans: dict[Any, tuple[list[int], frozenset[int]]] = {}
        self.wild = False  # whether a value that is not finite was met since this was last set
        # What runs gave, and whether they were wild: derivatives of derivatives ask for the same again and again.
        self._known: dict[Any, tuple[list[np.ndarray], bool]] = {}

    @property
    def now(self) -> int:
        """The number of the last event."""
        return len(self.events) - 1

    def slot(self, owner: int | None = None, *, live: bool = False) -> int:
        """A new slot, in the memory of another one or its own."""
        number = len(self.memory)
        self.memory.append(number if owner is None else self.memory[owner])
        self.live.append(live)
        return number

    def add(self, event: Event) -> None:
        """Appends an event and does it."""
        event.run(self.base, World(self))
        self.events.append(event)

    def is_live(self, slot: int) -> bool:
        """Whether a derivative may pass through an array."""
        return self.live[self.memory[slot]]

    def plan(self, reads: Sequence[At]) -> tuple[list[int], frozenset[int]]:
        """The numbers of the events that what is read depends on, in order, and the slots that own the memory in question."""
        key = tuple(reads)
        if key not in self._plans:
            needed = {self.memory[at.slot] for at in reads}
            chosen = []
            for number in range(max((at.time for at in reads), default=-1), -1, -1):
                event = self.events[number]
                if any(self.memory[s] in needed for s in event.writes):
                    chosen.append(number)
                    needed.update(self.memory[s] for s in event.reads)
            self._plans[key] = chosen[::-1], frozenset(needed)
        return self._plans[key]

    def reasons(self, reads: Sequence[At]) -> frozenset[str]:
        """Why what is read may rightly have another derivative than its forward computation."""
        plan, _ = self.plan(reads)
        return frozenset().union(*(self.events[number].reasons for number in plan))

    def run(self, pushes: Sequence[Push], reads: Sequence[At]) -> list[np.ndarray]:
        """The arrays that are asked for, where elements were moved. They are not to be changed."""
        plan, memory = self.plan(reads)
        pushes = tuple(push for push in pushes if self.memory[push.at.slot] in memory)
        key = (pushes, tuple(reads))
        if key not in self._known:
            if len(self._known) > KEPT:
                self._known.clear()
            before, self.wild = self.wild, False
            self._known[key] = self._run(pushes, reads, plan), self.wild
            self.wild = before
        values, wild = self._known[key]
        self.wild |= wild
        return values

    def _run(self, pushes: tuple[Push, ...], reads: Sequence[At], plan: list[int]) -> list[np.ndarray]:
        last = max(at.time for at in reads)
        world = World(self, pushes, self._changed(plan, pushes))
        arrays: dict[int, np.ndarray] = {}
        found: dict[At, np.ndarray] = {}
        waiting = sorted(set(reads), key=lambda at: at.time)
        moving = sorted(pushes, key=lambda push: push.at.time)
        for number in [*plan, last + 1]:
            while moving and moving[0].at.time < number:
                self._move(arrays, moving.pop(0))
            while waiting and waiting[0].time < number:
                at = waiting.pop(0)
                found[at] = arrays[at.slot].copy()
            if number <= last:
                self.events[number].run(arrays, world)
        return [found[at] for at in reads]

    def _changed(self, plan: list[int], pushes: Sequence[Push]) -> frozenset[int]:
        memory = {self.memory[push.at.slot] for push in pushes}
        slots = {push.at.slot for push in pushes}
        for number in plan:
            event = self.events[number]
            if any(self.memory[s] in memory for s in event.reads):
                memory.update(self.memory[s] for s in event.writes)
        return frozenset(s for s, owner in enumerate(self.memory) if owner in memory) | slots

    def _move(self, arrays: dict[int, np.ndarray], push: Push) -> None:
        """Moves one element; of a view, only as it is seen through this view."""
        slot = push.at.slot
        if slot not in arrays:
            return  # nothing that is read depends on it
        if self.memory[slot] != slot:
            arrays[slot] = arrays[slot].copy()
        array = arrays[slot]
        array[push.index] += push.delta if array.dtype.kind == "c" else push.delta.real
