"""Shapes of several tensors: joining them, and bringing them to a common shape."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import _into
from reference_engine.ops.kinds import general
from reference_engine.ops.one_node import one_node
from reference_engine.ops.positions import index_copy_out, narrow_to, select_at
from reference_engine.ops.rearranging import atleast_1d, atleast_2d, atleast_3d
from reference_engine.ops.registry import function
from reference_engine.ops.shapes import axis, expand, reshape, reshape_to
from reference_engine.state import warn_once
from reference_engine.tensor import Size, Tensor, wrap

LEGACY = (0,)  # an empty row joins with anything, whatever the others' shapes


def _cat_forward(*xs: np.ndarray, dim: int) -> np.ndarray:
    return np.concatenate([x for x in xs if x.shape != LEGACY] or xs, dim)


def _cat_rule(g: Any, index: int, dim: int, shapes: tuple) -> Any:
    if shapes[index] == LEGACY:
        return narrow_to(reshape_to(g, (-1,)), 0, 0, 0)
    start = sum(s[dim] for s in shapes[:index] if s != LEGACY)
    return narrow_to(g, dim, start, shapes[index][dim])


concatenate = general("cat", _cat_forward, _cat_rule, variadic=True, linear=True)
stack_along = general("stack", lambda *xs, dim: np.stack(xs, dim), lambda g, index, dim: select_at(g, dim, index),
                      variadic=True, linear=True)  # fmt: skip


def _common(tensors: Any) -> list[Tensor]:
    """The tensors in their common dtype; TypeError where one is none."""
    tensors = list(tensors)
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    common = dtypes.result_type([(t.dtype, 2 if t._array.ndim else 1) for t in tensors])
    return [t.to(common) for t in tensors]


def _check_cat(parts: list[Tensor], dim: int) -> int:
    """The dimension along which the parts can be joined, counted from the front."""
    shapes = [p._array.shape for p in parts]
    for i, shape in enumerate(shapes):
        if not shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    first = next((s for s in shapes if s != LEGACY), shapes[0])
    d = axis(dim, len(first))
    for i, shape in enumerate(shapes):
        if shape == LEGACY:
            continue
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        for k, (a, b) in enumerate(zip(first, shape, strict=True)):
            if k != d and a != b:
                raise RuntimeError(f"Sizes of tensors must match except in dimension {d}. Expected size {a} but got size {b} "
                                   f"for tensor number {i} in the list.")  # fmt: skip
    return d


@function
def cat(tensors: Any, dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Joined along an existing dimension. Source: torch.cat."""
    if isinstance(tensors, Tensor):
        raise TypeError("cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    if not len(tensors):
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    parts = _common(tensors)
    result = concatenate(*parts, dim=_check_cat(parts, dim))
    return result if out is None else _into(result, out, "cat")


registry.publish("concat", cat, method=False)
registry.publish("concatenate", cat, method=False)


@function
@one_node("StackBackward0", "tensors")
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Joined along a new dimension. Source: torch.stack."""
    _not_empty("stack", tensors)
    parts = _common(tensors)
    shapes = [list(p._array.shape) for p in parts]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {shapes[0]} at entry 0 and {shape} at "
                               f"entry {i}")  # fmt: skip
    return stack_along(*parts, dim=axis(dim, len(shapes[0]) + 1))


def _not_empty(name: str, tensors: Any) -> None:
    if not len(tensors):
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@function
def hstack(tensors: Any) -> Tensor:
    """Joined along the second dimension, vectors along their one. Source: torch.hstack."""
    _not_empty("hstack", tensors)
    parts = atleast_1d(list(tensors))
    return cat(parts, 0 if parts[0]._array.ndim == 1 else 1)


@function
def vstack(tensors: Any) -> Tensor:
    """Joined along the first dimension, vectors as rows. Source: torch.vstack."""
    _not_empty("vstack", tensors)
    return cat(atleast_2d(list(tensors)), 0)


@function
def dstack(tensors: Any) -> Tensor:
    """Joined along the third dimension. Source: torch.dstack."""
    _not_empty("dstack", tensors)
    return cat(atleast_3d(list(tensors)), 2)


@function
def column_stack(tensors: Any) -> Tensor:
    """Joined along the second dimension, vectors as columns. Source: torch.column_stack."""
    _not_empty("column_stack", tensors)
    return hstack([x if x._array.ndim > 1 else reshape(x, x._array.size, 1) for x in tensors])


registry.publish("row_stack", vstack, method=False)


@function
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All expanded to their common shape. Source: torch.broadcast_tensors."""
    tensors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    shape = np.broadcast_shapes(*[t._array.shape for t in tensors])
    return tuple(t if t._array.shape == shape else expand(t, *shape) for t in tensors)


@function
def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes broadcast to. Source: torch.broadcast_shapes."""
    try:
        return Size(np.broadcast_shapes(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes]))
    except ValueError:
        raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape") from None


@function
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Each vector expanded over a grid of all of them. Source: torch.meshgrid."""
    vectors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    _not_empty("meshgrid", vectors)
    if indexing is None:
        warn_once(
            "meshgrid", "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument."
        )
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for v in vectors:
        if v._array.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(v.shape)}")
        if v.dtype is not vectors[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(vectors) > 1
    order = (vectors[1], vectors[0], *vectors[2:]) if swap else vectors
    sizes = tuple(v._array.size for v in order)
    grids = [reshape(v, *(-1 if i == k else 1 for i in range(len(order)))).expand(sizes) for k, v in enumerate(order)]
    return (grids[1], grids[0], *grids[2:]) if swap else tuple(grids)


# --- matrices and products of sets -------------------------------------------------------------------------------


def _as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape if len(shape) == 2 else (1, shape[0] if shape else 1)  # type: ignore[return-value]


def _block_key(shapes: tuple, index: int) -> tuple[slice, slice]:
    """Where a block lies."""
    sizes = [_as_matrix(s) for s in shapes]
    row, column = (sum(size[k] for size in sizes[:index]) for k in (0, 1))
    return slice(row, row + sizes[index][0]), slice(column, column + sizes[index][1])


def _blocks(*xs: np.ndarray) -> np.ndarray:
    shapes = tuple(x.shape for x in xs)
    sizes = [_as_matrix(s) for s in shapes]
    result = np.zeros((sum(r for r, _ in sizes), sum(c for _, c in sizes)), xs[0].dtype)
    for i, x in enumerate(xs):
        result[_block_key(shapes, i)] = x
    return result


def _block_rule(g: Any, index: int, shapes: tuple) -> Any:
    rows, columns = _block_key(shapes, index)
    block = narrow_to(
        narrow_to(g, 0, rows.start, rows.stop - rows.start), 1, columns.start, columns.stop - columns.start
    )
    return reshape_to(block, shapes[index])


block_matrix = general("block_diag", _blocks, _block_rule, variadic=True, linear=True)


@function
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the tensors as blocks on its diagonal; vectors are rows. Source: torch.block_diag."""
    for i, x in enumerate(tensors):
        if x._array.ndim > 2:
            raise RuntimeError(f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                               f"{x._array.ndim} dimensions")  # fmt: skip
    return block_matrix(*_common(tensors))


@function
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of one element of each vector, as rows. Source: torch.cartesian_prod."""
    vectors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    for v in vectors:
        if v._array.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(v.shape)}")
    if len(vectors) == 1:
        return vectors[0]
    return stack([reshape(g, -1) for g in meshgrid(vectors, indexing="ij")], 1)


@function
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, as rows. Source: torch.combinations."""
    if input._array.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return wrap(np.empty(0, input._array.dtype))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input._array.size), r)), np.int64).reshape(-1, r)
    return index_copy_out(input, key=(rows,))
