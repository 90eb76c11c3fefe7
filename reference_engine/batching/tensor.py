"""Batched tensors: what vmap hands to a function in the place of one example.

Law: a batched tensor stands for all examples at once. It holds a tensor with the batch as first dimension, and shows that
dimension to nobody: shape, strides and dtype are those of one example. Operators on it are operators on what it holds
(rules.py); its elements cannot be read, since they differ from example to example. What it holds may be a batched tensor of
a level further out. History and tangents are those of what it holds. Source: torch.func.vmap; torch docs "UX Limitations".
"""

from __future__ import annotations

from itertools import count
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.state import state
from reference_engine.tensor import Tensor, new

if TYPE_CHECKING:
    from collections.abc import Callable

CONTROL_FLOW = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that yet, "
    "please shout over at https://github.com/pytorch/functorch/issues/257 ."
)
ITEM = (
    "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, please "
    "try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch internals, "
    "please file a bug report."
)


MASK = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent indexing. Attempting to batch over indexing "
    "with a boolean mask is not supported: its output shape depends on data. Please use torch.where instead."
)
DYNAMIC = (
    "vmap: We do not support batching operators that can output dynamic shape. Attempting to batch over such operators will "
    "give different shapes for different examples."
)


ESCAPED = (
    "Either your tensor may have escaped from inside a function being vmapped and this is a user error (see "
    "https://pytorch.org/functorch/stable/ux_limitations.html), or there is an internal functorch error in "
    "`gen_vmap_plumbing` Please file an issue if it looks like the latter"
)


class NeedsLoop(Exception):
    """An operator would read elements that differ between examples: the function has to run example by example."""


class Level:
    """One vmap: how many examples there are, and what random operators do in it. A later one has a larger index: it is
    further in. `looped`: it runs example by example, so that nothing is batched there. `number`: how many transforms are
    around, itself included.
    """

    _numbers = count()
    number = 0

    def __init__(self, size: int, randomness: str, *, looped: bool = False) -> None:
        self.index, self.size, self.randomness, self.looped = next(Level._numbers), size, randomness, looped


