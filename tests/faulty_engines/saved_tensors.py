"""Faults of saved tensors and their hooks."""

from __future__ import annotations

from typing import Any

from reference_engine.autograd import graph
from reference_engine.autograd.function import FunctionNode
from reference_engine.ops import saved_names
from reference_engine.ops.kinds import Operator, OpNode
from reference_engine.state import State, state
from reference_engine.tape import handle, saved
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault


@fault("saved_tensors")
def all_nested_hooks_are_applied(p: Patch) -> None:
    """In nested blocks every pair of hooks packs, the innermost first."""

    def enter(self: Any) -> None:
        original(self)
        if len(state.saved_tensor_hooks) > 1:
            (outer_pack, outer_unpack), (pack, unpack) = state.saved_tensor_hooks[-2:]
            both = (lambda t: outer_pack(pack(t)), lambda kept: unpack(outer_unpack(kept)))
            state.saved_tensor_hooks = (*state.saved_tensor_hooks[:-1], both)

    original = graph.saved_tensors_hooks.__enter__
    p.set(graph.saved_tensors_hooks, "__enter__", enter)


@fault("saved_tensors")
def an_exception_leaves_the_hooks(p: Patch) -> None:
    """Hooks stay active where an exception leaves their block."""
    for name in ("saved_tensor_hooks", "plain"):
        p.set(state, name, getattr(state, name))  # put back with the rest, whatever the fault left
    original = graph.saved_tensors_hooks.__exit__
    p.set(graph.saved_tensors_hooks, "__exit__", lambda self, *exc: original(self, *exc) if exc[0] is None else None)


@fault("saved_tensors")
def unpacked_values_are_remembered(p: Patch) -> None:
    """unpack runs once for each saved tensor, and later readings are given what it returned."""

    def unpack(entry: Any) -> Any:
        if entry.array is None:
            entry.array = original(entry)
        return entry.array

    original = saved._unpack
    p.function(original, unpack)


@fault("saved_tensors")
def unpack_may_return_anything(p: Patch) -> None:
    """What unpack returns is not checked: numbers are taken for tensors."""

    def unpack(entry: Any) -> Any:
        from reference_engine.creation import tensor

        result = entry.unpack(entry.packed)
        return result if hasattr(result, "_array") else tensor(float(result))

    p.function(saved._unpack, unpack)


@fault("saved_tensors")
def unpacked_tensors_have_no_history(p: Patch) -> None:
    """What unpack returned is used as a constant where the backward pass is recorded."""
    p.set(saved, "_restored", lambda tensor, edge: tensor)


@fault("saved_tensors")
def pack_runs_in_grad_mode(p: Patch) -> None:
    """Grad mode stays on while a pack hook runs."""

    def init(self: Any, tensor: Any, output_nr: Any, pack: Any, unpack: Any) -> None:
        def in_grad_mode(t: Any) -> Any:
            state.set_grad_enabled(True)
            return pack(t)

        original(self, tensor, output_nr, in_grad_mode, unpack)

    original = saved.Packed.__init__
    p.set(saved.Packed, "__init__", init)


@fault("saved_tensors")
def pack_is_given_a_detached_output(p: Patch) -> None:
    """Hooks of a block are given outputs without their grad_fn."""

    def save_output(tensor: Any, nr: int = 0) -> Any:
        return original(tensor.detach() if state.saved_tensor_hooks else tensor, nr)

    original = saved.save_output
    p.function(original, save_output)


@fault("saved_tensors")
def pack_may_change_its_input(p: Patch) -> None:
    """A pack hook that changes its input in place is not refused."""

    def init(self: Any, tensor: Any, output_nr: Any, pack: Any, unpack: Any) -> None:
        def forgiven(t: Any) -> Any:
            packed = pack(t)
            self.version = self.counter.version
            return packed

        original(self, tensor, output_nr, forgiven, unpack)

    original = saved.Packed.__init__
    p.set(saved.Packed, "__init__", init)


@fault("saved_tensors")
def numbers_are_packed(p: Patch) -> None:
    """Pack hooks run for the numbers in an expression as well."""

    def save_input(tensor: Any) -> Any:
        if state.saved_tensor_hooks and isinstance(tensor, saved.NUMBERS):
            tensor = handle.number_tensor(tensor)
        return original(tensor)

    original = saved.save_input
    p.function(original, save_input)


