"""Faults of detach, data, clone and the version counter."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.ops import elementwise_rules, registry
from reference_engine.tape import saved
from reference_engine.tensor import wrap
from tests.faulty_engines.patching import Patch, fault


@fault("detach")
def detach_keeps_the_graph(p: Patch) -> None:
    """detach() returns the tensor with its history."""
    p.set(engine.Tensor, "detach", lambda self: self.view_as(self))


@fault("detach")
def detach_copies(p: Patch) -> None:
    """detach() copies the memory, so writes are not seen on the other side."""
    p.set(engine.Tensor, "detach", lambda self: wrap(np.array(self._array)))


@fault("detach")
def detach_counts_its_own_versions(p: Patch) -> None:
    """A detached alias has a version counter of its own, so the correctness check misses its writes."""
    p.set(engine.Tensor, "detach", lambda self: wrap(self._array))


@fault("detach")
def detach_in_place_makes_a_new_tensor(p: Patch) -> None:
    """detach_() returns a detached tensor and leaves its own graph."""
    p.set(engine.Tensor, "detach_", lambda self: self.detach())


@fault("detach")
def detach_in_place_on_views_is_accepted(p: Patch) -> None:
    """detach_() cuts a view out of its graph without complaint."""

    def detach_(self: Any) -> Any:
        self._edge, self._tracked = None, False
        return self

    p.set(engine.Tensor, "detach_", detach_)


@fault("detach")
def data_is_counted(p: Patch) -> None:
    """Writes through .data count as in-place changes of the tensor."""
    p.set(engine.Tensor, "data", property(lambda self: engine.Tensor.detach(self)))


@fault("detach")
def clone_cuts_the_graph(p: Patch) -> None:
    """clone() returns an untracked copy."""
    p.set(engine.Tensor, "clone", lambda self, **_: wrap(np.array(self._array)))


@fault("detach")
def clone_shares_memory(p: Patch) -> None:
    """clone() is a view."""
    p.set(engine.Tensor, "clone", lambda self, **_: self.view_as(self))


@fault("detach")
def no_version_check(p: Patch) -> None:
    """A saved tensor that was changed in place is used as it is now."""

    def read_array(entry: Any, node: Any) -> Any:
        if type(entry) is tuple:
            return entry[0]
        if isinstance(entry, saved.Saved) and entry.unpack is None:
            return entry.array
        return entry._array if isinstance(entry, engine.Tensor) else original(entry, node)

    original = saved.read_array
    p.function(original, read_array)
    p.set(registry.ARRAY_WORDS, "read_array", read_array)
    p.set(elementwise_rules, "read_array", read_array)
    p.set(saved.Saved, "check", lambda self, node: None)
