"""One backward pass of the reference, and the gradients that it gives recomputed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference_engine.autograd.function_node import FunctionNode
from reference_engine.batching.tensor import BatchedTensor
from reference_engine.ops.kinds import OpNode
from reference_engine.tape.node import LEAF
from reference_engine.tensor import Tensor
from tests.spec.independence.following import SAVED, Follower, Shadow
from tests.spec.independence.trace import Slot, lifted

CUSTOM = "custom Function"
HOOK = "hook"


@dataclass
class Receiver:
    """A tensor whose `.grad` may be added to: what was there before."""

    tensor: Tensor
    edge: Any
    before: Tensor | None
    value: np.ndarray | None
    shadow: Shadow | None


def receivers(follower: Follower, roots: Sequence[Any]) -> tuple[list[Receiver], frozenset[str]]:
    """The leaves, and what retains its gradient, behind `roots`; and why their gradients may be no derivatives."""
    found, seen, stack, reasons = [], set(), [edge[0] for edge in roots], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, FunctionNode):
            reasons.add(CUSTOM)
        elif isinstance(node, OpNode) and follower.replaced(node):
            reasons.add(SAVED)
        if node.role == LEAF:
            if node.variable._tracked:
                found.append((node.variable, (node, 0)))
        elif node._hooks is not None:
            found += [(ref(), (node, nr)) for nr, ref in node._hooks.retain.items() if ref() is not None]
        stack += [edge[0] for edge in node.edges if edge is not None]
    return [Receiver(x, edge, x._grad, None, None) for x, edge in found], frozenset(reasons)


def run(follower: Follower, original: Callable, roots: Sequence[Any], seeds: Sequence[Any], options: dict) -> list:
    """The pass itself, then shadows for what it gave."""
    if not options["keep_graph"] and any(isinstance(seed, BatchedTensor) for seed in seeds):
        return original(roots, seeds, **options)  # following goes example by example, which takes a graph that is kept
    recorded, targets = options["recorded"], options.get("targets")
    accumulating = options.get("accumulating", True)
    waiting, reasons = receivers(follower, roots)
    for receiver in waiting:
        if receiver.before is not None:
            receiver.value, receiver.shadow = lifted(receiver.before._array), follower.shadows.get(receiver.before)
    origins = [follower.at(edge) for edge in roots]
    constants = [seed if isinstance(seed, Tensor) else np.array(seed) for seed in seeds]
    follower.place.passing, follower.altered, follower.asked = True, set(), (origins, constants, reasons)
    try:
        results = original(roots, seeds, **options)
    finally:
        follower.place.passing = False
    reasons |= follower.altered
    follower.asked = origins, constants, reasons
    follower.passes += 1

    def recompute(edge: Any, given: np.ndarray) -> tuple[Any, Shadow]:
        target = follower.at(edge)
        return target, follower.derivative(origins, constants, target, reasons, given)

    if targets is not None and not accumulating:
        for target, result in zip(targets, results, strict=True):
            if result is not None:
                at, shadow = recompute(target, lifted(result._array if isinstance(result, Tensor) else result))
                _attach(follower, result, shadow)
                if recorded and shadow.value.ndim == np.ndim(result._array) and at is not None and None not in origins:
                    follower.gradient_tensor(result, origins, constants, at, shadow, None)
        return results
    wanted = None if targets is None else list(targets)
    for receiver in waiting:
        if (wanted is None or receiver.edge in wanted) and receiver.tensor._grad is not None:
            _accumulated(follower, receiver, recompute, origins, constants, recorded=recorded)
    return results


def _attach(follower: Follower, result: Any, shadow: Shadow) -> None:
    if isinstance(result, Tensor):
        follower.shadows.set(result, shadow)
    else:
        follower.loose[id(result)] = (result, shadow)


def _accumulated(follower: Follower, receiver: Receiver, recompute: Callable, origins: list, constants: list, *,
                 recorded: bool) -> None:  # fmt: skip
    grad = receiver.tensor._grad
    given = lifted(grad._array) if receiver.value is None else lifted(grad._array) - receiver.value
    at, shadow = recompute(receiver.edge, given)
    total = shadow
    if receiver.before is not None:
        before = receiver.shadow.value if receiver.shadow else receiver.value
        reasons = receiver.shadow.reasons if receiver.shadow else frozenset()
        total = Shadow(shadow.value + before, shadow.reasons | reasons)
    follower.shadows.set(grad, total)
    if recorded and at is not None and None not in origins:
        live = receiver.before is not None and follower.live(receiver.before)
        before = Slot(follower.marks.get(receiver.before).slot) if live else receiver.value
        follower.gradient_tensor(grad, origins, constants, at, shadow, before)


def shown(follower: Follower, edge: Any, gradient: Tensor) -> None:
    """A hook is shown the gradient at an edge."""
    roots, seeds, reasons = follower.asked
    known = reasons | follower.altered
    shadow = follower.derivative(roots, seeds, follower.at(edge), frozenset(known), lifted(gradient._array))
    follower.shadows.set(gradient, shadow)
