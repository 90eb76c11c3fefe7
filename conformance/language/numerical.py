"""Numerical derivatives: what a derivative has to agree with, computed from an engine's own forward and nothing else.

`numerical_vjp` differentiates the contraction sum(cotangent * output) by each element of each input, `numerical_jvp` the
outputs along tangents. Central differences, at steps of 1/250 of an element's size and halves of it, are extrapolated
(Richardson); what two orders of the expansion differ by is the estimate of the error (the Taylor test), and the result
carries it: an `==` beside it allows for it. Where it does not become small the point is not smooth there, which raises
ArithmeticError: that is no statement about the derivative. Analytic functions are evaluated at x + 1e-20i instead, which
has no error to speak of. Elementwise functions take one sweep for all elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from conformance.arrays import Array, decode
from conformance.engines.base import Engine
from conformance.outcome import TensorValue

from .numeric import PRECISIONS

STEP = 1 / 250  # of an element's size, or of SMALL where it is smaller
SMALL = 0.05
STEEP = 3e-5  # of a slope: what two steps may differ by and need no third one
EXACT = 1e-11  # of the quantities involved: what a difference may be off and need no second step
IMAGINARY = 1e-20
UNIT = 1j * IMAGINARY
LIMIT = 1e-6  # an estimated error above this share of the quantities involved: the difference does not converge
EPSILON = float(np.finfo(np.float64).eps)

Function = Callable[..., Any]


class Estimate:
    """A numerical derivative: a tensor's value that carries how far it may be off. Never a part of the final state."""

    __slots__ = ("value",)

    def __init__(self, array: Array, error: float) -> None:
        dtype = "complex128" if array.dtype.kind == "c" else "float64"
        self.value = TensorValue(dtype, array.shape, np.asarray(array, dtype).tobytes(), error=float(error))


