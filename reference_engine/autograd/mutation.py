"""In-place changes of saved tensors, allowed: the values of before are copied when they are about to be lost.

Law: every tensor saved within the context is noted by the memory it lies in. A write to that memory first copies those
that were not copied yet; a tensor nobody changes is never copied. Source: graph.allow_mutation_on_saved_tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from reference_engine.state import state

if TYPE_CHECKING:
    from reference_engine.tensor import Tensor

OUTSIDE = (
    "Trying to backward outside of the 'allow_mutation_on_saved_tensors' context in which the graph was originally "
    "recorded."
)


class Handle:
    """What the graph holds in place of a saved tensor; the context forgets the tensor when the graph drops it."""

    __slots__ = ("__weakref__",)


class SavedValues:
    """What an allow_mutation_on_saved_tensors block knows: saved tensors by handle, as they were saved (`original`)
    or copied before a change (`cloned`).
    """

    def __init__(self) -> None:
        self.original: WeakKeyDictionary[Handle, Tensor] = WeakKeyDictionary()
        self.cloned: WeakKeyDictionary[Handle, Tensor] = WeakKeyDictionary()
        self._handles: WeakValueDictionary[Any, Handle] = WeakValueDictionary()
        self.active = True

    def pack(self, tensor: Tensor) -> Handle:
        """The handle of a saved tensor; the same one where that tensor was saved before at this version."""
        array = tensor._memory
        key = (
            id(tensor._version_counter()),
            tensor._version,
            array.ctypes.data,
            array.shape,
            array.strides,
            tensor.dtype,
        )
        handle = self._handles.get(key)
        if handle is None:
            handle = self._handles[key] = Handle()
            # Detached: an output kept here with its history would keep its own graph, hence its handle.
            self.original[handle] = tensor.detach()
        return handle

    def unpack(self, handle: Handle) -> Tensor:
        """The tensor as it was when it was saved."""
        assert self.active, OUTSIDE
        return self.cloned[handle] if handle in self.cloned else self.original[handle]

    def before_write(self, written: Tensor) -> None:
        """Copies what lies in the memory that is about to be written to."""
        memory = written._memory
        for handle, tensor in list(self.original.items()):
            if np.may_share_memory(tensor._memory, memory):
                before = state.set_grad_enabled(False)
                try:
                    self.cloned[handle] = tensor.clone()
                finally:
                    state.set_grad_enabled(before)
                del self.original[handle]

    def clear(self) -> None:
        """Forgets everything, at the end of the block."""
        self.active = False
        for table in (self.original, self.cloned, self._handles):
            table.clear()


@contextmanager
def watching_writes(notice: Callable[[Tensor], None]) -> Iterator[None]:
    """Calls `notice` with each tensor that this thread is about to write to in place."""
    state.before_write = notice
    try:
        yield
    finally:
        state.before_write = None


@contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[SavedValues]:
    """Within this block saved tensors may be changed in place, and backward, in the same block, uses the values they had.

    Yields the block's SavedValues. Source: torch.autograd.graph.allow_mutation_on_saved_tensors.
    """
    from reference_engine.autograd.graph import saved_tensors_hooks

    if state.before_write is not None:
        raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
    values = SavedValues()
    try:
        with saved_tensors_hooks(values.pack, values.unpack), watching_writes(values.before_write):
            yield values
    finally:
        values.clear()
