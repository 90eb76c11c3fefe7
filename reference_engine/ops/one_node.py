"""Compositions that torch records as one node.

Law: the function runs on stand-ins of its tensors and records what it is made of; its result then hangs on one node that
leads to the tensors themselves. The node's rule is a backward pass through what was recorded, from the result to the
stand-ins. What a composition is made of saves, checks and frees as ever. In forward mode, in vmap and in modes below
autograd the composition is what it is. Source: PyTorch's table of derivatives, for the nodes that there are.
"""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from reference_engine.ops.kinds import OpNode
from reference_engine.state import process, state
from reference_engine.tape.backward import Pass
from reference_engine.tape.node import Edge, Node, edge_of, next_sequence_number
from reference_engine.tape.saved import FREED, FREED_MESSAGE
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


class StandIn(Node):
    """An input of a composition, seen from within: a gradient that comes to it is the input's."""

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return grads

    tensors = arrays


class Composed(Node):
    """A composition seen from outside.

    roots: the edges of its results within, gone once it is freed; stand_ins: one per tensor, or None.
    """

    roots: list[Edge | None]
    stand_ins: list[StandIn | None]

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return self._pull(grads, needed, recorded=False)

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return self._pull(grads, needed, recorded=True)

    def _pull(self, grads: tuple, needed: tuple[bool, ...], *, recorded: bool) -> tuple:
        if self.saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        live = [(edge, g) for edge, g in zip(self.roots, grads, strict=True) if edge is not None and g is not None]
        inside = Pass(keep_graph=True, recorded=recorded)
        order = self._order(inside, [edge for edge, _ in live])
        wanted = [s if want else None for s, want in zip(self.stand_ins, needed, strict=True)]
        inside.restrict(order, [(s, 0) for s in wanted if s is not None], accumulating=False)
        inside.run([edge for edge, _ in live], [g for _, g in live], order)
        return tuple([None if s is None else inside.waiting.get(s) for s in wanted])

    def _order(self, inside: Pass, roots: list[Edge]) -> list[Node]:
        """What it is made of, in the order of a backward pass; the stand-ins are where that ends."""
        inside.reached.update(s for s in self.stand_ins if s is not None)
        return inside.discover(roots)

    def __getattr__(self, name: str) -> Any:
        """What it saved, as the last of what it is made of shows it."""
        if name.startswith(("_saved_", "_raw_saved_")):
            for root in self.roots:
                if root is not None:
                    return getattr(root[0], name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __dir__(self) -> list[str]:
        shown = [n for root in self.roots if root is not None for n in dir(root[0]) if "saved_" in n]
        return [*object.__dir__(self), *shown]

    def free(self) -> None:
        # What it is made of is left alone: a recorded gradient may hang on that too.
        if self.saved is not FREED and self.holds_arrays():
            self.saved, self.roots = FREED, []

    def holds_arrays(self) -> bool:
        """Whether there is anything to free."""
        made_of = self._order(Pass(keep_graph=True, recorded=False), [r for r in self.roots if r is not None])
        return any(isinstance(node, (OpNode, Composed)) and node.holds_arrays() for node in made_of)


def one_node(name: str, *names: str, others: dict[int, str] | None = None) -> Callable[[Callable], Callable]:
    """Decorator: what the function records is one node `name`, whose inputs are the tensors among these arguments.

    others: the node's name where there is another number of tensors. The results must not be views of the arguments.
    """
    kinds = {n: type(of, (Composed,), {"__module__": __name__}) for n, of in {0: name, **(others or {})}.items()}

    def decorate(function: Callable) -> Callable:
        parameters = list(inspect.signature(function).parameters)
        places = [parameters.index(n) for n in names]

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not state.grad_enabled or state.inference or not process.one_node or state.dual_levels:
                return function(*args, **kwargs)
            if state.vmap_levels or state.dispatch_modes:
                return function(*args, **kwargs)
            given, keys = list(args), dict(kwargs)
            inputs = Inputs([], [])
            for i, n in zip(places, names, strict=True):
                holder, key = (given, i) if i < len(given) else (keys, n)
                if i < len(given) or n in keys:
                    holder[key] = inputs.within(holder[key])  # type: ignore[index]
            result = function(*given, **keys)
            if any(s is not None for s in inputs.stand_ins):
                inputs.hang(kinds.get(len(inputs.tensors), kinds[0]), result)
            return result

        return call

    return decorate


@dataclass
class Inputs:
    """The tensors that a composition is given, and the node that stands in for each, None where it is not tracked."""

    tensors: list[Tensor]
    stand_ins: list[StandIn | None]

    def within(self, value: Any) -> Any:
        """An argument as the composition is given it; what is a tensor is noted, with its stand-in where it is tracked."""
        if isinstance(value, (list, tuple)):
            return type(value)([self.within(v) for v in value])
        if not isinstance(value, Tensor):
            return value
        self.tensors.append(value)
        edge = edge_of(value)
        if edge is None or value.is_inference():
            self.stand_ins.append(None)
            return value
        node = StandIn()
        self.stand_ins.append(node)
        node.sequence_number, node.edges = next_sequence_number(), (edge,)
        node.shape, node.dtype = value._array.shape, value._array.dtype
        alias = Tensor._alias(value)
        alias._edge = (node, 0)
        if value._others is not None:
            alias._others = []
            value._others.append(weakref.ref(alias))
        return alias

    def hang(self, kind: type[Composed], result: Any) -> None:
        """Gives the results the one node as their history."""
        outs = result if isinstance(result, tuple) else (result,)
        roots = [out._edge if isinstance(out, Tensor) else None for out in outs]
        if not any(roots):
            return
        node: Any = kind()
        node.sequence_number, node.roots = next_sequence_number(), roots
        node.stand_ins = self.stand_ins
        node.edges = tuple([None if s is None else s.edges[0] for s in self.stand_ins])
        arrays = [out._array if isinstance(out, Tensor) else None for out in outs]
        shapes, types = [() if a is None else a.shape for a in arrays], [None if a is None else a.dtype for a in arrays]
        node.outputs = len(outs)
        node.shape, node.dtype = (shapes[0], types[0]) if len(outs) == 1 else (shapes, types)
        for nr, (out, root) in enumerate(zip(outs, roots, strict=True)):
            if root is not None:
                out._edge = (node, nr)
        if state.anomaly:
            from reference_engine.tape.anomaly import remember

            remember(node)
