"""Faults of in-place operations."""

from __future__ import annotations

import weakref
from typing import Any

import reference_engine as engine
from reference_engine.ops import also_saved, filling, inplace
from reference_engine.ops.kinds import Operator, Rule
from reference_engine.state import State, state
from reference_engine.tape import saved, views
from reference_engine.tape.backward import Pass
from tests.faulty_engines.patching import Patch, fault


@fault("inplace")
def in_place_keeps_the_old_history(p: Patch) -> None:
    """An in-place operation changes values and leaves grad_fn as it was."""
    p.function(views.rebase, lambda target, result: None)


@fault("inplace")
def in_place_counts_no_version(p: Patch) -> None:
    """In-place operations do not raise the version counter, so the check never fires."""
    p.set(engine.Tensor, "_bump_version", lambda self: None)


@fault("inplace")
def leaves_may_be_changed_in_place(p: Patch) -> None:
    """A leaf that requires grad is changed in place without complaint."""
    p.function(views.check_inplace, lambda tensor: None)


@fault("inplace")
def in_place_saves_a_copy_of_its_output(p: Patch) -> None:
    """What an in-place operation saved of its own output is not the tensor itself, so later changes go unseen."""
    p.set(inplace, "_own_saved_output", lambda result, target: None)


@fault("inplace")
def in_place_saves_the_new_value(p: Patch) -> None:
    """The rule of an in-place operation reads the value after the change where it needs the one before."""
    p.set(inplace, "_keep_old_values", lambda *args: None)


@fault("inplace")
def copy_keeps_the_gradient_of_what_it_overwrote(p: Patch) -> None:
    """copy_ sends the gradient to the overwritten history as well."""
    p.set(filling.copy_from, "rules", (Rule(lambda g: g), Rule(lambda g: g)))


@fault("inplace")
def version_is_checked_in_backward_only(p: Patch) -> None:
    """Reading a saved attribute of a node skips the version check."""
    from reference_engine.ops.kinds import OpNode

    check = saved.read_array

    def attribute(self: Any, name: str) -> Any:
        if name == "_saved_result" and type(self).__name__ == "ExpBackward0" and self.saved:
            return engine.tensor(self.saved[1][0])
        return original(self, name)

    assert check is not None
    original = OpNode.__getattr__
    p.set(OpNode, "__getattr__", attribute)


@fault("inplace")
def the_error_names_no_versions(p: Patch) -> None:
    """The error of the correctness check does not say what was changed, nor which versions were found and expected."""
    p.function(saved.modified, lambda *args, **kwargs: RuntimeError("modified by an inplace operation"))


@fault("inplace")
def the_check_is_too_eager(p: Patch) -> None:
    """Changing any input of a recorded operation is an error, whether the operation saved it or not."""

    def record(self: Any, inputs: tuple, params: Any, outs: tuple) -> None:
        original(self, inputs, params, outs)
        if outs[0]._edge is not None:
            seen = [x._version_counter() for x in inputs if isinstance(x, engine.Tensor)]
            watched[outs[0]._edge[0]] = [(counter, counter.version) for counter in seen]

    def run_node(self: Any, node: Any) -> None:
        if any(counter.version != version for counter, version in watched.get(node, ())):
            raise RuntimeError("one of the variables has been modified by an inplace operation")
        run(self, node)

    watched: Any = weakref.WeakKeyDictionary()
    original, run = Operator.record, Pass.run_node
    p.set(Operator, "record", record)
    p.set(Pass, "run_node", run_node)
    p.long_way()
    p.set(State, "refresh", lambda self: setattr(self, "plain", False))
    p.set(state.__dict__, "plain", False)


@fault("inplace")
def indices_are_not_saved(p: Patch) -> None:
    """What an index was when it was used counts, whatever happens to it: nobody looks at it again."""
    p.set(also_saved, "save_input", lambda tensor: None)


@fault("inplace")
def returned_indices_are_not_saved(p: Patch) -> None:
    """Indices that an operation returns may be overwritten."""
    p.set(Operator, "save_indices", lambda self, outs: ())
