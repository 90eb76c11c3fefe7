"""Faults of custom functions: what their context keeps, what they do in place, and once_differentiable."""

from __future__ import annotations

from typing import Any

from reference_engine.autograd import function, function_node, function_outputs, once
from reference_engine.autograd.function import Function, FunctionCtx, FunctionNode
from tests.faulty_engines.patching import Patch, fault


@fault("custom_function")
def contexts_share_names_with_nodes(p: Patch) -> None:
    """ctx.shape reads the shape of the node's output."""
    p.set(FunctionCtx, "__getattribute__", _of_the_node)


def _of_the_node(self: Any, name: str) -> Any:
    if name == "shape":
        return object.__getattribute__(self, "_node").output_shape(0)
    return object.__getattribute__(self, name)


@fault("custom_function")
def saving_adds_up(p: Patch) -> None:
    """A second save_for_backward adds to the first."""
    p.set(FunctionCtx, "save_for_backward", lambda self, *ts: setattr(self, "to_save", (*(self.to_save or ()), *ts)))


@fault("custom_function")
def anything_can_be_saved(p: Patch) -> None:
    """save_for_backward leaves out what is no tensor."""

    def save(self: Any, *tensors: Any) -> None:
        original(self, *[t if hasattr(t, "requires_grad") else None for t in tensors])

    original = FunctionCtx.save_for_backward
    p.set(FunctionCtx, "save_for_backward", save)


@fault("custom_function")
def none_is_not_saved(p: Patch) -> None:
    """save_for_backward leaves None out."""

    def save(self: Any, *tensors: Any) -> None:
        original(self, *[t for t in tensors if t is not None])

    original = FunctionCtx.save_for_backward
    p.set(FunctionCtx, "save_for_backward", save)


@fault("custom_function")
def saved_tensors_are_not_checked(p: Patch) -> None:
    """saved_tensors gives what was saved as it is by now."""

    def unchecked(entry: Any, node: Any, edge: Any) -> Any:
        counter = getattr(entry, "counter", None)
        if counter is not None:
            entry.version = counter.version
        elif getattr(entry, "_counter", None) is not None:
            return entry
        return original(entry, node, edge)

    original = function_node.read_tensor
    p.set(function_node, "read_tensor", unchecked)


@fault("custom_function")
def backward_empties_the_context(p: Patch) -> None:
    """Backward releases all attributes of ctx with what was saved."""

    def free(self: Any) -> None:
        original(self)
        vars(self.context).clear()

    original = FunctionNode.free
    p.set(FunctionNode, "free", free)


@fault("custom_function")
def saved_tensors_stay(p: Patch) -> None:
    """What a custom function saved is not released by backward."""
    p.set(FunctionNode, "free", lambda self: None)


@fault("custom_function")
def outputs_are_saved_whole(p: Patch) -> None:
    """A saved output is kept as the tensor, which closes a cycle."""
    p.set(function_outputs, "save_output", lambda tensor, nr: tensor)


@fault("custom_function")
def saved_tensors_are_always_cleared(p: Patch) -> None:
    """saved_tensors can be read once, whatever the class says."""
    p.set(Function, "clear_saved_tensors_on_access", True)


@fault("custom_function")
def saved_tensors_are_never_cleared(p: Patch) -> None:
    """clear_saved_tensors_on_access is ignored."""

    def read(self: Any) -> Any:
        kept = self.kept
        found = original(self)
        self.kept = kept
        return found

    original = vars(FunctionNode)["saved_tensors"].fget
    p.set(FunctionNode, "saved_tensors", property(read))


@fault("custom_function")
def forward_saves_anything(p: Patch) -> None:
    """save_for_forward takes what it is given."""
    p.set(FunctionCtx, "save_for_forward", lambda self, *args: setattr(self, "saved_for_forward", args))


@fault("custom_function")
def defaults_are_not_bound(p: Patch) -> None:
    """setup_context is given only the arguments that the call spelled."""
    p.set(function.inspect.BoundArguments, "apply_defaults", lambda self: None)


@fault("custom_function")
def dirty_is_not_counted(p: Patch) -> None:
    """mark_dirty does not count as a change."""

    def dirty(node: Any, outputs: list) -> Any:
        kept = [(t, t._version_counter(), t._version) for t in node.context.dirty_tensors or ()]
        found = original(node, outputs)
        for _, counter, version in kept:
            counter.version = version
        return found

    original = function_outputs._dirty
    p.set(function_outputs, "_dirty", dirty)


@fault("custom_function")
def dirty_inputs_are_copied(p: Patch) -> None:
    """An input marked dirty comes back as a new tensor."""

    def changed(call: Any, nr: int, out: Any, *, given: bool) -> Any:
        result = original(call, nr, out, given=given)
        return result.view(result.shape)

    original = function_outputs._changed_in_place
    p.set(function_outputs, "_changed_in_place", changed)


@fault("custom_function")
def dirty_need_not_be_returned(p: Patch) -> None:
    """A tensor marked dirty that is not returned is passed over."""

    def dirty(node: Any, outputs: list) -> Any:
        return original(node, [*outputs, *(node.context.dirty_tensors or ())])

    original = function_outputs._dirty
    p.set(function_outputs, "_dirty", dirty)


@fault("custom_function")
def marks_are_ignored(p: Patch) -> None:
    """Outputs marked non-differentiable require grad."""
    p.set(function_outputs, "_non_differentiable", lambda node: ())


@fault("custom_function")
def numpy_refuses_in_forward(p: Patch) -> None:
    """numpy() refuses tensors that require grad in every grad mode."""
    from reference_engine.tensor import Tensor

    def numpy(self: Any, **options: Any) -> Any:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return original(self, **options)

    original = Tensor.numpy
    p.set(Tensor, "numpy", numpy)


@fault("custom_function")
def once_means_a_constant(p: Patch) -> None:
    """A once_differentiable backward gives constants, which nothing refuses to differentiate."""
    p.set(once, "_refusing", lambda outputs, sources: outputs)


@fault("custom_function")
def once_looks_at_the_gradient_alone(p: Patch) -> None:
    """A once_differentiable backward raises only where its incoming gradient requires grad, and reaches no input."""
    p.set(once, "_sources", lambda ctx: [])


@fault("custom_function")
def once_is_recorded(p: Patch) -> None:
    """A once_differentiable backward is recorded like any other."""
    p.set(once, "_refusing", lambda outputs, sources: outputs)
    p.set(once.state, "set_grad_enabled", _unless_once(once.state.set_grad_enabled))


def _unless_once(original: Any) -> Any:
    import sys

    def set_grad_enabled(mode: bool) -> bool:
        if sys._getframe(1).f_code.co_filename == once.__file__:
            return bool(once.state.grad_enabled)
        return bool(original(mode))

    return set_grad_enabled


@fault("custom_function")
def nodes_hide_their_class(p: Patch) -> None:
    """The node of a custom function is named after the base class."""
    p.set(FunctionNode, "name", lambda self: "FunctionBackward")
