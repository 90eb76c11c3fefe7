"""Checks that tables of calls share: derivatives beside differences, everything beside torch, layouts, no elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.reference.against import arrays, same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

Call = Callable


def data(shapes: Sequence[Sequence[int]], *, complex: bool = False, seed: int = 5) -> list[np.ndarray]:
    """Normal numbers, no two of which are closer than the steps of differences in such small samples."""
    found = arrays(seed, *shapes)
    if not complex:
        return [np.asarray(x) for x in found]
    return [np.asarray(x + 1j * y) for x, y in zip(found, arrays(seed + 1, *shapes), strict=True)]


def spread_out(shapes: Sequence[Sequence[int]], seed: int = 7) -> list[np.ndarray]:
    """Numbers of which no two are nearer than 0.3, in random order: far from every tie."""
    sizes = [int(np.prod(s)) for s in shapes]
    numbers = np.random.default_rng(seed).permutation(sum(sizes)) * 0.3 - 1.69
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def bent(function: Call) -> Call:
    """The call after x + x^2 / 10, which keeps the order of numbers above -5: a linear call has second derivatives then."""

    def call(e, *xs):
        result = function(e, *[x + x * x * 0.1 for x in xs])
        return result if result.ndim else result.reshape(1)

    return call


def derivatives_hold(function: Call, given: Sequence[np.ndarray], *, second: bool = True, forward: bool = True) -> None:
    """First and second derivatives are those of differences, and value and derivatives those of torch."""
    slopes_are_those_of_differences(bent(function), given, second=second, forward=forward)
    same_as_torch(bent(function), given, order=2 if second else 1)


def transposed(function: Call) -> Call:
    """The call with each input turned round twice, so that it is not contiguous."""
    return lambda e, *xs: function(e, *[x.mT.contiguous().mT if x.ndim > 1 else x for x in xs])
