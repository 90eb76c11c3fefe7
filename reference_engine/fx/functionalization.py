"""A graph run again without changes in place, and without views.

Law: tensors on one memory share its base, and a log of what was written through which views. A change in place is the
operator out of place; its result is logged. Who reads a tensor whose memory has changed since takes its views of the base
anew, once what is logged has gone into the base: backwards through the views, by the operator that puts a view's elements
into what it is a view of. What is left in the inputs is copied into them at the end.
Source: torch.func.functionalize, "how it works"; torch notes on functionalization.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.fx.calls import Call, item
from reference_engine.fx.tracing import Tracer
from reference_engine.ops.registry import functions
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap
from reference_engine.utils._pytree import tree_flatten, tree_map, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reference_engine.fx.graph import Node

NO_INVERSE = "functionalize: a change in place through {name} has no form without changes in place"


@dataclass(frozen=True)
class View:
    """One step from a tensor to a view of it: an operator, and which of its results."""

    call: Call
    index: int | None = None

    @property
    def params(self) -> dict[str, Any]:
        return self.call.params

    def of(self, tensor: Tensor) -> Tensor:
        """The view of another tensor of the same form."""
        results = self.call(tensor)
        return results if self.index is None else results[self.index]

    def put(self, base: Tensor, changed: Tensor) -> Tensor:
        """`base` with the elements of a changed view in their places."""
        name = self.call.function.name
        if name not in INVERSES:
            raise RuntimeError(NO_INVERSE.format(name=name))
        return INVERSES[name](base, changed, self)


@dataclass
class Memory:
    """What tensors share: the tensor that has all elements, and what was written since it was."""

    base: Tensor
    writes: list[tuple[Tensor, tuple[View, ...]]] = field(default_factory=list)
    generation: int = 0

    def settle(self) -> Tensor:
        """The base with everything written in it."""
        for value, views in self.writes:
            bases = [self.base]
            for view in views[:-1]:
                bases.append(view.of(bases[-1]))
            for view, base in zip(reversed(views), reversed(bases[: len(views)]), strict=True):
                value = view.put(base, value)
            self.base = value
        self.writes.clear()
        return self.base


class Functional:
    """A tensor of the program: its value, and how it is a view of a memory's base."""

    def __init__(self, value: Tensor, memory: Memory | None = None, views: tuple[View, ...] = ()) -> None:
        self.value, self.memory, self.views, self.generation = value, memory or Memory(value), views, 0

    def read(self) -> Tensor:
        """The value now."""
        if self.generation != self.memory.generation:
            value = self.memory.settle()
            for view in self.views:
                value = view.of(value)
            self.value, self.generation = value, self.memory.generation
        return self.value

    def write(self, value: Tensor) -> None:
        """Other elements, of the same type."""
        self.value = value if value.dtype is self.value.dtype else value.to(self.value.dtype)
        self.memory.writes.append((self.value, self.views))
        self.memory.generation += 1
        self.read()


def functionalized(func: Callable, args: tuple, kwargs: dict[str, Any], *, copies: bool) -> Any:
    """What func returns, and its changes of inputs, told to the trace around without changes in place, and with copies in
    place of views where `copies`.
    """
    leaves, form = tree_flatten((args, kwargs))
    flat = [x for x in leaves if isinstance(x, Tensor)]

    def of_tensors(*tensors: Tensor) -> Any:
        given = iter(tensors)
        own, named = tree_unflatten([next(given) if isinstance(x, Tensor) else x for x in leaves], form)
        return func(*own, **named)

    module = Tracer().trace(of_tensors, ("x",) * len(flat), tuple(flat), _example)
    inputs = [Functional(x) for x in flat]
    with _copying(copies):
        output = module.graph.run(inputs, _evaluate)
        result = tree_map(lambda x: x.read() if isinstance(x, Functional) else x, output)
        for given, held in zip(flat, inputs, strict=True):
            if held.read() is not given:
                given.copy_(held.value)
    return result


def _example(x: Tensor) -> Tensor:
    """A tensor of the same form: nobody reads its elements."""
    return wrap(np.zeros(x._array.shape, x._array.dtype))


@contextmanager
def _copying(copies: bool) -> Iterator[None]:
    tracer = state.dispatch_modes[-1]
    before, tracer.copies_views = tracer.copies_views, copies or tracer.copies_views
    try:
        yield
    finally:
        tracer.copies_views = before


