"""Comparisons used by the tests of operators: with torch, and with central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import reference_engine


def arrays(seed: int, *shapes: Sequence[int], dtype: Any = np.float64) -> list[np.ndarray]:
    """Normal data of the given shapes."""
    draw = np.random.default_rng(seed)
    return [draw.standard_normal(tuple(shape)).astype(dtype) for shape in shapes]


def leaves(engine: Any, data: Sequence[np.ndarray | None]) -> list[Any]:
    """Leaves that record, one per array."""
    return [None if a is None else engine.from_numpy(np.array(a)).requires_grad_() for a in data]


def plain(tensor: Any) -> np.ndarray:
    """A tensor's values."""
    return np.asarray(tensor.detach().resolve_conj().numpy())


def derivatives(engine: Any, function: Callable, data: Sequence[np.ndarray | None], order: int) -> list[np.ndarray]:
    """Value, first and (order 2) second derivatives of function(engine, *leaves), each against fixed random vectors."""
    inputs = leaves(engine, data)
    out = function(engine, *inputs)
    results = [plain(out)]
    wanted = [x for x in inputs if x is not None]
    for level in range(order):
        seed = np.random.default_rng(17 + level).standard_normal(tuple(out.shape)).astype(plain(out).dtype)
        grads = engine.autograd.grad(
            out, wanted, engine.from_numpy(seed), create_graph=level + 1 < order, allow_unused=True
        )
        found = [g for g in grads if g is not None]
        results += [plain(g) for g in found]
        if level + 1 < order:
            out = sum((g * g).sum() * (i + 1) for i, g in enumerate(found))
    return results


def same_as_torch(function: Callable, data: Sequence[np.ndarray | None], *, order: int = 2, rtol: float = 1e-9,
                  atol: float = 1e-9) -> None:  # fmt: skip
    """Value, first and second derivatives agree with torch's, every element."""
    torch = pytest.importorskip("torch")
    ours = derivatives(reference_engine, function, data, order)
    theirs = derivatives(torch, function, data, order)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def same_as_differences(function: Callable, data: Sequence[np.ndarray], *, second: bool = True) -> None:
    """First (and second) derivatives agree with central differences, every element."""
    inputs = leaves(reference_engine, data)
    autograd = reference_engine.autograd
    assert autograd.gradcheck(lambda *xs: function(reference_engine, *xs), tuple(inputs))
    if second:
        assert autograd.gradgradcheck(lambda *xs: function(reference_engine, *xs), tuple(inputs))
