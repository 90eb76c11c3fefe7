"""Faults of broadcasting and its transpose."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.ops import losses, shapes
from tests.faulty_engines.patching import Patch, fault


def summing(p: Patch, sum_to: Any) -> None:
    """Replaces the transpose of broadcasting, in both readings: sum_to(array, shape) -> array."""

    def sum_to_shape(x: Any, *, shape: tuple) -> Any:
        array = sum_to(x._array if isinstance(x, engine.Tensor) else np.asarray(x), tuple(shape))
        return engine.from_numpy(np.array(array)) if isinstance(x, engine.Tensor) else array

    p.function(shapes.sum_to_shape, sum_to_shape)


@fault("broadcasting")
def averages_over_broadcast_dimensions(p: Patch) -> None:
    """The gradient of a broadcast operand is the mean over its copies."""
    summing(p, lambda x, shape: shapes._sum_to(x, shape=shape) * (np.prod(shape) / max(x.size, 1)))


@fault("broadcasting")
def takes_one_copy(p: Patch) -> None:
    """The gradient of a broadcast operand is that of its last copy."""
    summing(p, lambda x, shape: x.reshape(-1)[x.size - int(np.prod(shape)) :].reshape(shape))


@fault("broadcasting")
def squeezes_size_one_dimensions(p: Patch) -> None:
    """The gradient of an operand with dimensions of size 1 loses them."""

    def make(original: Any) -> Any:
        def fresh(variable: Any, array: Any) -> Any:
            result = original(variable, array)
            if 1 in result._array.shape and result._array.ndim > 1:
                result._array = np.squeeze(result._array)
            return result

        return fresh

    p.wrap(engine.tape.accumulate, "_fresh", make)


@fault("broadcasting")
def expand_copies(p: Patch) -> None:
    """expand makes a copy instead of a view with stride 0."""
    p.set(engine.Tensor, "expand", lambda self, *sizes: original(self, *sizes).clone())
    original = engine.Tensor.expand


@fault("broadcasting")
def in_place_grows_the_target(p: Patch) -> None:
    """An in-place operation whose result is larger replaces the target."""

    def add_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
        result = self + other
        self._array, self._edge = result._array, result._edge
        return self

    p.set(engine.Tensor, "add_", add_)


@fault("broadcasting")
def losses_broadcast_silently(p: Patch) -> None:
    """A loss of tensors of different sizes does not warn."""

    def same_shape(input: Any, target: Any) -> Any:
        return engine.broadcast_tensors(input, target)

    p.set(losses, "_same_shape", same_shape)


def adding(p: Patch, prepare: Any) -> None:
    """Puts `prepare(a, b) -> (a, b)` before every addition of two tensors."""
    original = engine.add

    def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
        if isinstance(other, engine.Tensor):
            input, other = prepare(input, other)
        return original(input, other, alpha=alpha, out=out)

    p.set(engine, "add", add)
    p.set(engine.Tensor, "add", add)
    p.set(engine.Tensor, "__add__", add)


@fault("broadcasting")
def aligns_leading_dimensions(p: Patch) -> None:
    """Shapes are aligned from the first dimension instead of the last."""

    def prepare(a: Any, b: Any) -> tuple:
        most = max(a.dim(), b.dim())
        return tuple(x.reshape(*x.shape, *[1] * (most - x.dim())) for x in (a, b))

    adding(p, prepare)


@fault("broadcasting")
def cuts_operands_to_the_shorter(p: Patch) -> None:
    """Sizes that do not match are cut to the smaller one, as zip does."""

    def prepare(a: Any, b: Any) -> tuple:
        for dim in range(-1, -min(a.dim(), b.dim()) - 1, -1):
            m, n = a.shape[dim], b.shape[dim]
            if m != n and 1 not in (m, n):
                a, b = a.narrow(dim, 0, min(m, n)), b.narrow(dim, 0, min(m, n))
        return a, b

    adding(p, prepare)


@fault("broadcasting")
def flattens_operands_of_equal_size(p: Patch) -> None:
    """Tensors of equal size that do not broadcast are added element by element, as torch did long ago."""

    def prepare(a: Any, b: Any) -> tuple:
        pairs = zip(reversed(a.shape), reversed(b.shape), strict=False)
        fits = all(m == n or 1 in (m, n) for m, n in pairs)
        return (a, b) if fits or a.numel() != b.numel() else (a, b.reshape(a.shape))

    adding(p, prepare)


@fault("broadcasting")
def matrix_products_broadcast(p: Patch) -> None:
    """mm and bmm are other names of matmul."""
    for name in ("mm", "bmm"):
        p.function(getattr(engine, name), engine.matmul)
