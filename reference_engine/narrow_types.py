"""Element types that NumPy has not: bfloat16, float8, complex32.

Values are kept in the next wider NumPy type (float32, complex64) and rounded to the narrow one after every operator, as
IEEE 754 defines an operation: compute exactly enough, round once. The array's NumPy type is marked with the narrow type
(NumPy calls the mark metadata), so that views, copies and gradients carry it along. The bits of the narrow type itself
are not stored: `view(dtype)` cannot show them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.dtypes import ALIASES, COMPLEX, FLOATING, PARTS, Narrow, dtype, float16
from reference_engine.memory import kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the upper 16 bits, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    kept = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), np.float32(np.nan), kept.view(np.float32).reshape(np.shape(x)))


def to_float8(fraction_bits: int, least_exponent: int, largest: float, *, saturates: bool) -> Callable:
    """Rounding to a float with few bits: ties to even, subnormals kept, beyond the largest to it or to infinity."""

    def convert(x: np.ndarray) -> np.ndarray:
        wide = np.asarray(x, np.float64)
        _, exponent = np.frexp(wide)
        step = np.exp2(np.maximum(exponent - 1, least_exponent) - fraction_bits)
        rounded = np.where(np.isfinite(wide), np.rint(wide / step) * step, wide)
        beyond = largest if saturates else np.inf
        return np.where(np.abs(rounded) > largest, np.copysign(beyond, wide), rounded).astype(np.float32)

    return convert


def to_complex32(x: np.ndarray) -> np.ndarray:
    """Both parts rounded to float16."""
    return x.real.astype(np.float16).astype(np.float32) + 1j * x.imag.astype(np.float16).astype(np.float32)


# Last, the limits: eps, largest, least normal, resolution.
bfloat16 = Narrow("bfloat16", np.float32, FLOATING, 2, to_bfloat16, (2.0**-7, 2.0**128 - 2.0**120, 2.0**-126, 0.01))
float8_e4m3fn = Narrow("float8_e4m3fn", np.float32, FLOATING, 1, to_float8(3, -6, 448.0, saturates=True),
                       (2.0**-3, 448.0, 2.0**-6, 1.0))  # fmt: skip
float8_e5m2 = Narrow("float8_e5m2", np.float32, FLOATING, 1, to_float8(2, -14, 57344.0, saturates=False),
                     (2.0**-2, 57344.0, 2.0**-14, 1.0))  # fmt: skip
complex32 = Narrow("complex32", np.complex64, COMPLEX, 4, to_complex32, None)

PARTS[complex32] = float16
ALIASES.update(bfloat16=bfloat16, chalf=complex32)


def narrowed(result: Any, target: Narrow | None) -> Any:
    """A result of an operator rounded to the narrow type it is marked with, or that its inputs have (`target`)."""
    if type(result) in kinds:
        return result
    array = np.asarray(result)
    kind, mark = array.dtype.kind, array.dtype.metadata
    wanted: dtype | None = target
    if target is None or kind != target.numpy.kind:
        wanted = mark["dtype"] if mark is not None else None
    if wanted is None and target is not None:  # a norm of complex numbers, say
        wanted = {"f": target.to_real(), "c": target.to_complex()}.get(kind)
    if isinstance(wanted, Narrow) and (kind, array.dtype.itemsize) == (wanted.numpy.kind, wanted.numpy.itemsize):
        return wanted.rounded(array)
    if isinstance(wanted, dtype) and not isinstance(wanted, Narrow):  # the parts of complex32 are float16
        return array.astype(wanted.numpy)
    return array


def narrowed_results(results: Any, target: Narrow | None, count: int) -> Any:
    """What an operator returned, with its first `count` results rounded; what follows are auxiliaries."""
    if isinstance(results, tuple):
        return (*(narrowed(r, target) for r in results[:count]), *results[count:])
    return narrowed(results, target)


def common(arrays: Iterable[np.ndarray]) -> Narrow | None:
    """The narrow type of the floating arrays, if all have such a type."""
    found = None
    for array in arrays:
        if array.dtype.kind in "fc":
            if array.dtype.metadata is None:
                return None
            found = array.dtype.metadata["dtype"]
    return found
