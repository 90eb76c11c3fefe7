"""When two values agree. The same rules judge an `assert a == b`, `same(a, b)` and the final state.

Values are plain data (`outcome.Plain`), or a program's own values together with a `read` that turns tensors into
`TensorValue`. Shapes, integers, strings, None and structure agree exactly. A bool agrees with a bool only. Floating
numbers agree within the tolerance of the coarser dtype of the two sides: |a - b| <= atol + rtol * max(|a|, |b|), NaN
agrees with NaN, infinities stand at the same places with the same signs; signed zeros are equal (`identical` tells them
apart). A Python float counts as float64, except beside a tensor, where it counts as the tensor's dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from conformance.arrays import Array, decode, stored_dtype
from conformance.case import Tolerance
from conformance.outcome import Items, Mapping, Measure, Number, Opaque, TensorValue

from . import numeric


class Comparison(NamedTuple):
    """finding: None where the values agree, else "wrong", "shape", "dtype" or "semantics"."""

    agrees: bool
    finding: str | None = None
    measure: Measure | None = None


AGREE = Comparison(True)
SHAPE = Comparison(False, "shape")
DTYPE = Comparison(False, "dtype")
SEMANTICS = Comparison(False, "semantics")

Read = Callable[[Any], Any]


def as_it_is(value: Any) -> Any:
    """The `read` for plain data, which holds no engine's tensors."""
    return value


def compare(observed: Any, expected: Any, tolerance: Tolerance | None = None, read: Read = as_it_is) -> Comparison:
    """Whether two values agree, what kind of difference there is, and how large it is.

    Two values that the kit does not look into (`Opaque`) agree: a program says itself how they must relate.
    """
    if observed is expected or (type(observed) is TensorValue and _at_once(observed, expected)):
        return AGREE
    left, right = read(observed), read(expected)
    if type(left) is TensorValue or type(right) is TensorValue:
        return _tensors(left, right, tolerance, read)
    if isinstance(left, bool) or isinstance(right, bool):
        return AGREE if left is right else DTYPE if _is_number(left) and _is_number(right) else SEMANTICS
    if _is_number(left) and _is_number(right):
        return _numbers(_number(left), _number(right), tolerance)
    if (items := _sequence(left)) is not None and (others := _sequence(right)) is not None:
        return _sequences(items, others, tolerance, read)
    if (entries := _entries(left)) is not None and (other := _entries(right)) is not None:
        return _mappings(entries, other, tolerance, read)
    if type(left) is Opaque and type(right) is Opaque:
        return AGREE
    return AGREE if bool(left == right) else SEMANTICS


def identical(observed: Any, expected: Any, read: Read = as_it_is) -> bool:
    """Bit for bit: dtype, shape, every element, the signs of zeros. Any NaN is as good as another: IEEE 754 promises
    nothing of its bits. A list beside a tensor is first rounded to the tensor's dtype."""
    left, right = read(observed), read(expected)
    if type(left) is TensorValue or type(right) is TensorValue:
        if type(left) is TensorValue and type(right) is TensorValue:
            return left.dtype == right.dtype and left.shape == right.shape and numeric.same_bits(left, right)
        tensor, other = (left, right) if type(left) is TensorValue else (right, left)
        rounded = _rounded(other, tensor, read)
        return rounded is not None and rounded.shape == tensor.shape and numeric.same_bits(tensor, rounded)
    if _is_number(left) and _is_number(right):
        return type(left) is type(right) and numeric.same_number_bits(_number(left), _number(right))
    if (items := _sequence(left)) is not None and (others := _sequence(right)) is not None:
        return items[0] == others[0] and len(items[1]) == len(others[1]) and all(
            identical(a, b, read) for a, b in zip(items[1], others[1], strict=True)
        )  # fmt: skip
    return compare(left, right, None, read).agrees


# --- numbers and containers ---

_NUMBERS = (int, float, complex, Number)


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS)


def _number(value: Any) -> int | float | complex:
    return complex(value.real, value.imag) if type(value) is Number else value


