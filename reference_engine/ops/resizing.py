"""Tensors that get other memory or another size in place, and other classes. Autograd is not told: sizes belong to a
tensor, not to its history. Source: torch.Tensor.resize_, set_, as_subclass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.creation import sizes_of
from reference_engine.layouts import contiguous_format
from reference_engine.memory import restride, storage_elements
from reference_engine.ops.registry import method
from reference_engine.ops.shapes import alias
from reference_engine.state import state
from reference_engine.tape.tangents import levels_of
from reference_engine.tape.views import check_inplace
from reference_engine.tensor import Tensor


@method
def resize_(self: Tensor, *sizes: Any, memory_format: Any = contiguous_format) -> Tensor:
    """Another size over the same memory, or over more of it, of which the new elements are 0 here (in torch they are not
    initialised). Raises RuntimeError for a tensor that requires grad.
    """
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if state.dual_levels and levels_of((self,)):
        raise RuntimeError("cannot resize variables that has a forward grad")
    shape = sizes_of(sizes)
    if shape != self._array.shape:
        self._array = _resized(self._array, shape)
    self._bump_version()
    return self


def _resized(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The memory behind an array, from its first element on, in another shape; in new memory where there is too little."""
    start = array.__array_interface__["data"][0] - storage_elements(array).__array_interface__["data"][0]
    count, memory = int(np.prod(shape)), storage_elements(array)
    steps = np.empty(shape, array.dtype).strides
    if start // array.itemsize + count > memory.size:
        longer = np.zeros(start // array.itemsize + count, array.dtype)
        longer[: memory.size] = memory
        array = memory = longer
    return restride(memory, shape, steps, start)


@method
def resize_as_(self: Tensor, tensor: Tensor, *, memory_format: Any = contiguous_format) -> Tensor:
    """The size of another tensor. Source: torch.Tensor.resize_as_."""
    return resize_(self, *tensor._array.shape)


@method
def set_(self: Tensor, source: Tensor) -> Tensor:
    """The memory, size and strides of another tensor. Source: torch.Tensor.set_."""
    check_inplace(self)
    if self.dtype is not source.dtype:
        raise RuntimeError(f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}")
    self._array = source._array
    self._bump_version()
    return self


@method
def as_subclass(self: Tensor, cls: type) -> Any:
    """The tensor as an instance of a subclass, on the same memory and with the same history.

    Source: torch.Tensor.as_subclass.
    """
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(
            "Creating a Tensor subclass from a class that does not inherit from Tensor is not possible. Make sure "
            "your class inherits from Tensor."
        )
    result = cls._adopt(alias(self))
    recorded = alias(self)
    result._edge, result._base, result._view = recorded._edge, recorded._base, recorded._view
    return result
