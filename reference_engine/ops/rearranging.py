"""Elements in another arrangement, by views and copies of other operators: transposes as attributes, reversals and
rotations, at least so many dimensions, elements repeated, and copies of what views give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.ops import complex as complex_ops
from reference_engine.ops import indexing, registry, strided
from reference_engine.ops.diagonals import diagonal
from reference_engine.ops.one_node import one_node
from reference_engine.ops.positions import index_copy_out
from reference_engine.ops.registry import both, function
from reference_engine.ops.shapes import (
    alias,
    axis,
    expand,
    flip,
    permute,
    permute_dims,
    reshape,
    squeeze,
    t,
    transpose,
    unsqueeze,
)
from reference_engine.ops.splitting import split, split_with_sizes, unbind
from reference_engine.ops.types import clone
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor, wrap

# --- transposes as attributes ------------------------------------------------------------------------------------


def _reversed_dims(self: Tensor) -> Tensor:
    n = self._array.ndim
    if n == 0:
        warn_once("T", "Tensor.T is deprecated on 0-D tensors. This function is the identity in these cases.")
    elif n != 2:
        warn_once("T", "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it "
                  "will throw an error in a future release. Consider `x.mT` to transpose batches of matrices or "
                  "`x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of a tensor.")  # fmt: skip
    return permute_dims(self, dims=tuple(reversed(range(n))))


def _matrix_transpose(self: Tensor) -> Tensor:
    n = self._array.ndim
    if n == 1:
        raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor.")
    if n == 0:
        warn_once("mT", "Tensor.mT is deprecated on 0-D tensors. This function is the identity in these cases.")
        return self
    return transpose(self, -2, -1)


registry.methods["T"] = property(_reversed_dims)
registry.methods["mT"] = property(_matrix_transpose)


# --- reversals and rotations -------------------------------------------------------------------------------------


@both
def fliplr(input: Tensor) -> Tensor:
    """Reversed along the second dimension. Source: torch.fliplr."""
    if input._array.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@both
def flipud(input: Tensor) -> Tensor:
    """Reversed along the first dimension. Source: torch.flipud."""
    if input._array.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@both
@one_node("Rot90Backward0", "input")
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned by k right angles in the plane of two dimensions, from the first towards the second. Source: torch.rot90."""
    n = input._array.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    first, second = (axis(d, n) for d in dims)
    if first == second:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    if k % 4 == 0:
        return flip(input, ())
    if k % 4 == 2:
        return flip(input, dims)
    return clone(transpose(flip(input, second if k % 4 == 1 else first), first, second))


# --- at least so many dimensions ---------------------------------------------------------------------------------


