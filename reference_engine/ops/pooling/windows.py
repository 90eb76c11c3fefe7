"""The windows of a pooling: where they begin, and what each kernel position meets in all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np


def per_dimension(value: Any, n: int, what: str) -> tuple[int, ...]:
    """An option given once or per spatial dimension, as a tuple of n."""
    values = (value,) if isinstance(value, int) else tuple(value)
    values = values * n if len(values) == 1 else values
    if len(values) != n:
        raise RuntimeError(f"{what} must either be a single int, or a tuple of {n} ints")
    return tuple(int(v) for v in values)


def starts(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> np.ndarray:
    """Where each window along one dimension begins, counted from the input's first element."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-span // stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1  # the last window would start beyond the input
    return np.arange(max(count, 0)) * stride - padding


class Windows:
    """The windows of a pooling over the last n dimensions, and the input padded so that all of them lie inside."""

    def __init__(
        self, size: tuple, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple, ceil_mode: bool
    ) -> None:
        self.size, self.kernel, self.stride, self.padding, self.dilation = size, kernel, stride, padding, dilation
        rows = zip(size, kernel, stride, padding, dilation, strict=True)
        self.starts = [starts(n, k, s, p, d, ceil_mode) for n, k, s, p, d in rows]
        self.out = tuple(len(s) for s in self.starts)
        self.padded_size = tuple(
            max(n + p, (s[-1] if len(s) else 0) + d * (k - 1) + 1) + p
            for n, p, s, d, k in zip(size, padding, self.starts, dilation, kernel, strict=True)
        )

    def inner(self) -> tuple:
        """Where the input lies within the padded input."""
        return (..., *(slice(p, p + n) for p, n in zip(self.padding, self.size, strict=True)))

    def padded(self, x: np.ndarray, fill: Any) -> np.ndarray:
        """The input with `fill` around it."""
        if self.padded_size == self.size:
            return x
        result = np.full((*x.shape[: -len(self.size)], *self.padded_size), fill, x.dtype)
        result[self.inner()] = x
        return result

    def slices(self, index: tuple[int, ...]) -> tuple:
        """What one kernel position meets, for all windows, in the padded input."""
        rows = zip(index, self.dilation, self.stride, self.out, strict=True)
        return (..., *(slice(i * d, i * d + s * (n - 1) + 1, s) for i, d, s, n in rows))

    def positions(self, index: tuple[int, ...]) -> np.ndarray:
        """The flat position in the unpadded plane that one kernel position meets, for all windows."""
        flat: Any = 0
        for s, i, d, n in zip(self.starts, index, self.dilation, self.size, strict=True):
            flat = flat * n
            flat = (flat[..., None] if isinstance(flat, np.ndarray) else flat) + (s + i * d)
        return flat

    def first_positions(self) -> np.ndarray:
        """The flat position of each window's first element that lies inside the input."""
        flat: Any = 0
        for s, d, n in zip(self.starts, self.dilation, self.size, strict=True):
            begin = np.where(s < 0, s + -(s // d) * d, s)
            if (begin >= n).any():
                raise RuntimeError("a pooling window meets nothing but padding: its maximum is undefined")
            flat = flat * n
            flat = (flat[..., None] if isinstance(flat, np.ndarray) else flat) + begin
        return flat

    def counts(self, *, include_padding: bool) -> np.ndarray:
        """How many elements each window holds: within the padding torch counts, or within the input alone."""
        total: Any = np.ones(())
        for s, k, p, n in zip(self.starts, self.kernel, self.padding, self.size, strict=True):
            end = np.minimum(s + k, n + p)
            held = end - s if include_padding else np.minimum(end, n) - np.maximum(s, 0)
            total = total[..., None] * held
        return total
