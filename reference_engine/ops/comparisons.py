"""Comparisons and logic: results are never tracked."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.tensor import refuse_answer
from reference_engine.ops import registry
from reference_engine.ops.kinds import constant
from reference_engine.ops.registry import both
from reference_engine.tensor import Tensor, wrap


def _comparison(name: str, ufunc: Any, *aliases: str) -> Any:
    fn = constant(name, lambda input, other: ufunc(input, other), elementwise=True)
    for published in (name, *aliases):
        registry.publish(published, fn)
    registry.word(name, ufunc, fn)
    return fn


# fmt: off
eq = _comparison("eq", np.equal)
ne = _comparison("ne", np.not_equal, "not_equal")
lt = _comparison("lt", np.less, "less")
le = _comparison("le", np.less_equal, "less_equal")
gt = _comparison("gt", np.greater, "greater")
ge = _comparison("ge", np.greater_equal, "greater_equal")
logical_and = _comparison("logical_and", np.logical_and)
logical_or = _comparison("logical_or", np.logical_or)
logical_xor = _comparison("logical_xor", np.logical_xor)
bitwise_and = _comparison("bitwise_and", np.bitwise_and)
bitwise_or = _comparison("bitwise_or", np.bitwise_or)
bitwise_xor = _comparison("bitwise_xor", np.bitwise_xor)
# fmt: on

for _name, _ufunc in {"logical_not": np.logical_not, "bitwise_not": np.bitwise_not, "isnan": np.isnan, "isinf": np.isinf,
                      "isfinite": np.isfinite, "signbit": np.signbit}.items():  # fmt: skip
    registry.publish(_name, constant(_name, _ufunc, elementwise=True))


@both
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shape and all elements agree. Source: torch.equal."""
    refuse_answer("equal", input, other)
    return input._array.shape == other._array.shape and bool(np.array_equal(input._array, other._array))


@both
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol |other| everywhere. Source: torch.allclose."""
    refuse_answer("allclose", input, other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{_type_name(input)} did not match {_type_name(other)}")
    return bool(np.allclose(input._array, other._array, rtol=rtol, atol=atol, equal_nan=equal_nan))


@both
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol |other|, element by element. Source: torch.isclose."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{_type_name(input)} did not match {_type_name(other)}")
    return wrap(np.asarray(np.isclose(input._array, other._array, rtol=rtol, atol=atol, equal_nan=equal_nan)))


def _type_name(x: Tensor) -> str:
    return dtypes.type_name(x.dtype)
