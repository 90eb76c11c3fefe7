"""Shapes: views and their relatives. All linear; the transpose of each is written beside it.

A view shares memory with its input (torch docs "Tensor Views"); reshape and flatten give a view where strides allow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.layouts import strided
from reference_engine.ops import registry
from reference_engine.ops.kinds import linear
from reference_engine.ops.one_node import one_node
from reference_engine.ops.registry import both, method
from reference_engine.tape.saved import type_name
from reference_engine.tensor import Tensor

prod = np.prod


def dims_of(sizes: tuple, named: Any = None) -> tuple[int, ...]:
    """`(2, 3)` and `((2, 3),)` alike: sizes given one by one or as a sequence, or as the argument `named`."""
    sizes = sizes if named is None else (named,)
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    return tuple(int(s) for s in sizes)


def axis(dim: int, ndim: int) -> int:
    """A dimension counted from the front; IndexError outside [-ndim, ndim)."""
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got {dim})")
    return dim % limit


def own_axis(dim: int, ndim: int) -> int:
    """axis, of a tensor that needs to have dimensions."""
    if not ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return axis(dim, ndim)


def mismatch(a: tuple[int, ...], b: tuple[int, ...]) -> RuntimeError:
    """The error for shapes that do not broadcast; it names the last dimension that stands in the way."""
    for i in range(1, min(len(a), len(b)) + 1):
        if a[-i] != b[-i] and 1 not in (a[-i], b[-i]):
            return RuntimeError(f"The size of tensor a ({a[-i]}) must match the size of tensor b ({b[-i]}) at non-singleton "
                                f"dimension {max(len(a), len(b)) - i}")  # fmt: skip
    return RuntimeError(f"The shapes {list(a)} and {list(b)} do not broadcast")


def infer_size(sizes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Replaces a -1 by what makes the product `count`."""
    if sizes.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if -1 in sizes and 0 in sizes and not count:
        raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(sizes)} because the unspecified dimension size "
                           "-1 can be any value and is ambiguous")  # fmt: skip
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
    axes = tuple(range(extra))
    if x.shape[extra:] != shape:
        axes += tuple(i + extra for i, n in enumerate(shape) if n == 1 and x.shape[i + extra] != 1)
    return np.add.reduce(np.asarray(x), axis=axes).reshape(shape)


def _expanded(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    view = np.broadcast_to(x, shape, subok=False)
    # NumPy's is read-only; in-place changes are refused where elements share memory, and only there.
    shared = any(step == 0 and n > 1 for n, step in zip(view.shape, view.strides, strict=True))
    return view if shared else np.lib.stride_tricks.as_strided(x, view.shape, view.strides)


def _permutation_inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(dims)), key=dims.__getitem__))


def _squeezed(x: np.ndarray, *, dims: tuple) -> np.ndarray:
    return x.reshape([n for i, n in enumerate(x.shape) if i not in dims]) if not dims else np.squeeze(x, dims)


def _unsqueezed(g: Any, x_shape: tuple) -> Any:
    return g if g.shape == x_shape else reshape_to(g, x_shape)


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
                             lambda x, *, dim0, dim1: x.swapaxes(dim0, dim1) if x.ndim else x[...], lambda g, dim0, dim1: transpose_(g, dim0=dim0, dim1=dim1), view=True)
t_            = linear("t",  lambda x: x.T,                                             lambda g: t_(g), view=True)
unsqueeze_    = linear("unsqueeze",
                             lambda x, *, dim: np.expand_dims(x, dim),                  lambda g, dim: squeeze_(g, dims=(dim,)), view=True)
squeeze_      = linear("squeeze",
                             _squeezed,                                                 _unsqueezed, view=True, node="SqueezeBackward1", holomorphic=False)
squeeze_all   = linear("squeeze",
                             _squeezed,                                                 _unsqueezed, view=True, node="SqueezeBackward0", holomorphic=False)
squeeze_several = linear("squeeze",
                             _squeezed,                                                 _unsqueezed, view=True, node="SqueezeBackward2", holomorphic=False)
flip_dims     = linear("flip",
                             lambda x, *, dims: np.flip(x, dims).copy(),                lambda g, dims: flip_dims(g, dims=dims))
roll_dims     = linear("roll",
                             lambda x, *, shifts, dims: np.roll(x, shifts if x.size else 0, dims),       lambda g, shifts, dims: roll_dims(g, shifts=tuple(-s for s in shifts), dims=dims))
repeat_dims   = linear("repeat",
                             lambda x, *, sizes: np.tile(x, sizes),                     lambda g, sizes, x_shape: _repeat_transpose(g, sizes, x_shape))
