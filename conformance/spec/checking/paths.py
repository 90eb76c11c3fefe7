"""Attributes and torch paths: each is in the vocabulary, or the program's own.

Modules never travel: `torch` and its namespaces may only be followed by a dot, or be given a name once
(`F = torch.nn.functional`), so every path out of the engine is read from the text.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator

from .imports import imported
from .names import LITERAL_ONLY
from .problem import Problem, near
from .vocabulary import Vocabulary

# What Python's own objects reach through: never a program's own attribute.
# fmt: off
FRAMES = frozenset({
    "ag_await", "ag_code", "ag_frame", "cr_await", "cr_code", "cr_frame", "cr_origin", "f_back", "f_builtins", "f_code",
    "f_globals", "f_locals", "f_trace", "format", "format_map", "func_closure", "func_code", "func_globals", "gi_code",
    "gi_frame", "gi_yieldfrom", "im_class", "im_func", "im_self", "mro", "tb_frame", "tb_lasti", "tb_next",
})
# fmt: on

# Methods that set an attribute whose name is their first argument.
REGISTERING = frozenset({"register_buffer", "register_parameter", "register_module", "add_module"})

Chain = tuple[str, ...]


class Paths:
    """Every attribute of a program, judged. After `problems()`, `used` holds the torch paths that it names."""

    def __init__(self, tree: ast.Module, nodes: Collection[ast.AST], vocabulary: Vocabulary) -> None:
        self.tree, self.nodes, self.vocabulary = tree, nodes, vocabulary
        self.used: set[str] = set()
        self.aliases: dict[str, Chain] = {"torch": ()}
        self._rooted: dict[int, tuple[ast.expr, Chain]] = {}
        self._may_be_namespace: set[int] = set()
        self._find_aliases()
        self.own = self._own_attributes()

    def problems(self) -> Iterator[Problem]:
        """Problems with paths, attributes, and the literal names given to getattr and its kin."""
        inner = {id(n.value) for n in self.nodes if isinstance(n, ast.Attribute)}
        for node in self.nodes:
            if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
                chain = self.chain(node)
                if chain is not None:
                    yield from self._path(node, chain)
            if isinstance(node, ast.Attribute) and self.chain(node) is None:
                yield from self._attribute(node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield from self._call(node, node.func.id)

    def chain(self, node: ast.AST) -> Chain | None:
        """The parts below torch that `node` spells, through aliases; None where it does not start at torch."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in self.aliases:
            return (*self.aliases[node.id], *reversed(parts))
        return None

    def _find_aliases(self) -> None:
        """Names bound exactly once in the whole program, to a torch path."""
        times = Counter(n.id for n in self.nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        times.update(n.arg for n in self.nodes if isinstance(n, ast.arg))
        times.update(n.name for n in self.nodes if isinstance(n, ast.FunctionDef | ast.ClassDef))
        times.update(n.asname or n.name for n in self.nodes if isinstance(n, ast.alias))
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom):
                self._find_imported(node, times)
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                for target, value in _pairs(node.targets[0], node.value):
                    chain = self.chain(value)
                    if isinstance(target, ast.Name) and times[target.id] == 1 and chain is not None:
                        self.aliases[target.id] = chain
                        self._may_be_namespace.add(id(value))

    def _find_imported(self, node: ast.ImportFrom, times: Counter[str]) -> None:
        """What an import binds is required, whether it is used or not."""
        for alias in node.names:
            if (path := imported(node, alias)) in self.vocabulary.importable:
                self.used.add(path)
                if times[name := alias.asname or alias.name] == 1:
                    self.aliases[name] = tuple(path.split("."))

    def _own_attributes(self) -> frozenset[str]:
        """Attribute names that the program itself sets: on its objects, in its classes, by setattr."""
        names: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and self._of_program(node.value):
                names.add(node.attr)
            elif isinstance(node, ast.Call) and _called(node) in REGISTERING and node.args:
                if isinstance(name := node.args[0], ast.Constant) and str(name.value).isidentifier():
                    names.add(str(name.value))
            elif isinstance(node, ast.ClassDef):
                for inner in node.body:
                    names |= _class_names(inner)
        return frozenset(names)

    def _of_program(self, value: ast.expr) -> bool:
        while isinstance(value, ast.Attribute):
            value = value.value
        return not (isinstance(value, ast.Name) and value.id in self.aliases)

    def _path(self, node: ast.Attribute | ast.Name, chain: Chain) -> Iterator[Problem]:
        found = self.vocabulary.split(chain)
        spelled = ".".join(("torch", *chain))
        if isinstance(node.ctx, ast.Store | ast.Del) and ".".join(chain) not in self.vocabulary.settable:
            yield Problem.at(node, f"assignment to {spelled}: the engine's names are not the program's")
            return
        if chain and found is None:
            yield Problem.at(node, f"{spelled} is not in the vocabulary", self._near_path(chain))
        elif not chain or (found and found[0] in self.vocabulary.namespaces and found[0] not in self.vocabulary.paths):
            if id(node) not in self._may_be_namespace:
                yield Problem.at(node, f"the module {spelled} is used as a value", "give it a name once, at the top")
        elif found:
            rest = found[1]
            self.used.add(".".join(part for part in chain if not part.startswith("__")))
            for part in rest:
                if not self._known(part):
                    yield self._refused(node, part, self._importable(found[0], part))

    def _attribute(self, node: ast.Attribute) -> Iterator[Problem]:
        if isinstance(node.ctx, ast.Store | ast.Del) and not self._of_program(node.value):
            chain = self.chain(node.value) or ()
            if ".".join((*chain, node.attr)) not in self.vocabulary.settable:
                spelled = ".".join(("torch", *chain, node.attr))
                yield Problem.at(node, f"assignment to {spelled}: the engine's names are not the program's")
        elif not self._known(node.attr):
            yield self._refused(node, node.attr)

    def _call(self, node: ast.Call, function: str) -> Iterator[Problem]:
        if function == "type" and len(node.args) != 1:
            yield Problem.at(node, "type with three arguments is refused", "write a class statement")
        if function not in LITERAL_ONLY:
            return
        if len(node.args) < 2 or node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            yield Problem.at(node, f"{function} takes an object and a literal name")
            return
        subject, name = node.args[0], node.args[1]
        if function in ("setattr", "delattr") and self.chain(subject) is not None:
            yield Problem.at(node, f"{function} on the engine: the engine's names are not the program's")
        if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
            yield Problem.at(name, f"{function} takes a literal name", "write it out, or loop over functions")
        elif not self._known(name.value) and not (function == "hasattr" and not name.value.startswith("_")):
            yield self._refused(name, name.value)

    def _known(self, name: str) -> bool:
        if name.startswith("__"):
            return name in self.vocabulary.dunders
        return name in self.vocabulary.attributes or (name in self.own and name not in FRAMES)

    def _importable(self, module: str, name: str) -> str | None:
        if f"{module}:{name}" not in self.vocabulary.importable:
            return None
        return f"from torch.{module} import {name}"

    def _refused(self, node: ast.expr, name: str, hint: str | None = None) -> Problem:
        place = Problem.at_attribute if isinstance(node, ast.Attribute) and node.attr == name else Problem.at
        if name.startswith("__"):
            return place(node, f"the attribute '{name}' with two leading underscores is refused")  # type: ignore[arg-type]
        if name in FRAMES:
            return place(node, f"the attribute '{name}' is refused")  # type: ignore[arg-type]
        hint = hint or near(name, self.vocabulary.attributes | self.own)
        return place(node, f"the attribute '{name}' is not in the vocabulary", hint)  # type: ignore[arg-type]

    def _near_path(self, chain: Chain) -> str | None:
        """Near names in the same namespace, else the same name in another."""
        here = ".".join(chain[:-1])
        prefix = f"{here}." if here else ""
        siblings = [p for p in self.vocabulary.paths if p.startswith(prefix) and "." not in p[len(prefix) :]]
        hint = near(chain[-1], [p[len(prefix) :] for p in siblings])
        if hint:
            return hint.replace("mean ", f"mean torch.{prefix}").replace(" or ", f" or torch.{prefix}")
        elsewhere = sorted(p for p in self.vocabulary.paths if p.rpartition(".")[2] == chain[-1])
        return f"did you mean {' or '.join('torch.' + p for p in elsewhere[:3])}?" if elsewhere else None


def _called(node: ast.Call) -> str | None:
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _class_names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return set()
