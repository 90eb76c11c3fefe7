"""Derivatives by central differences, extrapolated, of a trace's forward computation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.spec.independence.trace import At, Push, Trace

STEPS = (2.0**-6, 2.0**-10, 2.0**-14)  # first steps tried, relative to an element larger than one
GOOD = 1e-8  # the error, relative to the derivative or to one, at which no other first step is tried


def gradient(trace: Trace, roots: Sequence[At], seeds: Sequence[np.ndarray], target: At,
             outer: Sequence[Push] = ()) -> np.ndarray:  # fmt: skip
    """d(sum of seeds . roots)/d(target), element by element, where `outer` elements are moved already.

    Of a complex element it is the derivative by the real part plus i times that by the imaginary part, and seeds are
    conjugated: torch notes/autograd, "Autograd for Complex Numbers".
    """
    like = trace.base[target.slot]
    result = np.zeros(like.shape, like.dtype)
    for index in np.ndindex(like.shape):

        def moved(delta: complex, index: tuple[int, ...] = index) -> float:
            return along(seeds, trace.run((*outer, Push(target, index, delta)), roots))

        size = max(1.0, abs(like[index]))
        result[index] = slope(lambda h: moved(complex(h)), size)
        if like.dtype.kind == "c":
            result[index] += 1j * slope(lambda h: moved(complex(0, h)), size)
    return result


def along(seeds: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> float:
    """The one number that is differentiated: the inner product of real and imaginary parts with the seeds'."""
    return sum(float(np.sum((np.conj(s) * v).real)) for s, v in zip(seeds, values, strict=True))


def slope(function: Callable[[float], float], size: float = 1.0) -> float:
    """The derivative at 0 by central differences at h, h/2, h/4, extrapolated to h = 0 (error of order h^6)."""
    best, error = np.nan, np.inf
    for first in STEPS:
        rough = [(function(h) - function(-h)) / (2 * h) for h in (first * size, first * size / 2, first * size / 4)]
        once = [(4 * rough[1] - rough[0]) / 3, (4 * rough[2] - rough[1]) / 3]
        twice = (16 * once[1] - once[0]) / 15
        doubt = abs(twice - once[1])
        if doubt < error:
            best, error = twice, doubt
        if error <= GOOD * max(1.0, abs(best)):
            break
    return float(best)


def has_kink(trace: Trace, roots: Sequence[At], seeds: Sequence[np.ndarray], target: At) -> bool:
    """Whether the slopes to the left and to the right stay apart at some element, however near, or grow beyond bounds."""
    like = trace.base[target.slot]
    directions = (1.0, 1j) if like.dtype.kind == "c" else (1.0,)
    here = trace.run((), roots)

    def slopes(index: tuple[int, ...], direction: complex, step: float) -> tuple[float, float]:
        found = []
        for side in (1, -1):
            values = trace.run((Push(target, index, complex(side * step * direction)),), roots)
            found.append((along(seeds, values) - along(seeds, here)) / (side * step))
        return found[0], found[1]

    def kink(index: tuple[int, ...], direction: complex) -> bool:
        right, left = slopes(index, direction, 2.0**-18)
        wide = slopes(index, direction, 2.0**-12)
        apart = abs(right - left)
        jump = max(abs(right), abs(left)) > 8 * max(abs(wide[0]), abs(wide[1])) + 1
        return jump or (apart > 1e-3 and apart > 0.5 * abs(wide[0] - wide[1]))

    return any(kink(index, direction) for index in np.ndindex(like.shape) for direction in directions)