@fault("saved_tensors")
def custom_functions_pass_by_the_hooks(p: Patch) -> None:
    """Hooks are for built-in operations only; save_for_backward keeps what it is given."""
    from reference_engine.autograd import function

    def finish(*args: Any) -> Any:
        hooks, state.saved_tensor_hooks = state.saved_tensor_hooks, ()
        try:
            return original(*args)
        finally:
            state.saved_tensor_hooks = hooks

    original = function._finish
    p.set(function, "_finish", finish)


@fault("saved_tensors")
def handles_hold_their_node(p: Patch) -> None:
    """A _raw_saved_ object keeps the node, and so the graph, alive."""

    def of(node: Any, index: int) -> Any:
        made = original(node, index)
        made._node = lambda: node  # type: ignore[assignment]
        return made

    original = handle.SavedTensor.of
    p.set(handle.SavedTensor, "of", staticmethod(of))


@fault("saved_tensors")
def a_second_pair_replaces_the_first(p: Patch) -> None:
    """register_hooks on a saved tensor that has hooks packs what the first pair unpacks."""

    def register_hooks(self: Any, pack_hook: Any, unpack_hook: Any) -> None:
        entry = self._entry()
        if isinstance(entry, saved.Packed):
            entry.packed, entry.unpack = pack_hook(entry.unpack(entry.packed)), unpack_hook
        else:
            original(self, pack_hook, unpack_hook)

    original = handle.SavedTensor.register_hooks
    p.set(handle.SavedTensor, "register_hooks", register_hooks)


@fault("saved_tensors")
def registered_hooks_see_the_graph(p: Patch) -> None:
    """register_hooks gives its pack hook the saved input itself, with requires_grad and history."""

    def live(entry: Any) -> Any:
        return entry if hasattr(entry, "_array") else original(entry)

    original = handle.without_history
    p.function(original, live)


@fault("saved_tensors")
def backward_keeps_packed_objects(p: Patch) -> None:
    """Freeing the graph leaves what pack hooks returned alive as long as the node is."""

    def free(original: Any) -> Any:
        def keeping(self: Any) -> None:
            for entry in self.saved if isinstance(self.saved, tuple) else ():
                if isinstance(entry, saved.Packed):
                    self.metadata[id(entry)] = entry
            original(self)

        return keeping

    from reference_engine.ops.elementwise_kind import ElementwiseNode

    p.wrap(OpNode, "free", free)
    p.wrap(ElementwiseNode, "free", free)
    p.long_way()


@fault("saved_tensors")
def operations_show_every_input(p: Patch) -> None:
    """A node shows an attribute for each of its inputs and results, saved or not."""

    def slots(op: Any) -> dict[str, int]:
        names = [saved_names.SPELLED.get(name, name) for name in (*op.saved_names, "result")]
        return {name: index for index, name in enumerate(names)}

    p.set(saved_names, "slots", slots)


@fault("saved_tensors")
def saved_tensors_of_functions_are_reversed(p: Patch) -> None:
    """ctx.saved_tensors gives what was saved in reverse order."""
    read = vars(FunctionNode)["saved_tensors"].fget
    p.set(FunctionNode, "saved_tensors", property(lambda self: read(self)[::-1]))


@fault("saved_tensors")
def hooks_hold_in_all_threads(p: Patch) -> None:
    """A block of hooks entered in one thread packs what other threads save."""
    shared: list[Any] = [()]
    p.set(
        State, "saved_tensor_hooks", property(lambda self: shared[0], lambda self, hooks: shared.__setitem__(0, hooks))
    )
    p.set(State, "plain", False)


@fault("saved_tensors")
def pack_runs_for_every_input(p: Patch) -> None:
    """Pack hooks run for the inputs of operations that are not recorded."""

    def record(self: Any, inputs: tuple, params: Any, outs: Any) -> None:
        original(self, inputs, params, outs)
        if state.saved_tensor_hooks and outs[0]._edge is None:
            for x in inputs:
                saved.save_input(x)

    original = Operator.record
    p.set(Operator, "record", record)


@fault("saved_tensors")
def saved_attributes_are_copies(p: Patch) -> None:
    """A _saved_ attribute gives a detached copy of what the node holds."""
    original = saved_names.attribute

    def attribute(node: Any, name: str) -> Any:
        found = original(node, name)
        return found.detach().clone() if isinstance(found, Tensor) else found

    p.function(original, attribute)
