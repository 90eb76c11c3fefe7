"""How far apart floating numbers are, and how far they may be.

The tolerances are those below unless a case states its own with a reason. They admit the rounding of another order of
summation or another mathematical library over a program of some ten operations, and nothing that a wrong derivative
could hide in: float64 is far below float32's rounding, so that an engine that computes in float32 behind a float64
label is seen.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np

from conformance.arrays import Array, stored_dtype
from conformance.case import Tolerance
from conformance.outcome import Measure, TensorValue


class Precision(NamedTuple):
    """mantissa: bits after the leading one; rtol and atol: the default tolerance."""

    mantissa: int
    rtol: float
    atol: float


# fmt: off
PRECISIONS: dict[str, Precision] = {
    #                             bits  rtol    atol      rtol in units of the dtype's epsilon
    "float64":         Precision(52,   1e-9,   1e-12),   # 4.5e6: literals of ten digits are exact enough
    "float32":         Precision(23,   1e-5,   1e-6),    # 84
    "float16":         Precision(10,   4e-3,   1e-3),    # 4
    "bfloat16":        Precision(7,    3.2e-2, 8e-3),    # 4
    "float8_e4m3fn":   Precision(3,    0.25,   0.0625),  # 2
    "float8_e4m3fnuz": Precision(3,    0.25,   0.0625),  # 2
    "float8_e5m2":     Precision(2,    0.5,    0.125),   # 2
    "float8_e5m2fnuz": Precision(2,    0.5,    0.125),   # 2
}
# fmt: on
# A complex number is as precise as its parts.
PRECISIONS |= {
    "complex128": PRECISIONS["float64"],
    "complex64": PRECISIONS["float32"],
    "complex32": PRECISIONS["float16"],
}


_WIDE = (np.dtype(np.float64), np.dtype(np.complex128))


class Distance(NamedTuple):
    """Whether two arrays agree within a tolerance, and the measure of how far they are apart."""

    agrees: bool
    measure: Measure | None


def coarser(left: str, right: str) -> str:
    """Of two dtypes the floating one with fewer bits of mantissa; float64 where neither is floating."""
    known = [dtype for dtype in (left, right) if dtype in PRECISIONS]
    return min(known, key=lambda dtype: PRECISIONS[dtype].mantissa, default="float64")


def distance(left: Array, right: Array, dtype: str, tolerance: Tolerance | None = None, error: float = 0.0) -> Distance:
    """Compares two arrays of one shape, real or complex, computed in float64, at the precision of `dtype`.

    error: how far the elements may be off besides, where a side is a numerical estimate.
    """
    precision = PRECISIONS[dtype]
    rtol, atol = precision.rtol, precision.atol
    if tolerance is not None:
        rtol = rtol if tolerance.rtol is None else tolerance.rtol
        atol = atol if tolerance.atol is None else tolerance.atol
    atol += error
    with np.errstate(all="ignore"):
        if left.dtype == right.dtype and left.dtype in _WIDE and (tolerance is None or tolerance.relative_l2 is None):
            # Mostly everything is finite and agrees; NaN and infinities do not pass here (inf - inf is NaN).
            scale = np.maximum(np.abs(left), np.abs(right))
            if bool((np.abs(left - right) - rtol * scale <= atol).all()):
                return Distance(True, None)
        gap, scale = _gap_and_scale(left, right)
        if tolerance is not None and tolerance.relative_l2 is not None:
            agrees = _whole(gap, right, tolerance.relative_l2, atol)
        else:
            agrees = bool((gap <= atol + rtol * scale).all())
        return Distance(agrees, None if agrees else _measure(gap, scale, rtol, atol, precision.mantissa))


def _gap_and_scale(left: Array, right: Array) -> tuple[Array, Array]:
    """Elementwise |left - right| and max(|left|, |right|); a gap of inf where NaN or infinity do not match."""
    if left.dtype.kind == "c" or right.dtype.kind == "c":
        a, b = left.astype(np.complex128), right.astype(np.complex128)
        gaps = [_gap(x, y) for x, y in ((a.real, b.real), (a.imag, b.imag))]
        gap = np.hypot(*gaps)
        sizes = [np.where(np.isfinite(x), np.abs(x), 0.0) for x in (a.real, a.imag, b.real, b.imag)]
        return gap, np.maximum(np.hypot(*sizes[:2]), np.hypot(*sizes[2:]))
    a, b = left.astype(np.float64), right.astype(np.float64)
    gap = _gap(a, b)
    finite = np.isfinite(a) & np.isfinite(b)
    return gap, np.where(finite, np.maximum(np.abs(a), np.abs(b)), 0.0)


def _gap(a: Array, b: Array) -> Array:
    """|a - b| of reals; 0 where both are NaN or the same infinity, inf where only one is."""
    finite = np.isfinite(a) & np.isfinite(b)
    same: Array = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(finite, np.abs(a - b), np.inf))


def _whole(gap: Array, expected: Array, limit: float, atol: float) -> bool:
    """||a - b|| <= limit * ||b||, where b is the expected side; atol alone where b is zero."""
    size = float(np.linalg.norm(np.where(np.isfinite(expected), expected, 0.0).ravel()))
    return float(np.linalg.norm(gap.ravel())) <= (limit * size if size else atol)


def _measure(gap: Array, scale: Array, rtol: float, atol: float, mantissa: int) -> Measure:
    excess = gap / (atol + rtol * scale) if atol or rtol else gap
    worst = np.unravel_index(int(np.argmax(np.nan_to_num(excess, nan=np.inf))), gap.shape)
    relative = np.where(scale > 0, gap / np.where(scale > 0, scale, 1.0), np.where(gap > 0, np.inf, 0.0))
    size = float(scale[worst])
    ulp = math.ldexp(1.0, math.frexp(size)[1] - 1 - mantissa) if size else 0.0
    ulps = float(gap[worst]) / ulp if ulp else math.inf
    index = tuple(int(i) for i in worst)
    return Measure(float(gap.max()), float(relative.max()), ulps, index, rtol, atol)


def integer_measure(left: int, right: int) -> Measure:
    """The distance of two Python integers, which may be larger than any float."""
    gap = abs(left - right)
    try:
        return Measure(max_abs=float(gap), max_rel=gap / max(abs(left), abs(right)))
    except OverflowError:
        return Measure(max_abs=math.inf)


def integers_measure(left: Array, right: Array) -> Measure:
    """The distance of two arrays of integers or bools; the index is that of the element furthest off."""
    gap = np.abs(left.astype(np.float64) - right.astype(np.float64))
    if not gap.any():  # further apart than float64 can tell
        gap = (left != right).astype(np.float64)
    scale = np.maximum(np.abs(left.astype(np.float64)), np.abs(right.astype(np.float64)))
    worst = np.unravel_index(int(np.argmax(gap)), gap.shape)
    relative = gap / np.where(scale > 0, scale, 1.0)
    return Measure(float(gap.max()), float(relative.max()), None, tuple(int(i) for i in worst), 0.0, 0.0)


def same_bits(left: TensorValue, right: TensorValue) -> bool:
    """Equal bytes, element by element, where any NaN equals any NaN. The shapes and dtypes are equal."""
    if left.data == right.data:
        return True
    dtype = stored_dtype(left.dtype)
    if dtype.kind not in "fc":
        return False
    part = f"<f{dtype.itemsize if dtype.kind == 'f' else dtype.itemsize // 2}"
    x, y = (np.frombuffer(value.data, part) for value in (left, right))
    bits = f"<u{x.itemsize}"
    return bool(((x.view(bits) == y.view(bits)) | (np.isnan(x) & np.isnan(y))).all())


def same_number_bits(left: complex, right: complex) -> bool:
    """Python numbers of one type: equal, with equal signs of zero, or NaN both."""
    if isinstance(left, int) or isinstance(right, int):
        return left == right
    parts = [(left.real, right.real), (left.imag, right.imag)]
    return all((math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b) for a, b in parts)
