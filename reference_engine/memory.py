"""Where elements live: device, shape, storage."""

from __future__ import annotations

from typing import Any

import numpy as np

kinds: dict[type, type] = {}  # arrays that are not NumPy's -> the class of tensors that hold them


class device:
    """Where a tensor lives; this engine has the CPU, and "meta" for tensors without elements. Source: torch.device."""

    def __init__(self, kind: Any = "cpu", index: int | None = None) -> None:
        kind = str(kind)
        if kind.split(":")[0] not in ("cpu", "meta"):
            raise NotImplementedError(f"the reference engine computes on the CPU; device {kind!r} is not available")
        self.type, self.index = kind.split(":")[0], index

    def __repr__(self) -> str:
        return f"device(type='{self.type}')"

    def __str__(self) -> str:
        return self.type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and self.type == other.type

    def __hash__(self) -> int:
        return hash(self.type)


CPU, META = device(), device("meta")


class Size(tuple):
    """A shape: a tuple of integers. Source: torch.Size."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        count = 1
        for n in self:
            count *= n
        return count

    def __getitem__(self, index: Any) -> Any:
        result = tuple.__getitem__(self, index)
        return Size(result) if isinstance(index, slice) else result

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory which `array` is a view of."""
    owner: Any = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return owner


def memory_start(array: np.ndarray) -> int:
    """The address where the memory behind an array starts."""
    return owner_of(array).__array_interface__["data"][0]


def storage_elements(array: np.ndarray) -> np.ndarray:
    """All of the memory behind an array, as one row of elements of its type."""
    row = owner_of(array).ravel(order="K")
    return row if row.dtype is array.dtype else row.view(array.dtype)


def restride(array: np.ndarray, shape: Any, strides: Any, offset: int) -> np.ndarray:
    """A view of the memory behind an array: strides and offset in bytes, counted from the memory's start."""
    return np.ndarray(shape, array.dtype, storage_elements(array), offset, strides)


class Storage:
    """The memory behind a tensor. Source: torch.UntypedStorage."""

    def __init__(self, array: np.ndarray) -> None:
        self._owner = owner_of(array)

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return self._owner.__array_interface__["data"][0]

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._owner.nbytes

    size = nbytes
    __len__ = nbytes
