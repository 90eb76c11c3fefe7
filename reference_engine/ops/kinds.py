"""Kinds of operators, and what follows from each.

    general       forward and a rule per input        record, backward, double backward
    linear        forward and its transpose           the same; the rule needs no input's value
    elementwise   ufunc and partials as text          (elementwise_kind.py, which adds a short path)
    constant      forward only                        results are never tracked

A rule maps the gradient of the output to the gradient of one input: g -> J^T g. It names what it needs: `g` (`gs`, a
tuple, with several outputs), inputs and the output `y` by name (these are saved), `<input>_shape`, `<input>_strides`
(nothing is saved), `needs` (which gradients are wanted), auxiliary results of forward, and parameters. Rules are written
in differentiable operators, which also accept plain arrays: one text, read over arrays in a plain backward and over tensors when the
backward is recorded. Complex conjugation (J^H g = conj(J^T conj g)) is the mechanism's; so are the sum over broadcast
dimensions and the cast to the input's dtype, which the backward pass does on the edge.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import narrow_types
from reference_engine.batching import rules as batching
from reference_engine.batching.tensor import innermost
from reference_engine.memory import kinds
from reference_engine.ops import registry
from reference_engine.ops.dispatch import intercept
from reference_engine.ops.operands import refuse_sparse
from reference_engine.ops.rules import Rule, Values, camel
from reference_engine.state import process, state
from reference_engine.tape.node import Edge, Node, edge_of, next_sequence_number
from reference_engine.tape.saved import FREED, FREED_MESSAGE, Packed, read_array, read_tensor, save_input, save_output
from reference_engine.tape.transforms import outer_edge
from reference_engine.tape.views import link_views
from reference_engine.tensor import Tensor, mark_inference, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NUMBERS = (int, float, complex, bool)
NUMPY_FLOATS = frozenset(np.dtype(t) for t in (np.float16, np.float32, np.float64, np.complex64, np.complex128))


class OpNode(Node):
    """A node recorded by an operator. Subclasses, one per operator, carry torch's node name."""

    __slots__ = ()

    op: Operator  # a class attribute, set per operator
    params: dict[str, Any] = {}
    shapes: tuple[tuple[int, ...] | None, ...] = ()
    strides: tuple[tuple[int, ...] | None, ...] = ()
    packed: dict[str, Packed] = {}  # auxiliary results of forward that went through saved-tensor hooks
    beside: tuple = ()  # entries of index tensors: rules read arrays made of them, these are checked (also_saved.py)

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return self.op.pull(self, grads, needed, _array_at)

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return self.op.pull(self, grads, needed, _tensor_at)

    def free(self) -> None:
        if self.saved is not FREED and self.holds_arrays():
            self.saved = FREED
            if self.packed:
                self.packed = {}  # type: ignore[misc]
            if self.beside:
                self.beside = ()  # type: ignore[misc]
            if self.params:  # in the dict that only nodes with parameters have
                self.params = {k: v for k, v in self.params.items() if not _is_array(v)}  # type: ignore[misc]

    def holds_arrays(self) -> bool:
        """Whether there is anything to free: a graph that saved nothing can be run through again."""
        for entry in self.saved:
            if entry is not None and not isinstance(entry, NUMBERS):
                return True
        return bool(self.packed) or any(map(_is_array, self.params.values()))

    def __getattr__(self, name: str) -> Any:
        from reference_engine.ops.saved_names import attribute

        return attribute(self, name)  # `_saved_self`: torch shows what a node saved under the name of the argument

    def __dir__(self) -> list[str]:
        from reference_engine.ops.saved_names import names

        return [*(name for name in object.__dir__(self) if name not in ("saved", "packed")), *names(self)]

    def tensor_at(self, index: int) -> Any:
        """A saved entry as the user sees it: a tensor with its history, a number, or None."""
        return _tensor_at(self, index) if self.saved != () else None

    def entry_at(self, index: int) -> Any:
        """A saved entry as it is kept; FREED once the graph was freed."""
        return self.saved if self.saved is FREED else self.saved[index] if self.saved else None

    def put_entry(self, index: int, entry: Any) -> None:
        """Puts another entry in the place of `index`."""
        self.saved = (*self.saved[:index], entry, *self.saved[index + 1 :])


def _is_array(value: Any) -> bool:
    """Whether a parameter holds an array: a mask, or indices."""
    return isinstance(value, np.ndarray) or (isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value))