class Numerical:
    """The words about derivatives for one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._bulk = getattr(engine, "bulk", None)
        shared = engine.get("from_numpy") if engine.device == "cpu" else None
        self._from_numpy = shared if callable(shared) else None

    def words(self) -> dict[str, Any]:
        return {
            "direction": self.direction, "inner_product": self.inner_product, "numerical_jvp": self.jvp,
            "numerical_vjp": self.vjp, "rounded": self.rounded,
        }  # fmt: skip

    # --- words ---

    def direction(self, like: Any, seed: int = 0) -> Any:
        """A tensor like this one, of fixed numbers between 0.5 and 1.5 with either sign; for a list or tuple, a list."""
        if isinstance(like, list | tuple):
            return [self._direction(item, 64 * seed + index) for index, item in enumerate(like)]
        return self._direction(like, 64 * seed)

    def inner_product(self, left: Any, right: Any) -> Estimate:
        """Re sum(conj(left) * right), of two tensors or two lists of tensors, with what numerical derivatives among them
        may be off. Raises ValueError for unequal shapes."""
        sides = self._arrays(left), self._arrays(right)
        shapes = [[array.shape for array in side] for side in sides]
        if shapes[0] != shapes[1]:
            raise ValueError(f"an inner product of shapes {shapes[0]} and {shapes[1]}")
        error = sum(
            _error(left) * np.abs(b).sum() + _error(right) * np.abs(a).sum() for a, b in zip(*sides, strict=True)
        )
        return Estimate(np.asarray(_contract(*sides)), error)

    def rounded(self, wide: Any, like: Any, inputs: Sequence[Any]) -> Any:
        """`wide`, computed in float64, as an engine may have it in the dtype of `like`, computed from these inputs.

        What it may be off is the dtype's tolerance, in relation to the largest element, and more where many elements
        are added up: their rounding grows by the root of their number. For lists or tuples, a tuple.
        """
        if isinstance(wide, list | tuple):
            return tuple([self.rounded(w, item, inputs) for w, item in zip(wide, like, strict=True)])
        precision = PRECISIONS.get(self.engine.read(like).dtype)
        if precision is None:
            return wide
        array = self._array(wide)
        sizes = np.abs(array[np.isfinite(array)])
        terms = max([array.size, *(self._array(x).size for x in inputs)])
        return Estimate(array, precision.rtol * np.max(sizes, initial=0.0) * max(1.0, math.sqrt(terms) / 8))

    def vjp(self, function: Function, inputs: Sequence[Any], cotangents: Any, *, elementwise: bool = False,
            analytic: bool = False) -> list[Estimate]:  # fmt: skip
        """What backward(cotangents) of function(*inputs) accumulates in each input.

        cotangents: a tensor for one output, a list for several. elementwise: an element of an output depends on those
        elements of the inputs that are broadcast to it. analytic: the function continues to complex numbers.
        """
        point = self._point(function, inputs)
        weights = self._arrays(cotangents)
        if analytic and (found := self._continued(point, lambda: _analytic_vjp(point, weights, elementwise))):
            return _estimates(found)
        if elementwise:
            return _estimates([_sweep(point, index, weights) for index in range(len(point.arrays))])
        return _estimates(_by_element(point, weights))

    def jvp(self, function: Function, inputs: Sequence[Any], tangents: Sequence[Any], *, analytic: bool = False,
            leaves: bool = False) -> Any:  # fmt: skip
        """The derivative of function(*inputs) along the tangents: one, or a tuple where the function returns several.

        leaves: the function differentiates: it is called with leaves that require gradients.
        """
        point = self._point(function, inputs, leaves)
        along = self._arrays(tangents)
        found = self._continued(point, lambda: _analytic_jvp(point, along)) if analytic else None
        estimates = _estimates(found or _along(point, along))
        return tuple(estimates) if point.several else estimates[0]

    # --- arrays in and out ---

    def _direction(self, like: Any, key: int) -> Any:
        value = self.engine.read(like)
        array = numbers(value.shape, key, value.dtype.startswith("complex"))
        return self.engine.make(array, value.dtype, False)

    def _array(self, tensor: Any) -> Array:
        if type(tensor) is Estimate:
            return decode(tensor.value)
        array = self._bulk(tensor) if self._bulk is not None else None
        return decode(self.engine.read(tensor)) if array is None else array

    def _arrays(self, tensors: Any) -> list[Array]:
        return [self._array(t) for t in tensors] if isinstance(tensors, list | tuple) else [self._array(tensors)]

    def _tensor(self, array: Array, leaves: bool) -> Any:
        if self._from_numpy is None:
            return self.engine.make(array, array.dtype.name, leaves)
        tensor = self._from_numpy(array.copy())  # f may change what it gets
        return tensor.requires_grad_() if leaves else tensor

    def _point(self, function: Function, inputs: Sequence[Any], leaves: bool = False) -> Point:
        def call(arrays: Sequence[Array]) -> tuple[list[Array], bool]:
            outputs = function(*[self._tensor(array, leaves) for array in arrays])
            return self._arrays(outputs), isinstance(outputs, list | tuple)

        arrays = [np.array(self._array(x)) for x in inputs]
        for array in arrays:
            if array.dtype.kind + str(array.dtype.itemsize) not in ("f8", "c16"):
                raise TypeError(f"numerical derivatives are taken in float64 or complex128, not {array.dtype.name}")
        return Point(call, arrays)

    def _continued(self, point: Point, derivative: Callable[[], list[Found]]) -> list[Found] | None:
        """The derivative by complex step, None where the inputs are complex already, or where the engine does not take
        complex numbers: differences are as good."""
        if any(x.dtype.kind == "c" for x in point.arrays) or not self.engine.spells("complex128"):
            return None
        try:
            return derivative()
        except Exception:
            return None


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


def _error(value: Any) -> float:
    """How far what goes into an inner product may be off."""
    if isinstance(value, list | tuple):
        return max((_error(item) for item in value), default=0.0)
    return value.value.error if type(value) is Estimate else 0.0


Found = tuple[Array, float]  # a derivative, and how far it may be off


def _estimates(found: Sequence[Found]) -> list[Estimate]:
    return [Estimate(array, error) for array, error in found]


def _steps(array: Array) -> Array:
    return STEP * np.maximum(np.abs(array), SMALL)


def _contract(weights: Sequence[Array], outputs: Sequence[Array]) -> float:
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


def _sweep(point: Point, index: int, weights: Sequence[Array]) -> Found:
    """Two steps for all elements; a third where the function is steep enough for the first two to differ."""
    x, total, worst = point.arrays[index], 0.0, 0.0
    steps = _steps(x)
    for unit in _directions(x):

        def slopes(share: float, unit: complex = unit) -> Array:
            change = point.difference(index, share * steps * unit)
            parts = [_reduced(_real(w, d), x.shape) for w, d in zip(weights, change, strict=True)]
            return sum(parts) / (2 * share * steps)

        coarse, fine = slopes(1.0), slopes(0.5)
        best = _without_h2(coarse, fine)
        change = np.abs(fine - coarse)
        largest = float(np.max(np.abs(best), initial=0.0))
        if np.any(change > STEEP * np.maximum(np.abs(best), largest / 30)):
            best, before = _without_h2(fine, slopes(0.25)), best
            change = 100 * np.abs(best - before)
        total = total + best * unit
        worst = max(worst, float(np.max(change, initial=0.0)) / 100)
    largest = max((float(np.max(np.abs(y), initial=0.0)) for y in point.outputs), default=0.0)
    error = worst + 8 * EPSILON * largest / (STEP * SMALL)
    return np.asarray(total), _checked(total, error, _size(weights, point.outputs), f"by input {index}")


def _real(weight: Array, change: Array) -> Array:
    """Re conj(w) * d, element by element."""
    if weight.dtype.kind == "c" or change.dtype.kind == "c":
        return np.asarray((weight.conj() * change).real)
    return np.asarray(weight * change)


def _without_h2(coarse: Any, fine: Any) -> Any:
    """From differences at steps h and h/2 the value without h**2."""
    return (4 * fine - coarse) / 3


# --- element by element ---


def _by_element(point: Point, weights: Sequence[Array]) -> list[Found]:
    """A step for each element, and a second one where that is not exact: the error is measured along a direction that
    moves all elements at once."""
    tangents = [numbers(x.shape, 7 + i, x.dtype.kind == "c") for i, x in enumerate(point.arrays)]
    along = _along(point, tangents, check=False)
    whole, size = _contract(weights, [d for d, _ in along]), _size(weights, point.outputs)
    gradients = _gradients(point, weights, 1.0)
    if not _gap(gradients, tangents, whole) <= EXACT * size:
        pairs = zip(gradients, _gradients(point, weights, 0.5), strict=True)
        gradients = [_without_h2(coarse, fine) for coarse, fine in pairs]
    error = 4 * _gap(gradients, tangents, whole) + 4 * EPSILON * size / (STEP * SMALL)
    error += 4 * sum(e * float(np.abs(w).sum()) for (_, e), w in zip(along, weights, strict=True))
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in gradients), default=0.0)
    _checked(largest, error, size, "here")
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
                slope = _contract(weights, point.difference(index, move)) / (2 * steps[place])
                gradient[place] = gradient[place] + slope * unit
            move[place] = 0.0
        found.append(gradient)
    return found


def _analytic_vjp(point: Point, weights: Sequence[Array], elementwise: bool) -> list[Found]:
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
                gradient[place] = _contract(weights, _imaginary(point.moved(index, move))) / IMAGINARY
                move[place] = 0.0
        found.append((gradient, 0.0))
    return found


def _analytic_jvp(point: Point, tangents: Sequence[Array]) -> list[Found]:
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


def _along(point: Point, tangents: Sequence[Array], check: bool = True) -> list[Found]:
    """The outputs' derivatives along the tangents, by differences at three steps."""
    step = min((_longest(x, t) for x, t in zip(point.arrays, tangents, strict=True) if x.size), default=STEP)
    levels: list[list[Array]] = []
    for h in (step, step / 2, step / 4):
        moves = [h * t for t in tangents]
        plus = point.at([np.asarray(x + m) for x, m in zip(point.arrays, moves, strict=True)])
        minus = point.at([np.asarray(x - m) for x, m in zip(point.arrays, moves, strict=True)])
        levels.append([(p - m) / (2 * h) for p, m in zip(plus, minus, strict=True)])
    found = []
    for index, output in enumerate(point.outputs):
        coarse, fine = (_without_h2(levels[i][index], levels[i + 1][index]) for i in (0, 1))
        best, error = (16 * fine - coarse) / 15, np.abs(fine - coarse)
        size = float(np.max(np.abs(output), initial=0.0))
        bound = 4 * float(np.max(error, initial=0.0)) + 4 * EPSILON * size / step
        if check:
            _checked(best, bound, size, f"of output {index}")
        found.append((np.asarray(best), bound))
    return found
