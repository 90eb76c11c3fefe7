"""Jacobian-vector products of operators: how tangents follow from an operator's kind.

    elementwise   t_y = sum over inputs of t_i times the partial derivative
    linear        t_y = the operator, of the tangent
    general       J t, by transposing the rule: g -> J^H g is linear in g, so its own vector-Jacobian product is J
    composite     nothing to do: its parts do it

All of it is written in operators, so that a tangent has a history and tangents of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.creation import zeros_like
from reference_engine.ops import registry
from reference_engine.ops.rules import Values
from reference_engine.state import state
from reference_engine.tape.tangents import Tangents, below, get, levels_of, put
from reference_engine.tensor import Tensor, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_engine.ops.kinds import Operator
    from reference_engine.tape.tangents import Level

UNSUPPORTED = (
    "Trying to use forward AD with {name} that does not support it because it has not been implemented yet.\nPlease file an "
    "issue to PyTorch at https://github.com/pytorch/pytorch/issues/new?template=feature-request.yml so that we can "
    "prioritize its implementation or submit a PR adding the implementation to derivatives.yaml"
)


def prepare(inputs: Sequence[Any], outs: Sequence[Tensor]) -> list[Level]:
    """The levels at which the inputs have tangents. The results get holders for theirs, which saved outputs share."""
    if state.inference or not state.forward_grad_enabled:
        return []
    levels = levels_of(inputs)
    if levels:
        for out in outs:
            out._tangents = Tangents()
    return levels


def propagate(
    op: Operator, inputs: tuple, params: dict[str, Any], outs: tuple[Tensor, ...], levels: list[Level]
) -> None:
    """Gives the results of an operator their tangents, level by level from the outside in."""
    differentiable = [out._array.dtype.kind in "fc" and i not in op.nondifferentiable for i, out in enumerate(outs)]
    if not any(differentiable):
        return
    if op.no_forward_mode:
        raise NotImplementedError(UNSUPPORTED.format(name=op.name.strip("_")))
    for level in levels:
        tangents = [get(x, level) if isinstance(x, Tensor) else None for x in inputs]
        lower = [below(x, level) if isinstance(x, Tensor) else x for x in inputs]
        pushed = push(op, lower, tangents, params, [below(out, level) for out in outs])
        for out, tangent, has in zip(outs, pushed, differentiable, strict=True):
            if tangent is not None and has:
                own = tangent if op.view else _own(tangent, tangents)
                put(out, level, _fitting(own, out, given=zip(inputs, tangents, strict=True)))


def push(
    op: Any, inputs: Sequence[Any], tangents: Sequence[Any], params: dict[str, Any], outs: Sequence[Tensor]
) -> list:
    """The tangents of the outputs from those of the inputs: J t, by the operator's kind. None stands for zero."""
    if hasattr(op, "partials"):
        return push_elementwise(op, inputs, tangents, outs)
    if op.linear or op.view:  # a view is linear in what it shows
        return push_linear(op, inputs, tangents, params)
    if op.multilinear:
        return push_multilinear(op, inputs, tangents, params)
    return push_transposed(op, inputs, tangents, params, outs)


def _own(tangent: Tensor, given: Sequence[Tensor | None]) -> Tensor:
    """A tangent that is no input's: a change in place of one must not be a change of the other."""
    return tangent.clone() if any(tangent is other for other in given) else tangent


def _fitting(tangent: Tensor, out: Tensor, given: Any) -> Tensor:
    """A tangent in the shape and dtype of what it is for; where tangents came in other dtypes than their primals', in its
    own.
    """
    if tangent._array.dtype != out._array.dtype and all(t is None or t.dtype is x.dtype for x, t in given):
        tangent = tangent.to(out.dtype)
    return tangent if tangent._array.shape == out._array.shape else tangent.expand(out._array.shape).clone()


def push_elementwise(op: Any, inputs: Sequence[Any], tangents: Sequence[Any], outs: Sequence[Tensor]) -> list:
    """The sum of tangent times partial; what the rule says of a gradient holds of a tangent, as J is diagonal."""
    shape, total = outs[0]._array.shape, None
    for rule, tangent in zip(op.node.rules_over_tensors, tangents, strict=True):
        if tangent is None or rule is None:
            continue
        wide = tangent if tangent._array.shape == shape else tangent.expand(shape)
        part = rule(wide, *inputs, outs[0])
        total = part if total is None else total + part
    return [total]


def push_linear(op: Operator, inputs: Sequence[Any], tangents: Sequence[Any], params: dict[str, Any]) -> list:
    """The operator, of the tangents; where only some of several inputs have one, zeros stand for the others."""
    given = [_zeros(x) if t is None else t for x, t in zip(inputs, tangents, strict=True)]
    if "value" in params:  # a constant that is put in, of which the tangent is 0
        params = {**params, "value": 0}
    result = op(*given, **params)
    return list(result) if isinstance(result, tuple) else [result]


