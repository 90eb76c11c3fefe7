"""Gradients that stop: zero where a mask says so, whatever arrives there. Infinity times zero would be nan.

Words of rules, over arrays and tensors alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import linear
from reference_engine.ops.values import ZEROS
from reference_engine.tensor import Tensor, wrap

LARGE = 1000  # elements from which a product is so much faster than a selection that a look at its result pays


def _masked(g: Any, mask: Any) -> Any:
    if type(g) is not np.ndarray:
        return g if mask else g.dtype.type(0)
    if g.size > LARGE:
        product = g * mask
        if not np.isnan(np.vdot(product, product)):  # infinite, never nan, where all are numbers
            return product
    return np.where(mask, g, ZEROS[g.dtype])


def _unless(g: Any, mask: Any) -> Any:
    if type(g) is not np.ndarray:
        return g.dtype.type(0) if mask else g
    return _masked(g, ~mask) if g.size > LARGE else np.where(mask, ZEROS[g.dtype], g)


_masked_op = linear("masked", lambda x, *, mask: _masked(x, mask), lambda g, mask: masked(g, mask),
                    node="WhereBackward0")  # fmt: skip


def masked(g: Any, mask: Any) -> Any:
    """g where the mask holds, 0 elsewhere."""
    if not isinstance(g, Tensor):
        return _masked(g, mask)
    return _masked_op(g, mask=mask._array if isinstance(mask, Tensor) else np.asarray(mask))


def unless(g: Any, mask: Any) -> Any:
    """0 where the mask holds, g elsewhere."""
    return masked(g, ~mask) if isinstance(g, Tensor) else _unless(g, mask)


def nil(g: Any) -> Any:
    """Zeros like g: the gradient along which nothing changes."""
    if isinstance(g, Tensor):
        return wrap(np.zeros_like(g._array))
    return np.zeros_like(g) if type(g) is np.ndarray else g.dtype.type(0)


def halved(g: Any, mask: Any) -> Any:
    """Half of g where the mask holds: what either side of a tie gets."""
    return masked(g, mask) * 0.5 + masked(g, ~mask)


registry.word("masked", _masked, masked)
registry.word("unless", _unless, unless)
registry.word("nil", nil, nil)
registry.word("halved", halved, halved)
