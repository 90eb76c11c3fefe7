"""Shapes of several tensors: joining them, and bringing them to a common shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.registry import function
from reference_engine.ops.shapes import axis, expand, reshape
from reference_engine.tensor import Tensor


def _cat_rule(g: Any, index: int, dim: int, shapes: tuple) -> Any:
    from reference_engine.ops.positions import narrow_to

    start = sum(s[dim] for s in shapes[:index])
    return narrow_to(g, dim, start, shapes[index][dim])


def _stack_rule(g: Any, index: int, dim: int) -> Any:
    from reference_engine.ops.positions import select_at

    return select_at(g, dim, index)


concatenate = general("cat", lambda *xs, dim: np.concatenate(xs, dim), _cat_rule, variadic=True)
stack_along = general("stack", lambda *xs, dim: np.stack(xs, dim), _stack_rule, variadic=True)


def _common(tensors: Any) -> list[Tensor]:
    from reference_engine import dtypes

    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("expected a non-empty list of Tensors")
    common = dtypes.result_type([(t.dtype, 2 if t._array.ndim else 1) for t in tensors])
    return [t.to(common) for t in tensors]


@function
def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Joined along an existing dimension. Source: torch.cat."""
    parts = _common(tensors)
    parts = [p for p in parts if p._array.shape != (0,)] or parts[:1]
    return concatenate(*parts, dim=axis(dim, parts[0]._array.ndim))


registry.publish("concat", cat, method=False)
registry.publish("concatenate", cat, method=False)


@function
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Joined along a new dimension. Source: torch.stack."""
    parts = _common(tensors)
    if any(p._array.shape != parts[0]._array.shape for p in parts):
        raise RuntimeError(f"stack expects each tensor to be equal size, but got {[list(p.shape) for p in parts]}")
    return stack_along(*parts, dim=axis(dim, parts[0]._array.ndim + 1))


@function
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All expanded to their common shape. Source: torch.broadcast_tensors."""
    tensors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    shape = np.broadcast_shapes(*[t._array.shape for t in tensors])
    return tuple(expand(t, *shape) for t in tensors)


@function
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Each vector expanded over a grid of all of them. Source: torch.meshgrid."""
    vectors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    swap = indexing == "xy" and len(vectors) > 1
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    order = (vectors[1], vectors[0], *vectors[2:]) if swap else vectors
    sizes = tuple(v._array.size for v in order)
    grids = [reshape(v, *(-1 if i == k else 1 for i in range(len(order)))).expand(sizes) for k, v in enumerate(order)]
    if swap:
        grids = [grids[1].transpose(0, 1), grids[0].transpose(0, 1), *[g.transpose(0, 1) for g in grids[2:]]]
    return tuple(grids)
