"""The elementwise kind: a ufunc, and per input the partial derivative as text.

A partial is written in the inputs' names (`x`; `a`, `b`; `a`, `b`, `c`), the result `y` and the words of the registry.
"b" for the first input of mul says dy/da = b; the rule is then g * (b). None: no derivative with respect to that input.
The text is compiled twice, over arrays and over tensors, and printed as documentation.

With one or two plain float tensors of equal dtype the operator takes a short path that does the same as the long one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import NUMBERS, Operator, OpNode, Rule, _tensor_at, camel
from reference_engine.state import state
from reference_engine.tape.node import leaf_edge, next_sequence_number
from reference_engine.tape.saved import FREED, FREED_MESSAGE, Saved, read_array, save_input
from reference_engine.tensor import Tensor, new

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
ndarray = np.ndarray
NAMES = {1: ("x",), 2: ("a", "b"), 3: ("a", "b", "c")}
SAVED_NAMES = {1: ("self",), 2: ("self", "other"), 3: ("self", "other", "third")}


def compile_rule(partial: str, names: Sequence[str], words: dict[str, Any]) -> Callable:
    """The rule g -> g * partial, as a function of g, the inputs and y."""
    text = {"1": "g", "-1": "-g", "0": "g * 0"}.get(partial, f"g * ({partial})")
    return eval(f"lambda g, {', '.join(names)}, y: {text}", words)  # the table's own text


def mentions(partial: str | None, name: str) -> bool:
    """Whether a partial reads `name`."""
    return partial is not None and name in compile(partial, "<partial>", "eval").co_names


class ElementwiseNode(OpNode):
    """A node of an elementwise operator: `saved` has an entry per input and one for y."""

    rules_over_arrays: tuple[Callable | None, ...]
    rules_over_tensors: tuple[Callable | None, ...]

    def values(self, over_arrays: bool, scalar: bool) -> list[Any]:
        """The saved entries, read."""
        if self.saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        if not over_arrays:
            return [_tensor_at(self, i) for i in range(len(self.saved))]
        values: list[Any] = []
        for entry in self.saved:
            if type(entry) is Tensor and (entry._counter is None or entry._counter.version == 0):
                value: Any = entry._array
            else:
                value = read_array(entry, self)
            # Arithmetic of NumPy scalars is many times faster than that of 0-d arrays.
            values.append(value[()] if scalar and type(value) is ndarray and value.ndim == 0 else value)
        return values

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        g = grads[0]
        if g is None:
            return (None,) * len(self.edges)
        values = self.values(True, type(g) is not ndarray)
        if g.dtype.kind == "c":
            g = np.conj(g)
            return tuple(
                [np.conj(rule(g, *values)) if want and rule is not None else None
                 for rule, want in zip(self.rules_over_arrays, needed, strict=True)]
            )  # fmt: skip
        return tuple(
            [rule(g, *values) if want and rule is not None else None
             for rule, want in zip(self.rules_over_arrays, needed, strict=True)]
        )  # fmt: skip

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        g = grads[0]
        if g is None:
            return (None,) * len(self.edges)
        values = self.values(False, False)
        conj = registry.TENSOR_WORDS["conj"]
        conjugate = g._array.dtype.kind == "c"
        g = conj(g) if conjugate else g
        results = [rule(g, *values) if want and rule is not None else None
                   for rule, want in zip(self.rules_over_tensors, needed, strict=True)]  # fmt: skip
        return tuple(conj(r) if conjugate and r is not None else r for r in results)


class UnaryNode(ElementwiseNode):
    """One input: the hot case written out."""

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        g = grads[0]
        if g is None or g.dtype.kind == "c" or not needed[0]:
            return ElementwiseNode.arrays(self, grads, needed)
        x, y = self.values(True, type(g) is not ndarray)
        return (self.rules_over_arrays[0](g, x, y),)


class BinaryNode(ElementwiseNode):
    """Two inputs: the hot case written out."""

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        g = grads[0]
        saved = self.saved
        if g is None or saved is FREED or g.dtype.kind == "c":
            return ElementwiseNode.arrays(self, grads, needed)
        a, b, y = saved
        if type(a) is Tensor and a._counter is None:
            a = a._array
        elif a is not None:
            a = read_array(a, self)
        if type(b) is Tensor and b._counter is None:
            b = b._array
        elif b is not None:
            b = read_array(b, self)
        if y is not None:
            y = read_array(y, self)
        if type(g) is not ndarray:
            a = a[()] if type(a) is ndarray and a.ndim == 0 else a
            b = b[()] if type(b) is ndarray and b.ndim == 0 else b
            y = y[()] if type(y) is ndarray else y
        rule_a, rule_b = self.rules_over_arrays
        return (
            rule_a(g, a, b, y) if needed[0] and rule_a is not None else None,
            rule_b(g, a, b, y) if needed[1] and rule_b is not None else None,
        )


class Elementwise(Operator):
    """An elementwise operator: its long path. Number arguments keep their Python type (they carry no width)."""

    def __init__(self, name: str, ufunc: Callable, partials: Sequence[str | None], numeric: str, node: str,
                 saved_names: Sequence[str]) -> None:  # fmt: skip
        names = NAMES[len(partials)]
        self.partials, self.ufunc, self.numeric = tuple(partials), ufunc, numeric
        super().__init__(name, ufunc, [None] * len(partials), node=node, inputs=names, saved_names=saved_names)
        self.rules = tuple(None if p is None else Rule(lambda g: g) for p in partials)
        over_arrays = [None if p is None else compile_rule(p, names, registry.ARRAY_WORDS) for p in partials]
        over_tensors = [None if p is None else compile_rule(p, names, registry.TENSOR_WORDS) for p in partials]
        base = {1: UnaryNode, 2: BinaryNode}.get(len(partials), ElementwiseNode)
        self.node = type(node, (base,), {
            "op": self, "rules_over_arrays": tuple(over_arrays), "rules_over_tensors": tuple(over_tensors),
            "__module__": __name__})  # fmt: skip
        self.uses = [{i for i, n in enumerate((*names, "y")) if mentions(p, n)} for p in partials]

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        if not any(isinstance(x, Tensor) for x in inputs):
            return self.ufunc(*inputs)
        common = self.common_dtype(inputs)
        arrays = [self.prepare(x, common) for x in inputs]
        return self.finish(inputs, params, self.ufunc(*arrays))

    def common_dtype(self, inputs: Sequence[Any]) -> np.dtype:
        """The type to compute in: torch's promotion, then floating where the operator needs it."""
        operands = []
        for x in inputs:
            if isinstance(x, Tensor):
                operands.append((x.dtype, 2 if x._array.ndim else 1))
            elif isinstance(x, NUMBERS):
                operands.append((dtypes.of_number(x), 0))
        common = dtypes.result_type(operands)
        if self.numeric == "float" and common.category < dtypes.FLOATING:
            common = dtypes.get_default_dtype()
        return common.numpy

    def prepare(self, x: Any, common: np.dtype) -> Any:
        """An input as an array (or NumPy scalar) of the common type; where's condition stays what it is."""
        if isinstance(x, Tensor):
            array = x._array
            return array if array.dtype is common else array.astype(common)
        if isinstance(x, NUMBERS):
            return common.type(x)
        return np.asarray(x)

    def save(self, edges: tuple, inputs: tuple, outs: tuple[Tensor, ...], node: OpNode) -> tuple:
        entries = super().save(edges, inputs, outs, node)
        return entries or (None,) * (len(inputs) + 1)


