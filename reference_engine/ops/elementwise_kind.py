"""The elementwise kind: a ufunc, and per input the partial derivative as text.

A partial is written in the inputs' names (`x`; `a`, `b`; `a`, `b`, `c`), the result `y` and the words of the registry.
"b" for the first input of mul says dy/da = b; the rule is then g * (b). A text that mentions g is the whole rule. None:
no derivative with respect to that input.
The text is compiled twice, over arrays and over tensors, and printed as documentation.

With one or two plain float tensors of equal dtype the operator takes a short path that does the same as the long one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching import rules as batching
from reference_engine.batching.tensor import innermost
from reference_engine.memory import kinds
from reference_engine.ops import registry
from reference_engine.ops.dispatch import intercept
from reference_engine.ops.elementwise_rules import F32, F64, compile_arrays, compile_rule, mentions, with_a_number
from reference_engine.ops.inplace import in_place, refuse_out, write_out
from reference_engine.ops.kinds import (
    NUMBERS,
    Operator,
    OpNode,
    Rule,
    _array_at,
    _tensor_at,
    conj,
    is_complex,
)
from reference_engine.ops.operands import answer_or_leave, input_error, named, refuse_sparse
from reference_engine.ops.rules import camel
from reference_engine.overrides import UNANSWERED, answer
from reference_engine.state import process, state
from reference_engine.tape.node import LIGHT, SAVING, leaf_edge, next_sequence_number
from reference_engine.tape.saved import FREED, FREED_MESSAGE, VersionCounter, save_input
from reference_engine.tensor import Tensor, new, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ndarray, asarray = np.ndarray, np.asarray
NUMBER_TYPES = frozenset(NUMBERS)
NAMES = {1: ("x",), 2: ("a", "b"), 3: ("a", "b", "c")}
REAL = frozenset(("1", "-1", "0"))  # partials that need no conjugation: a complex gradient passes as it is
SAVED_NAMES = {1: ("self",), 2: ("self", "other"), 3: ("self", "other", "third")}


class ElementwiseNode(OpNode):
    """A node of an elementwise operator: `saved` has an entry per input and one for y, or is empty."""

    __slots__ = ()

    rules_over_arrays: tuple[Callable | None, ...]
    rules_over_tensors: tuple[Callable | None, ...]

    def values(self, read: Callable) -> list[Any]:
        """The saved entries, read; None for what was not saved."""
        if self.saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        return [read(self, i) for i in range(len(self.saved))] or [None] * (len(self.edges) + 1)

    def free(self) -> None:
        for entry in self.saved:
            if entry is not None:  # a number counts: torch saves it as a 0-d tensor
                self.saved = FREED
                return

    def arrays(self, grads: tuple, needed: Sequence[Any]) -> tuple:
        return self.apply(grads[0], needed, self.rules_over_arrays, _array_at, np.conj)

    def tensors(self, grads: tuple, needed: Sequence[Any]) -> tuple:
        return self.apply(grads[0], needed, self.rules_over_tensors, _tensor_at, conj)

    def apply(self, g: Any, needed: Sequence[Any], rules: tuple, read: Callable, conj: Callable) -> tuple:
        """The rules of the inputs that are wanted; J^H g = conj(J^T conj g)."""
        if g is None:
            return (None,) * len(self.edges)
        values = self.values(read)
        turned = conj(g) if is_complex(g) else g
        return tuple([
            None if not want or rule is None
            else rule(g, *values) if turned is g or partial in REAL else conj(rule(turned, *values))
            for rule, want, partial in zip(rules, needed, self.op.partials, strict=True)])  # type: ignore[attr-defined] # fmt: skip


class Elementwise(Operator):
    """An elementwise operator: its long path. Number arguments keep their Python type (they carry no width)."""

    def __init__(self, name: str, ufunc: Callable, partials: Sequence[str | None], numeric: str, node: str,
                 saved_names: Sequence[str], with_number: dict[int, str | None]) -> None:  # fmt: skip
        names = NAMES[len(partials)]
        self.partials, self.ufunc, self.numeric = tuple(partials), ufunc, numeric
        super().__init__(name, ufunc, [None] * len(partials), node=node, inputs=names, saved_names=saved_names)
        self.rules = tuple(None if p is None else Rule(lambda g: g) for p in partials)
        over_arrays = [None if p is None else compile_rule(p, names, registry.ARRAY_WORDS) for p in partials]
        over_tensors = [None if p is None else compile_rule(p, names, registry.TENSOR_WORDS) for p in partials]
        self.node = type(node, (ElementwiseNode,), {
            "op": self, "__slots__": (), "arrays": compile_arrays(partials, names, ElementwiseNode.arrays), "rules_over_arrays": tuple(over_arrays), "rules_over_tensors": tuple(over_tensors),
            "__module__": __name__})  # fmt: skip
        self.uses = [{i for i, n in enumerate((*names, "y")) if mentions(p, n)} for p in partials]
        self.with_number = {i: with_a_number(self.node, i, other) for i, other in with_number.items()}

    refuses_bool: Callable | None = None  # raises where inputs of type bool have no such operation
    refuses_complex: Callable | None = None  # likewise of complex types (unordered.py)

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        for x in inputs:
            if isinstance(x, Tensor):
                break
        else:
            return self.ufunc(*inputs)
        if self.refuses_bool is not None:
            self.refuses_bool(inputs)
        if self.refuses_complex is not None:
            self.refuses_complex(inputs)
        if state.vmap_levels and (level := innermost(inputs)) is not None:
            return batching.run(self, inputs, params, level)
        if state.dispatch_modes:
            return intercept(self, inputs, params)
        common = self.common_dtype(inputs)
        arrays = [self.prepare(x, common) for x in inputs]
        try:
            result = self.ufunc(*arrays)
        except ValueError:
            raise _mismatch(*arrays) from None
        except TypeError:
            refuse_sparse(self.name, arrays)
            raise
        return self.finish(inputs, params, result)

    def writes(self, target: Tensor, others: tuple) -> bool:
        """Computes straight into the memory of `target`, the first input, where nothing is to be recorded and the result is
        real and of target's form; says whether it did.
        """
        unseen = state.quiet and not state.grad_enabled and state.before_write is None
        if not unseen or type(self.ufunc) is not np.ufunc or len(others) + 1 != len(self.inputs):
            return False
        array, common = target._array, self.common_dtype((target, *others))
        if common is not array.dtype or (common is not F32 and common is not F64):
            return False
        arrays = [array, *[self.prepare(x, common) for x in others]]
        if any(type(a) in kinds for a in arrays):
            return False
        try:
            self.ufunc(*arrays, out=array)
        except ValueError:  # the result would be larger
            return False
        return True

    def make_node(self, edges: tuple, inputs: tuple, params: dict[str, Any], outs: tuple[Tensor, ...]) -> OpNode:
        node = super().make_node(edges, inputs, params, outs)
        for i, kind in self.with_number.items():
            if not isinstance(inputs[i], Tensor):
                node.__class__ = kind
        return node

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

    def narrow_type(self, inputs: tuple) -> Any:
        """The promoted type, where it is narrow."""
        common = dtypes.of_numpy(self.common_dtype(inputs))
        return common if common.is_narrow else None

    def prepare(self, x: Any, common: np.dtype) -> Any:
        """An input as an array (or NumPy scalar) of the common type; where's condition stays what it is."""
        if isinstance(x, Tensor):
            array = x._array
            return array if array.dtype is common else array.astype(common)  # widening: exact
        if isinstance(x, NUMBERS):
            return common.type(x)
        return np.asarray(x)