def _numbers(left: Any, right: Any, tolerance: Tolerance | None) -> Comparison:
    if left == right:
        return AGREE
    if isinstance(left, int) and isinstance(right, int):
        return Comparison(False, "wrong", numeric.integer_measure(left, right))
    wide = np.complex128 if isinstance(left, complex) or isinstance(right, complex) else np.float64
    try:
        arrays = np.asarray(left, wide), np.asarray(right, wide)
    except OverflowError:  # an integer beyond float64
        return Comparison(False, "wrong")
    return _judged(numeric.distance(*arrays, "float64", tolerance))


def _judged(distance: numeric.Distance) -> Comparison:
    return AGREE if distance.agrees else Comparison(False, "wrong", distance.measure)


def _sequence(value: Any) -> tuple[str, Sequence[Any]] | None:
    """("list" or "tuple", its items), None for what is neither."""
    if type(value) is Items:
        return value.type, value.items
    if isinstance(value, list | tuple):
        return "list" if isinstance(value, list) else "tuple", value
    return None


def _entries(value: Any) -> dict[Any, Any] | None:
    return value.items if type(value) is Mapping else value if isinstance(value, dict) else None


def _sequences(left: tuple[str, Sequence[Any]], right: tuple[str, Sequence[Any]], tolerance: Tolerance | None,
               read: Read) -> Comparison:  # fmt: skip
    if left[0] != right[0]:
        return SEMANTICS
    if len(left[1]) != len(right[1]):
        return SHAPE
    for index, (item, other) in enumerate(zip(left[1], right[1], strict=True)):
        found = compare(item, other, tolerance, read)
        if not found.agrees:
            return Comparison(False, found.finding, _below(index, found.measure))
    return AGREE


def _below(index: int, measure: Measure | None) -> Measure | None:
    """The measure of an item, with the item's own index in front."""
    if measure is None:
        return None
    inner = measure.index or ()
    return Measure(measure.max_abs, measure.max_rel, measure.ulps, (index, *inner), measure.rtol, measure.atol)


def _mappings(left: dict[Any, Any], right: dict[Any, Any], tolerance: Tolerance | None, read: Read) -> Comparison:
    if left.keys() != right.keys():
        return SEMANTICS
    for key, item in left.items():
        if not (found := compare(item, right[key], tolerance, read)).agrees:
            return found
    return AGREE


# --- tensors ---

_FLOATS = {float}
# How a dtype is stored, and what is rounded to it without overflow: numbers below this.
_SAFE = {name: (stored_dtype(name), limit) for name, limit in (
    ("float16", 6e4), ("bfloat16", 3e38), ("float32", 3e38), ("float64", 1e308), ("complex64", 3e38), ("complex128", 1e308),
)}  # fmt: skip


def _at_once(tensor: TensorValue, expected: Any) -> bool:
    """Whether a float or a flat list of floats, rounded to the tensor's dtype, is the tensor's bytes: most assertions."""
    if type(expected) is float:
        numbers, shape = (expected,), ()
    elif type(expected) is Items and set(map(type, expected.items)) == _FLOATS:
        numbers, shape = expected.items, (len(expected.items),)  # type: ignore[assignment]
    else:
        return False
    if shape != tensor.shape or tensor.dtype not in _SAFE:
        return False
    dtype, limit = _SAFE[tensor.dtype]
    if not all([-limit < number < limit for number in numbers]):  # noqa: C419  (a generator costs twice as much)
        return False
    return np.array(numbers, dtype).tobytes() == tensor.data


def _tensors(left: Any, right: Any, tolerance: Tolerance | None, read: Read) -> Comparison:
    if type(left) is TensorValue and type(right) is TensorValue:
        if left.shape != right.shape:
            return SHAPE
        if left.dtype == right.dtype and left.data == right.data:
            return AGREE
        return _elements(decode(left), decode(right), (left.dtype, right.dtype), tolerance, left.error + right.error)
    if type(left) is TensorValue:
        return _tensor_and_other(left, right, tolerance, read)
    # The roles are swapped, the rule is symmetric; only relative_l2 has a side that it divides by.
    return _tensor_and_other(right, left, tolerance, read, swapped=True)