def _at_least(name: str, grow: Callable[[Tensor], Tensor]) -> Callable:
    def call(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return grow(tensors[0])
        return tuple(grow(x) for x in (tensors[0] if len(tensors) == 1 else tensors))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = (
        f"A tensor, or each of several, with dimensions of size 1 put in where it has fewer. Source: torch.{name}."
    )
    registry.publish(name, call, method=False)
    return call


def _grow_1(x: Tensor) -> Tensor:
    return x if x._array.ndim else reshape(x, 1)


def _grow_2(x: Tensor) -> Tensor:
    n = x._array.ndim
    return x if n > 1 else unsqueeze(x, 0) if n else reshape(x, 1, 1)


def _grow_3(x: Tensor) -> Tensor:
    n = x._array.ndim
    if n > 2:
        return x
    return unsqueeze(x, -1) if n == 2 else unsqueeze(unsqueeze(x, 0), -1) if n else reshape(x, 1, 1, 1)


atleast_1d, atleast_2d, atleast_3d = _at_least("atleast_1d", _grow_1), _at_least("atleast_2d", _grow_2), _at_least("atleast_3d", _grow_3)  # fmt: skip


# --- elements repeated -------------------------------------------------------------------------------------------


def _counts(repeats: Any, size: int) -> np.ndarray:
    counts = np.atleast_1d(np.array(repeats._array if isinstance(repeats, Tensor) else repeats))
    if counts.dtype.kind not in "iu":
        raise RuntimeError("repeats has to be Long or Int tensor")
    if counts.ndim != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if (counts < 0).any():
        raise RuntimeError("repeats can not be negative")
    if len(counts) not in (1, size):
        raise RuntimeError(f"repeats must have the same size as input along dim, but got repeats.size(0) = {len(counts)} and "
                           f"input.size(0) = {size}")  # fmt: skip
    return np.broadcast_to(counts, (size,))


@both
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:  # fmt: skip
    """Each element along a dimension (of all in one row without `dim`) as often as `repeats` says. With counts alone, the
    indices that this takes. Source: torch.repeat_interleave.
    """
    if repeats is None:
        counts = _counts(input, input._array.size)
        return wrap(np.repeat(np.arange(len(counts)), counts))
    x = reshape(input, -1) if dim is None else input
    d = axis(0 if dim is None else dim, x._array.ndim)
    x = x if x._array.ndim else reshape(x, 1)
    size = x._array.shape[d]
    if isinstance(repeats, int):
        _counts(repeats, size)
        wider = unsqueeze(x, d + 1).expand(*x._array.shape[: d + 1], repeats, *x._array.shape[d + 1 :])
        return reshape(clone(wider), (*x._array.shape[:d], size * repeats, *x._array.shape[d + 1 :]))
    counts = _counts(repeats, size)
    index = np.repeat(np.arange(len(counts)), counts)
    if output_size is not None and output_size != len(index):
        raise RuntimeError("allocated size does not match required size")
    return index_copy_out(x, key=(*(slice(None),) * d, index))


# --- copies of what views give -----------------------------------------------------------------------------------


def _copies(result: Any) -> Any:
    return tuple(clone(x) for x in result) if isinstance(result, tuple) else clone(result)


def _copying(name: str, view: Callable) -> None:
    def call(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        return _copies(view(input, *args, **kwargs))

    call.__name__ = call.__qualname__ = f"{name}_copy"
    call.__doc__ = f"{name}, in memory of its own. Source: torch.{name}_copy."
    registry.publish(call.__name__, call, method=name == "narrow")


def _slice_along(
    input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    key = (*(slice(None),) * axis(dim, input._array.ndim), slice(start, end, step))
    return registry.methods["__getitem__"](input, key)


def _view(input: Tensor, size: Any = None, *, dtype: Any = None) -> Tensor:
    """The argument of a copy may have strides that a view would not fit."""
    return strided.view(input, dtype=dtype) if dtype is not None else reshape(input, size)


for _name, _function in {
    "alias": alias, "as_strided": strided.as_strided, "detach": Tensor.detach, "diagonal": diagonal, "expand": expand,
    "narrow": indexing.narrow, "permute": permute, "select": indexing.select, "slice": _slice_along, "split": split,
    "split_with_sizes": split_with_sizes, "squeeze": squeeze, "t": t, "transpose": transpose, "unbind": unbind,
    "unfold": strided.unfold, "unsqueeze": unsqueeze, "view": _view, "view_as_real": complex_ops.view_as_real,
    "view_as_complex": complex_ops.view_as_complex,
}.items():  # fmt: skip
    _copying(_name, _function)


@function
def unsafe_split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """split_with_sizes without tracking that the pieces are views. Source: torch.unsafe_split_with_sizes."""
    return _copies(split_with_sizes(input, split_sizes, dim))


registry.publish("unsafe_split_with_sizes", unsafe_split_with_sizes, module=False)


# --- conjugation and negation that waits -------------------------------------------------------------------------


@both
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: negation never waits here. Source: torch.resolve_neg."""
    return input


@both
def is_neg(input: Tensor) -> bool:
    """Whether it is a view that negates lazily: never here. Source: torch.is_neg."""
    return False
