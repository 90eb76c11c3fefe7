"""Running a function so that what it calls becomes a graph.

Law: a tensor of a trace holds, in the place of its array, the node that computes it, with an example beside it for its
form. Operators on such tensors compute on the examples and add a node; a change in place adds the node of the operator in
place. Elements cannot be read: they would become constants of the graph. History is the tensors', as anywhere, so that
transforms inside of the function are recorded with what they call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.fx.calls import Call, changed, copied, getitem, item, lift, shown, target_of
from reference_engine.fx.graph import Graph, GraphModule, Node
from reference_engine.memory import kinds
from reference_engine.ops.dispatch import overload_of
from reference_engine.ops.inplace import CHANGED_OUTSIDE
from reference_engine.state import state
from reference_engine.tensor import Tensor, device, held, wrap
from reference_engine.utils._pytree import tree_flatten, tree_map, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ELEMENTS = (
    "It appears that you're trying to get value out of a tracing tensor with aten._local_scalar_dense.default - erroring out! "
    "It's likely that this is caused by data-dependent control flow or similar. (make_fx: what reads the elements of a tensor "
    "has no form in a graph.)"
)


class TracedArray:
    """In the place of an array: a node, and an example with the form (shape, strides, dtype) of what it computes."""

    def __init__(self, tracer: Tracer, node: Node | None, example: Tensor) -> None:
        self.tracer, self.node, self.example = tracer, node, example
        self.memory = memory = example._array
        self.shape, self.strides, self.dtype, self.ndim = memory.shape, memory.strides, memory.dtype, memory.ndim
        self.size, self.nbytes, self.itemsize, self.flags = memory.size, memory.nbytes, memory.itemsize, memory.flags

    def view(self) -> np.ndarray:
        """An array of the same form without elements, to try shapes on."""
        steps = [stride // self.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(np.empty(1, np.int8), self.shape, steps)

    def __setitem__(self, key: Any, values: Any) -> None:
        if key is not Ellipsis or not isinstance(values, TracedArray):
            raise RuntimeError(ELEMENTS)
        self.tracer.write(self, values)

    def astype(self, dtype: Any, copy: bool = True) -> TracedArray:
        """Itself where that is its type, else what an operator of the graph casts."""
        from reference_engine.ops.types import cast

        return self if self.dtype == dtype else cast(wrap(self), dtype=np.dtype(dtype))._array

    def copied(self) -> TracedArray:
        """The elements as they are before the last operator, which is about to be one in place."""
        last = self.tracer.graph.pop()
        how = Call(lift, {})
        node = self.tracer._call(overload_of("clone", "default"), (self.node,), {}, call=how, inputs=(self.node,))
        self.tracer.graph.nodes.append(last)
        return TracedArray(self.tracer, node, wrap(np.array(self.memory)))

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(ELEMENTS)

    __array__ = __array_ufunc__ = __array_function__ = __getitem__ = __bool__ = __float__ = __int__ = __index__ = (
        _refuse
    )
    __iter__ = __len__ = __eq__ = __lt__ = __gt__ = __add__ = __mul__ = __invert__ = __getattr__ = _refuse
    __hash__ = None  # type: ignore[assignment]


kinds[TracedArray] = Tensor


def traced(x: Any) -> TracedArray | None:
    """What a tensor of a trace holds; None for anything else."""
    array: Any = x._array if isinstance(x, Tensor) else None
    return array if isinstance(array, TracedArray) else None


def _peeled(x: Any) -> Any:
    array = traced(x)
    return x if array is None else array.example


class Tracer:
    """A trace: the innermost of the modes that are told of operators."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.copies_views = False

    # --- a function --------------------------------------------------------------------------------------------------

    def trace(self, f: Callable, names: Sequence[str], args: tuple, example: Callable) -> GraphModule:
        """The graph of f, run on tensors that stand for `args`, of which example(tensor) gives the examples."""
        inputs = []
        for name, arg in zip(names, args, strict=True):
            leaves, form = tree_flatten(arg)
            inputs.append(tree_unflatten([self._input(name, x, example) for x in leaves], form))
        with self:
            output = f(*inputs)
        leaves, form = tree_flatten(output)
        nodes = [self.node_of(x) if isinstance(x, Tensor) else x for x in leaves]
        self.graph.add("output", "output", "output", (tree_unflatten(nodes, form),))
        return GraphModule(self.graph, tree_flatten(args)[1])

    def _input(self, name: str, given: Any, example: Callable) -> Any:
        node = self.graph.add("placeholder", f"{name}_1", f"{name}_1")
        if not isinstance(given, Tensor):
            return given
        result = wrap(TracedArray(self, node, example(given)))
        result._tracked = given.requires_grad
        return result

    def __enter__(self) -> None:
        self._before = state.dispatch_modes, state.tracing
        state.dispatch_modes, state.tracing = (*state.dispatch_modes, self), True
        state.refresh()

    def __exit__(self, *exc: object) -> None:
        state.dispatch_modes, state.tracing = self._before
        state.refresh()

    # --- operators ---------------------------------------------------------------------------------------------------

    def node_of(self, x: Tensor) -> Node:
        """The node of a tensor; one from outside of the trace becomes a constant."""
        array = traced(x)
        if array is None or array.tracer is not self:
            return self.graph.constant(x)
        if array.node is None:
            raise RuntimeError(ELEMENTS)
        return array.node

    def operator(self, function: Any, inputs: tuple, params: dict[str, Any]) -> Any:
        """Adds a node for an operator. Returns what it computes, in the form that the operator's forward gives it."""
        held = {name: value for name, value in params.items() if isinstance(value, TracedArray)}
        if any(
            isinstance(v, TracedArray) for n, value in params.items() if n not in held for v in tree_flatten(value)[0]
        ):
            raise RuntimeError(ELEMENTS)
        view = getattr(function, "view", False)
        copies = view and self.copies_views
        with _untraced():
            arrays = {name: array.memory for name, array in held.items()}
            results = _computed(function, tuple(map(_peeled, inputs)), {**params, **arrays})
            if copies:
                results = tree_map(lambda r: wrap(np.array(r._array)), results)
        nodes = tuple(self.node_of(x) if isinstance(x, Tensor) else x for x in inputs)
        target = target_of(function, inputs, params)
        if copies:
            target = copied(target)
        of_held = {name: self.node_of(wrap(array)) for name, array in held.items()}
        args, kwargs = shown(target, function, nodes, {**params, **of_held})
        params = {name: value for name, value in params.items() if name not in held}
        node = self._call(target, args, kwargs, inputs=(*nodes, *of_held.values()),
                          call=Call(function, params, view=view, held=tuple(held), copies=copies))  # fmt: skip
        if not isinstance(results, (tuple, list)):
            return TracedArray(self, node, results)
        count = len(function.outputs) if getattr(function, "aux", ()) else len(results)
        parts = [self._part(node, i) if i < count > 1 else node if i < count else None for i in range(len(results))]
        return tuple(
            TracedArray(self, n, r) if isinstance(r, Tensor) else r for n, r in zip(parts, results, strict=True)
        )

    def _part(self, node: Node, index: int) -> Node:
        return self.graph.add("call_function", "getitem", getitem, (node, index), call=Call(item, {"index": index}),
                              inputs=(node,))  # fmt: skip

    def constant_operator(self, function: Any, inputs: tuple, params: dict[str, Any]) -> Any:
        """As `operator`, for a function whose results have no history: as tensors."""
        results = self.operator(function, inputs, params)
        return tuple(map(wrap, results)) if isinstance(results, tuple) else wrap(results)

    def made(self, function: Callable, args: tuple, options: dict[str, Any]) -> Tensor:
        """A tensor that a function makes of sizes and numbers, or like another one."""
        name = function.__name__
        like = name.endswith("_like") or name == "new_tensor" or function is lift
        if any(traced(x) is not None for x in tree_flatten((args[int(like) :], options))[0]):
            raise RuntimeError(ELEMENTS)
        with _untraced():
            result = function(*map(_peeled, args), **options)
        if name in ("tensor", "new_tensor"):
            function, args, options = lift, (wrap(np.array(result._array)),), {}
        nodes = tuple(self.node_of(x) if isinstance(x, Tensor) else x for x in args)
        how = {"call": Call(function, options, made=True), "inputs": nodes}
        if function is lift:
            node = self._call(overload_of("lift_fresh_copy", "default"), nodes, {}, **how)
        else:
            sizes = (list(nodes),) if name in SIZED and all(isinstance(n, int) for n in nodes) else nodes
            more = {"device": device("cpu")} if name in SIZED else {}
            node = self._call(overload_of(name, "default"), sizes, {**options, **more, "pin_memory": False}, **how)
        made = wrap(TracedArray(self, node, result))
        made._tracked = result._tracked
        return made

    def _call(self, target: Any, args: tuple, kwargs: dict[str, Any], **how: Any) -> Node:
        return self.graph.add("call_function", target._name, target, args, kwargs, **how)

    # --- changes in place --------------------------------------------------------------------------------------------

    def write(self, target: TracedArray, values: TracedArray) -> None:
        """A tensor's elements become others: by the operator in place, where the last one computed them from the tensor."""
        if target.tracer is not self or values.tracer is not self:
            raise RuntimeError(CHANGED_OUTSIDE)
        last = values.node
        if last is None or target.node is None:
            raise RuntimeError(ELEMENTS)
        call = last.call
        if last is self.graph.nodes[-1] and call is not None and last.inputs[:1] == (target.node,) and _has_form(last):
            self.graph.pop()
            aten = changed(last.target)
            how = Call(call.function, call.params, changes=True, held=call.held)
            node = self._call(aten, last.args, last.kwargs, call=how, inputs=last.inputs)
        else:
            from reference_engine.ops.filling import copy_from

            pair, how = (target.node, last), Call(copy_from, {}, changes=True)
            node = self._call(overload_of("copy_", "default"), pair, {}, call=how, inputs=pair)
        target.memory[...] = values.memory
        target.node = node