def elementwise(name: str, ufunc: Callable, *partials: str | None, numeric: str = "num", node: str | None = None,
                saved_names: Sequence[str] | None = None, inplace: bool = True, method: bool = True,
                module: bool = True, with_number: dict[int, str | None] | None = None) -> Callable:  # fmt: skip
    """Declares an elementwise operator and publishes it: function, method and in-place method.

    numeric: "num" computes in the promoted type, "float" turns integers into the default dtype first.
    with_number: the node's name where the input of this position is a Python number, which torch then keeps as such; None
    where it has no derivative.
    """
    node_name = node or f"{camel(name)}Backward0"
    op = Elementwise(name, ufunc, partials, numeric, node_name, saved_names or SAVED_NAMES[len(partials)],
                     with_number or {})  # fmt: skip
    call = (_unary if len(partials) == 1 else _binary if len(partials) == 2 else _ternary)(op)
    call.__name__ = call.__qualname__ = name
    call.operator = op
    registry.word(name, ufunc, call)
    registry.publish(name, call, method=method, module=module)
    if inplace:
        registry.publish(f"{name}_", in_place(call, f"{name}_"), method=method, module=module)
    return call


def divisor_checked(ufunc: Callable) -> Callable:
    """A division that raises for integers divided by 0, as torch's does on the CPU; floats give NaN or infinity."""

    def divide(a: Any, b: Any) -> Any:
        if np.result_type(a, b).kind in "iu" and not np.all(b):
            raise RuntimeError("ZeroDivisionError")
        return ufunc(a, b)

    return divide


def _mismatch(*arrays: Any) -> RuntimeError:
    from reference_engine.ops.shapes import mismatch

    shapes = [np.shape(a) for a in arrays]
    return mismatch(shapes[0], shapes[-1])


