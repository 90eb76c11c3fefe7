"""torch.masked: tensors of which only some elements are valid. What is masked out takes part in nothing.

A masked tensor keeps data and mask (True: valid). Its gradient is masked as it is, so that a derivative that is undefined
at a masked element says so instead of being nan. Source: torch docs "torch.masked"; notes/autograd "Division by Zero in
Autograd".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.memory import kinds
from reference_engine.ops import masked_reductions
from reference_engine.ops.kinds import Operator, general, linear
from reference_engine.ops.reductions import axes_of, restore
from reference_engine.ops.shapes import broadcast
from reference_engine.tensor import Tensor, wrap

MISMATCH = "Input masks must match. If you need support for this, please open an issue on Github."


class MaskedArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Data and mask of one shape. Elementwise operations act on the data; two operands need the same mask."""

    def __init__(self, data: np.ndarray, mask: np.ndarray) -> None:
        self.data, self.mask = data, mask

    dtype = property(lambda self: self.data.dtype)
    itemsize = property(lambda self: self.data.itemsize)
    shape = property(lambda self: self.data.shape)
    strides = property(lambda self: self.data.strides)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("a masked tensor has no elements where it is masked out; use get_data() or to_tensor(value)")

    def like(self, data: np.ndarray) -> MaskedArray:
        """Other data under the same mask."""
        return MaskedArray(data, self.mask)

    def astype(self, dtype: Any, **_: Any) -> MaskedArray:
        return self.like(self.data.astype(dtype))

    def copy(self) -> MaskedArray:
        return MaskedArray(self.data.copy(), self.mask.copy())

    def reshape(self, *shape: Any) -> MaskedArray:
        return MaskedArray(self.data.reshape(*shape), self.mask.reshape(*shape))

    def filled(self, value: Any) -> np.ndarray:
        """All elements, `value` where they are masked out."""
        return np.where(self.mask, self.data, self.data.dtype.type(value))

    def __array_ufunc__(self, ufunc: Callable, method: str, *inputs: Any, out: Any = None, **_: Any) -> Any:
        if method != "__call__" or out is not None:
            return NotImplemented
        masks = [x.mask for x in inputs if isinstance(x, MaskedArray)]
        if any(m.shape != masks[0].shape or (m != masks[0]).any() for m in masks):
            raise ValueError(MISMATCH)
        data = ufunc(*[x.data if isinstance(x, MaskedArray) else x for x in inputs])
        return MaskedArray(data, np.broadcast_to(masks[0], data.shape))


def _under(g: Any, mask: np.ndarray) -> Any:
    """A gradient masked like the tensor that it is for, over arrays and tensors."""
    if isinstance(g, Tensor):
        return g if isinstance(g, MaskedTensor) else as_masked(g, mask=mask)
    return g if isinstance(g, MaskedArray) else MaskedArray(np.asarray(g), mask)


def _held_out(name: str, reduce: Callable, neutral: Callable, slope: Callable) -> Operator:
    """A reduction over what is valid: slope(x, y, mask, dims) is d y / d x over arrays; the gradient is masked like x."""

    def forward(x: MaskedArray, *, dims: tuple, keepdim: bool) -> tuple:
        data = reduce(x.filled(neutral(x.dtype)), axis=dims, keepdims=keepdim)
        count = x.mask.sum(axis=dims, keepdims=True)
        y = np.asarray(data / count.reshape(np.shape(data)) if name == "mean" else data, x.dtype)
        factor = slope(x, y.reshape(count.shape), count)
        return MaskedArray(y, np.asarray(count.reshape(y.shape) > 0)), np.array(x.mask), factor

    def rule(g: Any, x_shape: tuple, mask: np.ndarray, factor: np.ndarray, dims: tuple) -> Any:
        if isinstance(g, MaskedTensor):
            g = wrap(g._array.data)
        g = g.data if isinstance(g, MaskedArray) else g
        g = broadcast(restore(g, x_shape, dims), x_shape)
        return _under(g * (wrap(factor) if isinstance(g, Tensor) else factor), mask)

    return general(f"masked_{name}", forward, rule, inputs=("x",), aux=("mask", "factor"))


