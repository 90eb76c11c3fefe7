"""First and second derivatives along a direction, beside differences of values: a check of a few evaluations.

First derivatives in both modes: J^H w by a backward pass, J t by a dual number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import reference_engine
from tests.reference.against import leaves, plain


def _like(seed: int, array: np.ndarray) -> np.ndarray:
    draw = np.random.default_rng(seed)
    values = draw.standard_normal(array.shape)
    return np.asarray(values + 1j * draw.standard_normal(array.shape) if array.dtype.kind == "c" else values)


def _inner(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Re <a, b>, None counting as 0."""
    return sum(float(np.sum(np.conj(x) * y).real) for x, y in zip(a, b, strict=True) if x is not None)


def _difference(value: Callable[[float], float]) -> float:
    """The slope at 0: central differences of two widths, their leading error cancelled."""
    wide, narrow = ((value(h) - value(-h)) / (2 * h) for h in (4e-4, 2e-4))
    return (4 * narrow - wide) / 3


def _gradients(function: Callable, data: Sequence[np.ndarray], w: np.ndarray, **options: Any) -> tuple[list, list]:
    inputs = leaves(reference_engine, data)
    out = function(reference_engine, *inputs)
    seed = reference_engine.from_numpy(np.array(w))
    return inputs, reference_engine.autograd.grad(out, inputs, seed, allow_unused=True, **options)


def _shown(gradients: Sequence[Any]) -> list[np.ndarray | None]:
    return [None if g is None else plain(g) for g in gradients]


def _pushed(function: Callable, data: Sequence[np.ndarray], t: Sequence[np.ndarray]) -> np.ndarray | None:
    """J t in forward mode; None where it is zero by structure."""
    forward = reference_engine.autograd.forward_ad
    with forward.dual_level():
        duals = [
            forward.make_dual(*map(reference_engine.from_numpy, (x.copy(), d))) for x, d in zip(data, t, strict=True)
        ]
        tangent = forward.unpack_dual(function(reference_engine, *duals)).tangent
        return None if tangent is None else plain(tangent)


def slopes_are_those_of_differences(function: Callable, data: Sequence[np.ndarray], *, second: bool = True, forward: bool = True,
                                    rtol: float = 1e-6) -> None:  # fmt: skip
    """<w, J t> = <J^H w, t> for random w and t, J t by differences; so in forward mode, and of the gradient."""

    def value(*arrays: np.ndarray) -> np.ndarray:
        return plain(function(reference_engine, *[reference_engine.from_numpy(np.asarray(x)) for x in arrays]))

    w = _like(1, value(*data))
    t, s = [_like(2 + i, x) for i, x in enumerate(data)], [_like(12 + i, x) for i, x in enumerate(data)]
    moved = lambda h, v: [x + h * d for x, d in zip(data, v, strict=True)]
    inputs, gradients = _gradients(function, data, w, create_graph=second)
    expected = _difference(lambda h: _inner([w], [value(*moved(h, t))]))
    np.testing.assert_allclose(_inner(_shown(gradients), t), expected, rtol=rtol, atol=rtol)
    if forward:
        np.testing.assert_allclose(_inner([_pushed(function, data, t)], [w]), expected, rtol=rtol, atol=rtol)
    if not second:
        return
    known = [(g, d) for g, d in zip(gradients, t, strict=True) if g is not None and g.requires_grad]
    if known:
        seeds = [reference_engine.from_numpy(np.asarray(d).astype(plain(g).dtype)) for g, d in known]
        found = reference_engine.autograd.grad([g for g, _ in known], inputs, seeds, allow_unused=True)
    else:
        found = [None] * len(data)
    slope = lambda h: _inner(_shown(_gradients(function, moved(h, s), w)[1]), t)
    np.testing.assert_allclose(_inner(_shown(found), s), _difference(slope), rtol=10 * rtol, atol=10 * rtol)