def _unary(op: Elementwise) -> Any:
    """The callable of a unary operator, with its short path."""
    ufunc, node_class, long = op.ufunc, op.node, op.__call__
    keeps_x, keeps_y = 0 in op.uses[0], 1 in op.uses[0]

    def call(input: Any, *, out: Any = None) -> Any:
        if type(input) is Tensor and out is None and state.plain:
            x = input._array
            d = x.dtype
            if d is F32 or d is F64:
                result = new(Tensor)
                array = ufunc(x)
                if type(array) is not ndarray:
                    array = asarray(array)
                result._array = array
                result._counter = result._edge = None
                result._tracked = False
                edge = input._edge
                if edge is None and input._tracked and not input._inference:
                    edge = leaf_edge(input)
                if edge is not None:
                    node: Any = new(node_class)
                    node.sequence_number = next_sequence_number()
                    node.edges = (edge,)
                    node.shape, node.dtype = array.shape, d
                    node.exact, node._hooks = True, None
                    result._edge = (node, 0)
                    saved = None
                    if keeps_x:
                        saved = input if input._counter is None or not input._counter.version else save_input(input)
                    if keeps_y:
                        counter = result._counter = new(VersionCounter)
                        counter.version = 0
                        node.role, node.saved = SAVING, (saved, (array, counter))
                    elif keeps_x:
                        node.role, node.saved = SAVING, (saved, None)
                    else:
                        node.role, node.saved = LIGHT, ()
                return result
        if type(input) not in process.unasked and (told := answer(call, (input,), named(out))) is not UNANSWERED:
            return told
        if not isinstance(input, (Tensor, ndarray, np.generic)):
            raise input_error(op.name, "input", input)
        return _into(long(input), out, op.name)

    return call


def _binary(op: Elementwise) -> Any:
    """The callable of a binary operator, with its short path."""
    ufunc, node_class, long = op.ufunc, op.node, op.__call__
    a_for_a, b_for_a, y_for_a = (i in op.uses[0] for i in range(3))
    a_for_b, b_for_b, y_for_b = (i in op.uses[1] for i in range(3))
    saves, keeps_y = any(op.uses), y_for_a or y_for_b
    differentiable = op.partials[0] is not None and op.partials[1] is not None

    def call(input: Any, other: Any, *, out: Any = None) -> Any:
        if type(input) is Tensor and type(other) is Tensor and differentiable and out is None and state.plain:
            x, y = input._array, other._array
            d = x.dtype
            if d is y.dtype and (d is F32 or d is F64):
                result = new(Tensor)
                try:
                    array = ufunc(x, y)
                except ValueError:
                    raise _mismatch(x, y) from None
                if type(array) is not ndarray:
                    array = asarray(array)
                result._array = array
                result._counter = result._edge = None
                result._tracked = False
                edge_a = input._edge
                if edge_a is None and input._tracked:
                    if input._inference:
                        return long(input, other)
                    edge_a = leaf_edge(input)
                edge_b = other._edge
                if edge_b is None and other._tracked:
                    if other._inference:
                        return long(input, other)
                    edge_b = leaf_edge(other)
                if edge_a is None and edge_b is None:
                    return result
                node: Any = new(node_class)
                node.sequence_number = next_sequence_number()
                node.edges = (edge_a, edge_b)
                shape = x.shape
                exact = node.exact = shape == y.shape
                node.shape = shape if exact else array.shape
                node.dtype, node._hooks, result._edge = d, None, (node, 0)
                if saves:
                    saved_a = saved_b = saved_y = None
                    if (a_for_a and edge_a is not None) or (a_for_b and edge_b is not None):
                        saved_a = input if input._counter is None or not input._counter.version else save_input(input)
                    if (b_for_a and edge_a is not None) or (b_for_b and edge_b is not None):
                        saved_b = other if other._counter is None or not other._counter.version else save_input(other)
                    if keeps_y:
                        counter = result._counter = new(VersionCounter)
                        counter.version = 0
                        saved_y = (array, counter)
                    node.role, node.saved = SAVING, (saved_a, saved_b, saved_y)
                else:
                    node.role, node.saved = LIGHT, ()
                return result
        return _the_long_way(op, call, input, other, out)

    return call


def _the_long_way(op: Elementwise, call: Callable, input: Any, other: Any, out: Any) -> Any:
    """A binary operator on whatever it is given; the operands' classes are asked where they are not the usual ones."""
    usual = type(input) in process.unasked and type(other) in process.unasked
    told = UNANSWERED if usual else answer_or_leave(op.name, call, input, other, out)
    return told if told is not UNANSWERED else _into(_of_numbers(op, op(input, other), input, other), out, op.name)


def _of_numbers(op: Elementwise, result: Any, *inputs: Any) -> Any:
    """The 0-d tensor that an operator makes of Python numbers alone; any other result is what it is."""
    if isinstance(result, Tensor) or not all(type(x) in NUMBER_TYPES for x in inputs):
        return result
    common = dtypes.result_type([(dtypes.of_number(x), 0) for x in inputs])
    if op.numeric == "float" and common.category < dtypes.FLOATING:
        common = dtypes.get_default_dtype()
    return wrap(asarray(result, common.numpy))


def _ternary(op: Elementwise) -> Any:
    def call(a: Any, b: Any, c: Any, *, out: Any = None) -> Any:
        return _into(op(a, b, c), out, op.name)

    return call


def _into(result: Any, out: Tensor | None, name: str = "") -> Any:
    """Writes a result of the operator `name` into `out=`, which must not take part in a recorded graph."""
    if out is None:
        return result
    if state.dual_levels or state.vmap_levels:
        refuse_out(result, name=f"{name.strip('_')}_out")
    if state.grad_enabled and (out.requires_grad or result.requires_grad):
        raise RuntimeError(f"{name.strip('_') + '(): ' if name else ''}functions with out=... arguments don't support automatic differentiation, "
                           "but one of the arguments requires grad.")  # fmt: skip
    return write_out(out, result)
