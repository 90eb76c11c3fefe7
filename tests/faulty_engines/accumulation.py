"""Faults of accumulation into `.grad`."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.tape import accumulate as module
from reference_engine.tape.node import LEAF
from tests.faulty_engines.patching import Patch, fault


@fault("accumulation")
def overwrites_grad(p: Patch) -> None:
    """The last backward's gradient replaces what is in `.grad`."""

    def add(variable: Any, gradient: Any, recorded: bool) -> None:
        array = gradient._array if hasattr(gradient, "_array") else np.array(gradient)
        variable._grad = gradient if recorded else module._fresh(variable, array)

    p.set(module, "_add", add)


@fault("accumulation")
def accumulates_out_of_place(p: Patch) -> None:
    """Each backward makes a new `.grad`, so a reference to the old one goes stale."""

    def make(original: Any) -> Any:
        def add(variable: Any, gradient: Any, recorded: bool) -> None:
            if variable._grad is not None and not recorded:
                array = gradient._array if hasattr(gradient, "_array") else np.asarray(gradient)
                variable._grad = engine.tensor(variable._grad._array + array, dtype=variable._grad.dtype)
            else:
                original(variable, gradient, recorded)

        return add

    p.wrap(module, "_add", make)


@fault("accumulation")
def accumulates_in_place_with_create_graph(p: Patch) -> None:
    """With create_graph the old `.grad` is changed in place, so its holder sees other values."""

    def make(original: Any) -> Any:
        def add(variable: Any, gradient: Any, recorded: bool) -> None:
            if recorded and variable._grad is not None:
                variable._grad._array += gradient._array
            else:
                original(variable, gradient, recorded)

        return add

    p.wrap(module, "_add", make)


@fault("accumulation")
def steals_the_seed(p: Patch) -> None:
    """The array that arrives becomes `.grad` without a copy, so the caller's vector is changed by the next backward."""

    def fresh(variable: Any, array: Any) -> Any:
        return engine.from_numpy(array if isinstance(array, np.ndarray) and array.flags.writeable else np.array(array))

    p.set(module, "_fresh", fresh)


@fault("accumulation")
def accepts_any_grad(p: Patch) -> None:
    """`.grad` takes whatever is assigned to it: numbers, other shapes, the tensor itself."""
    p.set(engine.Tensor, "_check_grad", lambda self, value: None)


@fault("accumulation")
def zero_is_not_in_place(p: Patch) -> None:
    """zero_() rebinds the tensor to new memory instead of writing zeros into the old."""

    def zero_(self: Any) -> Any:
        self._array = np.zeros_like(self._array)
        return self

    p.set(engine.Tensor, "zero_", zero_)


@fault("accumulation")
def counts_one_use_of_a_leaf(p: Patch) -> None:
    """A leaf used several times in one graph receives the gradient of one use only."""
    p.long_way()

    def deliver(self: Any, edge: Any, gradient: Any) -> None:
        node = edge[0]
        if node.role == LEAF and gradient is not None:
            self.leaves[node][1] = None
        original(self, edge, gradient)

    original = engine.tape.backward.Pass.deliver
    p.set(engine.tape.backward.Pass, "deliver", deliver)
