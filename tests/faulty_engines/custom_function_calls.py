"""Faults of custom functions: the call of forward, and the gradients that pass through backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import reference_engine as engine
from reference_engine.autograd import function, function_node, function_outputs
from reference_engine.autograd.function import Function, FunctionCtx, FunctionMeta, FunctionNode
from reference_engine.tape.node import Node, edge_of
from tests.faulty_engines.patching import Patch, fault

Tensor = engine.Tensor


def _with_forward(p: Patch, make: Callable[[Any, Any], Any]) -> None:
    """Functions whose classes are made from now on get `make(cls, forward)` as forward."""

    def init(cls: Any, name: str, bases: tuple, namespace: dict) -> None:
        original(cls, name, bases, namespace)
        if "forward" in namespace:
            cls.forward = staticmethod(make(cls, cls.forward))

    original = FunctionMeta.__init__
    p.set(FunctionMeta, "__init__", init)


def _with_start(p: Patch, change: Callable[[Any, tuple], None]) -> None:
    """`change(node, args)` comes after a node was made for a call."""

    def start(cls: Any, args: tuple) -> Any:
        node = original(cls, args)
        change(node, args)
        return node

    original = vars(Function)["_start"].__func__
    p.set(Function, "_start", classmethod(start))


def _with_finish(p: Patch, change: Callable[[Any, Any, tuple], Any]) -> None:
    """`change(result, node, args)` is what apply returns."""

    def finish(node: Any, args: tuple, output: Any, **options: Any) -> Any:
        return change(original(node, args, output, **options), node, args)

    original = function._finish
    p.set(function, "_finish", finish)


@fault("custom_function")
def incoming_gradients_are_ones(p: Patch) -> None:
    """Backward is given ones for every gradient that arrived."""

    def run(self: Any, grads: list) -> tuple:
        return original(self, [None if g is None else engine.ones_like(g) for g in grads])

    original = FunctionNode._run
    p.set(FunctionNode, "_run", run)


@fault("custom_function")
def untracked_calls_keep_their_node(p: Patch) -> None:
    """Outputs of a call that is not recorded have a grad_fn."""

    def change(result: Any, node: Any, args: tuple) -> Any:
        if isinstance(result, Tensor) and result._edge is None:
            result._edge = (node, 0)
        return result

    _with_finish(p, change)


@fault("custom_function")
def forward_called_directly_is_applied(p: Patch) -> None:
    """A call of forward without a context goes through apply."""

    def make(cls: Any, forward: Any) -> Any:
        return lambda *args: cls.apply(*args[1:]) if args[0] is None else forward(*args)

    _with_forward(p, make)


@fault("custom_function")
def functions_have_a_forward(p: Patch) -> None:
    """A Function without forward returns its argument."""
    p.set(Function, "forward", staticmethod(lambda *args: args[-1]))


@fault("custom_function")
def functions_have_a_backward(p: Patch) -> None:
    """A Function without backward passes its gradient on."""
    p.set(Function, "backward", staticmethod(lambda ctx, *grads: grads))


@fault("custom_function")
def vjp_alone_passes_gradients_on(p: Patch) -> None:
    """A Function with vjp alone passes its gradient on."""

    def backward(self: Any) -> Any:
        rule = original(self)
        return (lambda ctx, *grads: grads) if rule is not self.function.backward else rule

    original = FunctionNode._backward
    p.set(FunctionNode, "_backward", backward)


@fault("custom_function")
def all_nodes_are_custom(p: Patch) -> None:
    """Every node is a BackwardCFunction."""
    p.set(function, "BackwardCFunction", Node)


@fault("custom_function")
def lists_are_searched_for_tensors(p: Patch) -> None:
    """Tensors in lists among the arguments make the outputs require grad."""

    def change(node: Any, args: tuple) -> None:
        inside = [t for a in args if isinstance(a, list) for t in a if isinstance(t, Tensor)]
        if engine.is_grad_enabled():
            node.edges = (*node.edges, *map(edge_of, inside))

    _with_start(p, change)


@fault("custom_function")
def forward_is_given_aliases(p: Patch) -> None:
    """forward is given detached aliases of its inputs."""

    def make(cls: Any, forward: Any) -> Any:
        return lambda *args: forward(*[a.detach() if isinstance(a, Tensor) else a for a in args])

    _with_forward(p, make)


@fault("custom_function")
def tuples_of_one_are_unpacked(p: Patch) -> None:
    """A tuple of one output comes back as the tensor."""
    _with_finish(p, lambda result, node, args: result[0] if isinstance(result, tuple) and len(result) == 1 else result)


@fault("custom_function")
def none_is_a_zero(p: Patch) -> None:
    """None that backward returns for an input that requires grad is a zero gradient."""

    def fitting(self: Any, gradient: Any, index: int) -> Any:
        edge = self.edges[index]
        if gradient is None and edge is not None:
            return engine.zeros(edge[0].output_shape(edge[1]))
        return original(self, gradient, index)

    original = FunctionNode._fitting
    p.set(FunctionNode, "_fitting", fitting)


@fault("custom_function")
def wrong_shapes_do_not_say_where(p: Patch) -> None:
    """The error for a gradient's shape does not say which input it is for."""
    p.wrap(function_node.FunctionNode, "_fitting", _nowhere)


