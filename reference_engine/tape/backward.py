"""The backward pass.

Law: nodes run in descending order of their sequence numbers, each once, when all its consumers have run; a leaf's
accumulator runs as soon as its last consumer has. Gradients meeting on an edge are added. On the edge, and nowhere
else, a gradient is summed back to the shape it is for (broadcasting's transpose) and cast to its dtype. Arrays flow
while the pass is not recorded, tensors while it is (create_graph). There is no recursion.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from reference_engine.state import state
from reference_engine.tape.accumulate import accumulate
from reference_engine.tape.fit import fit, summed
from reference_engine.tape.grad_type import OWN, brought
from reference_engine.tape.hooks import keep_retained, run_output_hooks, run_posthooks, run_prehooks, run_tensor_hooks
from reference_engine.tape.node import LEAF, OTHER, SAVING, AccumulateGrad, Edge, Node
from reference_engine.tape.reentrant import run_nested
from reference_engine.tape.saved import FREED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_by_sequence = attrgetter("sequence_number")


class Pass:
    """One backward pass: the nodes to run, the gradients waiting at them, and what is to be captured."""

    seeds: Sequence[Any] = ()  # the gradients it starts with
    level = 0  # how many passes are running around this one

    def __init__(self, *, keep_graph: bool, recorded: bool) -> None:
        self.keep_graph, self.recorded = keep_graph, recorded
        self.waiting: dict[Node, Any] = {}  # node -> gradient, or list of gradients with several outputs
        self.leaves: dict[Node, list] = {}  # accumulator -> [edges that have not delivered yet, gradient]
        self.needed: set[Node] | None = None  # None: all
        self.captures: set[Edge] = set()
        self.captured: dict[Edge, Any] = {}
        self.captured_nodes: set[Node] = set()
        self.reached: set[Node] = set()  # from the roots, accumulators apart
        self.callbacks: list[Callable[[], None]] = []  # what runs at its end
        self.notes: dict[Any, Any] = {}  # what hooks over several tensors keep from one call to the next

    def discover(self, roots: Sequence[Edge]) -> list[Node]:
        """All nodes reachable from the roots but accumulators, in the order in which they run."""
        order: list[Node] = []
        leaves = self.leaves
        seen = self.reached
        stack = []
        for node, _ in roots:
            if type(node) is AccumulateGrad:
                leaves.setdefault(node, [0, None])[0] += 1
            else:
                stack.append(node)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            order.append(node)
            for edge in node.edges:
                if edge is not None:
                    following = edge[0]
                    if following.role == LEAF:
                        if following in leaves:
                            leaves[following][0] += 1
                        else:
                            leaves[following] = [1, None]
                    elif following not in seen:
                        stack.append(following)
        order.sort(key=_by_sequence, reverse=True)
        return order

    def restrict(self, order: list[Node], targets: Sequence[Edge], *, accumulating: bool) -> None:
        """Limits the pass to what leads to `targets`, whose gradients are captured or accumulated."""
        needed: set[Node] = set()
        for target in targets:
            if accumulating:
                needed.add(target[0])
        capturing = {target[0] for target in targets}
        for node in reversed(order):
            for edge in node.edges:
                if edge is not None and (edge[0] in needed or edge[0] in capturing):
                    needed.add(node)
                    break
        self.needed = needed
        if not accumulating:
            self.captures = set(targets)
            self.captured_nodes = capturing

    def wants(self, edge: Edge | None) -> bool:
        """Whether a gradient for this edge is used by anything."""
        if edge is None:
            return False
        return self.needed is None or edge[0] in self.needed or edge[0] in self.captured_nodes

    def visits(self, node: Node) -> bool:
        """Whether gradients come to this node in this pass, to be used or captured."""
        if node not in self.reached and node not in self.leaves:
            return False
        return self.needed is None or node in self.needed or node in self.captured_nodes

    def deliver(self, edge: Edge, gradient: Any) -> None:
        """Adds a gradient to what waits at an edge's end; runs an accumulator that is complete."""
        node, nr = edge
        if type(node) is AccumulateGrad:
            leaf = self.leaves[node]
            if gradient is not None:
                leaf[1] = gradient if leaf[1] is None else summed(leaf[1], gradient)
            leaf[0] -= 1
            if not leaf[0]:
                self.finish_leaf(node, leaf[1])
            return
        waiting = self.waiting
        if node.outputs == 1:
            present = waiting.get(node)
            waiting[node] = gradient if present is None else present if gradient is None else summed(present, gradient)
        else:
            slots = waiting.get(node)
            if slots is None:
                slots = waiting[node] = [None] * node.outputs
            if gradient is not None:
                slots[nr] = gradient if slots[nr] is None else summed(slots[nr], gradient)

    def skip(self, edge: Edge) -> None:
        """Notes that an edge to an accumulator will deliver nothing."""
        if type(edge[0]) is AccumulateGrad:
            self.deliver(edge, None)

    def finish_leaf(self, node: AccumulateGrad, gradient: Any) -> None:
        """All gradients of a leaf have arrived: hooks, then capture or accumulation."""
        variable = node.variable
        wanted = self.needed is None or node in self.needed
        captured = node in self.captured_nodes
        if not wanted and not captured:
            return
        if variable._grad_dtype is not OWN:
            gradient = brought(variable, gradient)
        if variable._hooks:
            gradient = run_tensor_hooks(variable._hooks, gradient, recorded=self.recorded)
        if captured:
            self.captured[node, 0] = gradient
            return
        hooks = node._hooks
        if hooks is None:
            accumulate(variable, gradient, recorded=self.recorded)
            return
        (gradient,) = run_prehooks(hooks, (gradient,), recorded=self.recorded)
        accumulate(variable, gradient, recorded=self.recorded)
        run_posthooks(hooks, (), (gradient,), recorded=self.recorded)

    def run_node(self, node: Node) -> None:
        """One step: hooks before, the node's rule, hooks after, and its results onto their edges."""
        waiting = self.waiting.pop(node)
        grads = (waiting,) if node.outputs == 1 else tuple(waiting)
        if node._hooks is not None or node in self.captured_nodes:
            grads = self.before(node, grads)
        if self.needed is None:
            needed = tuple([edge is not None for edge in node.edges])
        elif node in self.needed:
            needed = tuple([self.wants(edge) for edge in node.edges])
        else:
            return
        results = self.compute(node, grads, needed)
        for edge, want, result in zip(node.edges, needed, results, strict=True):
            if edge is None:
                continue
            if want:
                self.deliver(edge, self.fitted(result, edge, node))
            else:
                self.skip(edge)

    def before(self, node: Node, grads: tuple) -> tuple:
        """What happens to gradients that arrived at a node before it runs, or in place of that: tensor hooks of its
        outputs, capture, node pre-hooks, and the `.grad` of outputs that retain it.
        """
        hooks = node._hooks
        if hooks is not None and hooks.tensor:
            grads = run_output_hooks(hooks, grads, recorded=self.recorded)
        if node in self.captured_nodes:
            for nr, gradient in enumerate(grads):
                if (node, nr) in self.captures:
                    self.captured[node, nr] = gradient
        if hooks is None:
            return grads
        arrived = grads
        if hooks.pre and (self.needed is None or node in self.needed):
            grads = run_prehooks(hooks, grads, recorded=self.recorded)
        # The documents list this behind the pre-hooks; what those return is for the node, not for its output.
        keep_retained(hooks, arrived, recorded=self.recorded)
        return grads

    def compute(self, node: Node, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        """Gradients of a node's inputs, by its rule, as its post-hooks leave them."""
        results = node.tensors(grads, needed) if self.recorded else node.arrays(grads, needed)
        if not self.keep_graph:
            node.free()
        hooks = node._hooks
        if hooks is not None and hooks.post:
            results = tuple([r if edge is None else self.fitted(r, edge, node)
                             for r, edge in zip(results, node.edges, strict=True)])  # fmt: skip
            results = run_posthooks(hooks, results, grads, recorded=self.recorded)
        return results

    def run(self, roots: Sequence[Edge], seeds: Sequence[Any], order: list[Node]) -> None:
        """The whole pass."""
        self.seeds = seeds
        for edge, seed in zip(roots, seeds, strict=True):
            self.deliver(edge, seed)
        if self.recorded or self.needed is not None:
            self.run_general(order)
        else:
            self.run_plain(order)

    def run_general(self, order: list[Node]) -> None:
        """All nodes, whatever is asked."""
        for node in order:
            self.run_or_pass(node)

    def run_or_pass(self, node: Node) -> None:
        """Runs a node; one that nothing reached delivers nothing."""
        if node in self.waiting:
            self.run_node(node)
            return
        for edge in node.edges:
            if edge is not None:
                self.skip(edge)

    def run_plain(self, order: list[Node]) -> None:
        """The common case written out: arrays, every gradient wanted. Does what run_general does, with less to ask."""
        waiting, leaves, keep_graph = self.waiting, self.leaves, self.keep_graph
        get, pop = waiting.get, waiting.pop
        for node in order:
            role = node.role
            if role == OTHER or node._hooks is not None or node not in waiting:
                self.run_or_pass(node)
                continue
            edges = node.edges
            results = node.arrays((pop(node),), edges)
            if role == SAVING and not keep_graph:
                node.saved = FREED
            exact = node.exact
            for edge, result in zip(edges, results):  # noqa: B905 - of equal length by construction
                if edge is None:
                    continue
                following = edge[0]
                if not exact or result is None:
                    result = self.fitted(result, edge, node)
                role = following.role
                if role == OTHER or result is None:
                    self.deliver(edge, result)
                elif role == LEAF:
                    leaf = leaves[following]
                    present = leaf[1]
                    leaf[1] = result if present is None else present + result
                    leaf[0] -= 1
                    if not leaf[0]:
                        self.finish_leaf(following, leaf[1])
                else:
                    present = get(following)
                    waiting[following] = result if present is None else present + result

    def fitted(self, result: Any, edge: Edge, node: Node) -> Any:
        """A gradient in the shape and dtype of what the edge leads to."""
        if result is None:
            return None
        following, nr = edge
        shape, dtype = following.output_shape(nr), following.output_dtype(nr)
        present = (result._array if self.recorded else result).dtype
        if result.shape == shape and present is dtype and dtype.metadata is None:
            return result
        return fit(result, shape, dtype, (node, edge))


def _new_pass(*, keep_graph: bool, recorded: bool) -> Pass:
    if not state.anomaly:
        return Pass(keep_graph=keep_graph, recorded=recorded)
    from reference_engine.tape.anomaly import GuardedPass

    return GuardedPass(keep_graph=keep_graph, recorded=recorded)


def run_backward(roots: Sequence[Edge], seeds: Sequence[Any], *, keep_graph: bool, recorded: bool,
                 targets: Sequence[Edge] | None = None, accumulating: bool = True) -> list[Any]:  # fmt: skip
    """Runs the backward pass from `roots` with gradients `seeds` (arrays, or tensors when `recorded`).

    Without targets every leaf's `.grad` is added to. With targets only they receive (accumulating) or their gradients
    are returned in order, None where none arrived. Inside a level of forward mode tensors flow, as gradients may have
    tangents, and the seeds are tensors too.
    """
    this = _new_pass(keep_graph=keep_graph, recorded=recorded or state.lets_tensors_flow())
    order = this.discover(roots)
    if targets is not None:
        this.restrict(order, targets, accumulating=accumulating)
    before = state.set_grad_enabled(recorded)
    around, state.backward = state.backward, this
    try:
        if around is None:
            this.run(roots, seeds, order)
        else:
            this.level = around.level + 1
            run_nested(this.level, lambda: this.run(roots, seeds, order))
        for callback in this.callbacks:  # one may add more
            callback()
    finally:
        state.backward = around
        state.set_grad_enabled(before)
    return [this.captured.get(target) for target in targets or ()]
