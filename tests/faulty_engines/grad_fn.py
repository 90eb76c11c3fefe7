"""Faults of the graph as users see it."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.autograd import graph
from reference_engine.ops import saved_names
from reference_engine.tape.node import AccumulateGrad, Node
from tests.faulty_engines.patching import Patch, fault


@fault("grad_fn")
def names_nodes_after_the_forward(p: Patch) -> None:
    """Node names are those of the forward operators."""
    p.set(Node, "name", lambda self: type(self).__name__.replace("Backward0", ""))


@fault("grad_fn")
def omits_untracked_inputs(p: Patch) -> None:
    """next_functions lists tracked inputs only."""
    p.set(Node, "next_functions", property(lambda self: tuple(e for e in self.edges if e is not None)))


@fault("grad_fn")
def variable_is_a_copy(p: Patch) -> None:
    """AccumulateGrad.variable is another tensor object than the leaf."""

    def next_functions(self: Any) -> tuple:
        pairs = []
        for edge in self.edges:
            node = edge[0] if edge is not None else None
            if isinstance(node, AccumulateGrad):
                other = AccumulateGrad(node.variable.detach().requires_grad_())
                pairs.append((other, 0))
            else:
                pairs.append(edge if edge is not None else (None, 0))
        return tuple(pairs)

    p.set(Node, "next_functions", property(next_functions))


@fault("grad_fn")
def output_nr_is_always_zero(p: Patch) -> None:
    """Every output of an operator claims to be its first."""
    p.set(engine.Tensor, "output_nr", property(lambda self: 0))


@fault("grad_fn")
def metadata_is_made_anew(p: Patch) -> None:
    """Node.metadata is a new dict at each access."""
    p.set(Node, "metadata", property(lambda self: {}))


@fault("grad_fn")
def saved_tensors_survive_freeing(p: Patch) -> None:
    """_saved_* can be read after the graph was freed."""
    from tests.faulty_engines.retain_graph import keeping

    keeping(p, lambda asked: True)


@fault("grad_fn")
def edges_of_untracked_tensors(p: Patch) -> None:
    """get_gradient_edge of a tensor that does not require grad gives an edge."""

    def get_gradient_edge(tensor: Any) -> Any:
        if not tensor.requires_grad:
            return graph.GradientEdge(AccumulateGrad(tensor), 0)
        return original(tensor)

    original = graph.get_gradient_edge
    p.set(graph, "get_gradient_edge", get_gradient_edge)


@fault("grad_fn")
def nodes_write_grad_when_called(p: Patch) -> None:
    """Calling a node as a function also adds to the leaves' `.grad`."""

    def call(self: Any, *grads: Any) -> Any:
        result = original(self, *grads)
        for edge in self.edges:
            if edge is not None and isinstance(edge[0], AccumulateGrad):
                edge[0].variable._grad = grads[0]
        return result

    original = Node.__call__
    p.set(Node, "__call__", call)


@fault("grad_fn")
def records_constants(p: Patch) -> None:
    """Operations on tensors that do not require grad get nodes too."""
    from reference_engine.ops.kinds import Operator
    from reference_engine.state import State, state
    from reference_engine.tape.node import leaf_edge

    def edges(self: Any, inputs: tuple) -> tuple:
        found = original(self, inputs)
        return tuple(leaf_edge(x) if e is None and isinstance(x, engine.Tensor) else e
                     for x, e in zip(inputs, found, strict=True))  # fmt: skip

    original = Operator.edges
    p.set(Operator, "edges", edges)
    p.set(State, "refresh", lambda self: setattr(self, "plain", False))
    p.set(state.__dict__, "plain", False)


@fault("grad_fn")
def nodes_can_be_constructed(p: Patch) -> None:
    """Node is an ordinary class: Node() gives a node without an operation."""
    p.set(graph.Node, "__abstractmethods__", frozenset())


@fault("grad_fn")
def edges_forget_the_output_number(p: Patch) -> None:
    """Every edge of next_functions claims to come from its node's first output."""
    edges = Node.next_functions.fget
    p.set(Node, "next_functions", property(lambda self: tuple((node, 0) for node, _ in edges(self))))


@fault("grad_fn")
def gradient_edges_start_at_the_first_output(p: Patch) -> None:
    """get_gradient_edge gives the node with output number 0, whichever output the tensor is."""
    original = graph.get_gradient_edge
    p.function(original, lambda tensor: original(tensor)._replace(output_nr=0))


@fault("grad_fn")
def saved_results_are_shown_as_the_input(p: Patch) -> None:
    """_saved_result shows what the node's input was."""
    original = saved_names.attribute

    def attribute(node: Any, name: str) -> Any:
        leaf = getattr(node.edges[0][0], "variable", None) if node.edges and node.edges[0] else None
        return leaf if name == "_saved_result" and leaf is not None else original(node, name)

    p.function(original, attribute)