def _nowhere(original: Any) -> Any:
    def fitting(self: Any, gradient: Any, index: int) -> Any:
        try:
            return original(self, gradient, index)
        except RuntimeError as error:
            raise RuntimeError(str(error).replace(f" at index {index}", "")) from None

    return fitting


@fault("custom_function")
def gradients_have_exactly_the_shape(p: Patch) -> None:
    """A gradient that could be summed to its input's shape is refused."""
    p.set(function_node, "_reduces_to", lambda larger, shape: larger == shape)


@fault("custom_function")
def gradients_have_exactly_the_dtype(p: Patch) -> None:
    """A gradient of another floating dtype is refused."""

    def fitting(self: Any, gradient: Any, index: int) -> Any:
        edge = self.edges[index]
        if gradient is not None and edge is not None and gradient._array.dtype != edge[0].output_dtype(edge[1]):
            raise RuntimeError(f"Function {self.name()} returned an invalid gradient at index {index}")
        return original(self, gradient, index)

    original = FunctionNode._fitting
    p.set(FunctionNode, "_fitting", fitting)


@fault("custom_function")
def needs_are_narrowed(p: Patch) -> None:
    """needs_input_grad says in backward which gradients this pass asks for."""

    def arrays(self: Any, grads: tuple, needed: tuple) -> tuple:
        asked = iter(needed)
        self.context.needs_input_grad = tuple(t and bool(next(asked)) for t in self.is_tensor_input)
        return original(self, grads, needed)

    original = FunctionNode.arrays
    p.set(FunctionNode, "arrays", arrays)


@fault("custom_function")
def setup_context_cannot_save(p: Patch) -> None:
    """What setup_context saves is lost."""

    def finish(node: Any, args: tuple, output: Any, *, separate: bool = False) -> Any:
        if separate:
            node.context.to_save = None
        return original(node, args, output, separate=separate)

    original = function._finish
    p.set(function, "_finish", finish)


@fault("custom_function")
def contexts_copy_tensors(p: Patch) -> None:
    """A tensor set as an attribute of ctx is copied."""

    def put(self: Any, name: str, value: Any) -> None:
        object.__setattr__(self, name, value.clone() if isinstance(value, Tensor) else value)

    p.set(FunctionCtx, "__setattr__", put)


@fault("custom_function")
def backward_is_always_recorded(p: Patch) -> None:
    """Backward runs with grad mode on, whether or not create_graph asks for it."""

    def backward(self: Any) -> Any:
        rule = original(self)

        def recorded(*args: Any) -> Any:
            with engine.enable_grad():
                return rule(*args)

        return recorded

    original = FunctionNode._backward
    p.set(FunctionNode, "_backward", backward)


@fault("custom_function")
def every_input_counts_as_changed(p: Patch) -> None:
    """apply counts a change of all its inputs, marked dirty or not."""

    def change(result: Any, node: Any, args: tuple) -> Any:
        for a in args:
            if isinstance(a, Tensor):
                a._bump_version()
        return result

    _with_finish(p, change)


@fault("custom_function")
def dirty_outputs_pass_in_silence(p: Patch) -> None:
    """Marking an output that is no input as dirty does not warn."""

    class Silent:
        @staticmethod
        def warn(*args: Any, **options: Any) -> None:
            pass

    p.set(function_outputs, "warnings", Silent)


@fault("custom_function")
def shared_storage_is_taken(p: Patch) -> None:
    """mark_shared_storage does not warn."""
    p.set(FunctionCtx, "mark_shared_storage", lambda self, *pairs: None)
