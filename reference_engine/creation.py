"""Tensors from nothing and from data. Every result is a leaf."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.layouts import contiguous_format, ordered, preserve_format
from reference_engine.layouts import empty_like as array_like
from reference_engine.state import state
from reference_engine.tensor import Size, Tensor, mark_inference, wrap


def finish(array: np.ndarray, requires_grad: bool) -> Tensor:
    """A new leaf of this array, in the modes that are on."""
    if array.dtype.metadata is not None:
        array = array.dtype.metadata["dtype"].rounded(array)
    result = wrap(array)
    if state.inference:
        mark_inference(result)
    if requires_grad:
        result._set_tracked(True)
    return result


def sizes_of(size: tuple) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence, checked."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    for s in size:
        if not isinstance(s, (int, np.integer)):
            raise TypeError(f"a size must be an integer, not {type(s).__name__}")
        if s < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {s}: {list(size)}")
    return size


def _device(device: Any) -> None:
    from reference_engine.tensor import device as check

    if device is not None and check(device).type == "meta":
        raise NotImplementedError("the reference engine makes meta tensors by .to('meta') alone")


# What every factory accepts and a CPU engine need not look at further.
IGNORED = frozenset({"device", "layout", "memory_format", "pin_memory"})


def factory(function: Any) -> Any:
    """A function that makes tensors: takes the options that all of them take, and refuses unknown ones by name.

    `out=` receives the result, resized where its shape differs.
    """
    own = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **options: Any) -> Any:
        unknown = [name for name in options if name not in own and name not in IGNORED]
        if unknown:
            raise TypeError(f"{function.__name__}() received an invalid combination of arguments: got an unexpected keyword "
                            f"argument '{unknown[0]}'")  # fmt: skip
        _device(options.get("device"))
        options = {name: value for name, value in options.items() if name in own}
        if state.tracing:
            result = state.dispatch_modes[-1].made(function, args, options)
        else:
            result = function(*args, **options)
        if out is None:
            return result
        from reference_engine.ops.inplace import write_out

        return write_out(out, result)

    return call


def _strip(data: Any) -> Any:
    """Nested sequences that may hold tensors, as NumPy takes them."""
    if isinstance(data, Tensor):
        return data._array
    if isinstance(data, (list, tuple)):
        return [_strip(d) for d in data]
    return data


def _array_of(data: Any, dtype: Any) -> np.ndarray:
    """A new array of the data, in the dtype that torch infers from it."""
    if isinstance(data, np.ndarray):
        dtypes.of_numpy(data.dtype)
        return np.array(data) if dtype is None else dtypes.converted(data, dtypes.as_dtype(dtype).numpy)
    try:
        array = np.array(_strip(data))
    except ValueError as e:
        raise ValueError(f"expected sequence of equal length at every dimension: {e}") from None
    if array.dtype.kind == "O" or array.dtype.kind in "US":
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if dtype is not None:
        wanted = dtypes.as_dtype(dtype).numpy
    elif isinstance(data, np.generic):
        wanted = array.dtype
    elif isinstance(data, (list, tuple)) and _holds_typed(data):
        wanted = functools.reduce(dtypes.promote_types, _types_in(data)).numpy
    elif array.dtype.kind == "f":
        wanted = dtypes.get_default_dtype().numpy
    elif array.dtype.kind == "c":
        wanted = dtypes.get_default_dtype().to_complex().numpy
    elif array.size == 0:
        wanted = dtypes.get_default_dtype().numpy
    else:
        wanted = array.dtype
    if array.dtype.kind == "c" != wanted.kind:
        raise TypeError("must be real number, not complex")
    return dtypes.converted(array, wanted)


def _holds_typed(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (Tensor, np.ndarray, np.generic))


def _types_in(data: Any) -> list[Any]:
    """The types of the elements of nested sequences, those of Python's numbers included."""
    if isinstance(data, (list, tuple)):
        return [found for part in data for found in _types_in(part)]
    if isinstance(data, Tensor):
        return [data.dtype]
    return [dtypes.of_numpy(data.dtype) if isinstance(data, (np.ndarray, np.generic)) else dtypes.of_number(data)]


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A new leaf with a copy of the data. Source: torch.tensor."""
    _device(device)
    if state.tracing:
        return state.dispatch_modes[-1].made(tensor, (data,), {"dtype": dtype, "requires_grad": requires_grad})
    if isinstance(data, Tensor):
        warnings.warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
                      "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
                      UserWarning, stacklevel=2)  # fmt: skip
        wanted = data.dtype if dtype is None else dtypes.as_dtype(dtype)
        return finish(dtypes.converted(data._array, wanted.numpy), requires_grad)
    return finish(np.array(_array_of(data, dtype)), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """The data as a tensor, without copying where it can be helped; history is kept. Source: torch.as_tensor."""
    _device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray):
        result = from_numpy(data)
        return result if dtype is None else result.to(dtype)
    return wrap(np.asarray(_array_of(data, dtype)))


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool | None = None) -> Tensor:  # fmt: skip
    """The object as a tensor, memory shared where possible. Source: torch.asarray."""
    if not isinstance(obj, Tensor):
        result = tensor(obj, dtype=dtype) if copy or not isinstance(obj, np.ndarray) else as_tensor(obj, dtype)
        result._set_tracked(bool(requires_grad))
        return result
    if requires_grad is None:
        if obj.requires_grad:
            from reference_engine.state import warn_once

            warn_once("asarray", "torch.asarray: unspecified requires_grad now defaults to obj.requires_grad; pass "
                      "requires_grad explicitly to silence this.", UserWarning)  # fmt: skip
        requires_grad = obj.requires_grad
    result = obj
    if not requires_grad and obj.requires_grad:
        result = obj.detach()
    if dtype is not None and dtypes.as_dtype(dtype) is not result.dtype:
        if copy is False:
            raise ValueError("can't alias tensor with dtype '...' into dtype '...'.")
        result = result.to(dtype)
    elif copy:
        result = result.clone()
    if requires_grad and not result.requires_grad:
        result = result.detach()
        result._set_tracked(True)
    return result


def from_numpy(array: np.ndarray) -> Tensor:
    """A leaf that shares the array's memory. Source: torch.from_numpy."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    d = dtypes.of_numpy(array.dtype)
    return finish(array.view(d.numpy) if array.dtype.isnative else array.astype(d.numpy), False)


