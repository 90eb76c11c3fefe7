"""Following a program on the reference: what it computes forward becomes a trace, what it differentiates is recomputed.

The reference runs as it is, through the long way of its operators. A tensor's *shadow* is its value as it follows from the
recomputed derivatives alone: gradients have one, and so has what is computed from them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reference_engine.memory import kinds
from reference_engine.ops.kinds import NUMPY_FLOATS
from reference_engine.state import state
from reference_engine.tape.saved import Saved
from reference_engine.tensor import Tensor
from tests.spec.independence import differences
from tests.spec.independence.trace import At, Call, Derivative, Shift, Slot, Start, Trace, Write, forward, lifted

UNTRACED = "untraced operation"
SAVED = "a value saved for backward was replaced"
OVERFLOW = "the program's own precision overflows"
OTHER = "a sparse or masked tensor"
NOT_FINITE, KINK = "not finite", "not differentiable"
LARGEST = 10_000  # elements of a tensor; programs with larger ones are not followed
WORK = 5_000  # elements of a gradient times steps to run again for each
LARGE = "too large"
NARROW = frozenset({"float16", "bfloat16", "complex32", "float8_e4m3fn", "float8_e5m2"})


class TooLarge(BaseException):
    """Ends a program that is too large to be run again for every element."""


class Marks:
    """Notes on objects, which they do not keep alive, by identity."""

    def __init__(self) -> None:
        self._notes: dict[int, tuple[weakref.ref, Any]] = {}

    def get(self, obj: Any) -> Any:
        found = self._notes.get(id(obj))
        return found[1] if found is not None and found[0]() is obj else None

    def set(self, obj: Any, note: Any) -> None:
        key = id(obj)
        if note is None:
            self._notes.pop(key, None)
        else:
            self._notes[key] = (weakref.ref(obj, lambda r: self._drop(key, r)), note)

    def _drop(self, key: int, reference: weakref.ref) -> None:
        if key in self._notes and self._notes[key][0] is reference:
            del self._notes[key]


@dataclass(frozen=True)
class Mark:
    """Where a tensor's array is in the trace. time: of a leaf, the event that started it."""

    slot: int
    time: int
    leaf: bool = False
    detached: bool = False


class Shadow(NamedTuple):
    """A recomputed value, and why the engine's may rightly be another one: reasons, and names of narrow types on the way."""

    value: np.ndarray
    reasons: frozenset[str]


class Gradient(NamedTuple):
    """A gradient that the reference gave, beside the recomputed one."""

    given: np.ndarray
    recomputed: np.ndarray
    agrees: bool
    reasons: frozenset[str]


class Place(threading.local):
    """Where a thread is: inside a backward pass, in a hook of it, and inside how many custom forwards."""

    passing = False
    hooking = False
    customs = 0