def _tensor_and_other(tensor: TensorValue, other: Any, tolerance: Tolerance | None, read: Read,
                      swapped: bool = False) -> Comparison:  # fmt: skip
    flat = flatten(other, read)
    if flat is None:
        return SEMANTICS
    shape, numbers, kinds = flat
    if shape != tensor.shape:
        return SHAPE
    if (bool in kinds) != (tensor.dtype == "bool") and numbers:
        return DTYPE
    if bool in kinds and len(kinds) > 1:
        return DTYPE
    if _bytes_equal(tensor, numbers, kinds):
        return AGREE
    try:
        # Integers have NumPy choose: one beyond 64 bits becomes an object, which no tensor can hold.
        wide = np.array(numbers, _dtype_of(kinds) if kinds & {float, complex} else None).reshape(shape)
    except OverflowError:
        return Comparison(False, "wrong")
    if wide.dtype == object:
        return Comparison(False, "wrong")
    array = decode(tensor)
    dtypes = (tensor.dtype, tensor.dtype if array.dtype.kind in "fc" else _dtype_of(kinds))
    left, right = (wide, array) if swapped else (array, wide)
    return _elements(left, right, dtypes, tolerance, tensor.error)


def _bytes_equal(tensor: TensorValue, numbers: list[Any], kinds: set[type]) -> bool:
    """Whether the numbers, rounded to the tensor's dtype, are its bytes: the common case, at a tenth of the price."""
    dtype = stored_dtype(tensor.dtype)
    if dtype.kind in "fc":
        if dtype.kind == "f" and complex in kinds:
            return False
        limit = _SAFE[tensor.dtype][1] if tensor.dtype in _SAFE else 0.0
        if not all(abs(number) < limit for number in numbers):  # rounding could overflow, and warn
            return False
    elif kinds & {float, complex}:
        return False
    try:
        return np.array(numbers, dtype).tobytes() == tensor.data
    except OverflowError:
        return False


def flatten(value: Any, read: Read) -> tuple[tuple[int, ...], list[Any], set[type]] | None:
    """(shape, numbers in C order, their types) of a number or a nested list of numbers; None for anything else."""
    numbers: list[Any] = []
    shape = _flatten(value, read, numbers)
    return None if shape is None else (shape, numbers, set(map(type, numbers)))


def _flatten(value: Any, read: Read, numbers: list[Any]) -> tuple[int, ...] | None:
    if type(value) is float or type(value) is int or type(value) is bool or type(value) is complex:
        numbers.append(value)
        return ()
    value = read(value)
    if type(value) is TensorValue:
        numbers.extend(decode(value).ravel().tolist())
        return value.shape
    if _is_number(value):
        numbers.append(_number(value))
        return ()
    sequence = _sequence(value)
    if sequence is None:
        return None
    if set(map(type, sequence[1])) == _FLOATS:
        numbers.extend(sequence[1])
        return (len(sequence[1]),)
    inner: tuple[int, ...] = ()
    for position, item in enumerate(sequence[1]):
        shape = _flatten(item, read, numbers)
        if shape is None or (position and shape != inner):
            return None
        inner = shape
    return (len(sequence[1]), *inner)


def _dtype_of(kinds: set[type]) -> str:
    """The dtype that holds Python numbers of these types."""
    return "complex128" if complex in kinds else "float64" if float in kinds else "int64"


def _rounded(other: Any, tensor: TensorValue, read: Read) -> TensorValue | None:
    """A number or nested list as a tensor of the same dtype as `tensor`; None where it is not one."""
    flat = flatten(other, read)
    if flat is None or (bool in flat[2]) != (tensor.dtype == "bool"):
        return None
    try:
        array = np.array(flat[1], stored_dtype(tensor.dtype))
    except (OverflowError, TypeError):
        return None
    if array.dtype.kind in "iub" and array.tolist() != flat[1]:
        return None
    return TensorValue(tensor.dtype, flat[0], array.tobytes())


def _elements(left: Array, right: Array, dtypes: tuple[str, str], tolerance: Tolerance | None,
              error: float = 0.0) -> Comparison:  # fmt: skip
    if (left.dtype.kind == "b") != (right.dtype.kind == "b"):
        return DTYPE if left.size else AGREE
    if not {left.dtype.kind, right.dtype.kind} & set("fc"):
        if np.array_equal(left, right):
            return AGREE
        return Comparison(False, "wrong", numeric.integers_measure(left, right))
    return _judged(numeric.distance(left, right, numeric.coarser(*dtypes), tolerance, error))