def elementwise(name: str, ufunc: Callable, *partials: str | None, numeric: str = "num", node: str | None = None,
                saved_names: Sequence[str] | None = None, inplace: bool = True, method: bool = True,
                module: bool = True) -> Callable:  # fmt: skip
    """Declares an elementwise operator and publishes it: function, method and in-place method.

    numeric: "num" computes in the promoted type, "float" turns integers into the default dtype first.
    """
    node_name = node or f"{camel(name)}Backward0"
    op = Elementwise(name, ufunc, partials, numeric, node_name, saved_names or SAVED_NAMES[len(partials)])
    call = (_unary if len(partials) == 1 else _binary if len(partials) == 2 else _ternary)(op)
    call.__name__ = call.__qualname__ = name
    call.operator = op
    registry.word(name, ufunc, call)
    registry.publish(name, call, method=method, module=module)
    if inplace:
        registry.publish(f"{name}_", in_place(call, f"{name}_"), method=method, module=module)
    return call


def _input_error(name: str, position: str, x: Any) -> TypeError:
    return TypeError(f"{name}(): argument '{position}' must be Tensor, not {type(x).__name__}")


def _unary(op: Elementwise) -> Any:
    """The callable of a unary operator, with its short path."""
    ufunc, node_class, long = op.ufunc, op.node, op.__call__
    keeps_x, keeps_y = 0 in op.uses[0], 1 in op.uses[0]
    short = isinstance(ufunc, np.ufunc)

    def call(input: Any, *, out: Any = None) -> Any:
        if type(input) is Tensor and short and out is None and state.plain:
            x = input._array
            d = x.dtype
            if d is F32 or d is F64:
                result = new(Tensor)
                array = result._array = ufunc(x, out=...)
                result._counter = result._edge = None
                result._tracked = False
                edge = input._edge
                if edge is None and input._tracked:
                    edge = leaf_edge(input)
                if edge is not None:
                    node = new(node_class)
                    node.sequence_number = next_sequence_number()
                    node.edges = (edge,)
                    node.shape, node.dtype = array.shape, d
                    result._edge = (node, 0)
                    saved = None
                    if keeps_x:
                        saved = input if input._counter is None else save_input(input)
                    node.saved = (saved, Saved(result, 0) if keeps_y else None)
                return result
        if not isinstance(input, Tensor) and isinstance(input, NUMBERS):
            raise _input_error(op.name, "input", input)
        return _into(long(input), out)

    return call


