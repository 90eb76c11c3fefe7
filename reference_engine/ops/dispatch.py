"""Operators as modes below autograd see them: by name, before they run, with the right to answer in their place.

Law: inside a mode each operator is handed to the mode's `__torch_dispatch__(func, types, args, kwargs)`, outside of that
mode and unrecorded; what it returns is the operator's result, and is recorded as such. The innermost mode comes first.
An operator is known as in torch, `aten.mul.Tensor`; its tensors are in args, its parameters in kwargs.
Source: torch.utils._python_dispatch, TorchDispatchMode; torch notes, "Extending torch with a mode".
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap

# Overloads of operators of two operands, by what the second is; all others have one, "default".
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "remainder", "fmod", "rsub", "xlogy"})
COMPARING = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
# By node: of a name with two operators torch counts the nodes.
FORMS = {
    "SumBackward1": "sum.dim_IntList", "MeanBackward1": "mean.dim", "ProdBackward1": "prod.dim_int",
    "MaxBackward0": "max.dim", "MinBackward0": "min.dim", "MedianBackward1": "median.dim",
    "NanmedianBackward1": "nanmedian.dim", "DivBackward2": "div.Tensor_mode", "SqueezeBackward1": "squeeze.dim",
}  # fmt: skip
SCALAR = frozenset({"remainder", "fmod", "rsub", "bitwise_and", "bitwise_or", "bitwise_xor"})
# Operators that torch names otherwise, or whose one overload here is not "default" there.
SPELLED = {
    "index": "index.Tensor", "log_softmax": "_log_softmax.default", "select": "select.int", "slice": "slice.Tensor",
    "softmax": "_softmax.default", "std": "std.correction", "std_mean": "std_mean.correction", "split": "split.Tensor",
    "transpose": "transpose.int", "var": "var.correction", "var_mean": "var_mean.correction", "where": "where.self",
    "to_copy": "_to_copy.default", "clone_ordered": "clone.default", "unsafe_view": "_unsafe_view.default",
    "unbind": "unbind.int", "gate": "relu.default", "logsigmoid": "log_sigmoid_forward.default",
    "linalg_det": "_linalg_det.default", "linalg_slogdet": "_linalg_slogdet.default",
    "linalg_svd": "_linalg_svd.default", "linalg_solve_ex": "_linalg_solve_ex.default", "conj": "_conj.default",
    "square": "pow.Tensor_Scalar", "upsample_bilinear2d_aa": "_upsample_bilinear2d_aa.default",
    "logical_not": "logical_not.default", "prelu_kernel": "_prelu_kernel.default",
}  # fmt: skip
PRODUCTS = {(1, 1): "dot", (2, 1): "mv", (2, 2): "mm", (3, 3): "bmm"}


class OpOverload:
    """One overload of an operator, such as `torch.ops.aten.mul.Tensor`; there is one object of each."""

    def __init__(self, name: str, overload: str) -> None:
        self._name, self._overload = name, overload
        self.__name__ = f"{name}.{overload}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it. For the operator that a mode is being told of: with what this mode was given."""
        told = state.dispatched
        if told is not None and told[0] is self:
            return _run(told[1], args, kwargs)
        from reference_engine.ops import registry

        return registry.functions[self._name](*args, **kwargs)

    @property
    def overloadpacket(self) -> OpOverloadPacket:
        """All overloads of this name."""
        return packet(self._name)

    def name(self) -> str:
        """The qualified name, "aten::mul.Tensor"."""
        return f"aten::{self._name}" + (f".{self._overload}" if self._overload != "default" else "")

    def __str__(self) -> str:
        return f"aten.{self._name}.{self._overload}"

    def __repr__(self) -> str:
        return f"<OpOverload(op='aten.{self._name}', overload='{self._overload}')>"


class OpOverloadPacket:
    """The overloads of one name, `torch.ops.aten.mul`: attributes are its overloads."""

    def __init__(self, name: str) -> None:
        self._name = self.__name__ = name

    def __getattr__(self, overload: str) -> OpOverload:
        if overload.startswith("__"):
            raise AttributeError(overload)
        return overload_of(self._name, overload)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.default(*args, **kwargs)

    def __str__(self) -> str:
        return f"aten.{self._name}"


