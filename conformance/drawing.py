"""Drawn data: numbers from NumPy's Philox generator, the same bits for every engine and on every machine.

With `g = numpy.random.Generator(numpy.random.Philox(key=seed))` and everything in float64, rounded once to the dtype:

    normal     mean + std * g.standard_normal(shape)     mean 0, std 1
    uniform    low + (high - low) * g.random(shape)      low 0, high 1
    integers   g.integers(low, high, shape)              high is excluded; low 0, high 10
    bernoulli  g.random(shape) < p                       p 0.5

A complex dtype draws the real parts first, then the imaginary parts. `literal` data are written, not drawn.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .case import Given

if TYPE_CHECKING:
    import numpy as np

DEFAULTS: dict[str, dict[str, float]] = {
    "normal": {"mean": 0.0, "std": 1.0},
    "uniform": {"low": 0.0, "high": 1.0},
    "integers": {"low": 0, "high": 10},
    "bernoulli": {"p": 0.5},
}
# fmt: off
DTYPES = frozenset({
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
    "int8", "int16", "int32", "int64", "uint8", "bool",
})
# fmt: on
LITERAL = "literal"
KEPT = 4096  # arrays of at most so many elements are kept for the next engine


def draw(given: Given) -> np.ndarray[Any, Any]:
    """The array of `given`: read-only, in C order. bfloat16, which NumPy lacks, comes as float32 rounded to it."""
    parameters = tuple(sorted(given.parameters.items()))
    make = _kept if math.prod(given.shape) <= KEPT else _draw
    return make(given.distribution, given.shape, given.seed, given.dtype, parameters, given.data)


def _draw(
    distribution: str, shape: tuple[int, ...], seed: int, dtype: str, parameters: Any, data: tuple[Any, ...]
) -> np.ndarray[Any, Any]:
    import numpy as np

    if distribution == LITERAL:
        number = complex if dtype.startswith("complex") else float
        return _rounded(np.array([number(x) if isinstance(x, str) else x for x in data]).reshape(shape), dtype)
    generator = np.random.Generator(np.random.Philox(key=seed))
    settings = {**DEFAULTS[distribution], **dict(parameters)}
    values = np.asarray(_sample(generator, distribution, shape, settings))
    if dtype.startswith("complex"):
        values = values + 1j * np.asarray(_sample(generator, distribution, shape, settings))
    return _rounded(values, dtype)


def _rounded(values: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """The values in the dtype, read-only."""
    import numpy as np

    if dtype == "bfloat16":
        array = _round_to_bfloat16(values.astype(np.float32))
    else:
        array = np.array(values, dtype=np.dtype(dtype))
    array.flags.writeable = False
    return array


_kept = lru_cache(maxsize=64)(_draw)


def _sample(generator: np.random.Generator, distribution: str, shape: tuple[int, ...], p: dict[str, float]) -> Any:
    if distribution == "normal":
        return p["mean"] + p["std"] * generator.standard_normal(shape)
    if distribution == "uniform":
        return p["low"] + (p["high"] - p["low"]) * generator.random(shape)
    if distribution == "integers":
        return generator.integers(int(p["low"]), int(p["high"]), shape)
    return generator.random(shape) < p["p"]


def _round_to_bfloat16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Round float32 to the nearest bfloat16, ties to even, by its bits."""
    import numpy as np

    bits = np.atleast_1d(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    result: np.ndarray[Any, Any] = rounded.view(np.float32).reshape(values.shape)
    return result
