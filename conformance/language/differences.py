"""Differences: derivatives of a function of arrays, from its values alone, with how far they may be off.

Central differences, at steps of 1/250 of an element's size and halves of it, are extrapolated (Richardson); what the last
order changes, and for single elements what a direction that moves them all tells (the Taylor test), estimates the error.
Where it does not become small the point is not smooth there: ArithmeticError. A complex step has no error to speak of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from conformance.arrays import Array

STEP = 1 / 250  # of an element's size, or of SMALL where it is smaller
SMALL = 0.05
STEEP = 3e-5  # of a slope: what two steps may differ by and need no third one
EXACT = 1e-11  # of the quantities involved: what a difference may be off and need no second step
IMAGINARY = 1e-20
UNIT = 1j * IMAGINARY
LIMIT = 1e-6  # an estimated error above this share of the quantities involved: the difference does not converge
EPSILON = float(np.finfo(np.float64).eps)


class Point:
    """A function and the inputs (arrays) at which it is differentiated.

    outputs: those of the latest call. several: whether the function returns more than one.
    """

    __slots__ = ("arrays", "call", "outputs", "several")

    def __init__(self, call: Callable[[Sequence[Array]], tuple[list[Array], bool]], arrays: list[Array]) -> None:
        self.call, self.arrays = call, arrays
        self.outputs: list[Array] = []
        self.several = False

    def at(self, arrays: Sequence[Array]) -> list[Array]:
        self.outputs, self.several = self.call(arrays)
        return self.outputs

    def moved(self, index: int, step: Any) -> list[Array]:
        """The outputs where input `index` is moved by `step`."""
        arrays = self.arrays.copy()
        arrays[index] = np.asarray(arrays[index] + step)
        return self.at(arrays)

    def difference(self, index: int, step: Any) -> list[Array]:
        return [p - m for p, m in zip(self.moved(index, step), self.moved(index, -step), strict=True)]


@lru_cache(maxsize=256)
def numbers(shape: tuple[int, ...], key: int, is_complex: bool) -> Array:
    """The numbers of `direction`."""
    generator = np.random.Generator(np.random.Philox(key=key))
    drawn = 2.0 * generator.random((1 + is_complex, *shape)) - 1.0
    drawn = drawn + 0.5 * np.where(drawn < 0, -1.0, 1.0)
    return np.asarray(drawn[0] + 1j * drawn[1]) if is_complex else np.asarray(drawn[0])


Found = tuple[Array, float]  # a derivative, and how far it may be off


def _steps(array: Array) -> Array:
    return STEP * np.maximum(np.abs(array), SMALL)


def contract(weights: Sequence[Array], outputs: Sequence[Array]) -> float:
    """Re sum(conj(w) * y)."""
    return float(sum(np.vdot(w, y).real for w, y in zip(weights, outputs, strict=True)))


def _size(weights: Sequence[Array], outputs: Sequence[Array]) -> float:
    return float(sum(np.vdot(np.abs(w), np.abs(y)) for w, y in zip(weights, outputs, strict=True)))


def _checked(found: Any, error: float, size: float, what: str) -> float:
    """The error; raises ArithmeticError where the estimate is not finite, or does not converge."""
    largest = float(np.max(np.abs(found), initial=0.0))
    if not math.isfinite(largest) or not error <= LIMIT * (largest + size):
        raise ArithmeticError(f"no numerical derivative {what}: the differences do not converge ({error:.1e})")
    return error


def _directions(array: Array) -> tuple[complex, ...]:
    """The directions in which an element moves: a complex number has two, and its gradient is d/dRe + i d/dIm."""
    return (1.0, 1j) if array.dtype.kind == "c" else (1.0,)


# --- all elements at once ---


def _reduced(array: Array, shape: tuple[int, ...]) -> Array:
    """The sum over what broadcasting had repeated."""
    extra = array.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and array.shape[extra + i] != 1))
    return array.sum(axis=axes, keepdims=True).reshape(shape) if axes else array


def sweep(point: Point, index: int, weights: Sequence[Array]) -> Found:
    """All elements of one input are moved together."""
    x, worst = point.arrays[index], 0.0
    total: Any = 0.0
    steps = _steps(x)
    for unit in _directions(x):

        def slopes(share: float, unit: complex = unit) -> Array:
            change = point.difference(index, share * steps * unit)
            parts = [_reduced(_real(w, d), x.shape) for w, d in zip(weights, change, strict=True)]
            return sum(parts) / (2 * share * steps)

        best, error = _limit(slopes)
        total, worst = total + best * unit, max(worst, error)
    error = worst + 8 * EPSILON * _largest(point.outputs) / (STEP * SMALL)
    return np.asarray(total), _checked(total, error, _size(weights, point.outputs), f"by input {index}")


def _limit(slopes: Callable[[float], Array], thorough: bool = False) -> Found:
    """What central differences at a share of the usual step tend to, and how far that may be off.

    Two steps give the value without h**2, whose own error is far below a hundredth of what the steps differ by, unless
    the function is steep there. Then, or to be thorough, a third step tells by how much one order more changes it.
    """
    coarse, fine = slopes(1.0), slopes(0.5)
    best, change = _without_h2(coarse, fine), np.abs(fine - coarse)
    sizes = np.abs(best)
    if not thorough and not np.any(change > STEEP * np.maximum(sizes, np.max(sizes, initial=0.0) / 30)):
        return best, float(np.max(change, initial=0.0)) / 100
    finer = _without_h2(fine, slopes(0.25))
    return (16 * finer - best) / 15, 4 * float(np.max(np.abs(finer - best), initial=0.0))


def _largest(arrays: Sequence[Array]) -> float:
    return max((float(np.max(np.abs(a), initial=0.0)) for a in arrays), default=0.0)


def _real(weight: Array, change: Array) -> Array:
    """Re conj(w) * d, element by element."""
    if weight.dtype.kind == "c" or change.dtype.kind == "c":
        return np.asarray((weight.conj() * change).real)
    return np.asarray(weight * change)


def _without_h2(coarse: Any, fine: Any) -> Any:
    """From differences at steps h and h/2 the value without h**2."""
    return (4 * fine - coarse) / 3


# --- element by element ---


def by_element(point: Point, weights: Sequence[Array]) -> list[Found]:
    """A step for each element, and a second one where that is not exact: the error is measured along a direction that
    moves all elements at once."""
    tangents = [numbers(x.shape, 7 + i, x.dtype.kind == "c") for i, x in enumerate(point.arrays)]
    along = along_tangents(point, tangents, check=False)
    whole, size = contract(weights, [d for d, _ in along]), _size(weights, point.outputs)
    gradients = _gradients(point, weights, 1.0)
    if not _gap(gradients, tangents, whole) <= EXACT * size:
        pairs = zip(gradients, _gradients(point, weights, 0.5), strict=True)
        gradients = [_without_h2(coarse, fine) for coarse, fine in pairs]
    error = 4 * _gap(gradients, tangents, whole) + 4 * EPSILON * size / (STEP * SMALL)
    error += 4 * sum(e * float(np.abs(w).sum()) for (_, e), w in zip(along, weights, strict=True))
    _checked(_largest(gradients), error, size, "here")
    return [(g, error) for g in gradients]


def _gap(gradients: Sequence[Array], tangents: Sequence[Array], whole: float) -> float:
    """How far the gradients are off along the tangents."""
    return abs(whole - sum(np.vdot(g, t).real for g, t in zip(gradients, tangents, strict=True)))


def _gradients(point: Point, weights: Sequence[Array], share: float) -> list[Array]:
    """Central differences by each element of each input, at a share of the usual step."""
    found = []
    for index, x in enumerate(point.arrays):
        gradient, move = np.zeros(x.shape, x.dtype), np.zeros(x.shape, x.dtype)
        steps = _steps(x) * share
        for place in np.ndindex(x.shape):
            for unit in _directions(x):
                move[place] = steps[place] * unit
                slope = contract(weights, point.difference(index, move)) / (2 * steps[place])
                gradient[place] = gradient[place] + slope * unit
            move[place] = 0.0
        found.append(gradient)
    return found


def complex_step(point: Point, weights: Sequence[Array], elementwise: bool) -> list[Found]:
    found = []
    for index, x in enumerate(point.arrays):
        if elementwise:
            parts = [
                _reduced(w * y, x.shape) for w, y in zip(weights, _imaginary(point.moved(index, UNIT)), strict=True)
            ]
            gradient = np.asarray(sum(parts) / IMAGINARY)
        else:
            gradient, move = np.zeros(x.shape), np.zeros(x.shape, complex)
            for place in np.ndindex(x.shape):
                move[place] = UNIT
                gradient[place] = contract(weights, _imaginary(point.moved(index, move))) / IMAGINARY
                move[place] = 0.0
        found.append((gradient, 0.0))
    return found


def complex_step_along(point: Point, tangents: Sequence[Array]) -> list[Found]:
    moved = [np.asarray(x + UNIT * t) for x, t in zip(point.arrays, tangents, strict=True)]
    return [(y / IMAGINARY, 0.0) for y in _imaginary(point.at(moved))]


def _imaginary(outputs: Sequence[Array]) -> list[Array]:
    """The imaginary parts. Raises TypeError where an output is real: the function does not continue."""
    if any(y.dtype.kind != "c" for y in outputs):
        raise TypeError("not continued to complex numbers")
    return [y.imag for y in outputs]


# --- along tangents ---


def _longest(array: Array, tangent: Array) -> float:
    """The longest step along a tangent that moves no element further than its own step."""
    sizes = np.abs(tangent)
    return float(np.min(_steps(array) / np.where(sizes > 0, sizes, 1.0)))


def along_tangents(point: Point, tangents: Sequence[Array], check: bool = True) -> list[Found]:
    """The outputs' derivatives along the tangents, checked or thorough; the error is one for all of them."""
    step = min((_longest(x, t) for x, t in zip(point.arrays, tangents, strict=True) if x.size), default=STEP)

    def slopes(share: float) -> Array:
        moves = [share * step * t for t in tangents]
        plus = point.at([np.asarray(x + m) for x, m in zip(point.arrays, moves, strict=True)])
        minus = point.at([np.asarray(x - m) for x, m in zip(point.arrays, moves, strict=True)])
        return np.concatenate([(p - m).reshape(-1) for p, m in zip(plus, minus, strict=True)]) / (2 * share * step)

    best, error = _limit(slopes, thorough=not check)
    size = _largest(point.outputs)
    error += 4 * EPSILON * size / step
    if check:
        _checked(best, error, size, "along the tangents")
    found, start = [], 0
    for output in point.outputs:
        part = best[start : start + output.size].reshape(output.shape)
        found.append((part if output.dtype.kind == "c" else part.real, error))
        start += output.size
    return found
