"""Nested Python containers as trees: tuples, named tuples, lists, dicts and OrderedDicts are nodes, all else leaves.

Source: torch.utils._pytree.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class TreeSpec:
    """The form of a tree: the type of its root (None for a leaf), what else its root needs, and its children."""

    type: Any
    context: Any
    children: tuple[TreeSpec, ...] = ()

    @property
    def num_leaves(self) -> int:
        """How many leaves the tree has."""
        return 1 if self.type is None else sum(child.num_leaves for child in self.children)


LEAF = TreeSpec(None, None)


def _children(tree: Any) -> tuple[Any, Any, list] | None:
    """(type, context, children) of a node; None for a leaf."""
    kind = type(tree)
    if kind in (dict, OrderedDict):
        return kind, tuple(tree), list(tree.values())
    if kind in (tuple, list):
        return kind, None, list(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return kind, "named", list(tree)
    return None


def tree_flatten(tree: Any) -> tuple[list, TreeSpec]:
    """The leaves in order, and the form."""
    node = _children(tree)
    if node is None:
        return [tree], LEAF
    kind, context, children = node
    parts = [tree_flatten(child) for child in children]
    return [leaf for leaves, _ in parts for leaf in leaves], TreeSpec(kind, context, tuple(spec for _, spec in parts))


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The tree of that form with these leaves."""
    return _built(iter(list(leaves)), treespec)


def _built(leaves: Any, spec: TreeSpec) -> Any:
    if spec.type is None:
        return next(leaves)
    children = [_built(leaves, child) for child in spec.children]
    if spec.type in (dict, OrderedDict):
        return spec.type(zip(spec.context, children, strict=True))
    return spec.type(*children) if spec.context == "named" else spec.type(children)


def tree_map(func: Callable, tree: Any, *rests: Any) -> Any:
    """The tree with `func` of each leaf (and of the leaves of `rests` beside it)."""
    leaves, spec = tree_flatten(tree)
    others = [tree_flatten(rest)[0] for rest in rests]
    return tree_unflatten([func(*group) for group in zip(leaves, *others, strict=True)], spec)


def tree_leaves(tree: Any) -> list:
    """The leaves in order."""
    return tree_flatten(tree)[0]


def tree_structure(tree: Any) -> TreeSpec:
    """The form."""
    return tree_flatten(tree)[1]
