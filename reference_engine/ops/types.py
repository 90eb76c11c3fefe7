"""Copies and casts: clone, to, contiguous, the dtype methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes, narrow_types
from reference_engine.layouts import contiguous_format, is_ordered, ordered, preserve_format, preserved
from reference_engine.meta import NO_DATA, NoElements
from reference_engine.ops import registry
from reference_engine.ops.kinds import Operator, linear
from reference_engine.ops.registry import both, method
from reference_engine.tensor import Tensor, device, wrap


def _cast(x: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    return dtypes.converted(np.asarray(x), dtype)


class Cast(Operator):
    """A cast rounds to the type it casts to, never to that of its input."""

    def narrow_type(self, inputs: tuple) -> Any:
        return None


# The transpose of a cast is the cast back, which the backward pass does on the edge. These rules are J^H g themselves: a
# gradient passes as it is, not conjugated there and back.
cast = Cast("to_copy", _cast, (lambda g: g,), inputs=("x",), linear=True, node="ToCopyBackward0", saved_names=("self",),
            holomorphic=False)  # fmt: skip
copy = linear("clone", lambda x: preserved(x), lambda g: g, holomorphic=False)
copy_ordered = linear("clone_ordered", lambda x, *, order: ordered(x, order), lambda g: g, node="CloneBackward0",
                      holomorphic=False)  # fmt: skip


@both
def clone(input: Tensor, *, memory_format: Any = preserve_format) -> Tensor:
    """A copy in new memory; gradient passes through unchanged. Source: torch.clone."""
    if memory_format is preserve_format or memory_format is None:
        return copy(input)
    return copy_ordered(input, order=memory_format.order(input._array.ndim))


@method
def contiguous(self: Tensor, memory_format: Any = contiguous_format) -> Tensor:
    """Itself where it lies in the order of the format, else a copy that does. Source: torch.Tensor.contiguous."""
    if memory_format is contiguous_format and self._memory.flags.c_contiguous:
        return self
    order = memory_format.order(self._array.ndim)
    return self if is_ordered(self._memory, order) else copy_ordered(self, order=order)


@method
def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False,
       memory_format: Any = None) -> Tensor:  # fmt: skip
    """A tensor with another dtype, itself where nothing changes. Source: torch.Tensor.to."""
    for arg in args:
        if isinstance(arg, Tensor):
            dtype = arg.dtype
        elif isinstance(arg, (dtypes.dtype, type)):
            dtype = dtypes.as_dtype(arg)
        elif isinstance(arg, (str, _device_type)):
            device = arg
    wanted = dtypes.as_dtype(dtype) if dtype is not None else self.dtype
    if device is not None and _device_type(device).type != self.device.type:
        if self.is_meta:
            raise NotImplementedError(NO_DATA)
        return wrap(NoElements(self._array.shape, wanted.numpy))
    if wanted is self.dtype and not copy:
        return self if memory_format in (None, preserve_format) else contiguous(self, memory_format)
    result = cast(self, dtype=wanted.numpy)
    return result if memory_format in (None, preserve_format) else contiguous(result, memory_format)


_device_type = device


def _caster(name: str, target: dtypes.dtype) -> None:
    def convert(self: Tensor, memory_format: Any = None) -> Tensor:
        return to(self, target)

    convert.__name__, convert.__doc__ = name, f"Cast to {target.name}."
    registry.publish(name, convert, module=False)


for _name, _target in {
    **dtypes.ALIASES,
    "bool": dtypes.bool_,
    "bfloat16": narrow_types.bfloat16,
    "byte": dtypes.uint8,
    "char": dtypes.int8,
}.items():
    _caster(_name, _target)


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """Cast to another tensor's dtype."""
    return to(self, other.dtype)


@both
def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent, computed in float64 or complex128. Source: torch.float_power."""
    complex_result = any(x.is_complex() if isinstance(x, Tensor) else isinstance(x, complex) for x in (input, exponent))
    wanted = dtypes.complex128 if complex_result else dtypes.float64
    base, power = (to(x, wanted) if isinstance(x, Tensor) else x for x in (input, exponent))
    if not isinstance(base, Tensor):
        base = wrap(np.asarray(base, wanted.numpy))
    return registry.functions["pow"](base, power)


registry.word("cast", _cast, cast)
