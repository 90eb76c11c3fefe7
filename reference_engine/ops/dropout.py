"""Dropout: a product with a random mask, which is a constant, so that its rule is mul's. Source: torch.nn.functional.dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.elementwise import where
from reference_engine.ops.inplace import in_place
from reference_engine.random import numpy_generator
from reference_engine.tensor import Tensor, wrap


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(shape: tuple[int, ...], p: float) -> np.ndarray:
    return numpy_generator().random(shape) >= p


def _dropped(input: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
    """input times a mask of `shape`, scaled so that the mean stays."""
    mask = _kept(shape, p).astype(input._array.dtype)
    if p < 1:
        mask /= 1 - p
    return input * wrap(mask)  # type: ignore[operator]


_elementwise_ = in_place(lambda input, p: _dropped(input, p, input._array.shape), "dropout_")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element 0 with probability p, the others divided by 1 - p. Source: torch.nn.functional.dropout."""
    _check(p)
    if not training or p == 0:
        return input
    return _elementwise_(input, p) if inplace else _dropped(input, p, input._array.shape)


def _channels(n: int) -> Any:
    def drop(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        _check(p)
        if not training or p == 0:
            return input
        lead = 2 if input._array.ndim >= n + 2 else 1
        return _dropped(input, p, input._array.shape[:lead] + (1,) * (input._array.ndim - lead))

    drop.__name__ = f"dropout{n}d"
    drop.__doc__ = f"Whole channels dropped. Source: torch.nn.functional.dropout{n}d."
    return drop


dropout1d, dropout2d, dropout3d = map(_channels, (1, 2, 3))

SELU_FLOOR = -1.7580993408473766  # what selu tends to at minus infinity


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout to selu's lower bound that keeps mean 0 and variance 1. Source: torch.nn.functional.alpha_dropout."""
    _check(p)
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0  # type: ignore[operator]
    keep = _kept(input._array.shape, p)
    scale = ((1 - p) * (1 + p * SELU_FLOOR**2)) ** -0.5
    return where(keep, input, SELU_FLOOR) * scale - scale * p * SELU_FLOOR


registry.publish("alpha_dropout", lambda input, p, train: alpha_dropout(input, p, train), method=False)
registry.publish("dropout", lambda input, p, train: dropout(input, p, train), method=False)
