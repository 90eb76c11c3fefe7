"""Derivatives taken three ways, for gradcheck: by central differences, by backward, by forward mode.

Law: a complex number is two real ones, and <a, b> = Re sum conj(a) b the inner product. A function then has a real
Jacobian J, of which <w, J d> is one number for a direction d of the inputs and a cotangent w of the outputs. Central
differences and forward mode give J d, backward gives J^T w. In slow mode d and w run through the unit vectors, so that
every element of J is compared; in fast mode there is one random unit vector for each part.
Source: torch notes/gradcheck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference_engine.autograd.backward import grad
from reference_engine.dtypes import of_numpy
from reference_engine.sparse.array import SparseArray
from reference_engine.tensor import Size, Tensor, wrap


def as_tuple(x: Any) -> tuple:
    """A tuple of one for what is no tuple or list."""
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def differentiable(outputs: Any) -> list[Tensor]:
    """The outputs that have a history. What is no tensor has no requires_grad, and raises AttributeError."""
    return [o for o in as_tuple(outputs) if o.requires_grad]


def floating(outputs: Any) -> list[Tensor]:
    """The tensors among the outputs that could have a derivative."""
    return [o for o in as_tuple(outputs) if isinstance(o, Tensor) and o._array.dtype.kind in "fc"]


def parts(array: Any) -> list[complex]:
    """The units of an element's real degrees of freedom."""
    return [1, 1j] if array.dtype.kind == "c" else [1]


