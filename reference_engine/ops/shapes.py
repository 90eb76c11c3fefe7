"""Shapes: views and their relatives. All linear; the transpose of each is written beside it.

A view shares memory with its input (torch docs "Tensor Views"); reshape and flatten give a view where strides allow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import linear
from reference_engine.ops.registry import both, method
from reference_engine.tensor import Tensor

prod = np.prod


def dims_of(sizes: tuple) -> tuple[int, ...]:
    """`(2, 3)` and `((2, 3),)` alike: sizes given one by one or as a sequence."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    return tuple(int(s) for s in sizes)


def axis(dim: int, ndim: int) -> int:
    """A dimension counted from the front; IndexError outside [-ndim, ndim)."""
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {dim})")
    return dim % limit


def mismatch(a: tuple[int, ...], b: tuple[int, ...]) -> RuntimeError:
    """The error for shapes that do not broadcast; it names the last dimension that stands in the way."""
    for i in range(1, min(len(a), len(b)) + 1):
        if a[-i] != b[-i] and 1 not in (a[-i], b[-i]):
            return RuntimeError(f"The size of tensor a ({a[-i]}) must match the size of tensor b ({b[-i]}) at non-singleton "
                                f"dimension {max(len(a), len(b)) - i}")  # fmt: skip
    return RuntimeError(f"The shapes {list(a)} and {list(b)} do not broadcast")


def infer_size(sizes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Replaces a -1 by what makes the product `count`."""
    known = 1
    for s in sizes:
        known *= s if s != -1 else 1
    if -1 in sizes and known and count % known == 0:
        sizes = tuple(count // known if s == -1 else s for s in sizes)
        known = count
    if known != count or -1 in sizes:
        raise RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {count}")
    return sizes


def _view_forward(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    result = x.view()
    try:
        result.shape = shape
    except AttributeError:
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension "
                           "spans across two contiguous subspaces). Use .reshape(...) instead.") from None  # fmt: skip
    return result


def _sum_to(x: Any, *, shape: tuple[int, ...]) -> Any:
    extra = x.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and x.shape[i + extra] != 1)
    return np.add.reduce(np.asarray(x), axis=axes, keepdims=False).reshape(shape)


def _expanded(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    view = np.broadcast_to(x, shape, subok=False)
    # NumPy's is read-only; in-place changes are refused where elements share memory, and only there.
    return view if 0 in view.strides else np.lib.stride_tricks.as_strided(x, view.shape, view.strides)


def _permutation_inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(dims))


# fmt: off
#                            value                                                      transpose
view_as_shape = linear("view",
                             _view_forward,                                             lambda g, x_shape: reshape_to(g, x_shape), view=True)
reshape_copy  = linear("unsafe_view",
                             lambda x, *, shape: np.reshape(x, shape).copy(),           lambda g, x_shape: reshape_to(g, x_shape))
expand_to     = linear("expand",
                             _expanded, lambda g, x_shape: sum_to_shape(g, shape=x_shape), view=True)
sum_to_shape  = linear("sum_to_size",
                             _sum_to,                                                   lambda g, x_shape: broadcast(g, x_shape), inputs=("x",), node="SumBackward1")
permute_dims  = linear("permute",
                             lambda x, *, dims: x.transpose(dims),                      lambda g, dims: permute_dims(g, dims=_permutation_inverse(dims)), view=True)
transpose_    = linear("transpose",
                             lambda x, *, dim0, dim1: x.swapaxes(dim0, dim1),           lambda g, dim0, dim1: transpose_(g, dim0=dim0, dim1=dim1), view=True)
t_            = linear("t",  lambda x: x.T,                                             lambda g: t_(g), view=True)
unsqueeze_    = linear("unsqueeze",
                             lambda x, *, dim: np.expand_dims(x, dim),                  lambda g, dim: squeeze_(g, dims=(dim,)), view=True)
squeeze_      = linear("squeeze",
                             lambda x, *, dims: x.reshape([n for i, n in enumerate(x.shape) if i not in dims]) if not dims else np.squeeze(x, dims),
                                                                                        lambda g, x_shape: reshape_to(g, x_shape), view=True, node="SqueezeBackward1")
flip_dims     = linear("flip",
                             lambda x, *, dims: np.flip(x, dims).copy(),                lambda g, dims: flip_dims(g, dims=dims))
roll_dims     = linear("roll",
                             lambda x, *, shifts, dims: np.roll(x, shifts, dims),       lambda g, shifts, dims: roll_dims(g, shifts=tuple(-s for s in shifts), dims=dims))
repeat_dims   = linear("repeat",
                             lambda x, *, sizes: np.tile(x, sizes),                     lambda g, sizes, x_shape: _repeat_transpose(g, sizes, x_shape))
tri_lower     = linear("tril", lambda x, *, diagonal: np.tril(x, diagonal),             lambda g, diagonal: tri_lower(g, diagonal=diagonal))
tri_upper     = linear("triu", lambda x, *, diagonal: np.triu(x, diagonal),             lambda g, diagonal: tri_upper(g, diagonal=diagonal))
# fmt: on


def reshape_to(g: Any, shape: tuple[int, ...]) -> Any:
    """g with another shape, over arrays and tensors."""
    return reshape(g, shape) if isinstance(g, Tensor) else np.reshape(g, shape)


def broadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """g broadcast to a shape, over arrays and tensors."""
    return expand_to(g, shape=tuple(shape)) if isinstance(g, Tensor) else np.broadcast_to(g, shape)


def _repeat_transpose(g: Any, sizes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    padded = (1,) * (len(sizes) - len(shape)) + tuple(shape)
    split = [n for pair in zip(sizes, padded, strict=True) for n in pair]
    folded = reshape_to(g, tuple(split))
    axes = tuple(range(0, 2 * len(sizes), 2))
    total = folded.sum(axes) if isinstance(folded, Tensor) else np.add.reduce(folded, axis=axes)
    return reshape_to(total, shape)


@both
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """Another shape: a view where strides allow, else a copy. Source: torch.reshape."""
    wanted = infer_size(dims_of(shape), input._array.size)
    if input._array.flags.c_contiguous:
        return view_as_shape(input, shape=wanted)
    probe = input._array.view()
    try:
        probe.shape = wanted
    except AttributeError:
        return reshape_copy(input, shape=wanted)
    return view_as_shape(input, shape=wanted)


@method
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """Another tensor's shape."""
    return reshape(self, *other._array.shape)


@method
def expand(self: Tensor, *sizes: Any) -> Tensor:
    """Broadcast to larger sizes without copying; -1 keeps a size. Source: torch.Tensor.expand."""
    wanted = dims_of(sizes)
    extra = len(wanted) - self._array.ndim
    if -1 in wanted[: max(extra, 0)]:
        raise RuntimeError(f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension "
                           f"{wanted.index(-1)}")  # fmt: skip
    shape = tuple(self._array.shape[i - extra] if n == -1 else n for i, n in enumerate(wanted))
    try:
        return expand_to(self, shape=shape)
    except ValueError:
        raise RuntimeError(f"The expanded size of the tensor {list(wanted)} must match the existing size "
                           f"{list(self._array.shape)} at non-singleton dimensions") from None  # fmt: skip


@method
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Broadcast to another tensor's shape."""
    return expand(self, *other._array.shape)


@both
def broadcast_to(input: Tensor, shape: Any) -> Tensor:
    """Broadcast to `shape`. Source: torch.broadcast_to."""
    return expand(input, *shape)


@method
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Sums the dimensions that broadcasting from `size` would add. Source: torch.Tensor.sum_to_size."""
    return sum_to_shape(self, shape=dims_of(size))


@both
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order. Source: torch.permute."""
    return permute_dims(input, dims=tuple(axis(d, input._array.ndim) for d in dims_of(dims)))


@both
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped. Source: torch.transpose."""
    n = input._array.ndim
    a, b = axis(dim0, n), axis(dim1, n)
    return transpose_(input, dim0=a, dim1=b) if n else input.view(())


registry.publish("swapaxes", transpose)
registry.publish("swapdims", transpose)


@both
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix. Source: torch.t."""
    if input._array.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._array.ndim}D")
    return t_(input)


