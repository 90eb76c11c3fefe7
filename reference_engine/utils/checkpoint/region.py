"""The non-reentrant variant: the graph is recorded as ever, and holds a mark in place of each tensor that is saved.

Law: the k-th tensor that the function's operations save in the first run is the k-th that they save in the second. The
first backward pass to read a mark runs the function again and keeps what it saves, until it is read, once. A pass, or a
group of passes, has a recomputation of its own, so that the graph may be used again. The inputs are saved as those of a
custom function are: checked for changes in place, and given to the hooks of a region around this one.
Source: torch.utils.checkpoint.checkpoint, use_reentrant=False.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reference_engine.autograd.function import Function
from reference_engine.autograd.grad_mode import enable_grad
from reference_engine.autograd.graph import saved_tensors_hooks
from reference_engine.state import state
from reference_engine.tensor import Tensor
from reference_engine.utils.checkpoint import errors
from reference_engine.utils.checkpoint.errors import CheckpointError


def metadata_of(tensor: Tensor) -> dict[str, Any]:
    """What has to be equal in both runs."""
    return {"shape": tensor.shape, "dtype": tensor.dtype, "device": tensor.device}


class Stopped(BaseException):
    """Leaves the function once all that was saved is there again; no error, so that no `except Exception` takes it."""


class Mark:
    """What the graph holds in place of a saved tensor."""

    __slots__ = ("__weakref__",)


class Once:
    """Stands for the backward pass where a saved tensor is read outside of any."""


class Recomputation:
    """What one more run of the function has saved: tensors by the marks that stand for them, until they are read."""

    def __init__(self) -> None:
        self.values: weakref.WeakKeyDictionary[Mark, Tensor] = weakref.WeakKeyDictionary()
        self.count = 0  # tensors saved so far


class SaveInputs(Function):
    """Keeps the arguments of a checkpointed call, tensors among them as saved tensors."""

    @staticmethod
    def forward(ctx: Any, probe: Tensor, *args: Any) -> Tensor:
        ctx.save_for_backward(*[a if isinstance(a, Tensor) else None for a in args])
        ctx.others = [None if isinstance(a, Tensor) else a for a in args]
        return probe.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise AssertionError("nothing is computed from what only keeps inputs")


class Region:
    """One checkpointed call.

    rerun: runs the function on the arguments, in the second run's surroundings.
    check: gives the metadata to compare, or is None.
    """

    def __init__(self, rerun: Callable, inputs: Any, *, early_stop: bool, check: Callable | None) -> None:
        self.rerun, self.inputs, self.early_stop, self.check = rerun, inputs, early_stop, check
        self.marks: list[weakref.ref[Mark]] = []
        self.metadata: list[Any] = []
        self.complete = False  # whether the first run is over
        self.overrun = False  # whether more was saved again than by the first run as far as it had come
        self.recomputations: weakref.WeakKeyDictionary[Any, Recomputation] = weakref.WeakKeyDictionary()

    # --- the first run -------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[None]:
        """What the first run's operations save, they save here."""
        with saved_tensors_hooks(self.pack, self.unpack):
            yield
        self.complete = True

    def pack(self, tensor: Tensor) -> Mark:
        """A mark for a tensor, which itself is not kept."""
        mark = Mark()
        self.marks.append(weakref.ref(mark))
        if self.check is not None:
            self.metadata.append(self.check(tensor))
        return mark

    # --- backward ------------------------------------------------------------------------------------------------

    def unpack(self, mark: Mark) -> Tensor:
        """The tensor that a mark stands for, in the recomputation of the pass that asks."""
        key = state.exec_group or state.backward or Once()
        found = self.recomputations.get(key)
        if found is None:
            found = self.recompute(key)
        value = found.values.pop(mark, None)
        if value is None:
            raise CheckpointError(errors.USED_UP.format(extra=errors.OVERLAP if state.exec_group is not None else ""))
        return value

    def recompute(self, key: Any) -> Recomputation:
        """Runs the function again."""
        made = Recomputation()
        saver = self.inputs
        kept = saver.saved_tensors
        args = [other if t is None else t for t, other in zip(kept, saver.others, strict=True)]
        try:
            with saved_tensors_hooks(lambda tensor: self.keep(made, tensor), lambda tensor: tensor), enable_grad():
                self.rerun(*args)
        except Stopped as stop:
            if stop.args[0] is not made:
                raise
        self.compare(made)
        self.recomputations[key] = made
        return made

    def keep(self, made: Recomputation, tensor: Tensor) -> Tensor:
        """Takes the next tensor that the second run saves, for the mark of the same number."""
        tensor = tensor.detach() if tensor.requires_grad else tensor
        number, made.count = made.count, made.count + 1
        if number >= len(self.marks):
            if self.early_stop or self.complete:
                raise CheckpointError(errors.MORE_SAVED)
            self.overrun = True  # a backward pass inside the function, which has not saved everything yet
            return tensor
        mark = self.marks[number]()
        if mark is not None:
            made.values[mark] = tensor
        if self.early_stop and made.count == len(self.marks):
            raise Stopped(made)
        return tensor

    def compare(self, made: Recomputation) -> None:
        """Raises where the second run did not save what the first did."""
        if self.overrun:
            return
        if made.count != len(self.marks):
            raise CheckpointError(errors.OTHER_NUMBER.format(forward=len(self.marks), again=made.count))
        if self.check is None:
            return
        different = []
        for position, (reference, saved) in enumerate(zip(self.marks, self.metadata, strict=True)):
            mark = reference()
            again = self.check(made.values[mark]) if mark is not None else saved
            if again != saved:
                different.append(
                    f"tensor at position {position}:\nsaved metadata: {saved}\nrecomputed metadata: {again}\n"
                )
        if different:
            raise CheckpointError(errors.OTHER_METADATA.format(tensors="".join(different)))