class Space:
    """The elements of one tensor that are varied: all, or for a sparse tensor with `masked` the stored ones.

    vectors: directions (cotangents), by part of a complex number: unit vectors, or one random vector of length 1.
    """

    def __init__(self, tensor: Tensor, *, masked: bool = False, random: np.random.Generator | None = None) -> None:
        self.tensor = tensor
        array: Any = tensor._array
        self.array, self.sparse = array, isinstance(array, SparseArray)
        self.masked = masked and self.sparse
        count = self.array.values.size if self.masked else self.array.size
        # Real parts first where the vectors are random, as torch does; element by element otherwise.
        self.random = random is not None
        if random is None:
            self.vectors = [part * row for row in np.eye(count) for part in parts(self.array)]
        else:
            self.vectors = [part * _unit(random, count) for part in parts(self.array)]
        self.weight = 1.0 if random is None else max((float(np.abs(v).sum()) for v in self.vectors), default=1.0)

    def shaped(self, vector: np.ndarray) -> np.ndarray:
        """A vector in the tensor's shape and type; of a sparse tensor with `masked`, in that of its stored values."""
        shape = self.array.values.shape if self.masked else self.array.shape
        return vector.reshape(shape).astype(self.array.dtype)

    def place(self, nr: int) -> str:
        """Where the direction of this number points, for a message: nothing where directions are random."""
        if self.random:
            return ""
        shape = self.array.values.shape if self.masked else self.array.shape
        index = np.unravel_index(nr // len(parts(self.array)), shape)
        return f"on index {tuple(map(int, index))} "

    def coordinates(self, gradient: Tensor | None) -> np.ndarray:
        """A gradient as a vector over this space."""
        if gradient is None:
            return np.zeros(len(self.vectors) and self.vectors[0].size, self.array.dtype)
        array: Any = gradient._array
        dense = array.todense() if isinstance(array, SparseArray) else array
        return (dense[tuple(self.array.indices)] if self.masked else dense).ravel()

    def moved(self, inputs: tuple, step: np.ndarray) -> tuple[tuple, Callable[[], None]]:
        """The inputs with this tensor moved by `step`, and what puts it back."""
        if not self.sparse:
            before = self.array.copy()
            self.array[...] = before + step
            return inputs, lambda: self.array.__setitem__(..., before)
        if self.masked:
            array = self.array.with_values(self.array.values + step)
        else:
            full = self.array.todense() + step
            array = SparseArray(np.indices(full.shape).reshape(full.ndim, -1), full.ravel(), full.shape, coalesced=True)
        replacement = wrap(array).requires_grad_()
        return tuple(replacement if x is self.tensor else x for x in inputs), lambda: None


def _unit(random: np.random.Generator, count: int) -> np.ndarray:
    vector = random.uniform(0.1, 1.0, count)
    return vector / max(float(np.linalg.norm(vector)), 1e-300)


def inner(a: np.ndarray, b: np.ndarray) -> float:
    """<a, b> = Re sum conj(a) b."""
    return float(np.real(np.vdot(np.asarray(a).ravel(), np.asarray(b).ravel()))) if np.size(a) else 0.0


def differences(fn: Callable, inputs: tuple, space: Space, eps: float, chosen: Callable = differentiable) -> list[list]:
    """J d for each direction d of the space by central differences: per direction an array per output.

    Raises AssertionError where an output's shape or type depends on the inputs' values.
    """

    def at(step: np.ndarray) -> list[np.ndarray]:
        moved, back = space.moved(inputs, step)
        try:
            return [np.array(o._array) for o in chosen(fn(*moved))]
        finally:
            back()

    rows = []
    for k, vector in enumerate(space.vectors):
        step = space.shaped(vector) * eps
        below, above = at(-step), at(step)
        _check_alike(below, above, f"{space.place(k)}by {eps}")
        rows.append([(a - b) / (2 * eps) for a, b in zip(above, below, strict=True)])
    return rows


def _check_alike(below: list, above: list, how: str) -> None:
    said = "Expected `func` to return outputs with the same {} when inputs are perturbed {}, but got: {}s {} and {}."
    for a, b in zip(below, above, strict=True):
        assert a.shape == b.shape, said.format("shape", how, "shape", Size(a.shape), Size(b.shape))
        assert a.dtype == b.dtype, said.format("dtype", how, "dtype", of_numpy(a.dtype), of_numpy(b.dtype))


def tangents(fn: Callable, inputs: tuple, space: Space) -> list[list]:
    """The same by forward mode: per direction an array per output."""
    rows = [pushed_forward(fn, inputs, space.tensor, wrap(space.shaped(vector))) for vector in space.vectors]
    return [[np.array(tangent._array) for tangent in row] for row in rows]


def pushed_forward(fn: Callable, inputs: tuple, tensor: Tensor, tangent: Tensor) -> list[Tensor]:
    """J d by forward mode for one direction, a tangent for `tensor`: per differentiable output its tangent."""
    from reference_engine.autograd.forward_ad import dual_level, make_dual, unpack_dual

    with dual_level():
        dual = make_dual(tensor, tangent)
        found = differentiable(fn(*[dual if x is tensor else x for x in inputs]))
        pushed = [(o, unpack_dual(o).tangent) for o in found]
        return [o.detach() * 0 if t is None else t.detach() for o, t in pushed]


def cotangents(output: Tensor, space: Space) -> list[Tensor]:
    """A gradient of the output for each vector of its space."""
    return [wrap(space.shaped(vector)) for vector in space.vectors]


def pulled(output: Tensor, inputs: Sequence[Tensor], seeds: Sequence[Tensor]) -> list[tuple]:
    """J^T w for each cotangent w: per cotangent a gradient per input."""
    return [grad(output, inputs, seed, retain_graph=True, allow_unused=True) for seed in seeds]


def matrix_of_products(rows: list[list], nr: int, seeds: Sequence[Tensor]) -> np.ndarray:
    """<w, J d>, a row per direction, a column per cotangent, from J d."""
    return np.array([[inner(w._array, row[nr]) for w in seeds] for row in rows]).reshape(len(rows), len(seeds))


def matrix_of_gradients(columns: list[tuple], nr: int, space: Space) -> np.ndarray:
    """<w, J d> from J^T w."""
    gradients = [space.coordinates(column[nr]) for column in columns]
    return np.array([[inner(g, d) for g in gradients] for d in space.vectors]).reshape(
        len(space.vectors), len(gradients)
    )