def _share(x: MaskedArray, y: np.ndarray, _: Any) -> np.ndarray:
    """Ties share evenly."""
    hits = x.mask & (x.data == y)
    reduced = tuple(i for i, n in enumerate(y.shape) if n == 1)
    return (hits / np.maximum(hits.sum(axis=reduced, keepdims=True), 1)).astype(x.dtype)


# fmt: off
as_masked = linear("as_masked_tensor", lambda x, *, mask: MaskedArray(x, mask), lambda g, mask: _under(g, mask))
get_data  = general("get_data", lambda x: (np.array(x.data), np.array(x.mask)), lambda g, mask: _under(g, mask), inputs=("x",),
                    aux=("mask",))
to_tensor = general("to_tensor", lambda x, *, value: (x.filled(value), np.array(x.mask)), lambda g, mask: _under(g, mask),
                    inputs=("x",), aux=("mask",))

masked_sum  = _held_out("sum",  np.add.reduce,     lambda d: 0,       lambda x, y, n: np.ones(x.shape, x.dtype))
masked_mean = _held_out("mean", np.add.reduce,     lambda d: 0,       lambda x, y, n: np.full(x.shape, 1 / n, x.dtype))
masked_amax = _held_out("amax", np.maximum.reduce, lambda d: -np.inf, _share)
masked_amin = _held_out("amin", np.minimum.reduce, lambda d: np.inf,  _share)
# fmt: on


def _method(op: Operator) -> Callable:
    def call(self: MaskedTensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        return op(self, dims=axes_of(dim, self._array.ndim), keepdim=keepdim)

    return call


class MaskedTensor(Tensor):
    """A tensor with a mask. Source: torch.masked.MaskedTensor."""

    _array: MaskedArray  # type: ignore[assignment]

    def get_mask(self) -> Tensor:
        """True where an element is valid. Source: torch.masked.MaskedTensor.get_mask."""
        return wrap(np.array(self._array.mask))

    def get_data(self) -> Tensor:
        """The data, whatever lies under the mask included. Source: torch.masked.MaskedTensor.get_data."""
        return get_data(self)

    def to_tensor(self, value: Any) -> Tensor:
        """A plain tensor with `value` where masked out. Source: torch.masked.MaskedTensor.to_tensor."""
        return to_tensor(self, value=value)

    sum, mean, amax, amin = map(_method, (masked_sum, masked_mean, masked_amax, masked_amin))

    def tolist(self) -> Any:
        """The elements as nested lists, None where masked out."""
        valid, data = self._array.mask, self._array.data.astype(object)
        data[~valid] = None
        return data.tolist()

    def __repr__(self) -> str:
        return f"MaskedTensor({self.tolist()})"


kinds[MaskedArray] = MaskedTensor


def _checked(data: Tensor, mask: Tensor) -> np.ndarray:
    if mask._array.dtype.kind != "b":
        raise TypeError("mask must have dtype bool.")
    if mask._array.shape != data._array.shape:
        raise ValueError("data.size() must equal mask.size()")
    return np.array(mask._array)


def as_masked_tensor(data: Tensor, mask: Tensor) -> MaskedTensor:
    """`data` under a mask, with its history. Source: torch.masked.as_masked_tensor."""
    result: Any = as_masked(data, mask=_checked(data, mask))
    return result


def masked_tensor(data: Tensor, mask: Tensor, requires_grad: bool = False) -> MaskedTensor:
    """A new leaf: `data` under a mask, without its history. Source: torch.masked.masked_tensor."""
    result: Any = wrap(MaskedArray(data._array.copy(), _checked(data, mask)))
    return result.requires_grad_(requires_grad)


def is_masked_tensor(obj: Any) -> bool:
    """Whether obj is a masked tensor. Source: torch.masked.is_masked_tensor."""
    return isinstance(obj, MaskedTensor)


def _over_valid(function: Callable) -> Callable:
    """A function of a plain tensor and a mask; of a masked tensor its own method."""

    @functools.wraps(function)
    def call(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if isinstance(input, MaskedTensor):
            return getattr(input, function.__name__)(*args, **kwargs)
        return function(input, *args, **kwargs)

    return call


for _function in masked_reductions.NAMES:
    globals()[_function.__name__] = _over_valid(_function)

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]