@cache
def overload_of(name: str, overload: str) -> OpOverload:
    """The one object that stands for an overload."""
    return OpOverload(name, overload)


@cache
def packet(name: str) -> OpOverloadPacket:
    """The one object that stands for a name."""
    return OpOverloadPacket(name)


def known_as(op: Any, inputs: tuple, params: dict[str, Any]) -> OpOverload:
    """The overload that an operator with these inputs is."""
    name, node = op.name.strip("_"), op.node.__name__ if hasattr(op, "node") else None
    if name == "matmul":
        name = PRODUCTS.get(tuple(np.ndim(x._array) for x in inputs), name)  # type: ignore[arg-type]
    if name in SPELLED:
        return overload_of(*SPELLED[name].split("."))
    if name in ("sum", "mean", "prod") and len(params.get("dims", ())) < inputs[0].dim():
        node = f"{name.capitalize()}Backward1"  # as vmap calls it
    if node in FORMS:
        return overload_of(*FORMS[node].split("."))
    if name in ARITHMETIC:
        numeric = name in SCALAR and not isinstance(inputs[-1], Tensor)
        return overload_of(name, "Scalar" if numeric else "Tensor")
    if name in COMPARING or name in ("fill", "masked_fill"):
        return overload_of(name, "Tensor" if isinstance((*inputs, None)[1], Tensor) else "Scalar")
    if name == "pow":
        kinds = ["Tensor" if isinstance(x, Tensor) else "Scalar" for x in (*inputs, params.get("exponent"))[:2]]
        return overload_of(name, "Scalar" if kinds[0] == "Scalar" else f"Tensor_{kinds[1]}")
    return overload_of(name, "default")


def intercept(op: Any, inputs: tuple, params: dict[str, Any]) -> Any:
    """Has the innermost mode answer for an operator, and records the answer as the operator's result."""
    if state.tracing:
        return op.finish(inputs, params, state.dispatch_modes[-1].operator(op, inputs, params))
    func = known_as(op, inputs, params)
    modes, told = state.dispatch_modes, state.dispatched
    grad = state.set_grad_enabled(False)
    state.dispatch_modes, state.dispatched = modes[:-1], (func, op)
    state.refresh()
    try:
        answer = modes[-1].__torch_dispatch__(func, (), inputs, dict(params))
    finally:
        state.dispatch_modes, state.dispatched = modes, told
        state.set_grad_enabled(grad)
        state.refresh()
    results = op.finish(inputs, params, _bare(answer))
    if not op.view:
        _share_versions(answer, results)
    return results


def _run(op: Any, inputs: tuple, params: dict[str, Any]) -> Any:
    """An operator's results as tensors, auxiliary ones included where it has any: an answer that can be kept."""
    if not op.aux or state.dispatch_modes:
        return op(*inputs, **params)
    results = op.forward(*(x._array if isinstance(x, Tensor) else x for x in inputs), **params)
    return tuple(wrap(r) if isinstance(r, np.ndarray) else r for r in results)


def _bare(answer: Any) -> Any:
    """What a mode answered, as an operator's forward gives it: arrays."""
    if isinstance(answer, (tuple, list)):
        return tuple(_bare(x) for x in answer)
    return answer._array if isinstance(answer, Tensor) else answer


def _share_versions(answer: Any, results: Any) -> None:
    """The recorded result is the tensor that the mode gave, as far as changes in place are counted."""
    given, made = (x if isinstance(x, (tuple, list)) else (x,) for x in (answer, results))
    for kept, result in zip(given, made):  # noqa: B905 - auxiliaries come behind
        if isinstance(kept, Tensor) and isinstance(result, Tensor) and kept._array is result._array:
            counter, own = kept._version_counter(), result._counter
            result._counter = counter
            node = result._edge[0] if result._edge is not None else None
            if own is not None and node is not None and isinstance(node.saved, tuple):
                node.saved = tuple([_counting(entry, own, counter) for entry in node.saved])


def _counting(entry: Any, own: Any, counter: Any) -> Any:
    """A saved output that looks at another counter for changes in place."""
    if type(entry) is tuple:
        return (entry[0], counter)
    if getattr(entry, "counter", None) is own:
        entry.counter, entry.version = counter, counter.version
    return entry
