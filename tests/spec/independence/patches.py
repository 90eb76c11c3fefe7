"""Where the reference is tapped: operators, changes in place, detaching, custom Functions, backward passes, hooks."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from reference_engine.autograd import batched
from reference_engine.autograd.function import Function
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.kinds import Operator
from reference_engine.state import State, process, state
from reference_engine.tape import hooks, saved
from reference_engine.tape.backward import Pass, run_backward
from reference_engine.tape.node import NodeHooks, edge_of
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, asking
from tests.spec.independence import passes
from tests.spec.independence.following import SAVED, Follower, Mark, Shadow, unlike
from tests.spec.independence.trace import lifted


class _Inside(threading.local):
    """Where a thread is in the engine: ending an operator, at a node of a pass, about to show gradients of some edges."""

    finishing = False
    node: Any = None
    edges: tuple = ()


@contextlib.contextmanager
def followed() -> Iterator[list[Follower]]:
    """Programs that run in the block are followed by the follower in the list; put a new one there for each."""
    current = [Follower()]
    patch = Patch()
    try:
        _long_way(patch)
        _operators(patch, current)
        _in_place(patch, current)
        _detaching(patch, current)
        _functions(patch, current)
        _backward(patch, current)
        _hooks(patch, current)
        _saving(patch, current)
        yield current
    finally:
        patch.undo()
        state.refresh()


def _long_way(patch: Patch) -> None:
    def refresh(self: State) -> None:
        self.plain = self.quiet = False

    patch.set(State, "refresh", refresh)
    patch.set(State, "plain", False)
    patch.set(State, "quiet", False)
    state.plain = state.quiet = False
    patch.set(process, "one_node", False)


def _operators(patch: Patch, current: list[Follower]) -> None:
    inside = _Inside()
    finish, record, save = Operator.finish, Operator.record, Operator.save

    def finish_followed(self: Operator, inputs: tuple, params: dict[str, Any], results: Any) -> Any:
        before, inside.finishing = inside.finishing, True
        try:
            out = finish(self, inputs, params, results)
        finally:
            inside.finishing = before
        _tell(current[0], self, inputs, params, out if isinstance(out, tuple) else (out,))
        return out

    def record_followed(self: Operator, inputs: tuple, params: dict[str, Any], outs: tuple) -> None:
        record(self, inputs, params, outs)
        if not inside.finishing:
            _tell(current[0], self, inputs, params, outs)

    def save_followed(self: Operator, edges: tuple, inputs: tuple, outs: tuple, node: Any) -> tuple:
        node.saved = save(self, edges, inputs, outs, node)
        current[0].save(node)
        return node.saved

    patch.set(Operator, "finish", finish_followed)
    patch.set(Operator, "record", record_followed)
    patch.set(Operator, "save", save_followed)


def _tell(follower: Follower, op: Operator, inputs: tuple, params: dict[str, Any], outs: tuple) -> None:
    if follower.following():
        follower.call(op, inputs, params, outs)
    elif follower.place.hooking:
        follower.shade(op, inputs, params, outs)


def _in_place(patch: Patch, current: list[Follower]) -> None:
    def overwrite_followed(target: Tensor, compute: Any) -> Tensor:
        follower = current[0]
        if not follower.following():
            follower.altered.add(passes.HOOK)  # while a pass runs only hooks and custom backwards change tensors
            return overwrite(target, compute)
        made = []

        def computed(alias: Tensor) -> Tensor:
            follower.marks.set(alias, follower.marks.get(target))
            follower.shadows.set(alias, follower.shadows.get(target))
            made.append(compute(alias))
            return made[0]

        result = overwrite(target, computed)
        follower.write(target, made[0])
        return result

    patch.function(overwrite, overwrite_followed)


def _detaching(patch: Patch, current: list[Follower]) -> None:
    alias, detach, detach_, data = (
        Tensor.__dict__["_alias"].__func__,
        Tensor.detach,
        Tensor.detach_,
        Tensor.__dict__["data"],
    )

    def copied(source: Tensor, result: Tensor, *, detached: bool) -> Tensor:
        mark = current[0].marks.get(source)
        if mark is not None and result is not source:
            current[0].marks.set(result, Mark(mark.slot, mark.time, detached=detached or mark.detached))
        current[0].shadows.set(result, current[0].shadows.get(source))
        return result

    patch.set(Tensor, "_alias", classmethod(lambda cls, x: copied(x, alias(cls, x), detached=False)))
    patch.set(Tensor, "detach", lambda self: copied(self, detach(self), detached=True))

    def detach_followed(self: Tensor) -> Tensor:
        detach_(self)
        mark = current[0].marks.get(self)
        if mark is not None:
            current[0].marks.set(self, Mark(mark.slot, mark.time, detached=True))
        return self

    patch.set(Tensor, "detach_", detach_followed)
    patch.set(Tensor, "data", property(lambda self: copied(self, data.fget(self), detached=True), data.fset))


def _functions(patch: Patch, current: list[Follower]) -> None:
    apply = Function.__dict__["apply"].__func__

    def apply_followed(cls: Any, *args: Any, **kwargs: Any) -> Any:
        place = current[0].place
        step = 1 if state.grad_enabled and current[0].following() else 0
        for x in args if step else ():
            current[0].live(x)  # leaves get their places before they are handed out under other names
        place.customs += step
        try:
            out = apply(cls, *args, **kwargs)
        finally:
            place.customs -= step
        if step:
            current[0].custom(out if isinstance(out, tuple) else (out,))
        return out

    patch.set(Function, "apply", classmethod(apply_followed))


def _backward(patch: Patch, current: list[Follower]) -> None:
    result, stacked, materialized = asking._result, batched._stacked, asking._materialized

    def run_followed(roots: Any, seeds: Any, **options: Any) -> list:
        place = current[0].place
        if place.passing:
            before, place.hooking = place.hooking, False
            try:
                return run_backward(roots, seeds, **options)
            finally:
                place.hooking = before
        return passes.run(current[0], run_backward, roots, seeds, options)

    def result_followed(index: int, x: Any, g: Any, allow_unused: bool) -> Any:
        tensor = result(index, x, g, allow_unused)
        found = current[0].loose.pop(id(g), None)
        if found is not None:
            current[0].shadows.set(tensor, found[1])
        return tensor

    def stacked_followed(column: tuple) -> Any:
        out = stacked(column)
        found = [current[0].loose.pop(id(g), None) for g in column]
        if out is not None and all(found):
            values = [f[1] for f in found if f]
            rows = np.stack([v.value for v in values])
            current[0].loose[id(out)] = (out, Shadow(rows, frozenset().union(*(v.reasons for v in values))))
        return out

    def materialized_followed(x: Any, g: Any, recorded: bool) -> Any:
        out = materialized(x, g, recorded)
        if g is None:
            edge = edge_of(x)
            if edge is not None:
                passes.shown(current[0], edge, out)
        return out

    patch.set(asking, "run_backward", run_followed)  # not in gradcheck, which compares with differences itself
    patch.set(asking, "_result", result_followed)
    patch.set(batched, "_stacked", stacked_followed)
    patch.set(asking, "_materialized", materialized_followed)


def _hooks(patch: Patch, current: list[Follower]) -> None:
    check, as_tensors = hooks._check, hooks.as_tensors
    tensor_hooks, prehooks = hooks.run_tensor_hooks, hooks.run_prehooks
    before_node, finish_leaf = Pass.before, Pass.finish_leaf
    inside = _Inside()

    def check_followed(hook: Any, before: Any, after: Any) -> None:
        current[0].altered.add(passes.HOOK)
        check(hook, before, after)

    def shown(values: tuple, recorded: bool) -> tuple:
        tensors = as_tensors(values, recorded)
        edges, inside.edges = inside.edges, ()
        for edge, tensor in zip(edges, tensors, strict=False):
            if tensor is not None:
                passes.shown(current[0], edge, tensor)
        return tensors

    def hooking(run: Any) -> Any:
        """The hooks of a run know the gradients that they are shown, and what they compute from them."""

        def followed_run(given: Any, value: Any, *, recorded: bool) -> Any:
            node = inside.node
            if run is prehooks:
                inside.edges = tuple((node, nr) for nr in range(len(value))) if given.pre else ()
                called = _with(given, pre=_wrapped(given.pre, current[0]))
            else:
                numbers = [nr for nr, own in (node._hooks.tensor.items() if node._hooks else ()) if own is given]
                inside.edges = ((node, numbers[0] if numbers else 0),)
                called = _wrapped(given, current[0])
            return run(called, value, recorded=recorded)

        return followed_run

    def at_node(original: Any) -> Any:
        def followed_step(self: Pass, node: Any, given: Any) -> Any:
            before, inside.node = inside.node, node
            try:
                return original(self, node, given)
            finally:
                inside.node = before

        return followed_step

    patch.set(hooks, "_check", check_followed)
    patch.set(hooks, "as_tensors", shown)
    patch.function(tensor_hooks, hooking(tensor_hooks))
    patch.function(prehooks, hooking(prehooks))
    patch.set(Pass, "before", at_node(before_node))
    patch.set(Pass, "finish_leaf", at_node(finish_leaf))


def _saving(patch: Patch, current: list[Follower]) -> None:
    unpack, make = saved._unpack, saved.Packed.__init__

    def packed_followed(self: Any, tensor: Tensor, *rest: Any) -> None:
        current[0].packed[id(self)] = lifted(tensor._array)
        make(self, tensor, *rest)

    def unpack_followed(entry: Any) -> Tensor:
        tensor = unpack(entry)
        if id(entry) in current[0].packed and unlike(current[0].packed[id(entry)], lifted(tensor._array)):
            current[0].altered.add(SAVED)
        return tensor

    patch.set(saved.Packed, "__init__", packed_followed)
    patch.set(saved, "_unpack", unpack_followed)


def _with(given: Any, *, pre: Any) -> Any:
    """Hooks of a node with other pre-hooks."""
    result = NodeHooks()
    for name in NodeHooks.__slots__:
        setattr(result, name, getattr(given, name))
    result.pre = pre
    return result


def _wrapped(given: Any, follower: Follower) -> OrderedDict:
    """Hooks, during which what is computed from gradients keeps being recomputed."""

    def wrap(hook: Any) -> Any:
        @functools.wraps(hook, updated=())
        def wrapped(*args: Any) -> Any:
            before, follower.place.hooking = follower.place.hooking, True
            try:
                return hook(*args)
            finally:
                follower.place.hooking = before

        return wrapped

    return OrderedDict((key, wrap(hook)) for key, hook in given.items())
