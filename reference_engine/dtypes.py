"""Element types, their names, and how they combine.

The law of promotion (torch's, https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc): a
category (bool < integer < floating < complex) decides first; inside a category a tensor with dimensions outranks a
0-d tensor, which outranks a Python number. Python numbers bring a category, never a width: floats bring the default
dtype, integers int64.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.layouts import is_dense
from reference_engine.state import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BOOL, INTEGER, FLOATING, COMPLEX = range(4)


class dtype:
    """An element type. `str(torch.float32)` is "torch.float32"; there is one object for each type."""

    def __init__(self, name: str, numpy_type: Any, category: int) -> None:
        self.name, self.numpy, self.category = name, np.dtype(numpy_type), category
        self.itemsize = self.numpy.itemsize

    is_narrow = False  # whether values are kept in a wider NumPy type

    @property
    def is_floating_point(self) -> bool:
        return self.category == FLOATING

    @property
    def is_complex(self) -> bool:
        return self.category == COMPLEX

    @property
    def is_signed(self) -> bool:
        return self.numpy.kind not in "bu"

    def to_real(self) -> dtype:
        """The real type of a complex type's parts; any other type itself."""
        return PARTS.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type with parts of this real type."""
        return next((c for c, part in PARTS.items() if part is self), complex64 if self.is_floating_point else self)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: dict) -> dtype:
        return self


class Narrow(dtype):
    """A type that NumPy has not, kept in a wider one (see narrow_types.py). `rounded` makes an array one of this type."""

    is_narrow = True

    def __init__(self, name: str, wide: Any, category: int, itemsize: int, rounding: Callable,
                 limits: tuple[float, float, float, float] | None) -> None:  # fmt: skip
        super().__init__(name, np.dtype(wide, metadata={"dtype": self}), category)
        self.itemsize, self._rounding, self.limits = itemsize, rounding, limits

    def rounded(self, array: np.ndarray) -> np.ndarray:
        """The array's values rounded to this type, and marked with it."""
        process.narrow_types = True
        return np.asarray(self._rounding(array)).astype(self.numpy)


# fmt: off
bool_ = dtype("bool", np.bool_, BOOL)
uint8 = dtype("uint8", np.uint8, INTEGER)
int8 = dtype("int8", np.int8, INTEGER)
int16 = dtype("int16", np.int16, INTEGER)
int32 = dtype("int32", np.int32, INTEGER)
int64 = dtype("int64", np.int64, INTEGER)
float16 = dtype("float16", np.float16, FLOATING)
float32 = dtype("float32", np.float32, FLOATING)
float64 = dtype("float64", np.float64, FLOATING)
complex64 = dtype("complex64", np.complex64, COMPLEX)
complex128 = dtype("complex128", np.complex128, COMPLEX)
# fmt: on

ALL = (bool_, uint8, int8, int16, int32, int64, float16, float32, float64, complex64, complex128)
ALIASES = {"half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
           "cfloat": complex64, "cdouble": complex128}  # fmt: skip
FROM_NUMPY: dict[np.dtype, dtype] = {d.numpy: d for d in ALL}
FROM_PYTHON: dict[type, dtype] = {bool: bool_, int: int64, float: float64, complex: complex128}
PARTS: dict[dtype, dtype] = {complex64: float32, complex128: float64}  # complex type -> type of its parts


def of_numpy(numpy_type: np.dtype) -> dtype:
    """The dtype of a NumPy type; a TypeError for one that tensors cannot hold."""
    if numpy_type.metadata is not None and "dtype" in numpy_type.metadata:
        return numpy_type.metadata["dtype"]
    try:
        return FROM_NUMPY[numpy_type]
    except KeyError:
        raise TypeError(f"can't convert np.ndarray of type numpy.{numpy_type}. The only supported types are: "
                        f"{', '.join(d.name for d in ALL)}.") from None  # fmt: skip


def converted(array: np.ndarray, numpy_type: np.dtype) -> np.ndarray:
    """A new array of another type; the real part where a complex number cannot go, rounded where the type is narrow."""
    if array.dtype.kind == "c" and numpy_type.kind != "c":
        array = array.real
    order: Any = "K" if is_dense(array) else "C"
    if numpy_type.metadata is not None:
        return numpy_type.metadata["dtype"].rounded(array.astype(numpy_type, order=order))
    return array.astype(numpy_type, order=order)


def same(a: np.dtype, b: np.dtype) -> bool:
    """Whether two NumPy types stand for the same dtype."""
    return a is b or (a == b and of_numpy(a) is of_numpy(b))


def as_dtype(spec: Any) -> dtype:
    """`spec` as a dtype: a dtype itself, or Python's bool, int, float, complex."""
    if isinstance(spec, dtype):
        return spec
    try:
        return FROM_PYTHON[spec]
    except (KeyError, TypeError):
        raise TypeError(f"expected torch.dtype, got {spec!r}") from None


