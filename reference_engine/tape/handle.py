"""What users see of one saved tensor: `node._raw_saved_self`, through which it gets hooks of its own.

Source: torch notes/autograd, "Hooks for saved tensors", "Registering hooks for a saved tensor".
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from reference_engine.tape.saved import FREED, NUMBERS, Packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.tape.node import Node
    from reference_engine.tensor import Tensor

FREED_HOOKS = (
    "Calling register_hooks on a saved tensor after it has been freed. Saved intermediate values of the graph are freed "
    "when you call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the graph "
    "a second time or if you need to access saved variables after calling backward."
)


INCOMPATIBLE = (
    "register_hooks(): incompatible function arguments. The following argument types are supported:\n    1. (self: "
    "torch._C._autograd.SavedTensor, arg0: collections.abc.Callable, arg1: collections.abc.Callable) -> None"
)


class SavedTensor:
    """One entry of what a node saved. It does not keep the node alive. Source: torch.autograd.SavedTensor."""

    __slots__ = ("_index", "_node")

    _index: int
    _node: weakref.ref[Node]

    def __init__(self) -> None:
        raise RuntimeError("Trying to create a SavedTensor object from Python is forbidden.")

    @classmethod
    def of(cls, node: Node, index: int) -> SavedTensor:
        """The handle of entry `index` of `node`."""
        handle = object.__new__(cls)
        handle._node, handle._index = weakref.ref(node), index
        return handle

    def _entry(self) -> Any:
        node: Any = self._node()
        return FREED if node is None else node.entry_at(self._index)

    def register_hooks(self, *hooks: Any) -> None:
        """register_hooks(pack_hook, unpack_hook): packs this saved tensor at once, detached; `unpack_hook` runs whenever it
        is read from now on.
        """
        if len(hooks) != 2:
            raise TypeError(INCOMPATIBLE)
        pack_hook, unpack_hook = hooks
        if not callable(pack_hook) or not callable(unpack_hook):
            raise TypeError(INCOMPATIBLE)
        entry = self._entry()
        if entry is FREED:
            raise RuntimeError(FREED_HOOKS)
        if entry is None:
            raise RuntimeError("Calling register_hooks on a saved tensor with value None is forbidden")
        if isinstance(entry, Packed):
            raise RuntimeError("Calling register_hooks on a saved tensor whose hooks have already been set. Hint: only one "
                               "pair of hooks is allowed at a time.")  # fmt: skip
        node: Any = self._node()
        packed = Packed(without_history(entry), output_number(entry), pack_hook, unpack_hook)
        node.put_entry(self._index, packed)

    @property
    def unpack_hook(self) -> Callable[[Any], Tensor] | None:
        """The unpack hook of this saved tensor, None where it has no hooks."""
        entry = self._entry()
        return entry.unpack if isinstance(entry, Packed) else None

    @property
    def data(self) -> Any:
        """What is stored: what the pack hook returned, or the tensor without history."""
        entry = self._entry()
        if entry is FREED or entry is None:
            return None
        return entry.packed if isinstance(entry, Packed) else without_history(entry)


def without_history(entry: Any) -> Tensor:
    """A saved entry as a tensor that has no part in the graph, on the same memory and version counter."""
    from reference_engine.tensor import wrap

    if isinstance(entry, NUMBERS):
        return number_tensor(entry)
    if type(entry) is tuple or (hasattr(entry, "nr") and entry.nr is not None):
        array, counter = entry if type(entry) is tuple else (entry.array, entry.counter)
        result = wrap(array)
        result._counter = counter
        return result
    return (entry.tensor if hasattr(entry, "tensor") else entry).detach()


def output_number(entry: Any) -> int | None:
    """Which output of its node a saved entry is; None for an input."""
    return 0 if type(entry) is tuple else getattr(entry, "nr", None)


def number_tensor(number: Any) -> Tensor:
    """A saved number as torch shows it: a 0-d tensor of Python's own width."""
    import numpy as np

    from reference_engine.tensor import wrap

    return wrap(np.asarray(number))