@both
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places. Source: torch.movedim."""
    moved = list(range(input._array.ndim))
    sources = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    sources = [axis(s, input._array.ndim) for s in sources]
    rest = [d for d in moved if d not in sources]
    for target, s in sorted(zip((axis(d, input._array.ndim) for d in targets), sources, strict=True)):
        rest.insert(target, s)
    return permute_dims(input, dims=tuple(rest))


registry.publish("moveaxis", movedim)


@both
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A dimension of size 1 put in. Source: torch.unsqueeze."""
    return unsqueeze_(input, dim=axis(dim, input._array.ndim + 1))


@both
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Dimensions of size 1 taken out. Source: torch.squeeze."""
    shape = input._array.shape
    if dim is None:
        dims = tuple(i for i, n in enumerate(shape) if n == 1)
    else:
        asked = (dim,) if isinstance(dim, int) else dim
        dims = tuple(i for i in (axis(d, len(shape)) for d in asked) if shape and shape[i] == 1)
    return squeeze_(input, dims=dims)


@both
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """A range of dimensions made one. Source: torch.flatten."""
    shape = input._array.shape
    if not shape:
        return reshape(input, 1)
    start, end = axis(start_dim, len(shape)), axis(end_dim, len(shape))
    if start == end:
        return input
    return reshape(input, (*shape[:start], int(prod(shape[start : end + 1])), *shape[end + 1 :]))


@both
def ravel(input: Tensor) -> Tensor:
    """One dimension. Source: torch.ravel."""
    return reshape(input, -1)


@both
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension made several. Source: torch.unflatten."""
    shape = input._array.shape
    d = axis(dim, len(shape))
    return reshape(input, (*shape[:d], *infer_size(tuple(sizes), shape[d]), *shape[d + 1 :]))


@both
def flip(input: Tensor, *dims: Any) -> Tensor:
    """Reversed along dimensions. Source: torch.flip."""
    return flip_dims(input, dims=tuple(axis(d, input._array.ndim) for d in dims_of(dims)))


@both
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Shifted cyclically. Source: torch.roll."""
    if dims is None:
        return reshape(roll(reshape(input, -1), shifts, 0), input._array.shape)
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    return roll_dims(input, shifts=shifts, dims=(dims,) if isinstance(dims, int) else tuple(dims))


@method
def repeat(self: Tensor, *sizes: Any) -> Tensor:
    """Copies laid side by side along each dimension. Source: torch.Tensor.repeat."""
    return repeat_dims(self, sizes=dims_of(sizes))


registry.publish("tile", lambda input, *dims: repeat_dims(input, sizes=_pad_sizes(dims_of(dims), input._array.ndim)))


def _pad_sizes(sizes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return (1,) * (ndim - len(sizes)) + sizes


@both
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle, zeros elsewhere. Source: torch.tril."""
    return tri_lower(input, diagonal=diagonal)


@both
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle, zeros elsewhere. Source: torch.triu."""
    return tri_upper(input, diagonal=diagonal)


registry.methods["T"] = property(lambda self: permute_dims(self, dims=tuple(reversed(range(self._array.ndim)))))
registry.methods["mT"] = property(lambda self: transpose(self, -2, -1))