def get_default_dtype() -> dtype:
    """The type that floating point numbers become when nothing else decides. Source: torch.get_default_dtype."""
    return process.default_dtype or float32


def set_default_dtype(d: dtype) -> None:
    """Sets the default floating point type. Source: torch.set_default_dtype."""
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d!r}")
    process.default_dtype = d


def of_number(value: Any) -> dtype:
    """The dtype a Python number takes when it becomes a tensor by itself."""
    if isinstance(value, float):
        return get_default_dtype()
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (complex, np.complexfloating)):
        return get_default_dtype().to_complex()
    return get_default_dtype()


def operand(x: Any) -> tuple[dtype, int]:
    """A tensor or number as `result_type` takes it: its dtype, and its rank (2, 1 or 0)."""
    array = getattr(x, "_array", None)
    return (of_number(x), 0) if array is None else (of_numpy(array.dtype), 2 if array.ndim else 1)


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that holds both. Source: torch.promote_types."""
    if a is b:
        return a
    low, high = sorted((a, b), key=lambda d: d.category)
    if low.category < high.category:
        if high.category == COMPLEX and low.category == FLOATING:
            return promote_types(low, high.to_real()).to_complex()
        return high
    if a.is_narrow or b.is_narrow:
        return _promote_narrow(a, b)
    return of_numpy(np.promote_types(a.numpy, b.numpy))


def _promote_narrow(a: dtype, b: dtype) -> dtype:
    """Two types of one category, one of them narrow: the wider one, float32 for bfloat16 with float16."""
    if "float8" in a.name + b.name:
        names = [type_name(d) for d in (a, b)]
        raise RuntimeError(
            f"Promotion for Float8 Types is not supported, attempted to promote {names[0]} and {names[1]}"
        )
    if a.is_complex:
        return promote_types(a.to_real(), b.to_real()).to_complex()
    other = b if a.is_narrow else a
    return float32 if other is float16 else other


def result_type(operands: Iterable[tuple[dtype, int]]) -> dtype:
    """The common type of `operands`, each given as (dtype, rank): rank 2 a tensor with dimensions, 1 a 0-d tensor,
    0 a Python number.
    """
    return _result_type(tuple(operands))


@cache
def _result_type(operands: tuple[tuple[dtype, int], ...]) -> dtype:
    by_rank: list[dtype | None] = [None, None, None]
    for d, rank in operands:
        seen = by_rank[rank]
        by_rank[rank] = d if seen is None else promote_types(seen, d)
    result: dtype | None = None
    for d_or_none in reversed(by_rank):
        if d_or_none is None:
            continue
        if result is None or d_or_none.category > result.category:
            result = _raise_category(result, d_or_none)
    assert result is not None
    return result


def _raise_category(result: dtype | None, higher: dtype) -> dtype:
    # A float tensor with a complex number or 0-d complex keeps its own precision.
    if result is not None and result.is_floating_point and higher.is_complex:
        return result.to_complex()
    return higher


def plain_number(value: Any, kind: Any) -> Any:
    """A number as a tensor of this dtype takes it: a complex one only where it is real or the tensor complex."""
    if isinstance(value, complex) and not kind.is_complex:
        if value.imag != 0:
            names = {"float32": "float", "float64": "double", "float16": "c10::Half"}
            name = names.get(kind.name, f"{kind.name}_t")
            raise RuntimeError(f"value cannot be converted to type {name} without overflow")
        return value.real
    return value


def type_name(d: dtype) -> str:
    """How torch's older messages spell a type: "Float" for float32."""
    return LEGACY.get(d.name, d.name.capitalize())


LEGACY = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "int32": "Int", "int16": "Short",
          "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
          "complex32": "ComplexHalf", "bfloat16": "BFloat16"}  # fmt: skip


class finfo:
    """Limits of a floating point type. Source: torch.finfo."""

    def __init__(self, d: dtype | None = None) -> None:
        self.dtype = (d or get_default_dtype()).to_real()
        if isinstance(self.dtype, Narrow) and self.dtype.limits is not None:
            self.eps, self.max, self.tiny, self.resolution = self.dtype.limits
            self.min, self.smallest_normal, self.bits = -self.max, self.tiny, 8 * self.dtype.itemsize
            return
        limits = np.finfo(self.dtype.numpy)
        self.eps, self.max, self.min = float(limits.eps), float(limits.max), float(limits.min)
        self.tiny = self.smallest_normal = float(limits.tiny)
        self.bits, self.resolution = limits.bits, float(limits.resolution)


class iinfo:
    """Limits of an integer type. Source: torch.iinfo."""

    def __init__(self, d: dtype) -> None:
        limits = np.iinfo(d.numpy)
        self.dtype, self.bits, self.max, self.min = d, limits.bits, int(limits.max), int(limits.min)
