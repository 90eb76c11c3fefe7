"""Drawn data: numbers from NumPy's Philox generator, the same bits for every engine and on every machine.

With `g = numpy.random.Generator(numpy.random.Philox(key=seed))` and everything in float64, rounded once to the dtype:

    normal     mean + std * g.standard_normal(shape)     mean 0, std 1
    uniform    low + (high - low) * g.random(shape)      low 0, high 1
    integers   g.integers(low, high, shape)              high is excluded; low 0, high 10
    bernoulli  g.random(shape) < p                       p 0.5

A complex dtype draws the real parts first, then the imaginary parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from conformance.case import Given

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


def draw(given: Given) -> np.ndarray[Any, Any]:
    """The array that `given` describes, in C order. bfloat16, which NumPy lacks, comes as float32 rounded to it."""
    import numpy as np

    generator = np.random.Generator(np.random.Philox(key=given.seed))
    values = _sample(generator, given)
    if given.dtype.startswith("complex"):
        values = values + 1j * _sample(generator, given)
    if given.dtype == "bfloat16":
        return _round_to_bfloat16(values.astype(np.float32))
    return np.asarray(values, dtype=np.dtype(given.dtype))


def _sample(generator: Any, given: Given) -> Any:
    p = {**DEFAULTS[given.distribution], **given.parameters}
    if given.distribution == "normal":
        return p["mean"] + p["std"] * generator.standard_normal(given.shape)
    if given.distribution == "uniform":
        return p["low"] + (p["high"] - p["low"]) * generator.random(given.shape)
    if given.distribution == "integers":
        return generator.integers(int(p["low"]), int(p["high"]), given.shape)
    return generator.random(given.shape) < p["p"]


def _round_to_bfloat16(values: Any) -> Any:
    """Round float32 to the nearest bfloat16, ties to even, by its bits."""
    import numpy as np

    bits = np.atleast_1d(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).reshape(values.shape)


def mistakes(name: str, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) for parameters that do not go with the distribution of the drawn data `name`."""
    distribution = value["distribution"]
    allowed = DEFAULTS[distribution]
    p = {**allowed, **value}
    for key in ("mean", "std", "low", "high", "p"):
        if key in value and key not in allowed:
            yield key, f"{distribution} takes {' and '.join(allowed)}, not {key}"
    if "low" in allowed and p["low"] >= p["high"]:
        yield "distribution", f"{name}: low {p['low']} is not below high {p['high']}"
    if distribution == "integers" and not all(float(p[key]).is_integer() for key in ("low", "high")):
        yield "distribution", f"{name}: integers are drawn between whole numbers"
    dtype = value.get("dtype", "float32")
    whole = not dtype.startswith(("$", "float", "bfloat", "complex"))
    if whole and distribution in ("normal", "uniform"):
        yield "dtype", f"{distribution} data in {dtype} would be cut to whole numbers; draw integers"