def _binary(op: Elementwise) -> Any:
    """The callable of a binary operator, with its short path."""
    ufunc, node_class, long = op.ufunc, op.node, op.__call__
    rule_a, rule_b = op.uses
    a_for_a, b_for_a, y_for_a = (i in rule_a for i in range(3))
    a_for_b, b_for_b, y_for_b = (i in rule_b for i in range(3))
    differentiable = op.partials[0] is not None and op.partials[1] is not None
    short = isinstance(ufunc, np.ufunc) and differentiable

    def call(input: Any, other: Any, *, out: Any = None) -> Any:
        if type(input) is Tensor and type(other) is Tensor and short and out is None and state.plain:
            x, y = input._array, other._array
            d = x.dtype
            if d is y.dtype and (d is F32 or d is F64):
                result = new(Tensor)
                array = result._array = ufunc(x, y, out=...)
                result._counter = result._edge = None
                result._tracked = False
                edge_a = input._edge
                if edge_a is None and input._tracked:
                    edge_a = leaf_edge(input)
                edge_b = other._edge
                if edge_b is None and other._tracked:
                    edge_b = leaf_edge(other)
                if edge_a is not None:
                    keep_a = a_for_a or (a_for_b and edge_b is not None)
                    keep_b = b_for_a or (b_for_b and edge_b is not None)
                elif edge_b is not None:
                    keep_a, keep_b = a_for_b, b_for_b
                else:
                    return result
                node = new(node_class)
                node.sequence_number = next_sequence_number()
                node.edges = (edge_a, edge_b)
                node.shape, node.dtype = array.shape, d
                result._edge = (node, 0)
                node.saved = (
                    (input if input._counter is None else save_input(input)) if keep_a else None,
                    (other if other._counter is None else save_input(other)) if keep_b else None,
                    Saved(result, 0) if y_for_a or y_for_b else None,
                )
                return result
        return _into(long(input, other), out)

    return call


def _ternary(op: Elementwise) -> Any:
    def call(a: Any, b: Any, c: Any, *, out: Any = None) -> Any:
        return _into(op(a, b, c), out)

    return call


def _into(result: Any, out: Tensor | None) -> Any:
    """Writes a result into `out=`, which must not take part in a recorded graph."""
    if out is None:
        return result
    if state.grad_enabled and (out.requires_grad or result.requires_grad):
        raise RuntimeError("functions with out=... arguments don't support automatic differentiation, but one of the "
                           "arguments requires grad.")  # fmt: skip
    return out.resize_as_written(result)
