"""How a tensor looks: `tensor([1., 2.], requires_grad=True)`.

All elements of a tensor are printed in one notation and one width: integers, whole numbers with a point, four decimals,
or, where magnitudes differ by more than 1000, scientific. Lines have 80 characters; of more than 1000 elements the first
and last three of each dimension are shown. Source: torch.set_printoptions (defaults).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.tensor import BatchedTensor
from reference_engine.state import state
from reference_engine.tape.overridden import is_overridden
from reference_engine.tape.tangents import get
from reference_engine.tape.transforms import reaches_living

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reference_engine.tensor import Tensor

LINE, THRESHOLD, EDGE = 80, 1000, 3


def show(tensor: Tensor) -> str:
    """The text of a tensor: its values, its dtype unless it is implied, its history, its tangent. Around that stands what it
    is in the transforms of torch.func that it belongs to, those further in outside; level -2 is of one that has ended.
    """
    value, batches = _batches(tensor)
    text = _plain(value)
    for _, opening in sorted([*batches, *_tracked(value)]):
        text = f"{opening}, value=\n{textwrap.indent(text, '    ')}\n)"
    return text


def _batches(tensor: Tensor) -> tuple[Tensor, list[tuple[int, str]]]:
    """What is held at the bottom, and (number, text) of the vmaps that the tensor is batched in."""
    found = []
    while isinstance(tensor, BatchedTensor):
        number, (source, dim) = tensor._level.number, tensor._source or (tensor._value, 0)
        found.append((number, f"BatchedTensor(lvl={number}, bdim={dim}"))
        tensor = source
    return tensor, found


def _tracked(tensor: Tensor) -> Iterator[tuple[int, str]]:
    """(number, text) of the transforms that differentiate and to which a tensor belongs."""
    numbers = [(t.number, t.end == 0) for t in (*state.reversing, *state.kept) if t.made(tensor)]
    levels = [level for level in state.dual_levels if not level.public and get(tensor, level) is not None]
    numbers += [(level.number, True) for level in levels]
    numbers += [(number, False) for number in getattr(tensor._tangents, "ended", ())]
    for number, running in numbers:
        yield number, f"GradTrackingTensor(lvl={number if running else -2}"


def _plain(tensor: Tensor) -> str:
    """The text of a tensor by itself."""
    name = "Parameter containing:\ntensor(" if type(tensor).__name__ == "Parameter" else "tensor("
    indent = len("tensor(")
    text = name + _body(elements(tensor), indent)
    room = len(text) - text.rfind("\n") - 1
    for extra in _extras(tensor):
        if room + len(extra) + 2 > LINE:
            text += ",\n" + " " * indent + extra
            room = indent + len(extra)
        else:
            text += ", " + extra
            room += len(extra) + 2
    return text + ")"


def elements(tensor: Tensor) -> np.ndarray:
    """What is shown of a tensor: of one that is being traced, the example."""
    array = tensor._array
    return array if isinstance(array, np.ndarray) else getattr(array, "memory", array)


def _extras(tensor: Tensor) -> list[str]:
    """What stands behind the values."""
    array, extras = tensor._array, []
    default = dtypes.get_default_dtype()
    implied = [
        default,
        dtypes.int64,
        dtypes.bool_,
        dtypes.complex128 if default is dtypes.float64 else dtypes.complex64,
    ]
    if array.size == 0 and array.ndim != 1:
        extras.append(f"size={tuple(array.shape)}")
    if tensor.dtype not in implied or (array.size == 0 and tensor.dtype is not default):
        extras.append(f"dtype={tensor.dtype}")
    if is_overridden(tensor):
        extras.append("grad_fn=<Invalid>")
    elif tensor._edge is not None and reaches_living(tensor._edge[0], state.reversing):
        extras.append(f"grad_fn=<{type(tensor.grad_fn).__name__}>")
    elif tensor._tracked and tensor._transform is None:
        extras.append("requires_grad=True")
    tangent = get(tensor, state.dual_levels[-1]) if state.dual_levels and state.dual_levels[-1].public else None
    if tangent is not None:
        extras.append(f"tangent={show(tangent)}")
    return extras


def _body(array: np.ndarray, indent: int) -> str:
    if array.size == 0:
        return "[]"
    shown = _ends(array) if array.size > THRESHOLD else array
    return _lines(array, _notation(shown), indent, array.size > THRESHOLD)


def _ends(array: np.ndarray) -> np.ndarray:
    """The elements that are shown of a large array."""
    for axis, size in enumerate(array.shape):
        if size > 2 * EDGE:
            array = np.take(array, [*range(EDGE), *range(size - EDGE, size)], axis)
    return array


def _lines(array: np.ndarray, notation: Callable[[Any], str], indent: int, short: bool) -> str:
    """Nested brackets; numbers wrap at the end of the line, rows stand below each other."""
    if array.ndim == 0:
        return notation(array[()])
    size = array.shape[0]
    cut = short and size > 2 * EDGE
    kept = [*range(EDGE), *range(size - EDGE, size)] if cut else range(size)
    if array.ndim > 1:
        parts = [_lines(array[k], notation, indent + 1, short) for k in kept]
        if cut:
            parts.insert(EDGE, "...")
        return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"
    words = [notation(array[k]) for k in kept]
    width = max(map(len, words)) + 2
    if cut:
        words.insert(EDGE, " ...")
    per_line = max(1, (LINE - indent) // width)
    rows = [", ".join(words[k : k + per_line]) for k in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(rows) + "]"


def _notation(array: np.ndarray) -> Callable[[Any], str]:
    """How one element is written, so that all have the same width."""
    if array.dtype.kind == "c":
        real, imaginary = _notation(array.real), _notation(np.abs(array.imag))
        return lambda z: f"{real(z.real)}{'-' if _negative(z.imag) else '+'}{imaginary(abs(z.imag)).strip()}j"
    write = _number(array) if array.dtype.kind == "f" else str
    counted = array[np.isfinite(array) & (array != 0)] if array.dtype.kind == "f" else array.ravel()
    width = max((len(write(x)) for x in counted), default=0)  # nan, infinity and zeros do not count
    return lambda x: write(x).rjust(width)


def _negative(x: Any) -> bool:
    return bool(np.signbit(x)) and not np.isnan(x)


def _number(array: np.ndarray) -> Callable[[Any], str]:
    """The notation for floats: by the largest and smallest magnitude of finite elements other than 0."""
    sizes = np.abs(array[np.isfinite(array) & (array != 0)]).astype(np.float64)
    if not sizes.size:
        return lambda x: f"{x:.0f}." if np.isfinite(x) else str(float(x))
    large, small, whole = sizes.max(), sizes.min(), bool(np.all(sizes == np.ceil(sizes)))
    if large / small > 1000 or large > 1e8 or small < 1e-4:
        return lambda x: f"{x:.4e}" if np.isfinite(x) else str(float(x))
    if whole:
        return lambda x: f"{x:.0f}." if np.isfinite(x) else str(float(x))
    return lambda x: f"{x:.4f}"
