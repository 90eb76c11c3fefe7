"""Padding: a border of a constant, or of the tensor's own elements. Linear; the rule adds up where elements were used.

Source: torch.nn.functional.pad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import linear
from reference_engine.ops.second_order import backward_of
from reference_engine.tensor import Tensor


def _crop(pairs: tuple) -> tuple:
    """What is left of a dimension that negative padding shortens."""
    return tuple(slice(max(-lo, 0), None if hi >= 0 else hi) for lo, hi in pairs)


def _constant(x: np.ndarray, *, pairs: tuple, value: float) -> np.ndarray:
    grown = tuple((max(lo, 0), max(hi, 0)) for lo, hi in pairs)
    return np.pad(x[_crop(pairs)], grown, constant_values=value)


constant_pad = linear("constant_pad_nd", _constant,
                      lambda g, pairs: constant_pad(g, pairs=tuple((-lo, -hi) for lo, hi in pairs), value=0),
                      node="ConstantPadNdBackward0", saved_names=("self",))  # fmt: skip


def _spread(g: np.ndarray, *, sources: tuple[np.ndarray, ...], size: tuple[int, ...]) -> np.ndarray:
    """Adds each element back to its source, one dimension after the other."""
    n = len(sources)
    for i, (source, count) in enumerate(zip(sources, size, strict=True)):
        moved = np.moveaxis(g, i - n, 0)
        total = np.zeros((count, *moved.shape[1:]), g.dtype)
        np.add.at(total, source, moved)
        g = np.moveaxis(total, 0, i - n)
    return np.ascontiguousarray(g)


def _taken(x: np.ndarray, *, sources: tuple[np.ndarray, ...]) -> np.ndarray:
    """x at the product of index vectors of its last dimensions."""
    for i, source in enumerate(sources):
        x = np.take(x, source, axis=i - len(sources))
    return x


spread = linear("spread_border", _spread, lambda g, sources, size: taken(g, sources=sources), inputs=("g",))
taken = linear("circular_pad", _taken,
               lambda g, sources, x_shape: spread(g, sources=sources, size=x_shape[len(x_shape) - len(sources) :]),
               node="CircularPadBackward0", saved_names=("self",))  # fmt: skip


def _taking(name: str, node: str) -> Any:
    forward = linear(name, _taken, lambda g, x, sources: back(g, x, sources=sources), node=f"{node}0",
                     saved_names=("self",))  # fmt: skip
    back = backward_of(f"{name}_backward",
                       lambda g, x, *, sources: _spread(g, sources=sources, size=x.shape[x.ndim - len(sources) :]),
                       lambda g, sources: forward(g, sources=sources), f"{node}Backward0")  # fmt: skip
    return forward


own_elements = {
    **{("reflect", n): _taking(f"reflection_pad{n}d", f"ReflectionPad{n}DBackward") for n in (1, 2, 3)},
    **{("replicate", n): _taking(f"replication_pad{n}d", f"ReplicationPad{n}DBackward") for n in (1, 2, 3)},
    **{("circular", n): taken for n in (1, 2, 3)},
}


def _source(mode: str, size: int, lo: int, hi: int) -> np.ndarray:
    """The source index of each element of a padded dimension."""
    index = np.arange(-lo, size + hi)
    if mode == "replicate":
        return np.clip(index, 0, size - 1)
    if mode == "circular":  # what negative padding leaves is repeated
        first, left = max(-lo, 0), size + min(lo, 0) + min(hi, 0)
        return first + (index - first) % left
    period = max(2 * (size - 1), 1)
    index = np.abs(index) % period
    return np.where(index >= size, period - index, index)


def _check_border(mode: str, x: Tensor, dim: int, lo: int, hi: int) -> None:
    size = x._array.shape[dim]
    if mode == "reflect" and max(lo, hi) >= size:
        raise RuntimeError("Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                           f"({lo}, {hi}) at dimension {dim} of input {list(x._array.shape)}")  # fmt: skip
    if mode == "circular" and max(lo, hi) > size:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    if size + lo + hi <= 0:
        raise RuntimeError(f"input ({'DHW'[dim - x._array.ndim]}: {size}) is too small. Calculated output "
                           f"{'DHW'[dim - x._array.ndim]}: {size + lo + hi}")  # fmt: skip


UNSUPPORTED = """Padding size {} is not supported for {}D input tensor.
Supported combinations for non-constant padding:
  - 2D or 3D input: padding size = 2 (pads last dimension)
  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)
  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"""


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """A border around the last dimensions: `pad` gives (before, after) for the last, then the one before it, ...

    mode: constant, reflect, replicate or circular. Source: torch.nn.functional.pad.
    """
    amounts = [int(p) for p in pad]
    if len(amounts) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    ndim = input._array.ndim
    if len(pairs) > ndim:
        raise RuntimeError(f"Padding length should be less than or equal to two times the input dimension but got padding "
                           f"length {len(amounts)} and input of dimension {ndim}")  # fmt: skip
    if mode == "constant":
        filled = ((0, 0),) * (ndim - len(pairs)) + tuple(pairs)
        if any(n + lo + hi < 0 for n, (lo, hi) in zip(input._array.shape, filled, strict=True)):
            raise RuntimeError("narrow(): length must be non-negative.")
        return constant_pad(input, pairs=filled, value=0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value not in (None, 0):
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if (mode, len(pairs)) not in own_elements or ndim - len(pairs) not in (1, 2):
        raise NotImplementedError(UNSUPPORTED.format(len(amounts), ndim))
    sources = []
    for i, (lo, hi) in enumerate(pairs):
        dim = ndim - len(pairs) + i
        _check_border(mode, input, dim, lo, hi)
        sources.append(_source(mode, input._array.shape[dim], lo, hi))
    return own_elements[mode, len(pairs)](input, sources=tuple(sources))


registry.publish("constant_pad_nd", lambda input, pad_, value=0: pad(input, pad_, "constant", value), method=False)
