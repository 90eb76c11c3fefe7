"""Overwriting: copying into a tensor, filling it. The old values get gradient zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.dtypes import converted
from reference_engine.ops import registry
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.masking import nil
from reference_engine.ops.registry import method
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
_fill_tensor = general("fill", _copied, lambda g: nil(g), lambda g: g, inputs=("x", "v"), node="FillBackward1")
_fill = linear("fill", lambda x, *, value: np.full_like(x, value), lambda g: nil(g), node="FillBackward0")


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Overwritten with src's values; gradient goes to src alone. Source: torch.Tensor.copy_."""
    check_inplace(self)
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    return overwrite(self, lambda alias: copy_from(alias, src))


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Overwritten with one value. Source: torch.Tensor.fill_."""
    check_inplace(self)
    if isinstance(value, Tensor):
        return overwrite(self, lambda alias: _fill_tensor(alias, value))
    if isinstance(value, complex) and not self.is_complex():
        if value.imag != 0:
            names = {"float32": "float", "float64": "double", "float16": "c10::Half"}
            kind = names.get(self.dtype.name, f"{self.dtype.name}_t")
            raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
        value = value.real
    return overwrite(self, lambda alias: _fill(alias, value=value))


def _only_one(value: Tensor) -> None:
    if value._array.ndim:
        raise RuntimeError("fill_ only supports 0-dimension value tensor but got tensor with "
                           f"{value._array.ndim} dimensions.")  # fmt: skip


@registry.function
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input` that holds one value everywhere; the old values get gradient zero. Source: torch.fill."""
    if isinstance(value, Tensor):
        _only_one(value)
        return _fill_tensor(input, value)
    return _fill(input, value=value)


@method
def zero_(self: Tensor) -> Tensor:
    """Overwritten with zeros. Source: torch.Tensor.zero_."""
    check_inplace(self)
    return overwrite(self, lambda alias: _zero(alias))


_zero = linear("zero", lambda x: np.zeros_like(x), lambda g: nil(g))
registry.publish("fill_", fill_, method=False)
registry.publish("zero_", zero_, method=False)
