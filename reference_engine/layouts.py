"""How elements lie in memory: layouts, memory formats, and arrays brought into one.

A strided array is dense where its elements fill a piece of memory without gap and overlap, in whatever order of its
dimensions. Source: torch docs "Tensor Attributes" (torch.layout, torch.memory_format); torch.clone, preserve_format.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class layout:
    """How elements are stored. Source: torch.layout."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: dict) -> layout:
        return self


class memory_format(layout):
    """An order of dimensions in memory. Source: torch.memory_format."""

    def order(self, ndim: int) -> tuple[int, ...]:
        """The dimensions from the outermost to the innermost in memory. RuntimeError where the format has others."""
        if self in FORMATS:
            wanted = FORMATS[self]
            if len(wanted) != ndim:
                raise RuntimeError(f"required rank {len(wanted)} tensor to use {self.name} format")
            return wanted
        return tuple(range(ndim))


strided = layout("strided")
sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc = map(
    layout, ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
)
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
FORMATS = {channels_last: (0, 2, 3, 1), channels_last_3d: (0, 2, 3, 4, 1)}


def is_dense(array: np.ndarray) -> bool:
    """Whether the elements neither overlap nor leave gaps."""
    flags = array.flags
    if flags.c_contiguous or flags.f_contiguous:
        return True
    expected = array.dtype.itemsize
    for step, n in sorted((s, n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if step != expected:
            return False
        expected *= n
    return True


def is_ordered(array: np.ndarray, order: tuple[int, ...]) -> bool:
    """Whether the elements lie without gap in the given order of dimensions. Dimensions of size 1 do not count."""
    return bool(array.transpose(order).flags.c_contiguous)


def ordered(array: np.ndarray, order: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    """A copy whose dimensions lie in the given order."""
    back = np.argsort(order)
    return np.array(array.transpose(order), dtype, order="C").transpose(back) if order else np.array(array, dtype)


def order_of(array: np.ndarray) -> tuple[int, ...]:
    """The order in which the dimensions of a dense array lie; C order for any other array."""
    if array.flags.c_contiguous or not is_dense(array):
        return tuple(range(array.ndim))
    return tuple(sorted(range(array.ndim), key=lambda d: (-array.strides[d], d)))


def preserved(array: np.ndarray) -> np.ndarray:
    """A copy with the strides of a dense array, in C order of any other."""
    return np.array(array, order="K" if is_dense(array) else "C")


def empty_like(array: np.ndarray, dtype: Any) -> np.ndarray:
    """New memory for an array of the same shape, in the order of a dense array, in C order for any other."""
    if array.flags.c_contiguous or not is_dense(array):
        return np.empty(array.shape, dtype)
    return np.empty_like(array, dtype=dtype, order="K", subok=False)
