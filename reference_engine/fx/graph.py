"""Graphs: nodes in the order in which they run, their text, and running them.

    placeholder      an input                       call_function    an operator, `args` and `kwargs` as shown
    get_attr         a tensor from outside          output           what the function returned: a tree of nodes

Source: torch.fx.Graph, torch.fx.Node, torch.fx.GraphModule.
"""

from __future__ import annotations

import builtins
import keyword
import operator
from typing import TYPE_CHECKING, Any

from reference_engine.nn.modules.module import Module
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reference_engine.fx.calls import Call

TAKEN = frozenset({*dir(builtins), *keyword.kwlist})


class Node:
    """One step. `inputs` are the nodes and values that `call`, which runs it, is given."""

    def __init__(self, graph: Graph, op: str, name: str, target: Any, args: tuple = (), kwargs: dict | None = None, *,
                 call: Call | None = None, inputs: Sequence[Any] = ()) -> None:  # fmt: skip
        self.graph, self.op, self.name, self.target = graph, op, name, target
        self.args, self.kwargs = args, kwargs or {}
        self.call, self.inputs, self.stem = call, tuple(inputs), name

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes that it uses, each once. Source: torch.fx.Node.all_input_nodes."""
        return list(dict.fromkeys(x for x in tree_flatten((self.args, self.kwargs))[0] if isinstance(x, Node)))

    @property
    def users(self) -> dict[Node, None]:
        """The nodes that use it. Source: torch.fx.Node.users."""
        return {node: None for node in self.graph.nodes if self in node.all_input_nodes}

    def text(self) -> str:
        """The right side of its line of code."""
        if self.op == "get_attr":
            return f"self.{self.target}"
        if self.target is operator.getitem:
            return f"{self.args[0]}[{self.args[1]}]"
        given = [*(_text(a) for a in self.args), *(f"{k} = {_text(v)}" for k, v in self.kwargs.items())]
        return f"torch.ops.{self.target}({', '.join(given)})"

    def __repr__(self) -> str:
        return self.name


def _text(value: Any) -> str:
    return f"device(type='{value.type}')" if type(value).__name__ == "device" else repr(value)


class Graph:
    """Nodes in order; names are unique. Source: torch.fx.Graph."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def name(self, stem: str) -> str:
        """A new name: the stem, numbered from the second on, or from the first where Python has that name."""
        count = self._counts.get(stem, int(stem in TAKEN))
        self._counts[stem] = count + 1
        return f"{stem}_{count}" if count else stem

    def add(self, op: str, stem: str, target: Any, args: tuple = (), kwargs: dict | None = None, *,
            name: str | None = None, **how: Any) -> Node:  # fmt: skip
        """A node at the end."""
        node = Node(self, op, name or self.name(stem), target, args, kwargs, **how)
        node.stem = stem
        self.nodes.append(node)
        return node

    def pop(self) -> Node:
        """Takes the last node away, and its name."""
        node = self.nodes.pop()
        self._counts[node.stem] -= 1
        return node

    def constant(self, tensor: Tensor) -> Node:
        """A node that stands for a tensor from outside: the same tensor whenever the graph runs."""
        known = next((name for name, kept in self.constants.items() if kept is tensor), None)
        name = known or f"_tensor_constant{len(self.constants)}"
        self.constants[name] = tensor
        return self.add("get_attr", name, name)

    def code(self) -> str:
        """A Python function, in which a name is dropped after its last use."""
        lines, later = [], set()
        for node in reversed(self.nodes):
            used = [n for n in node.all_input_nodes if n not in later]
            dropped = [n.name for n in used] + ([node.name] if node not in later else [])
            later.update(used)
            if node.op == "output":
                lines.append(f"    return {node.args[0]!r}")
            elif node.op != "placeholder":
                end = f";  {' = '.join(dropped)} = None" if dropped else ""
                lines.append(f"    {node.name} = {node.text()}{end}")
        inputs = [node.name for node in self.nodes if node.op == "placeholder"]
        return "\n\n\n" + "\n".join([f"def forward({', '.join(['self', *inputs])}):", *reversed(lines)]) + "\n    "

    def run(self, inputs: Sequence[Any], evaluate: Callable[[Node, list[Any]], Any]) -> Any:
        """What the function returned, with evaluate(node, its inputs' values) for each operator's value."""
        values: dict[Node, Any] = {}
        given = iter(inputs)
        for node in self.nodes:
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "get_attr":
                values[node] = self.constants[node.target]
            elif node.op == "output":
                return tree_map(lambda x: values[x] if isinstance(x, Node) else x, node.args[0])
            else:
                own = [tree_map(lambda x: values[x] if isinstance(x, Node) else x, x) for x in node.inputs]
                values[node] = evaluate(node, own)
        raise AssertionError("a graph without output")


def _ran(node: Node, inputs: list[Any]) -> Any:
    assert node.call is not None
    return node.call(*inputs)


class GraphModule(Module):
    """A graph as a module; its constants are buffers. Source: torch.fx.GraphModule."""

    def __init__(self, graph: Graph, form: Any) -> None:
        super().__init__()
        self.graph, self._form = graph, form
        for name, tensor in graph.constants.items():
            self.register_buffer(name, tensor)

    @property
    def code(self) -> str:
        """The text of the function."""
        return self.graph.code()

    def forward(self, *args: Any) -> Any:
        """Runs the recorded operators on these inputs, which have the form of the examples."""
        flat, form = tree_flatten(args)
        if form != self._form:
            raise RuntimeError(f"the graph was made for inputs of the form {self._form}, not {form}")
        return self.graph.run(flat, _ran)
