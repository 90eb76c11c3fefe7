"""Tensors to and from Python: numbers, lists, NumPy arrays, text, copies, pickles."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.state import state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_engine.operator_types import Operators as Base
    from reference_engine.tape.node import Edge
    from reference_engine.tensor import Tensor
else:
    Base = object


# Instance attributes that are the engine's own; all others are what a user hung onto a tensor.
_OWN = frozenset({
    "_accumulator", "_array", "_base", "_counter", "_edge", "_grad", "_grad_dtype", "_hooks", "_inference", "_others",
    "_post_accumulate_hooks", "_retains", "_stored", "_tangents", "_tracked", "_view", "_views",
})  # fmt: skip


class Converted(Base):
    """What Python may ask of a tensor as of any value."""

    _array: np.ndarray
    _edge: Edge | None
    _tracked: bool
    _grad: Tensor | None

    def item(self) -> Any:
        """The one element as a Python number."""
        if self._array.size != 1:
            raise RuntimeError(f"a Tensor with {self._array.size} elements cannot be converted to Scalar")
        return self._array.item()

    def tolist(self) -> Any:
        """The elements as nested Python lists, a number for a 0-d tensor."""
        return self._array.tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The array itself, memory shared; not of what is being recorded. Source: Tensor.numpy."""
        if state.grad_enabled and self.requires_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.is_conj() and not force:
            raise RuntimeError("Can't call numpy() on Tensor that has conjugate bit set. Use tensor.resolve_conj().numpy() "
                               "instead.")  # fmt: skip
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    __array_priority__ = 1000  # NumPy leaves operators to the tensor

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: Any = False) -> Tensor:
        from reference_engine.tensor import wrap

        return wrap(np.asarray(array, np.uint8 if array.dtype == bool else None))

    def cpu(self, memory_format: Any = None) -> Any:
        """Itself: it is on the CPU."""
        return self

    def __bool__(self) -> bool:
        if self._array.size != 1:
            what = "no values" if self._array.size == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {what} is ambiguous")
        return bool(self._array.item())

    def _real_item(self, kind: str) -> Any:
        if self._array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        value = self.item()
        if isinstance(value, complex):
            if value.imag != 0:
                raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
            return value.real
        return value

    def is_nonzero(self) -> bool:
        """Whether the only element is not zero. Source: torch.Tensor.is_nonzero."""
        return bool(self)

    def __int__(self) -> int:
        return int(self._real_item("int64_t"))

    def __float__(self) -> float:
        return float(self._real_item("double"))

    def __complex__(self) -> complex:
        return complex(self._real_item("complex") if self._array.size != 1 else self.item())

    def __index__(self) -> int:
        if self._array.dtype.kind not in "iub" or self._array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._array.item())

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self._array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, element: Any) -> bool:
        return bool((self == element).any().item())

    __hash__ = object.__hash__

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._array.ndim == 0 else object.__format__(self, spec)

    def __repr__(self) -> str:
        from reference_engine.printing import show

        return show(self)  # type: ignore[arg-type]

    def __deepcopy__(self, memo: dict) -> Tensor:
        if self._edge is not None:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                               "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
                               "because of a torch.nn.utils.weight_norm usage, see "
                               "https://github.com/pytorch/pytorch/pull/103001")  # fmt: skip
        if id(self) in memo:
            return memo[id(self)]
        from reference_engine.tensor import wrap

        cls: Any = type(self)
        result = cls._adopt(wrap(_copied(self._array, memo)))
        memo[id(self)] = result
        result._tracked = self._tracked
        result.__dict__.update(copy.deepcopy(self._extra_attributes(), memo))
        if self._grad is not None:
            result._grad = copy.deepcopy(self._grad, memo)
        return result

    def _extra_attributes(self) -> dict[str, Any]:
        """What the user hung onto this tensor."""
        return {k: v for k, v in self.__dict__.items() if k not in _OWN}

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (_rebuild, (type(self), self._array, self._tracked, self._extra_attributes()))

    def __dir__(self) -> list[str]:
        return sorted(set(object.__dir__(self)))


def _copied(array: np.ndarray, memo: dict) -> np.ndarray:
    """A deep copy: the whole memory, once for all that lie in it, and the same part of that."""
    owner: Any = array
    while type(owner.base) is np.ndarray:
        owner = owner.base
    if type(array) is not np.ndarray or not owner.flags.c_contiguous or array.size == 0:
        return array.copy()
    _, memory = memo.setdefault(("memory", id(owner)), (owner, owner.copy()))
    start = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return np.ndarray(array.shape, array.dtype, memory, start, array.strides)


def _rebuild(cls: type[Tensor], array: np.ndarray, tracked: bool, extra: dict[str, Any]) -> Tensor:
    from reference_engine.tensor import wrap

    result = cls._adopt(wrap(array))
    result._tracked = tracked
    result.__dict__.update(extra)
    return result
