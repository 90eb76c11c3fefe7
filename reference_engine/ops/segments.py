"""Reductions of consecutive segments along a dimension. Source: torch.segment_reduce."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.forward import UNSUPPORTED
from reference_engine.ops.joining import stack
from reference_engine.ops.one_node import one_node
from reference_engine.tape.tangents import levels_of
from reference_engine.tensor import Tensor, wrap

EMPTY = {"sum": 0.0, "mean": float("nan"), "prod": 1.0, "max": float("-inf"), "min": float("inf")}
REDUCING = {
    "sum": "sum",
    "mean": "mean",
    "prod": "prod",
    "max": "amax",
    "min": "amin",
}  # amax shares a gradient among ties


@registry.function
@one_node("SegmentReduceBackward0", "data")
def segment_reduce(data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
                   offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False, initial: Any = None) -> Tensor:  # fmt: skip
    """Each segment of `data` along `axis` reduced by "sum", "mean", "max", "min" or "prod".

    lengths: (..., n) the sizes of n segments; offsets: (..., n + 1) where they start and end. Their leading dimensions are
    those of `data` before `axis`. initial: what a reduction starts with. Forward mode is not defined.
    Source: torch.segment_reduce.
    """
    reduce = {"amax": "max", "amin": "min"}.get(reduce, reduce)
    if reduce not in REDUCING:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if levels_of((data,)):
        raise NotImplementedError(UNSUPPORTED.format(name="segment_reduce"))
    bounds = _bounds(lengths, offsets)
    batch = bounds.shape[:-1]
    if axis % max(data.dim(), 1) != len(batch):
        raise RuntimeError(f"segment_reduce(): Expected axis to be the last dimension of lengths but got {axis}.")
    if not unsafe and lengths is not None and np.any(np.diff(bounds) < 0):
        raise RuntimeError("lengths contains negative value!")
    if not unsafe and lengths is not None and np.any(bounds[..., -1] != data.shape[axis]):
        raise RuntimeError("segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) "
                           "when !unsafe.")  # fmt: skip
    rows = [_reduced(data[index], reduce, bounds[index], initial) for index in np.ndindex(*batch)]
    whole = stack(rows)
    return whole.reshape(*batch, *whole.shape[1:])


def _bounds(lengths: Tensor | None, offsets: Tensor | None) -> np.ndarray:
    """Where segments start and end, (..., n + 1)."""
    if lengths is None:
        assert offsets is not None
        return offsets._array
    sizes = lengths._array
    return np.concatenate([np.zeros((*sizes.shape[:-1], 1), sizes.dtype), np.cumsum(sizes, -1)], -1)


def _reduced(data: Tensor, reduce: str, bounds: np.ndarray, initial: Any) -> Tensor:
    """The segments of one row, along its first dimension."""
    parts = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if start == end:
            parts.append(_filled(data, EMPTY[reduce] if initial is None else initial))
            continue
        part = registry.functions[REDUCING[reduce]](data[start:end], 0)
        parts.append(part if initial is None else _begun(reduce, part, initial, end - start))
    return stack(parts)


def _begun(reduce: str, part: Tensor, initial: float, count: int) -> Tensor:
    """A reduction that started with `initial`; in a tie with it the data win."""
    if reduce in ("sum", "mean"):
        return part + (initial if reduce == "sum" else initial / count)
    if reduce == "prod":
        return part * initial
    return registry.functions["where"](part >= initial if reduce == "max" else part <= initial, part, initial)


def _filled(data: Tensor, value: float) -> Tensor:
    return wrap(np.full(data.shape[1:], value, data._array.dtype))