def _evaluate(node: Node, inputs: list[Any]) -> Any:
    """A node's result: one Functional, or several."""
    call = node.call
    assert call is not None
    if call.function is item:
        return inputs[0][call.params["index"]]
    if call.view:
        return _viewed(call, inputs[0] if isinstance(inputs[0], Functional) else Functional(inputs[0]))
    values = tree_map(lambda x: x.read() if isinstance(x, Functional) else x, inputs)
    if call.made:
        return Functional(state.dispatch_modes[-1].made(call.function, tuple(values), call.params))
    if call.changes:
        target = inputs[0] if isinstance(inputs[0], Functional) else Functional(inputs[0])
        target.write(call.compute(*values))
        return target
    return tree_map(Functional, call(*values))


def _viewed(call: Call, source: Functional) -> Any:
    """Views of a tensor as it was read last: whoever reads them takes them anew where the memory has changed since."""
    results = call(source.value)
    if not isinstance(results, tuple):
        return Functional(results, source.memory, (*source.views, View(call)))
    return tuple(Functional(r, source.memory, (*source.views, View(call, i))) for i, r in enumerate(results))


# --- views backwards -------------------------------------------------------------------------------------------------


def _scatter(name: str, base: Tensor, changed: Tensor, *where: Any) -> Tensor:
    """One operator of the trace, where its history is not asked for; else what it consists of."""
    function = functions[name]
    if base.requires_grad or changed.requires_grad or state.vmap_levels or state.dual_levels:
        return function(base, changed, *where)
    return state.dispatch_modes[-1].constant_operator(_Scatter(name, where), (base, changed), {})


class _Scatter:
    """An operator by its name in torch, with what stands behind its tensors."""

    def __init__(self, name: str, where: tuple) -> None:
        self.aten, self.where = (name, "default"), where

    def __call__(self, base: Tensor, changed: Tensor) -> Tensor:
        return functions[self.aten[0]](base, changed, *self.where)


def _part(base: Tensor, changed: Tensor, view: View) -> Tensor:
    """A part of a split dimension."""
    return _scatter("slice_scatter", base, changed, view.params["dim"], *view.params["bounds"][view.index])


def _sliced(base: Tensor, changed: Tensor, view: View) -> Tensor:
    part = view.params["part"]
    end = base.shape[view.params["dim"]] if part.stop is None else part.stop
    return _scatter("slice_scatter", base, changed, view.params["dim"], part.start or 0, end, part.step or 1)


def _unsqueezed(base: Tensor, changed: Tensor, view: View) -> Tensor:
    for dim in sorted(view.params["dims"]):
        changed = changed.unsqueeze(dim)
    return changed


def _diagonal(base: Tensor, changed: Tensor, view: View) -> Tensor:
    p = view.params
    return _scatter("diagonal_scatter", base, changed, p["offset"], p["dim1"], p["dim2"])


INVERSES: dict[str, Callable[[Tensor, Tensor, View], Tensor]] = {
    "view": lambda base, changed, view: changed.reshape(base.shape),
    "transpose": lambda base, changed, view: view.of(changed),
    "t": lambda base, changed, view: view.of(changed),
    "permute": lambda base, changed, view: changed.permute([int(d) for d in np.argsort(view.params["dims"])]),
    "unsqueeze": lambda base, changed, view: changed.squeeze(view.params["dim"]),
    "squeeze": _unsqueezed,
    "alias": lambda base, changed, view: changed,
    "select": lambda base, changed, view: _scatter("select_scatter", base, changed, view.params["dim"],
                                                   view.params["index"]),
    "unbind": lambda base, changed, view: _scatter("select_scatter", base, changed, view.params["dim"], view.index),
    "slice": _sliced,
    "split": _part,
    "split_with_sizes": _part,
    "diagonal": _diagonal,
    "as_strided": lambda base, changed, view: _scatter("as_strided_scatter", base, changed, view.params["size"],
                                                       view.params["stride"], view.params["offset"]),
    "view_as_real": lambda base, changed, view: functions["view_as_complex"](changed),
    "view_as_complex": lambda base, changed, view: functions["view_as_real"](changed),
}  # fmt: skip
