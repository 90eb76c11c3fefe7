"""Numerical derivatives: what a derivative has to agree with, computed from an engine's own forward and nothing else.

`numerical_vjp` differentiates the contraction sum(cotangent * output) by each element of each input, `numerical_jvp` the
outputs along tangents, both by `differences`. The result carries how far it may be off: an `==` beside it allows for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conformance.arrays import Array, decode
from conformance.engines.base import Engine
from conformance.outcome import TensorValue

from . import differences
from .differences import Found, Point
from .numeric import PRECISIONS

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
        return Estimate(np.asarray(differences.contract(*sides)), error)

    def rounded(self, wide: Any, like: Any, inputs: Sequence[Any]) -> Any:
        """`wide`, computed in float64, as an engine may have it in the dtype of `like`, computed from these inputs.

        What it may be off is the dtype's tolerance, in relation to the largest element, and more where many elements
        are added up: their rounding grows by the root of their number. For lists or tuples, a tuple.
        """
        if isinstance(wide, list | tuple):
            return tuple([self.rounded(w, item, inputs) for w, item in zip(wide, like, strict=True)])
        precision = PRECISIONS.get(self._form(like)[1])
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
        if analytic and (
            found := self._continued(point, lambda: differences.complex_step(point, weights, elementwise))
        ):
            return _estimates(found)
        if elementwise:
            return _estimates([differences.sweep(point, index, weights) for index in range(len(point.arrays))])
        return _estimates(differences.by_element(point, weights))

    def jvp(self, function: Function, inputs: Sequence[Any], tangents: Sequence[Any], *, analytic: bool = False,
            leaves: bool = False) -> Any:  # fmt: skip
        """The derivative of function(*inputs) along the tangents: one, or a tuple where the function returns several.

        leaves: the function differentiates: it is called with leaves that require gradients.
        """
        point = self._point(function, inputs, leaves)
        along = self._arrays(tangents)
        found = self._continued(point, lambda: differences.complex_step_along(point, along)) if analytic else None
        estimates = _estimates(found or differences.along_tangents(point, along))
        return tuple(estimates) if point.several else estimates[0]

    # --- arrays in and out ---

    def _direction(self, like: Any, key: int) -> Any:
        shape, dtype = self._form(like)
        return self.engine.make(differences.numbers(shape, key, dtype.startswith("complex")), dtype, False)

    def _form(self, tensor: Any) -> tuple[tuple[int, ...], str]:
        """Shape and dtype, without reading the elements where the engine tells them."""
        name = getattr(self.engine, "dtype_name", None)
        if name is not None:
            return tuple(tensor.shape), name(tensor.dtype)
        value = self.engine.read(tensor)
        return value.shape, value.dtype

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


def _error(value: Any) -> float:
    """How far what goes into an inner product may be off."""
    if isinstance(value, list | tuple):
        return max((_error(item) for item in value), default=0.0)
    return value.value.error if type(value) is Estimate else 0.0


def _estimates(found: Sequence[Found]) -> list[Estimate]:
    return [Estimate(array, error) for array, error in found]
