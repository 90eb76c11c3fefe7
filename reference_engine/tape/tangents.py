"""Tangents: what forward mode carries along with a tensor.

Law: at each level a tensor is x + e t with e**2 = 0, t its tangent; a tensor without one has tangent 0. Levels are
numbered from the outside in; a tangent at one level may itself have tangents at the levels outside of it, never at its
own or further in. So perturbations of different levels are never confused. When a level ends, its tangents are gone.
Views share tangents as they share memory: the tangent of a view is that view of its base's tangent.
Source: torch.autograd.forward_ad; torch docs "Forward-mode Automatic Differentiation".
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from reference_engine.state import state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_engine.tensor import Tensor


class Tangents(dict):
    """A tensor's tangents by level."""

    __slots__ = ("__weakref__", "ended")
    ended: tuple[int, ...]  # the numbers of transforms that have ended and at whose levels it had tangents


class Level:
    """One level of forward mode. `public`: entered by forward_ad, not by a transform."""

    def __init__(self, index: int, *, public: bool) -> None:
        self.index, self.public, self.number = index, public, state.depth + 1
        self.holders: list[weakref.ref[Tangents]] = []

    def end(self) -> None:
        """Deletes all tangents of this level."""
        for reference in self.holders:
            holder = reference()
            if holder is not None:
                holder.pop(self, None)
                if not self.public:
                    holder.ended = (*getattr(holder, "ended", ()), self.number)
        self.holders = []


def enter(*, public: bool) -> Level:
    """Starts a level inside those that there are."""
    level = Level(len(state.dual_levels), public=public)
    state.dual_levels = (*state.dual_levels, level)
    state.depth += not public
    state.refresh()
    return level


def leave(level: Level) -> None:
    """Ends the innermost level."""
    state.dual_levels = tuple(other for other in state.dual_levels if other is not level)
    state.depth -= not level.public
    state.refresh()
    level.end()


def put(tensor: Tensor, level: Level, tangent: Tensor) -> None:
    """Makes `tangent` the tangent of `tensor`. Where the tensor is batched by vmap: of what it holds."""
    if state.vmap_levels and (held := _held(tensor)) is not None:
        put(held[0], level, held[2](tangent, held[1]))
        return
    holder = tensor._tangents
    if holder is None:
        holder = tensor._tangents = Tangents()
    if level not in holder:
        level.holders.append(weakref.ref(holder))
    holder[level] = tangent


def get(tensor: Tensor, level: Level) -> Tensor | None:
    """The tangent of `tensor`; for a view that was taken before its base had one, that view of it."""
    if state.vmap_levels and (held := _held(tensor)) is not None:
        found = get(held[0], level)
        return None if found is None else held[3](found, held[1])
    holder = tensor._tangents
    found = holder.get(level) if holder is not None else None
    if found is not None or tensor._base is None or not tensor._view.shares_tangent:
        return found
    whole = get(tensor._base, level)
    if whole is None:
        return None
    found = _same_view(tensor, whole)
    put(tensor, level, found)
    return found


def _held(tensor: Tensor) -> Any:
    """(what a batched tensor holds, its level, exposed, hidden); None for any other."""
    from reference_engine.batching.tensor import BatchedTensor, exposed, hidden

    return (tensor._value, tensor._level, exposed, hidden) if isinstance(tensor, BatchedTensor) else None


def _same_view(view: Tensor, of: Tensor) -> Tensor:
    """The view of `of`, laid out as the view's base, that shows what `view` shows of its base."""
    from reference_engine.ops.registry import functions

    base = view._base
    assert base is not None
    # Parts of complex numbers as real ones, and back: the tangent is read the same way first.
    if (view._array.dtype.kind == "c") != (of._array.dtype.kind == "c"):
        of = functions["view_as_complex" if view._array.dtype.kind == "c" else "view_as_real"](of)
    step = view._array.itemsize
    offset = (view._array.ctypes.data - base._array.ctypes.data) // step + of.storage_offset()
    strides = [stride // step for stride in view._array.strides]
    return functions["as_strided"](of, view._array.shape, strides, offset)


def levels_of(values: Iterable[Any]) -> list[Level]:
    """The levels at which any of `values` has a tangent, from the outside in."""
    from reference_engine.tensor import Tensor

    tensors = [x for x in values if isinstance(x, Tensor)]
    return [level for level in state.dual_levels if any(get(x, level) is not None for x in tensors)]


def below(tensor: Tensor, level: Level) -> Tensor:
    """`tensor` as the levels outside of `level` see it: the same value and history, without the other tangents."""
    if state.vmap_levels and (held := _held(tensor)) is not None:
        return held[3](below(held[0], level), held[1])
    from reference_engine.tape.node import edge_of
    from reference_engine.tensor import Tensor

    result = Tensor._alias(tensor)
    result._edge = edge_of(tensor)  # a leaf's accumulator as well, which keeps it alive
    for outer in state.dual_levels[: level.index]:
        tangent = get(tensor, outer)
        if tangent is not None:
            put(result, outer, tangent)
    return result


def share(tensor: Tensor, alias: Tensor) -> None:
    """Gives an alias the tangents of `tensor`, in memory of their own: the tensor is going to be overwritten."""
    for level in levels_of((tensor,)):
        tangent = get(tensor, level)
        assert tangent is not None
        put(alias, level, tangent.clone())  # type: ignore[attr-defined]


def overwrite(target: Tensor, result: Tensor) -> None:
    """After `target` got the values of `result` in place: its tangents too, in their own memory, which views share."""
    for level in levels_of((target, result)):
        new, old = get(result, level), get(target, level)
        if old is None and target._base is not None and target._view.shares_tangent:
            put(target._base, level, _zeros_like(target._base))
            old = get(target, level)
        if old is None:
            assert new is not None
            put(target, level, laid_out(new, target))
        elif new is None:
            old.zero_()
        else:
            old.copy_(new)


def _zeros_like(tensor: Tensor) -> Tensor:
    import numpy as np

    from reference_engine.creation import zeros_like
    from reference_engine.tensor import wrap

    return zeros_like(tensor) if state.tracing else wrap(np.zeros_like(tensor._array))


def laid_out(tangent: Tensor, like: Tensor) -> Tensor:
    """`tangent` itself where it lies in memory as `like` does, else a copy that does."""
    import numpy as np

    from reference_engine.tensor import wrap

    if tangent.stride() == like.stride():
        return tangent
    if state.vmap_levels and not type(tangent._array) is type(like._array) is np.ndarray:  # one of them is batched
        order = sorted(range(like.dim()), key=lambda d: -like.stride(d))  # type: ignore[attr-defined]
        return tangent.permute(order).contiguous().permute([order.index(d) for d in range(len(order))])  # type: ignore[attr-defined]
    return wrap(np.empty_like(like._array, dtype=tangent._array.dtype)).copy_(tangent)  # type: ignore[attr-defined]
