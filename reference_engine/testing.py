"""torch.testing: whether results are close enough. Source: torch docs, "torch.testing"."""

from __future__ import annotations

import cmath
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reference_engine import creation, dtypes
from reference_engine.tensor import Tensor, wrap

NUMBERS = (int, float, complex, np.number, np.bool_)
# dtype -> relative and absolute tolerance; what is not in the table has to be equal.
TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex32": (1e-3, 1e-5), "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip


class _Options(NamedTuple):
    """What two values are compared with."""

    rtol: float | None
    atol: float | None
    equal_nan: bool
    check_dtype: bool
    check_stride: bool
    allow_subclasses: bool


class _Mismatch(Exception):
    """Says what differs, and where."""


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
                 atol: float | None = None, equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True,
                 check_layout: bool = True, check_stride: bool = False,
                 msg: str | Callable[[str], str] | None = None) -> None:  # fmt: skip
    """Raises AssertionError unless |actual - expected| <= atol + rtol |expected| everywhere, for tensors, numbers, and
    sequences and mappings of these. Tolerances come from the dtype where none are given. Source: torch.testing.assert_close.
    """
    if (rtol is None) != (atol is None):
        missing = "atol" if atol is None else "rtol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    options = _Options(rtol, atol, equal_nan, check_dtype, check_stride, allow_subclasses)
    try:
        _compare(actual, expected, options, "")
    except _Mismatch as mismatch:
        text = str(mismatch)
        raise AssertionError(msg(text) if callable(msg) else text if msg is None else msg) from None


