"""Operators on floating point numbers as such: sign, exponent, neighbour, what stands for nan and infinity.

Source: torch.copysign, torch.nextafter, torch.frexp, torch.ldexp, torch.nan_to_num, torch.isposinf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import return_types
from reference_engine.ops import registry
from reference_engine.ops.elementwise import mul, power
from reference_engine.ops.elementwise_kind import _into, elementwise
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import constant, general
from reference_engine.ops.masking import masked
from reference_engine.ops.one_node import one_node
from reference_engine.ops.registry import both
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap


def _power_of_two(g: Any, exponent: np.ndarray) -> Any:
    """g / 2^exponent; over arrays and tensors."""
    if isinstance(g, Tensor):
        return ldexp(g, wrap(-exponent))
    return np.ldexp(g, -exponent)


def _finite(x: np.ndarray, *, nan: float, above: float | None, below: float | None) -> np.ndarray:
    return np.nan_to_num(x, nan=nan, posinf=above, neginf=below)


# fmt: off
#                            value              d y/d a                  d y/d b
copysign  = elementwise("copysign",  np.copysign,  "sign(a) * sign(y)", "0", numeric="float")
nextafter = elementwise("nextafter", np.nextafter, "masked(g, a != b)", "0")
deg2rad   = elementwise("deg2rad",   np.deg2rad,   "0.017453292519943295", numeric="float")
rad2deg   = elementwise("rad2deg",   np.rad2deg,   "57.29577951308232",    numeric="float")

frexp_op  = general("frexp", lambda x: _mantissa_and_exponent(x), lambda gs, exponent: None if gs[0] is None else _power_of_two(gs[0], exponent),
                    inputs=("x",), outputs=("mantissa", "exponents"), aux=("exponent",), nondifferentiable=("exponents",))
nan_to_num_op = general("nan_to_num", _finite, lambda g, x: masked(g, _is_finite(x)), inputs=("x",), saved_names=("self",))
# fmt: on


def _is_finite(x: Any) -> np.ndarray:
    return np.isfinite(x._array if isinstance(x, Tensor) else x)


def _mantissa_and_exponent(x: np.ndarray) -> tuple:
    mantissa, exponent = np.frexp(x)
    return mantissa, exponent, exponent


@both
def frexp(input: Tensor) -> Any:
    """(mantissa, exponent) with input = mantissa * 2^exponent, 1/2 <= |mantissa| < 1; the exponent is int32, never tracked.

    Source: torch.frexp.
    """
    if not input.is_floating_point():
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return return_types.frexp(*frexp_op(input))


@both
@one_node("LdexpBackward0", "input", "other")
def ldexp(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    """input * 2^other. Source: torch.ldexp."""
    return mul(input, power(2.0, other), out=out)


@both
def nan_to_num(input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None, *,
               out: Any = None) -> Tensor:  # fmt: skip
    """nan and infinities replaced by numbers, which have gradient 0. Source: torch.nan_to_num."""
    if input.is_complex() and input.requires_grad and state.grad_enabled:
        raise RuntimeError("nan_to_num does not support automatic differentiation for outputs with complex dtype.")
    return _into(nan_to_num_op(input, nan=0.0 if nan is None else nan, above=posinf, below=neginf), out)


def _signed_infinity(name: str, test: Callable) -> None:
    found = constant(name, test)

    def call(input: Tensor, *, out: Any = None) -> Tensor:
        if input.is_complex():
            raise RuntimeError(f"{name} does not support complex inputs.")
        return _into(found(input), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Never tracked. Source: torch.{name}."
    registry.publish(name, call)


_signed_infinity("isposinf", np.isposinf)
_signed_infinity("isneginf", np.isneginf)
isreal = constant("isreal", np.isreal)
registry.publish("isreal", lambda input: isreal(input))

for _name, _fn, _also_function in (("ldexp_", ldexp, True), ("nan_to_num_", nan_to_num, True)):
    registry.publish(_name, in_place(_fn, _name), module=_also_function)