alias         = linear("alias",
                             lambda x: x[...],                                          lambda g: g, view=True, holomorphic=False)
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
def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """Another shape: a view where strides allow, else a copy. Source: torch.reshape."""
    if input.layout is not strided:
        raise RuntimeError("reshape is not implemented for sparse tensors")
    wanted = infer_size(dims_of(sizes, shape), input._array.size)
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
def expand(self: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """Broadcast to larger sizes without copying; -1 keeps a size. Source: torch.Tensor.expand."""
    wanted = dims_of(sizes, size)
    extra = len(wanted) - self._array.ndim
    if extra < 0:
        raise RuntimeError(f"expand(torch.{type_name(self.dtype)}{{{list(self.shape)}}}, size={list(wanted)}): the number of "
                           f"sizes provided ({len(wanted)}) must be greater or equal to the number of dimensions in the "
                           f"tensor ({self._array.ndim})")  # fmt: skip
    if -1 in wanted[: max(extra, 0)]:
        raise RuntimeError(f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension "
                           f"{wanted.index(-1)}")  # fmt: skip
    shape = tuple(self._array.shape[i - extra] if n == -1 else n for i, n in enumerate(wanted))
    for dim, (old, new) in reversed(list(enumerate(zip(self._array.shape, shape[extra:], strict=True), extra))):
        if old not in (1, new):
            raise RuntimeError(f"The expanded size of the tensor ({new}) must match the existing size ({old}) at non-singleton "
                               f"dimension {dim}.  Target sizes: {list(wanted)}.  Tensor sizes: {list(self.shape)}")  # fmt: skip
    return expand_to(self, shape=shape)


@method
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """Broadcast to another tensor's shape."""
    return expand(self, *other._array.shape)


@both
def broadcast_to(input: Tensor, *sizes: Any, size: Any = None, shape: Any = None) -> Tensor:
    """Broadcast to `size`. Source: torch.broadcast_to."""
    return expand(input, *dims_of(sizes, size if size is not None else shape))


@method
def sum_to_size(self: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """Sums the dimensions that broadcasting from `size` would add. Source: torch.Tensor.sum_to_size."""
    wanted, shape = dims_of(sizes, size), self._array.shape
    if len(wanted) > len(shape) or any(n not in (1, m) for n, m in zip(wanted[::-1], shape[::-1], strict=False)):
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(shape)}}}.")
    return self if wanted == shape else sum_to_shape(self, shape=wanted)


@both
def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """Dimensions in another order. Source: torch.permute."""
    n = input._array.ndim
    wanted = dims_of(order, dims)
    if len(wanted) != n:
        raise RuntimeError(f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of "
                           f"dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(wanted)}")  # fmt: skip
    wanted = tuple(axis(d, n) for d in wanted)
    if len(set(wanted)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return permute_dims(input, dims=wanted)


@both
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped. Source: torch.transpose."""
    n = input._array.ndim
    a, b = axis(dim0, n), axis(dim1, n)
    return transpose_(input, dim0=a, dim1=b)


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
    if len(sources) != len(targets):
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({sources} dims) should contain the same "
                           f"number of dims as destination ({targets} dims)")  # fmt: skip
    for name, given in (("source", sources), ("destination", targets)):
        if len({axis(d, len(moved)) for d in given}) != len(given):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({given})")
    sources = [axis(s, input._array.ndim) for s in sources]
    if not moved:
        return alias(input)
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
        return squeeze_all(input, dims=tuple(i for i, n in enumerate(shape) if n == 1))
    asked = (dim,) if isinstance(dim, int) else dim
    dims = tuple(i for i in (axis(d, len(shape)) for d in asked) if shape and shape[i] == 1)
    return (squeeze_ if isinstance(dim, int) else squeeze_several)(input, dims=dims)


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
    try:
        parts = infer_size(tuple(int(s) for s in sizes), shape[d])
    except RuntimeError:
        raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} ({shape[d]}) "
                           "in the input tensor") from None  # fmt: skip
    return reshape(input, (*shape[:d], *parts, *shape[d + 1 :]))


@both
def flip(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """Reversed along dimensions. Source: torch.flip."""
    wanted = tuple(axis(d, input._array.ndim) for d in dims_of(order, dims))
    for d in wanted:
        if wanted.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return flip_dims(input, dims=wanted if input._array.ndim else ())


@both
@one_node("RollBackward0", "input")
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Shifted cyclically. Source: torch.roll."""
    shifts, dims = dims_of((shifts,)), () if dims is None else dims_of((dims,))
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        flat = roll_dims(reshape(input, -1), shifts=shifts, dims=(0,))
        return reshape_copy(flat, shape=input._array.shape)
    if input._array.size and len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    return roll_dims(input, shifts=shifts, dims=tuple(own_axis(d, input._array.ndim) for d in dims))


@method
def repeat(self: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """Copies laid side by side along each dimension. Source: torch.Tensor.repeat."""
    wanted = dims_of(sizes, repeats)
    if len(wanted) < self._array.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    return repeat_dims(self, sizes=wanted)


@both
def tile(input: Tensor, *sizes: Any, dims: Any = None) -> Tensor:
    """repeat, with ones put in front where there are fewer sizes than dimensions. Source: torch.tile."""
    wanted = dims_of(sizes, dims)
    return repeat(input, (1,) * (input._array.ndim - len(wanted)) + wanted)


@both
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle, zeros elsewhere. Source: torch.tril."""
    _at_least_matrix(input, "tril")
    return tri_lower(input, diagonal=diagonal)


@both
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle, zeros elsewhere. Source: torch.triu."""
    _at_least_matrix(input, "triu")
    return tri_upper(input, diagonal=diagonal)


def _at_least_matrix(input: Tensor, name: str) -> None:
    if input._array.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