def _entry(node: OpNode, index: int) -> Any:
    if node.saved is FREED:
        raise RuntimeError(FREED_MESSAGE)
    return node.saved[index]


def _array_at(node: OpNode, index: int) -> Any:
    return read_array(_entry(node, index), node)


def _tensor_at(node: OpNode, index: int) -> Any:
    edge = node.edges[index] if index < len(node.edges) else None
    return read_tensor(_entry(node, index), node, edge)


class Operator:
    """An operator: its forward over arrays and the rules of its derivatives.

    inputs: names of the tensor arguments, positional; parameters are keyword-only. A variadic operator takes any
    number of tensors, and its one rule is told the input's `index`.
    outputs: names of the results ("y" for one); aux: names of what forward returns behind them, for the rules only.
    linear: in all inputs together; multilinear: in each input, with one output. Either has its JVP by itself.
    forward_mode: False where torch documents that the operator has no forward-mode derivative.
    """

    def __init__(self, name: str, forward: Callable, rules: Sequence[Callable | None], *, node: str | None = None,
                 joint: Callable | None = None, outputs: Sequence[str] = ("y",), aux: Sequence[str] = (),
                 nondifferentiable: Sequence[str] = (), variadic: bool = False, view: bool = False,
                 holomorphic: bool = True, inputs: Sequence[str] | None = None, linear: bool = False,
                 multilinear: bool = False, forward_mode: bool = True,
                 saved_names: Sequence[str] | None = None) -> None:  # fmt: skip
        self.name, self.forward, self.view, self.variadic = name, forward, view, variadic
        self.inputs = tuple(inputs) if inputs is not None else () if variadic else positional(forward)
        self.position = {n: i for i, n in enumerate(self.inputs)}
        self.outputs, self.aux, self.holomorphic = tuple(outputs), tuple(aux), holomorphic
        self.linear, self.multilinear, self.no_forward_mode = linear, multilinear, not forward_mode
        self.nondifferentiable = frozenset(self.outputs.index(n) for n in nondifferentiable)
        self.rules = tuple(None if rule is None else Rule(rule) for rule in rules)
        self.joint = Rule(joint) if joint is not None else None
        self.splits = view and any(r is not None and r.takes_tuple for r in self.rules)
        self.saved_names = tuple(saved_names or self.inputs)
        self.node = type(node or f"{camel(name)}Backward0", (OpNode,), {"op": self, "__module__": __name__})
        self.uses = self._uses()
        asked = [n for r in self._all_rules() for n in r.names]
        self.uses_shapes = any(n == "shapes" or n.endswith("_shape") for n in asked)
        self.uses_strides = any(n.endswith("_strides") for n in asked)

    def _all_rules(self) -> list[Rule]:
        return [r for r in (*self.rules, self.joint) if r is not None]

    def _uses(self) -> list[set[int]]:
        """Per input, which saved entries (inputs, then outputs) its rule reads."""
        where = {**self.position, **{n: len(self.inputs) + i for i, n in enumerate(self.outputs)}}
        rules = [self.joint] * len(self.inputs) if self.joint is not None else self.rules
        return [{where[n] for n in rule.names if n in where} if rule is not None else set() for rule in rules]

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Runs the operator on tensors and records it; on plain arrays it only computes."""
        for x in inputs:
            if isinstance(x, Tensor):
                break
        else:
            result = self.forward(*inputs, **params)
            return result[0] if self.aux and len(self.outputs) == 1 else result
        if state.vmap_levels and (level := innermost(inputs)) is not None:
            return batching.run(self, inputs, params, level)
        if state.dispatch_modes:
            return intercept(self, inputs, params)
        if self.view and type(inputs[0]) is not Tensor and inputs[0].is_conj():
            from reference_engine.ops.complex import view_of_conjugate

            return view_of_conjugate(self, inputs[0], params)
        arrays = [x._array if isinstance(x, Tensor) else x for x in inputs]
        try:
            results = self.forward(*arrays, **params)
        except (AttributeError, TypeError):
            refuse_sparse(self.name, arrays)
            raise
        return self.finish(inputs, params, results)

    def finish(self, inputs: tuple, params: dict[str, Any], results: Any) -> Any:
        """Wraps what forward returned and records the node."""
        if process.narrow_types and not self.view and type(results) not in kinds:
            results = narrow_types.narrowed_results(results, self.narrow_type(inputs), len(self.outputs))
        if self.aux:
            count = len(self.outputs)
            params = {**params, **dict(zip(self.aux, results[count:], strict=True))}
            results = results[0] if count == 1 else results[:count]
        if len(self.outputs) == 1 and not isinstance(results, tuple):
            out = wrap(results if type(results) is np.ndarray else _held(results))
            self.record(inputs, params, (out,))
            return out
        outs = tuple(wrap(r if type(r) is np.ndarray else _held(r)) for r in results)
        self.record(inputs, params, outs)
        return outs

    def narrow_type(self, inputs: tuple) -> Any:
        """The narrow type that float results are rounded to: that of the floating inputs, if all have such a type."""
        return narrow_types.common(x._array for x in inputs if isinstance(x, Tensor))

    def record(self, inputs: tuple, params: dict[str, Any], outs: tuple[Tensor, ...]) -> None:
        """Gives `outs` what follows from the inputs: their history, and their tangents inside a level of forward mode."""
        if not state.dual_levels:
            self.link(inputs, params, outs)
            return
        from reference_engine.ops import forward

        levels = forward.prepare(inputs, outs)
        self.link(inputs, params, outs)
        forward.propagate(self, inputs, params, outs, levels)

    def link(self, inputs: tuple, params: dict[str, Any], outs: tuple[Tensor, ...]) -> None:
        """Gives `outs` their history, where an input is tracked and grad mode is on."""
        if self.view and not inputs[0].is_inference():
            link_views(inputs[0], outs, several=self.splits)
        elif self.view or state.inference:
            for out in outs:
                mark_inference(out)
        if not state.grad_enabled or state.inference:
            return
        edges = self.edges(inputs)
        if not any(edges) or _bypasses(inputs):
            return
        differentiable = [out._array.dtype in NUMPY_FLOATS and i not in self.nondifferentiable
                          for i, out in enumerate(outs)]  # fmt: skip
        if not any(differentiable):
            return
        node = self.make_node(edges, inputs, params, outs)
        for nr, out in enumerate(outs):
            if differentiable[nr]:
                out._edge = (node, nr)
        node.saved = self.save(edges, inputs, outs, node)
        if self.nondifferentiable:
            node.beside = self.save_indices(outs)  # type: ignore[misc]
        if state.anomaly:
            from reference_engine.tape.anomaly import remember

            remember(node)

    def edges(self, inputs: tuple) -> tuple[Edge | None, ...]:
        """An edge per tensor input, None where it is not tracked or no rule exists for it."""
        edge = outer_edge if state.kept else edge_of
        if self.variadic or self.joint is not None:
            return tuple([edge(x) if isinstance(x, Tensor) else None for x in inputs])
        rules = self.rules
        return tuple([edge(x) if isinstance(x, Tensor) and rules[i] is not None else None
                      for i, x in enumerate(inputs)])  # fmt: skip

    def make_node(self, edges: tuple, inputs: tuple, params: dict[str, Any], outs: tuple[Tensor, ...]) -> OpNode:
        """A node with everything but its saved tensors."""
        node = self.node.__new__(self.node)
        node.sequence_number = next_sequence_number()
        node.edges = edges
        if params:
            node.params = params
        if self.uses_shapes:
            node.shapes = tuple(x._array.shape if isinstance(x, Tensor) else None for x in inputs)
        if self.uses_strides:
            node.strides = tuple(x._array.strides if isinstance(x, Tensor) else None for x in inputs)
        if len(outs) == 1:
            node.shape, node.dtype = outs[0]._array.shape, outs[0]._array.dtype
        else:
            node.outputs = len(outs)
            node.shape = tuple(o._array.shape for o in outs)
            node.dtype = tuple(o._array.dtype for o in outs)
        return node

    def save(self, edges: tuple, inputs: tuple, outs: tuple[Tensor, ...], node: OpNode) -> tuple:
        """The saved entries: only what the rules of the tracked inputs read."""
        if self.variadic:
            return tuple(save_input(x) for x in inputs) if self.rules[0] and "inputs" in self.rules[0].names else ()
        used: set[int] = set()
        for i, edge in enumerate(edges):
            if edge is not None:
                used |= self.uses[i]
        if not used:
            return ()
        count = len(inputs)
        entries = [save_input(x) if i in used else None for i, x in enumerate(inputs)]
        entries += [save_output(out, nr) if count + nr in used else None for nr, out in enumerate(outs)]
        if self.aux and state.saved_tensor_hooks:
            from reference_engine.tape.saved import pack_auxiliary

            node.params, node.packed = pack_auxiliary(node.params, self.aux)  # type: ignore[misc]
        return tuple(entries)

    def save_indices(self, outs: tuple[Tensor, ...]) -> tuple:
        """Entries of the integer results, by which the others were chosen."""
        return tuple([save_input(outs[i]) for i in sorted(self.nondifferentiable) if outs[i]._array.dtype.kind == "i"])

    def pull(self, node: OpNode, grads: tuple, needed: tuple[bool, ...], read: Callable) -> tuple:
        """Gradients of the inputs from gradients of the outputs, in the reading that `read` stands for."""
        count = len(node.edges)
        arrived = [g for g in grads if g is not None]
        if not arrived:
            return (None,) * count
        if node.saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        for entry in node.beside:
            read_array(entry, node)
        values = Values(node, read, needed)
        if not self.holomorphic or not any(map(is_complex, arrived)):
            return self.apply_rules(grads, values, needed, count)
        conjugated = tuple(None if g is None else conj(g) for g in grads)
        return tuple(None if r is None else conj(r) for r in self.apply_rules(conjugated, values, needed, count))

    def apply_rules(self, grads: tuple, values: Values, needed: tuple[bool, ...], count: int) -> tuple:
        """J^T g, input by input."""
        if self.joint is not None:
            results = self.joint(grads, values)
            return tuple(r if want else None for r, want in zip(results, needed, strict=True))
        if self.variadic:
            results = []
            for index in range(count):
                values["index"] = index
                rule = self.rules[0]
                results.append(rule(grads, values) if needed[index] and rule is not None else None)
            return tuple(results)
        return tuple([rule(grads, values) if want and rule is not None else None
                      for rule, want in zip(self.rules, needed, strict=True)])  # fmt: skip


def _bypasses(inputs: tuple) -> bool:
    """Whether all inputs are inference tensors: such operations are never recorded, whatever the mode is."""
    for x in inputs:  # noqa: SIM110 - every recorded operator asks, and a generator takes four times as long
        if not isinstance(x, Tensor) or not (x if x._base is None else x._base)._inference:
            return False
    return True


def _held(result: Any) -> Any:
    """A result as what a tensor can hold: scalars become arrays, sparse arrays stay."""
    return result if type(result) in kinds else np.asarray(result)


def is_complex(g: Any) -> bool:
    """Whether a gradient (array or tensor, or None) is complex."""
    return g is not None and (g._array if isinstance(g, Tensor) else g).dtype.kind == "c"


def conj(g: Any) -> Any:
    """The complex conjugate of an array or a tensor."""
    return registry.TENSOR_WORDS["conj"](g) if isinstance(g, Tensor) else np.conj(g)


def positional(forward: Callable) -> tuple[str, ...]:
    """The names of a function's positional parameters: an operator's tensor inputs."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(n for n, p in inspect.signature(forward).parameters.items() if p.kind in kinds)


