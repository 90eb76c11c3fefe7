"""Elements of tensors as bytes and as NumPy arrays, by torch's names of dtypes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .outcome import TensorValue

Array = np.ndarray[Any, Any]

# What is stored for a dtype, little endian. Narrow floats that NumPy lacks are stored exactly, as float32.
STORED: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
        "float16", "float32", "float64", "complex64", "complex128",
    )
} | {
    name: np.dtype("<f4")
    for name in ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
} | {"complex32": np.dtype("<c8")}  # fmt: skip


def stored_dtype(name: str) -> np.dtype[Any]:
    """How elements of the dtype `name` are stored. Raises ValueError for a dtype that the kit does not know."""
    try:
        return STORED[name]
    except KeyError:
        raise ValueError(f"{name!r} is no dtype that the kit knows ({', '.join(STORED)})") from None


def decode(value: TensorValue) -> Array:
    """The elements of a tensor as a read-only NumPy array of its shape (float32 for bfloat16 and float8)."""
    return np.frombuffer(value.data, stored_dtype(value.dtype)).reshape(value.shape)


def encode(array: Array) -> TensorValue:
    """A NumPy array as a tensor value."""
    return TensorValue(array.dtype.name, array.shape, array.astype(stored_dtype(array.dtype.name)).tobytes())


def nested(value: TensorValue) -> Any:
    """The elements as nested Python lists, for showing; a number for a tensor without dimensions."""
    return decode(value).tolist()


def count(shape: tuple[int, ...]) -> int:
    """How many elements a tensor of this shape has."""
    return math.prod(shape)
