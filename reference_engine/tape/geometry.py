"""Where the elements of an array lie, and which elements two arrays on the same memory have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Geometry(NamedTuple):
    """The layout of an array in a piece of memory, in bytes; `start` is the address of its first element."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int
    item: int

    @classmethod
    def of(cls, array: np.ndarray, origin: int = 0, *, reals: bool = False) -> Geometry:
        """The layout of an array; with `reals`, of the pairs of real numbers that a complex array consists of."""
        shape, strides, item = array.shape, array.strides, array.dtype.itemsize
        if reals and array.dtype.kind == "c":
            item //= 2
            shape, strides = (*shape, 2), (*strides, item)
        return cls(shape, strides, array.__array_interface__["data"][0] - origin, item)

    def extent(self) -> tuple[int, int]:
        """The first byte of the first element and of the last, wherever strides lead."""
        spans = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)] if 0 not in self.shape else []
        return self.start + sum(s for s in spans if s < 0), self.start + sum(s for s in spans if s > 0)

    def over(self, memory: np.ndarray, low: int) -> np.ndarray:
        """These elements of `memory`, which has one cell for each item from address `low` on."""
        steps = [s // self.item * memory.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(memory[(self.start - low) // self.item :], self.shape, steps)


def positions(base: Geometry, view: Geometry) -> np.ndarray:
    """For each element of `view`, the position of that element in `base` (C order), -1 where base has no such element."""
    (low_base, high_base), (low_view, high_view) = base.extent(), view.extent()
    low = min(low_base, low_view)
    memory = np.full((max(high_base, high_view) - low) // base.item + 1, -1)
    base.over(memory, low)[...] = np.arange(int(np.prod(base.shape))).reshape(base.shape)
    return np.array(view.over(memory, low))