def push_multilinear(op: Operator, inputs: Sequence[Any], tangents: Sequence[Any], params: dict[str, Any]) -> list:
    """The product rule: the operator with one input at a time replaced by its tangent, summed."""
    total = None
    for i, tangent in enumerate(tangents):
        if tangent is not None:
            part = op(*[tangent if k == i else x for k, x in enumerate(inputs)], **params)
            total = part if total is None else total + part
    return [total]


def push_transposed(op: Operator, inputs: Sequence[Any], tangents: Sequence[Any], params: dict[str, Any],
                    outs: Sequence[Tensor]) -> list:  # fmt: skip
    """J t from the rules g -> J^H g: with r(u) = J^H u, the gradient of <r, t> with respect to u is J t."""
    from reference_engine.autograd.backward import grad

    before = state.set_grad_enabled(True)
    try:
        dummies = [_dummy(out) if out._array.dtype.kind in "fc" and i not in op.nondifferentiable else None
                   for i, out in enumerate(outs)]  # fmt: skip
        wanted = tuple([t is not None for t in tangents])
        rows = pulled(op, inputs, dummies, params, outs, wanted)
        pairs = [(_summed(r, t), t) for r, t in zip(rows, tangents, strict=True) if r is not None and t is not None]
        pairs = [(r, t if t._array.dtype == r._array.dtype else t.to(r.dtype)) for r, t in pairs if r.requires_grad]
        live = [u for u in dummies if u is not None]
        if not pairs:
            return [None if u is None else _zeros(u) for u in dummies]
        found = iter(grad([r for r, _ in pairs], live, [t for _, t in pairs], create_graph=True, allow_unused=True))
        parts = [None if u is None else next(found) for u in dummies]
        results = [_zeros(u) if r is None and u is not None else r for r, u in zip(parts, dummies, strict=True)]
    finally:
        state.set_grad_enabled(before)
    return results if before else [None if r is None else _without_history(r) for r in results]


def pulled(op: Operator, inputs: Sequence[Any], grads: Sequence[Any], params: dict[str, Any], outs: Sequence[Tensor],
           needed: tuple[bool, ...]) -> tuple:  # fmt: skip
    """J^H g of an operator that was run on `inputs` and gave `outs`, outside of any recorded node."""
    values = _Given(op, inputs, outs, params, needed)
    conj = registry.TENSOR_WORDS["conj"]
    turn = op.holomorphic and any(g is not None and g._array.dtype.kind == "c" for g in grads)
    seeds = tuple([conj(g) if turn and g is not None else g for g in grads])
    rows = op.apply_rules(seeds, values, needed, len(inputs))
    return tuple([conj(r) if turn and r is not None else r for r in rows])


class _Given(Values):
    """What rules may ask for, from tensors at hand instead of a node."""

    def __init__(self, op: Operator, inputs: Sequence[Any], outs: Sequence[Tensor], params: dict[str, Any],
                 needed: tuple[bool, ...]) -> None:  # fmt: skip
        shapes = tuple([x._array.shape if isinstance(x, Tensor) else None for x in inputs])
        dict.__init__(self, params)
        self.update(needs=needed, shapes=shapes)
        if op.variadic:
            self["inputs"] = tuple(inputs)
        for name, x, shape in zip(op.inputs, inputs, shapes):  # noqa: B905 - a variadic operator names none
            self[name], self[f"{name}_shape"] = x, shape
            self[f"{name}_strides"] = x._array.strides if isinstance(x, Tensor) else None
        for name, out in zip(op.outputs, outs, strict=True):
            self[name] = out

    def __missing__(self, name: str) -> Any:
        raise KeyError(name)


def _summed(row: Tensor, tangent: Tensor) -> Tensor:
    """A gradient summed back to the shape of its input, as the backward pass does on the edge."""
    from reference_engine.ops.shapes import sum_to_shape

    shape = tangent._array.shape
    if tangent._array.dtype.kind != "c" and row._array.dtype.kind == "c":
        row = row.real
    return row if row._array.shape == shape else sum_to_shape(row, shape=shape)


def _dummy(out: Tensor) -> Tensor:
    result = _zeros(out)
    result._tracked = True
    return result


def _zeros(x: Any) -> Tensor:
    return zeros_like(x) if state.tracing else wrap(np.zeros_like(x._array))


def _without_history(tensor: Tensor) -> Tensor:
    result = Tensor._alias(tensor)
    result._tangents = tensor._tangents
    return result