class Follower:
    """Keeps the trace of one program."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.marks, self.shadows, self.nodes = Marks(), Marks(), Marks()
        self.place = Place()
        self.loose: dict[int, tuple[Any, Shadow]] = {}  # gradients that are arrays still
        self.saved, self.packed = Marks(), dict[int, np.ndarray]()  # what was saved for backward, as it was then
        self.altered: set[str] = set()  # what the pass that is running met
        self.asked: tuple[list, list, frozenset[str]] = ([], [], frozenset())  # roots, seeds, reasons of the last pass
        self.passes = 0
        self.gradients: list[Gradient] = []
        self.large = False

    # --- tensors ---

    def following(self) -> bool:
        """Whether what is computed now is the program's own doing."""
        return not self.place.passing

    def recorded(self) -> bool:
        """Whether what is computed now can be differentiated; the forward of a custom Function counts as mathematics."""
        return (state.grad_enabled or self.place.customs > 0) and not state.inference

    def live(self, x: Any) -> bool:
        """Whether derivatives pass through a tensor; it has its slot then."""
        if not isinstance(x, Tensor):
            return False
        mark = self.marks.get(x)
        if x._edge is None and x._tracked:
            if mark is None or not mark.leaf or self.trace.base[mark.slot].shape != x._array.shape:
                self._start(x, leaf=True)
            return True
        if mark is None:
            if x._edge is None:
                return False
            at = self.at(x._edge)
            if at is not None:  # another object for what the node made
                self.marks.set(x, Mark(at.slot, at.time))
                return True
            self._start(x, reasons=frozenset({UNTRACED}))  # somebody made it past the operators
            return True
        if mark.leaf and x._edge is None:
            return False
        if not mark.leaf and x._edge is not None:
            at = self.at(x._edge)
            if at is not None and at.slot != mark.slot:  # its shape was changed in place: it is what the new node made
                self.marks.set(x, Mark(at.slot, at.time))
                return True
        return self.trace.is_live(mark.slot) and (not mark.detached or x._edge is not None)

    def _start(self, x: Tensor, *, leaf: bool = False, live: bool = True, reasons: frozenset = frozenset()) -> Mark:
        slot = self.trace.slot(live=live)
        self.trace.add(Start(writes=(slot,), reasons=reasons, value=lifted(x._array)))
        mark = Mark(slot, self.trace.now, leaf)
        self.marks.set(x, mark)
        self.note(x)
        return mark

    def note(self, x: Tensor) -> None:
        """Remembers which array the node behind a tensor stands for."""
        mark = self.marks.get(x)
        if mark is not None and x._edge is not None:
            node, nr = x._edge
            known = self.nodes.get(node) or {}
            self.nodes.set(node, {**known, nr: At(mark.slot, self.trace.now)})

    def at(self, edge: Any) -> At | None:
        """The array that an edge of the graph stands for; None where it is unknown."""
        node, nr = edge
        if hasattr(node, "variable"):
            if not self.live(node.variable):
                return None
            mark = self.marks.get(node.variable)
            return At(mark.slot, mark.time)
        return (self.nodes.get(node) or {}).get(nr)

    def synchronize(self, x: Tensor) -> Mark:
        """Brings the trace to the value that a tensor has: something may have changed it that nobody differentiates."""
        mark = self.marks.get(x)
        actual, base = lifted(x._array), self.trace.base[mark.slot]
        if actual.shape != base.shape:
            return self._start(x, leaf=mark.leaf, live=self.trace.is_live(mark.slot))
        fine = 1e-10 if x._array.dtype.itemsize in (8, 16) and x._array.dtype.kind in "fc" else 2e-5
        if x._array.dtype.metadata is not None or x._array.dtype.itemsize == 2:
            fine = 0.05
        difference = actual - base
        scale = np.max(np.abs(actual), initial=1.0)
        if not np.all(np.abs(difference) <= fine * scale) and np.all(np.isfinite(actual)) and np.all(np.isfinite(base)):
            self.trace.add(Shift((mark.slot,), (mark.slot,), value=actual, before=base.copy()))
        return mark

    # --- operators ---

    def call(self, op: Any, inputs: tuple, params: dict[str, Any], outs: Sequence[Tensor]) -> None:
        """An operator was run."""
        if any(out._array.size > LARGEST for out in outs):
            self.large = True
            raise TooLarge
        if any(type(x._array) in kinds for x in (*inputs, *outs) if isinstance(x, Tensor)):
            for out in outs:
                if out._edge is not None:
                    self._start(out, reasons=frozenset({OTHER}))
            return
        self.shade(op, inputs, params, outs)
        recorded = self.recorded()
        live = [recorded and self.live(x) for x in inputs]
        if op.view and not live[0]:
            first = self.marks.get(inputs[0])
            if type(inputs[0]._array) is not np.ndarray or inputs[0]._array.dtype not in NUMPY_FLOATS:
                return
            mark = first or self._start(inputs[0], live=False)
            self._append(op, inputs, params, outs, [True], detached=not recorded or mark.detached)
        elif any(live):
            self._append(op, inputs, params, outs, live, detached=False)

    def _append(
        self, op: Any, inputs: tuple, params: dict, outs: Sequence[Tensor], live: list, *, detached: bool
    ) -> None:
        args, reads = [], []
        for x, is_live in zip(inputs, live, strict=True):
            if is_live:
                reads.append(self.synchronize(x).slot)
                args.append(Slot(reads[-1]))
            else:
                args.append(lifted(x._array) if isinstance(x, Tensor) else x)
        slots: list[int | None] = []
        for nr, out in enumerate(outs):
            differentiable = out._array.dtype in NUMPY_FLOATS and nr not in op.nondifferentiable
            slots.append(self.trace.slot(reads[0] if op.view else None, live=True) if differentiable else None)
        made = tuple(s for s in slots if s is not None)
        event = Call(tuple(reads), made, op=op, args=tuple(args), params=params, outs=tuple(slots))
        self.trace.add(event)
        for slot, out in zip(slots, outs, strict=True):
            if slot is not None:
                event.reasons |= _rounding(out, self.trace.base[slot])
                self.marks.set(out, Mark(slot, self.trace.now, detached=detached))
                self.note(out)

    def write(self, target: Tensor, result: Tensor) -> None:
        """A tensor was overwritten with a result, by an operation in place."""
        shadow = self.shadows.get(result)
        present = self.shadows.get(target)
        if shadow is not None and present is not None and present.value.shape == shadow.value.shape:
            present.value[...] = shadow.value
            self.shadows.set(target, Shadow(present.value, present.reasons | shadow.reasons))
        else:
            self.shadows.set(target, shadow)
        if not self.recorded():
            return
        source = self.live(result)
        mark = self.marks.get(target)
        if not source and (mark is None or mark.detached or not self.trace.is_live(mark.slot)):
            return
        if mark is None or mark.leaf:
            mark = self._start(target, live=source)
        elif mark.detached and source and not self.trace.is_live(mark.slot):
            self.marks.set(target, Mark(mark.slot, mark.time))
        value = Slot(self.marks.get(result).slot) if source else lifted(result._array)
        reads = (mark.slot, value.number) if source else (mark.slot,)
        self.trace.add(Write(reads, (mark.slot,), source=value))
        if source:
            self.trace.live[self.trace.memory[mark.slot]] = True
        base = target._base if target._base is not None else target
        for x in (target, base, *(r() for r in base._views or ())):
            if x is not None:
                self.note(x)

    def custom(self, outs: Iterable[Any]) -> None:
        """Outputs left a custom Function."""
        for out in outs:
            mark = self.marks.get(out) if isinstance(out, Tensor) else None
            if mark is not None and out._edge is None and not mark.leaf:
                self.marks.set(out, Mark(mark.slot, mark.time, detached=True))
            elif isinstance(out, Tensor) and out._edge is not None and self.live(out):
                self.note(out)

    def save(self, node: Any) -> None:
        """A node saved what its rule needs."""
        self.saved.set(node, [_kept(entry) for entry in node.saved if _kept(entry) is not None])

    def replaced(self, node: Any) -> bool:
        """Whether something that a node saved, without hooks, is another value now."""
        before = self.saved.get(node)
        now = [_kept(entry) for entry in node.saved if _kept(entry) is not None] if before else None
        return bool(now) and len(now) == len(before) and any(map(unlike, before, now))

    # --- shadows ---

    def shade(self, op: Any, inputs: tuple, params: dict[str, Any], outs: Sequence[Tensor]) -> None:
        """Recomputes what an operator makes of recomputed values."""
        found = [self.shadows.get(x) if isinstance(x, Tensor) else None for x in inputs]
        if not any(found):
            return
        values = [s.value if s else lifted(x._array) if isinstance(x, Tensor) else x
                  for s, x in zip(found, inputs, strict=True)]  # fmt: skip
        reasons = frozenset().union(*(s.reasons for s in found if s))
        for out, value in zip(outs, forward(op, values, params), strict=True):
            self.shadows.set(out, Shadow(value, reasons))

    # --- derivatives ---

    def derivative(self, roots: Sequence[At | None], seeds: Sequence[Any], target: At | None,
                   reasons: frozenset[str], given: np.ndarray) -> Shadow:  # fmt: skip
        """The gradient at `target`. Reasons why a written one may differ count only where the reference's does."""
        if target is None or any(root is None for root in roots):
            return Shadow(np.array(np.nan), reasons | {UNTRACED})
        known = [root for root in roots if root is not None]
        constants = tuple(self._constant(seed) for seed in seeds)
        plan, _ = self.trace.plan(known)
        if self.trace.base[target.slot].size * len(plan) > WORK:
            return Shadow(np.full(given.shape, np.nan), frozenset({LARGE}))
        self.trace.wild = False
        value = differences.gradient(self.trace, known, constants, target)
        reasons |= self.trace.reasons(known)
        if self.trace.wild or not np.all(np.isfinite(value)):
            reasons |= {NOT_FINITE}
        fine = 0.05 if reasons & NARROW else 1e-4
        agrees = given.shape == value.shape and np.allclose(given, value, fine, fine / 10)
        if agrees:
            reasons &= NARROW  # nothing to excuse
        elif not reasons - NARROW and differences.has_kink(self.trace, known, constants, target):
            reasons |= {KINK}
        self.gradients.append(Gradient(given, value, bool(agrees), reasons - NARROW))
        return Shadow(value, reasons)

    def _constant(self, seed: Any) -> np.ndarray:
        if not isinstance(seed, Tensor):
            return lifted(seed)
        shadow = self.shadows.get(seed)
        return shadow.value if shadow else lifted(seed._array)

    def gradient_tensor(self, grad: Tensor, roots: Sequence[At], seeds: Sequence[Any], target: At, shadow: Shadow,
                        before: Any) -> None:  # fmt: skip
        """A gradient that can be differentiated again becomes an array of the trace."""
        if self.marks.get(grad) is not None:
            return
        slot = self.trace.slot(live=True)
        reads = [root.slot for root in roots]
        sources = []
        for seed in seeds:
            live = isinstance(seed, Tensor) and self.live(seed)
            sources.append(Slot(self.synchronize(seed).slot) if live else self._constant(seed))
        if type(before) is Slot:
            reads.append(before.number)
        reads += [s.number for s in sources if type(s) is Slot]
        event = Derivative(tuple(reads), (slot,), shadow.reasons, roots=tuple(roots), seeds=tuple(sources), target=target,
                           before=before, differentiate=differences.gradient, known=shadow.value)  # fmt: skip
        self.trace.add(event)
        self.marks.set(grad, Mark(slot, self.trace.now))
        self.note(grad)


def _rounding(out: Tensor, wide: np.ndarray) -> frozenset[str]:
    """What a result's precision does to derivatives: a narrow type, an overflow, a value that is no number."""
    name = str(out.dtype).removeprefix("torch.")
    found = {name} & NARROW
    actual = lifted(out._array)
    if actual.shape == wide.shape and not np.array_equal(np.isfinite(actual), np.isfinite(wide)):
        found.add(OVERFLOW)
    if not np.all(np.isfinite(wide)):
        found.add(NOT_FINITE)
    return frozenset(found)


def _kept(entry: Any) -> np.ndarray | None:
    """A copy of a saved entry's array; None for numbers, and for what hooks have packed."""
    if type(entry) is tuple:
        return lifted(entry[0])
    if getattr(entry, "unpack", None) is not None:
        return None
    array = getattr(entry, "array", None) if isinstance(entry, Saved) else getattr(entry, "_array", None)
    return None if array is None else lifted(array)


def unlike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are different values."""
    return a.shape != b.shape or not np.allclose(a, b, 1e-6, 1e-9, equal_nan=True)
