"""Tensors on the meta device: a form without elements. They hold a place; operators on them are not implemented.

Source: torch docs, "Meta device".
"""

from __future__ import annotations

from typing import Any

import numpy as np

NO_DATA = "Cannot copy out of meta tensor; no data!"


class NoElements:
    """In the place of a meta tensor's array: shape, strides and dtype."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        form = np.broadcast_to(np.empty((), dtype), shape)
        self.shape, self.dtype, self.itemsize, self.ndim = form.shape, form.dtype, form.itemsize, form.ndim
        self.size, self.nbytes = form.size, form.nbytes
        steps = np.cumprod((1, *shape[:0:-1]))[::-1]
        self.strides = tuple(int(step) * form.itemsize for step in steps) if shape else ()

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(NO_DATA)

    __array__ = __array_ufunc__ = __array_function__ = __getitem__ = __setitem__ = __bool__ = __float__ = __int__ = (
        _refuse
    )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImplementedError(NO_DATA)


def is_meta(tensor: Any) -> bool:
    """Whether a tensor has no elements."""
    return type(tensor._array) is NoElements
