"""Faults: named, reversible patches of the reference engine, each one realistic mistake."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import reference_engine
from reference_engine.ops import registry
from reference_engine.ops.rules import Rule
from reference_engine.tape.backward import Pass

# The module behind torch.autograd.backward and grad: the package's attribute of that name is the function.
asking: Any = importlib.import_module("reference_engine.autograd.backward")
_MISSING = object()


class Patch:
    """Changes that are taken back, last first."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Sets an attribute of a module, class or object, or a key of a dict.

        An attribute that the engine does not have is refused: after a renaming the fault would patch nothing.
        """
        if isinstance(owner, dict):
            before = owner.get(name, _MISSING)
            owner[name] = value
            self._undo.append(lambda: owner.pop(name) if before is _MISSING else owner.__setitem__(name, before))
            return
        assert hasattr(owner, name), f"{owner!r} has no {name!r} to replace: the fault follows an older engine"
        before = vars(owner).get(name, _MISSING)
        setattr(owner, name, value)
        self._undo.append(lambda: delattr(owner, name) if before is _MISSING else setattr(owner, name, before))

    def rules(self, op: Any, *rules: Any) -> None:
        """Gives an operator other rules; what it saves follows."""
        self.set(op, "rules", tuple(None if rule is None else Rule(rule) for rule in rules))
        self.set(op, "uses", op._uses())

    def joint(self, op: Any, rule: Any) -> None:
        """Gives an operator another rule for all inputs together."""
        self.set(op, "joint", Rule(rule))

    def function(self, original: Any, replacement: Any) -> None:
        """Puts `replacement` wherever the engine holds `original`: imported names, tables of operators, methods."""
        count = len(self._undo)
        modules = [m for n, m in list(sys.modules.items()) if n.partition(".")[0] == "reference_engine"]
        words = [registry.functions, registry.methods, registry.ARRAY_WORDS, registry.TENSOR_WORDS]
        for owner in [*modules, reference_engine.Tensor]:
            for name, value in list(vars(owner).items()):
                if unwrapped(value) is unwrapped(original):
                    self.set(owner, name, replacement)
        for table in words:
            for name, value in list(table.items()):
                if unwrapped(value) is unwrapped(original):
                    self.set(table, name, replacement)
        assert len(self._undo) > count, f"the engine holds {original!r} nowhere"

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replaces a method or attribute by `make(original)`."""
        self.set(owner, name, make(getattr(owner, name)))

    def long_way(self) -> None:
        """Every backward pass goes through `run_node` and `deliver`, where faults of the pass are planted."""
        self.set(Pass, "run_plain", Pass.run_general)

    def undo(self) -> None:
        """Takes everything back."""
        while self._undo:
            self._undo.pop()()


def unwrapped(value: Any) -> Any:
    """A function without what decorators put around it."""
    while callable(value) and not isinstance(value, type) and "__wrapped__" in getattr(value, "__dict__", ()):
        value = value.__wrapped__
    return value


@dataclass(frozen=True)
class Fault:
    """One mistake. `chapter` is the chapter whose cases have to catch it."""

    name: str
    chapter: str
    mistake: str
    plant: Callable[[Patch], None]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The engine with this fault, for the length of a block."""
        patch = Patch()
        try:
            self.plant(patch)
            yield
        finally:
            patch.undo()


FAULTS: dict[str, Fault] = {}


def fault(chapter: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Registers a function that plants a fault; its docstring says the mistake."""

    def register(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        name = plant.__name__
        assert name not in FAULTS, f"two faults are named {name}"
        assert plant.__doc__, f"{name}: say the mistake"
        FAULTS[name] = Fault(name, chapter, plant.__doc__.strip(), plant)
        return plant

    return register


def everywhere(p: Patch, function: Callable, replacement: Callable) -> None:
    """`replacement(original, ...)` in the place of a function of torch and of the method of its name."""
    method = getattr(reference_engine.Tensor, function.__name__, function)
    for original in {unwrapped(f): f for f in (function, method)}.values():
        p.function(original, lambda *args, original=original, **how: replacement(original, *args, **how))


class Sloped(reference_engine.autograd.Function):
    """Given values, with the incoming gradient times a given slope, unconjugated, for the first argument."""

    @staticmethod
    def forward(ctx: Any, x: Any, values: Any, slope: Any) -> Any:
        ctx.save_for_backward(slope)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, g: Any) -> tuple:
        return g * ctx.saved_tensors[0], None, None
