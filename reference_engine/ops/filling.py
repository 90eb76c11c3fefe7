"""Overwriting: copying into a tensor, filling it. The old values get gradient zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.dtypes import converted, plain_number
from reference_engine.ops import registry
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.masking import nil
from reference_engine.ops.registry import function, method
from reference_engine.ops.shapes import mismatch
from reference_engine.tape.views import check_inplace
from reference_engine.tensor import Tensor


def _copied(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    try:
        source = np.broadcast_to(v, x.shape)
    except ValueError:
        raise mismatch(x.shape, v.shape) from None
    return converted(source, x.dtype)


copy_from = general("copy", _copied, lambda g: nil(g), lambda g: g,
                     inputs=("x", "v"), node="CopyBackwards", saved_names=("self", "src"))  # fmt: skip


def _fills(number: int) -> tuple[Any, Any]:
    """Filling with a number and with a tensor; torch counts the forms."""
    return (linear("fill", lambda x, *, value: np.full_like(x, value), lambda g: nil(g), node=f"FillBackward{number}"),
            general("fill", _copied, lambda g: nil(g), lambda g: g, inputs=("x", "v"),
                    node=f"FillBackward{number + 1}", saved_names=("self", "value")))  # fmt: skip


_fill, _fill_from = _fills(0)
_fill_in_place, _fill_in_place_from = _fills(2)


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Overwritten with src's values; gradient goes to src alone. Source: torch.Tensor.copy_."""
    check_inplace(self)
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    return overwrite(self, lambda alias: copy_from(alias, src))


def _one_value(value: Tensor) -> Tensor:
    if value._array.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value._array.ndim} "
                           "dimensions.")  # fmt: skip
    return value


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Overwritten with one value. Source: torch.Tensor.fill_."""
    check_inplace(self)
    if isinstance(value, Tensor):
        return overwrite(self, lambda alias: _fill_in_place_from(alias, _one_value(value)))
    number = plain_number(value, self.dtype)
    return overwrite(self, lambda alias: _fill_in_place(alias, value=number))


@function
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input`, filled with one value. Source: torch.fill."""
    if isinstance(value, Tensor):
        return _fill_from(input, _one_value(value))
    return _fill(input, value=plain_number(value, input.dtype))


@method
def zero_(self: Tensor) -> Tensor:
    """Overwritten with zeros. Source: torch.Tensor.zero_."""
    check_inplace(self)
    return overwrite(self, lambda alias: _zero(alias))


_zero = linear("zero", lambda x: np.zeros_like(x), lambda g: nil(g))
registry.publish("fill_", fill_, method=False)
registry.publish("zero_", zero_, method=False)