def general(name: str, forward: Callable, *rules: Callable | None, **options: Any) -> Operator:
    """An operator with a rule per input (or one `joint` rule for all)."""
    return Operator(name, forward, rules, **options)


def linear(name: str, forward: Callable, transpose: Callable, **options: Any) -> Operator:
    """A linear operator of one input; its rule is the transpose and reads no value."""
    return Operator(name, forward, (transpose,), linear=True, **options)


def constant(name: str, forward: Callable, *, elementwise: bool = False) -> Callable:
    """An operator whose result is never tracked: comparisons, arg-reductions, rounding to integers."""

    def call(*inputs: Any, **params: Any) -> Any:
        if state.vmap_levels and (level := innermost(inputs)) is not None:
            return (batching.run_elementwise if elementwise else batching.looped)(call, inputs, params, level)
        if state.tracing:
            return state.dispatch_modes[-1].constant_operator(call, inputs, params)
        arrays = [x._array if isinstance(x, Tensor) else x for x in inputs]
        result = forward(*arrays, **params)
        if isinstance(result, tuple):
            return tuple(wrap(np.asarray(r)) for r in result)
        return wrap(np.asarray(result))

    call.__name__ = call.__qualname__ = call.name = name  # type: ignore[attr-defined]
    return call


__all__ = ["NUMBERS", "OpNode", "Operator", "constant", "general", "linear"]