class Probe:
    """In the place of a batched tensor's array: the form of one example, and no elements."""

    __slots__ = ("dtype", "itemsize", "level", "ndim", "shape", "strides")

    def __init__(self, array: Any, level: Level) -> None:
        self.level = level
        self.shape, self.strides = array.shape[1:], array.strides[1:]
        self.dtype, self.itemsize, self.ndim = array.dtype, array.dtype.itemsize, array.ndim - 1

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def flags(self) -> Any:
        steps = [stride // self.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(np.empty(1, np.int8), self.shape, steps).flags

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        if self.level not in state.vmap_levels:
            raise RuntimeError(ESCAPED)
        raise NeedsLoop

    def __getattr__(self, name: str) -> Any:
        """Whatever else an array has is of its elements."""
        if hasattr(np.ndarray, name):
            self._refuse()
        raise AttributeError(name)

    __array__ = __array_ufunc__ = __array_function__ = __getitem__ = __bool__ = __float__ = __int__ = __index__ = (
        _refuse
    )
    __iter__ = __len__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __abs__ = __neg__ = __invert__ = _refuse
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __and__ = __or__ = _refuse
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = _refuse
    __hash__ = None  # type: ignore[assignment]


class BatchedTensor(Tensor):
    """A tensor per example. `_value` has the batch first; `_level` says which vmap the batch is of."""

    _value: Tensor
    _level: Level
    _source: tuple[Tensor, int] | None = None

    @property
    def _array(self) -> Any:  # type: ignore[override]
        return Probe(self._value._array, self._level)

    @classmethod
    def _adopt(cls, tensor: Tensor) -> Tensor:
        assert isinstance(tensor, BatchedTensor)
        value = tensor._value
        return batched(type(value)._adopt(value), tensor._level)

    def detach(self) -> Tensor:
        return apply(lambda t: t.detach(), self)

    def item(self) -> Any:
        raise RuntimeError(ITEM)

    def tolist(self) -> Any:
        raise RuntimeError(ITEM)

    def numpy(self, *, force: bool = False) -> Any:
        raise RuntimeError("vmap: It looks like you're calling .numpy() on a Tensor, which differs between examples.")

    @property  # type: ignore[misc]
    def data(self) -> Tensor:
        raise RuntimeError("accessing `data` under vmap transform is not allowed")

    def __bool__(self) -> bool:
        raise RuntimeError(CONTROL_FLOW)

    def data_ptr(self) -> int:
        return self._value.data_ptr()

    def storage_offset(self) -> int:
        return self._value.storage_offset()

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(p, BatchedTensor) and p._value._array.dtype == bool for p in parts):
            raise RuntimeError(MASK)
        return Tensor.__getitem__(self, key)

    def nonzero(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(DYNAMIC)

    unique = unique_consecutive = nonzero

    def __index__(self) -> int:
        raise RuntimeError(ITEM)


def _of_value(name: str) -> property:
    return property(lambda self: getattr(self._value, name), lambda self, x: setattr(self._value, name, x))


for _name in ("_edge", "_tracked", "_counter", "_accumulator", "_grad", "_hooks", "_inference", "_retains", "_base", "_view",
              "_views", "_tangents", "_post_accumulate_hooks", "_grad_dtype"):  # fmt: skip
    setattr(BatchedTensor, _name, _of_value(_name))


def _new(name: str) -> Any:
    def make(self: BatchedTensor, *size: Any, **options: Any) -> Tensor:
        if name == "new_full":
            return batched(getattr(self._value, name)((self._level.size, *size[0]), *size[1:], **options), self._level)
        sizes = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return batched(getattr(self._value, name)(self._level.size, *sizes, **options), self._level)

    return make


for _name in ("new_zeros", "new_ones", "new_empty", "new_full"):
    setattr(BatchedTensor, _name, _new(_name))


def refuse_answer(name: str, *tensors: Any) -> None:
    """Raises where a function that answers yes or no for all elements meets a batched tensor."""
    if any(isinstance(x, BatchedTensor) for x in tensors):
        raise RuntimeError(
            f"vmap over torch.{name} isn't supported yet: its result is one bool, and examples may differ."
        )


def refuse_dynamic(*tensors: Any) -> None:
    """Raises where an operator whose result's shape depends on elements meets a batched tensor."""
    if any(isinstance(x, BatchedTensor) for x in tensors):
        raise RuntimeError(DYNAMIC)


def batched(value: Tensor, level: Level) -> BatchedTensor:
    """The batched tensor that holds `value`, whose first dimension is the batch."""
    result = new(BatchedTensor)
    object.__setattr__(result, "_value", value)
    object.__setattr__(result, "_level", level)
    return result


def apply(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x), done to what a batched tensor holds at the bottom."""
    return batched(apply(function, x._value), x._level) if isinstance(x, BatchedTensor) else function(x)


def bottom(x: Tensor) -> Tensor:
    """What is held at the bottom of a batched tensor, with all batches in front."""
    while isinstance(x, BatchedTensor):
        x = x._value
    return x


def innermost(values: Any) -> Level | None:
    """The innermost level at which any of `values` is batched."""
    found = None
    for x in values:
        if isinstance(x, BatchedTensor) and (found is None or x._level.index > found.index):
            found = x._level
    return found


def innermost_of_all(values: Any) -> Level | None:
    """The innermost level at which any of `values`, or a tangent of one, is batched."""
    tangents = [t for x in values if isinstance(x, Tensor) for _, t in _tangents(x)] if state.dual_levels else []
    return innermost((*values, *tangents))


def is_batched_at(x: Any, level: Level) -> bool:
    """Whether x, or a tangent of it, differs between the examples of `level`."""
    if state.dual_levels and isinstance(x, Tensor) and any(is_batched_at(t, level) for _, t in _tangents(x)):
        return True
    return holds_batch_of(x, level)


def holds_batch_of(x: Any, level: Level) -> bool:
    """Whether the value of x differs between the examples of `level`."""
    while isinstance(x, BatchedTensor):
        if x._level is level:
            return True
        x = x._value
    return False


def _tangents(x: Tensor) -> list[tuple[Any, Tensor]]:
    from reference_engine.tape.tangents import get

    return [(dual, t) for dual in state.dual_levels if (t := get(x, dual)) is not None]


def exposed(x: Tensor, level: Level) -> Tensor:
    """x with the batch of `level` as its first dimension; one that is not batched there repeats along it."""
    if isinstance(x, BatchedTensor) and x._level is level:
        return x._value
    if not isinstance(x, BatchedTensor) or x._level.index < level.index:
        return _repeated(x, level)
    inner = exposed(x._value, level)  # level's batch, then x's own
    return batched(inner.movedim(1, 0), x._level)


def _repeated(x: Tensor, level: Level) -> Tensor:
    """x once for each example. Its tangents may differ between examples all the same."""
    tangents = _tangents(x) if state.dual_levels else []
    if not tangents:
        return x.expand(level.size, *x.shape)
    from reference_engine.tape.tangents import below, put

    result = below(x, state.dual_levels[0]).expand(level.size, *x.shape)
    for dual, tangent in tangents:
        put(result, dual, exposed(tangent, level))
    return result


def hidden(x: Tensor, level: Level) -> Tensor:
    """The reverse of exposed: x, whose first dimension is the batch of `level`, as a tensor batched there."""
    if isinstance(x, BatchedTensor) and x._level.index > level.index:
        return batched(hidden(x._value.movedim(1, 0), level), x._level)
    return batched(x, level)


def everywhere(x: Tensor) -> Tensor:
    """x batched at all levels that there are: each example has its own."""
    for level in state.vmap_levels:
        if not (level.looped or is_batched_at(x, level)):  # where only a tangent is, the value stays one for all
            x = _inserted(x, level)
    return x


def _inserted(x: Tensor, level: Level) -> Tensor:
    """x, repeated for the examples of `level`, at this level's place among those that x has."""
    if isinstance(x, BatchedTensor) and x._level.index > level.index:
        return batched(_inserted(x._value, level), x._level)
    return batched(exposed(x, level), level)