def _like(input: Tensor, fill: Any, numpy_type: np.dtype, format: Any) -> np.ndarray:
    """A filled array in another one's shape, and in its order unless a format is asked for."""
    array = fill(input._array.shape, numpy_type)
    if format is not None and format is not preserve_format:
        return ordered(array, format.order(array.ndim))
    like = array_like(input._array, numpy_type)
    if not like.flags.c_contiguous:
        like[...] = array
        return like
    return array


def _filled(name: str, fill: Any) -> Any:
    def make(*size: Any, dtype: Any = None, requires_grad: bool = False, memory_format: Any = None) -> Tensor:
        wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
        array = fill(sizes_of(size), wanted.numpy)
        if memory_format not in (None, contiguous_format):
            array = ordered(array, memory_format.order(array.ndim))
        return finish(array, requires_grad)

    def make_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False,
                  memory_format: Any = None) -> Tensor:  # fmt: skip
        wanted = dtypes.as_dtype(dtype) if dtype is not None else input.dtype
        if state.vmap_levels:
            from reference_engine.batching.tensor import BatchedTensor, batched

            if isinstance(input, BatchedTensor):
                return batched(make_like(input._value, dtype=wanted, requires_grad=requires_grad), input._level)
        return finish(_like(input, fill, wanted.numpy, memory_format), requires_grad)

    make.__name__, make_like.__name__ = name, f"{name}_like"
    make.__doc__ = f"A tensor of the given size. Source: torch.{name}."
    make_like.__doc__ = f"A tensor like another one. Source: torch.{name}_like."
    return factory(make), factory(make_like)


zeros, zeros_like = _filled("zeros", np.zeros)
ones, ones_like = _filled("ones", np.ones)
# What is in uninitialised memory must not be relied on; zeros keep runs reproducible.
empty, empty_like = _filled("empty", np.zeros)


@factory
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor with the strides given, in elements. Source: torch.empty_strided."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    last = sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1 if 0 not in size else 0
    memory = np.zeros(last, wanted.numpy)
    steps = [s * memory.itemsize for s in stride]
    return finish(np.ndarray(tuple(size), memory.dtype, memory, strides=steps), requires_grad)


@factory
def full(size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value. Source: torch.full."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.of_number(value)
    shape = (size,) if isinstance(size, int) else tuple(size)
    return finish(np.full(sizes_of(shape), dtypes.plain_number(value, wanted), wanted.numpy), requires_grad)


@factory
def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value, like another one. Source: torch.full_like."""
    return full(input._array.shape, fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad)


@factory
def eye(n: int, m: int | None = None, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal. Source: torch.eye."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    return finish(np.eye(n, m, dtype=wanted.numpy), requires_grad)


@factory
def arange(*bounds: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Evenly spaced numbers, the end excluded. Source: torch.arange."""
    plain = _numbers(*bounds)
    if dtype is None:
        dtype = dtypes.int64 if all(isinstance(b, int) for b in plain) else dtypes.get_default_dtype()
    return finish(np.arange(*plain).astype(dtypes.as_dtype(dtype).numpy), requires_grad)


def _numbers(*bounds: Any) -> list[Any]:
    """Bounds as Python numbers: what is made of them has no history."""
    return [b.item() if isinstance(b, Tensor) else b for b in bounds]


@factory
def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """`steps` numbers from start to end, both included. Source: torch.linspace."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    return finish(np.linspace(*_numbers(start, end), steps).astype(wanted.numpy), requires_grad)


@factory
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Powers of a base, evenly spaced exponents. Source: torch.logspace."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    return finish(np.logspace(*_numbers(start, end), steps, base=base).astype(wanted.numpy), requires_grad)


@factory
def scalar_tensor(value: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor. Source: torch.scalar_tensor."""
    return full((), value, dtype=dtype or dtypes.get_default_dtype(), requires_grad=requires_grad)


@factory
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Tensor:
    """Indices of the lower triangle. Source: torch.tril_indices."""
    return wrap(np.stack(np.tril_indices(row, offset, col)).astype(np.int64))


@factory
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None) -> Tensor:
    """Indices of the upper triangle. Source: torch.triu_indices."""
    return wrap(np.stack(np.triu_indices(row, offset, col)).astype(np.int64))


def is_tensor(obj: Any) -> bool:
    """Whether obj is a tensor. Source: torch.is_tensor."""
    return isinstance(obj, Tensor)


# --- new_* methods: like the factories, with this tensor's dtype ---------------------------------------------------


@factory
def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A copy of the data in this tensor's dtype. Source: torch.Tensor.new_tensor."""
    if isinstance(data, Tensor):
        data = data._array
    return finish(np.array(_array_of(data, dtype or self.dtype)), requires_grad)


def _new(factory: Any) -> Any:
    def make(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
        return factory(*size, dtype=dtype or self.dtype, **options)

    return make


METHODS = {"new_tensor": new_tensor, "new_zeros": _new(zeros), "new_ones": _new(ones), "new_empty": _new(empty),
           "new_full": _new(full)}  # fmt: skip
__all__ = ["METHODS", "Size"]
