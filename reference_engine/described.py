"""What a tensor is, apart from autograd: dtype, shape, strides, storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import dtypes
from reference_engine.layouts import FORMATS, contiguous_format, is_dense, is_ordered, strided
from reference_engine.memory import CPU, META, Size, Storage, device, memory_start
from reference_engine.meta import is_meta
from reference_engine.tape.saved import type_name

if TYPE_CHECKING:
    from reference_engine.operator_types import Operators as Base
    from reference_engine.tensor import Tensor
else:
    Base = object


class Described(Base):
    """The attributes of a tensor that describe its array. Source: torch.Tensor, "Tensor Attributes"."""

    _array: np.ndarray
    _base: Tensor | None
    _inference: bool

    @property
    def _memory(self) -> np.ndarray:
        """The array as it is stored. A lazily conjugated tensor is read differently."""
        array = self._array
        return array if type(array) is np.ndarray else getattr(array, "memory", array)

    def _write(self, values: np.ndarray) -> None:
        """Overwrites the elements, rounded where the dtype is narrower than its array."""
        if self._array.dtype.metadata is not None:
            values = self.dtype.rounded(np.asarray(values))  # type: ignore[attr-defined]
        self._array[...] = values

    def is_conj(self) -> bool:
        """Whether it is a view that conjugates lazily. Source: torch.is_conj."""
        return False

    @property
    def dtype(self) -> dtypes.dtype:
        held = self._array.dtype
        return dtypes.FROM_NUMPY[held] if held.metadata is None else dtypes.of_numpy(held)

    @property
    def shape(self) -> Size:
        return Size(self._array.shape)

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def device(self) -> device:
        return META if is_meta(self) else CPU

    @property
    def layout(self) -> Any:
        return strided

    is_cuda = is_sparse = is_quantized = is_mkldnn = is_nested = is_xpu = is_mps = False

    @property
    def is_meta(self) -> bool:
        """Whether it has a form and no elements."""
        return is_meta(self)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._array.size * self.dtype.itemsize

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its length along `dim`."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours along each dimension, in elements."""
        steps = tuple(s // self._memory.dtype.itemsize for s in self._memory.strides)
        return steps if dim is None else steps[dim]

    def storage_offset(self) -> int:
        """Distance of the first element from the storage's start, in elements."""
        return (self.data_ptr() - memory_start(self._memory)) // max(self._memory.dtype.itemsize, 1)

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in the order of the format without gaps."""
        if memory_format is None or memory_format is contiguous_format:
            return bool(self._memory.flags.c_contiguous)
        fits = self._array.ndim == len(FORMATS.get(memory_format, ()))
        return fits and is_ordered(self._memory, memory_format.order(self._array.ndim))

    def is_non_overlapping_and_dense(self) -> bool:
        """Whether the elements neither overlap nor leave gaps."""
        return is_dense(self._memory)

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._memory.__array_interface__["data"][0]

    def untyped_storage(self) -> Storage:
        """The memory that the tensor and its views share."""
        return Storage(self._memory)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating point type."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        """Whether the dtype has negative values."""
        return self.dtype.is_signed

    def is_inference(self) -> bool:
        """Whether it was allocated in inference mode."""
        return (self if self._base is None else self._base)._inference

    def get_device(self) -> int:
        """-1: the CPU."""
        return -1

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The legacy type name, or the tensor cast to `dtype`."""
        if dtype is None:
            return f"torch.{type_name(self.dtype)}"
        return self.to(dtype)