SIZED = frozenset({"zeros", "ones", "empty", "rand", "randn"})


def _has_form(node: Node) -> bool:
    """Whether an operator has a form in place: one result, which is no view and has the type of the first input."""
    call = node.call
    return call is not None and not call.view and not call.changes and call.function is not item


def _computed(function: Any, inputs: tuple, params: dict[str, Any]) -> Any:
    """An operator's results on examples, auxiliary ones included."""
    if not getattr(function, "aux", ()):
        return function(*inputs, **params)
    results = function.forward(*(x._array if isinstance(x, Tensor) else x for x in inputs), **params)
    return tuple(held(r) if isinstance(r, (np.ndarray, np.generic)) else r for r in results)


class _untraced:
    """While examples are computed: nobody is told, nothing is recorded."""

    def __enter__(self) -> None:
        self.before = state.dispatch_modes, state.tracing, state.dual_levels, state.vmap_levels
        state.dispatch_modes, state.tracing, state.dual_levels, state.vmap_levels = (), False, (), ()
        self.grad = state.set_grad_enabled(False)
        state.refresh()

    def __exit__(self, *exc: object) -> None:
        state.dispatch_modes, state.tracing, state.dual_levels, state.vmap_levels = self.before
        state.set_grad_enabled(self.grad)
        state.refresh()