def _compare(actual: Any, expected: Any, options: _Options, where: str) -> None:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            raise _Mismatch(f"The keys of the mappings do not match:\nMissing keys in the actual mapping: "
                            f"{sorted(set(expected) - set(actual))}\nAdditional keys in the actual mapping: "
                            f"{sorted(set(actual) - set(expected))}{where}")  # fmt: skip
        for key in expected:
            _compare(actual[key], expected[key], options, f"{where}\n\nThe failure occurred for item [{key!r}]")
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            raise _Mismatch(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}{where}")
        for index, (a, b) in enumerate(zip(actual, expected, strict=True)):
            _compare(a, b, options, f"{where}\n\nThe failure occurred for item [{index}]")
    elif isinstance(actual, NUMBERS) and isinstance(expected, NUMBERS):
        _compare_numbers(actual, expected, options, where)
    elif actual is None or expected is None:
        if actual is not expected:
            raise _Mismatch(f"None mismatch: {actual} is not {expected}{where}")
    else:
        a, b = (x if isinstance(x, Tensor) else _as_tensor(x, actual, expected) for x in (actual, expected))
        _compare_tensors(a, b, options, where)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _as_tensor(value: Any, actual: Any, expected: Any) -> Tensor:
    if isinstance(value, np.ndarray):
        return creation.as_tensor(value)
    raise TypeError(f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.")


def _tolerances(options: _Options, *kinds: dtypes.dtype) -> tuple[float, float]:
    """As given, else the largest of those of the dtypes."""
    if options.rtol is not None and options.atol is not None:
        return options.rtol, options.atol
    known = [TOLERANCES.get(kind.name, (0.0, 0.0)) for kind in kinds]
    return max(rtol for rtol, _ in known), max(atol for _, atol in known)


def _compare_numbers(actual: Any, expected: Any, options: _Options, where: str) -> None:
    if (
        options.check_dtype
        and type(actual) is not type(expected)
        and isinstance(actual, bool) != isinstance(expected, bool)
    ):
        raise _Mismatch(f"The (d)types do not match: {type(actual)} != {type(expected)}{where}")
    rtol, atol = _tolerances(options, *(dtypes.float64 if isinstance(x, float) else dtypes.complex128 if isinstance(x, complex)
                                        else dtypes.int64 for x in (actual, expected)))  # fmt: skip
    difference = abs(actual - expected) if actual != expected else 0.0
    both_nan = options.equal_nan and cmath.isnan(actual) and cmath.isnan(expected)
    if difference <= atol + rtol * abs(expected) or both_nan:
        return
    kind = "Booleans mismatch" if isinstance(expected, bool) else "Scalars are not close"
    raise _Mismatch(f"{kind}!\n\nExpected {expected} but got {actual}.\nAbsolute difference: {difference} (up to {atol} "
                    f"allowed)\nRelative difference: {difference / abs(expected) if expected else float('inf')} (up to {rtol} "
                    f"allowed){where}")  # fmt: skip


def _compare_tensors(actual: Tensor, expected: Tensor, options: _Options, where: str) -> None:
    if not options.allow_subclasses and type(actual) is not type(expected):
        raise TypeError(f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.")
    checks: list[tuple[str, Any, Any, bool]] = [
        ("shape", actual.shape, expected.shape, True), ("layout", actual.layout, expected.layout, True),
        ("dtype", actual.dtype, expected.dtype, options.check_dtype),
        ("stride()", actual.stride(), expected.stride(), options.check_stride),
    ]  # fmt: skip
    for name, a, b, wanted in checks:
        if wanted and a != b:
            raise _Mismatch(f"The values for attribute '{name}' do not match: {a} != {b}.{where}")
    rtol, atol = _tolerances(options, actual.dtype, expected.dtype)
    a, b = (_values(x) for x in (actual, expected))
    difference = np.abs(a - b)
    close = (a == b) | (difference <= atol + rtol * np.abs(b))
    if options.equal_nan:
        close |= np.isnan(a) & np.isnan(b)
    if close.all():
        return
    wrong = int(close.size - close.sum())
    what = "Tensor-likes are not close!" if rtol or atol else "Tensor-likes are not equal!"
    relative = np.where(difference == 0, 0.0, difference / np.abs(b))
    lines = [f"Mismatched elements: {wrong} / {close.size} ({100 * wrong / close.size:.1f}%)"]
    for kind, amounts, allowed in (("absolute", difference, atol), ("relative", relative, rtol)):
        worst = np.unravel_index(int(np.where(close, 0.0, amounts).argmax()), close.shape)
        limit = f" (up to {allowed} allowed)" if rtol or atol else ""
        lines.append(f"Greatest {kind} difference: {amounts[worst]} at index {tuple(map(int, worst))}{limit}")
    raise _Mismatch("\n".join([f"{what}\n", *lines]) + where)


def _values(tensor: Tensor) -> np.ndarray:
    """All elements, in a type in which differences are exact enough."""
    array: Any = tensor._array if isinstance(tensor._array, np.ndarray) else tensor._array.todense()
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def make_tensor(*shape: Any, dtype: Any, device: Any = None, low: float | None = None, high: float | None = None,
                requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False,
                memory_format: Any = None) -> Tensor:  # fmt: skip
    """A tensor of random numbers in [low, high), by default [-9, 9). Source: torch.testing.make_tensor."""
    from reference_engine.random import numpy_generator

    kind = dtypes.as_dtype(dtype)
    size = creation.sizes_of(shape)
    doubled = (*size[:-1], 2 * size[-1]) if noncontiguous and size else size
    bounds = (-9 if low is None else low, 9 if high is None else high)
    draw = numpy_generator()
    values: Any
    if kind.is_floating_point or kind.is_complex:
        values = draw.uniform(*bounds, doubled)
        values = values + 1j * draw.uniform(*bounds, doubled) if kind.is_complex else values
    else:
        low_, high_ = (
            (0, 2) if kind.name == "bool" else (max(bounds[0], 0) if kind.name == "uint8" else bounds[0], bounds[1])
        )
        values = draw.integers(int(low_), int(high_), doubled)
    if exclude_zero:
        values = np.where(values == 0, 1, values)
    result = wrap(dtypes.converted(np.asarray(values), kind.numpy))
    result = result[..., ::2] if noncontiguous and size else result
    return result.detach().requires_grad_() if requires_grad else result


__all__ = ["assert_close", "make_tensor"]
