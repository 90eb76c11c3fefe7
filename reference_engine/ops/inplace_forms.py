"""In-place forms by name: of operators whose family did not declare one, of comparisons, and random fillings.

An in-place comparison writes zeros and ones in the tensor's own type, and a filling forgets what was there: both leave
gradient zero to the old values. Source: torch.Tensor, methods that end with an underscore.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.hooks import drawn, randomness
from reference_engine.ops import registry
from reference_engine.ops.filling import copy_from
from reference_engine.ops.inplace import in_place, overwrite
from reference_engine.ops.registry import method
from reference_engine.random import Generator
from reference_engine.state import process
from reference_engine.tape.views import check_inplace
from reference_engine.tensor import Tensor, wrap

DERIVED = """
    arccos arcsin arctan arctan2 bitwise_and bitwise_not bitwise_or
    bitwise_xor clamp_max clamp_min clip conj_physical cumprod cumsum divide fix float_power masked_fill
    masked_scatter multiply negative sgn subtract tril triu true_divide
"""
TRUTHS = """
    eq ge greater greater_equal gt le less less_equal logical_and logical_not logical_or logical_xor lt ne not_equal
"""
FUNCTIONS = "arccos arcsin arctan clamp_max clamp_min clip conj_physical fix negative"


def _truth_in_place(function: Callable, name: str) -> Callable:
    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_inplace(self)
        return overwrite(self, lambda alias: copy_from(alias, function(alias, *args, **kwargs)))

    call.__name__ = call.__qualname__ = name
    return call


def declare() -> None:
    """Publishes the in-place forms, once all families have declared their operators."""
    for names, make in ((DERIVED, in_place), (TRUTHS, _truth_in_place)):
        for name in names.split():
            registry.publish(f"{name}_", make(registry.methods[name], f"{name}_"), module=name in FUNCTIONS.split())


# --- random ----------------------------------------------------------------------------------------------------------


def _filled(
    target: Tensor, draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray], generator: Any
) -> Tensor:
    """Overwrites `target` with what `draw(generator, shape)` gives."""
    check_inplace(target)
    shape, levels = randomness(target._array.shape)
    values = np.asarray(draw((generator or process.generator)._numpy, shape))
    source = drawn(wrap(dtypes.converted(values, target._array.dtype)), levels)
    return overwrite(target, lambda alias: copy_from(alias, source))


def _floating(target: Tensor, name: str) -> None:
    if target.dtype.category < dtypes.FLOATING:
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtypes.type_name(target.dtype)}'")


@method
def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Filled with normal numbers. Source: torch.Tensor.normal_."""
    _floating(self, "normal_kernel_cpu")
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return _filled(self, lambda g, shape: g.standard_normal(shape) * std + mean, generator)


# `from` is a keyword of Python: it is given by position, as in torch's own documentation.
@method
def uniform_(self: Tensor, low: float = 0, to: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Filled with numbers uniform in [low, to). Source: torch.Tensor.uniform_."""
    _floating(self, "check_uniform_bounds")
    if low > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    return _filled(self, lambda g, shape: g.random(shape) * (to - low) + low, generator)


@method
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Filled with 1 with probability p, else 0. Source: torch.Tensor.bernoulli_."""
    chance = p._array if isinstance(p, Tensor) else p
    if np.any((np.asarray(chance) < 0) | (np.asarray(chance) > 1)):
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return _filled(self, lambda g, shape: g.random(shape) < chance, generator)


@method
def exponential_(self: Tensor, lambd: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Filled with exponentially distributed numbers of rate `lambd`. Source: torch.Tensor.exponential_."""
    _floating(self, "exponential_")
    return _filled(self, lambda g, shape: g.standard_exponential(shape) / lambd, generator)


@method
def log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Filled with exponentials of normal numbers. Source: torch.Tensor.log_normal_."""
    _floating(self, "log_normal_cpu")
    return _filled(self, lambda g, shape: g.lognormal(mean, std, shape), generator)


@method
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Filled with numbers of trials until success. Source: torch.Tensor.geometric_."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _filled(self, lambda g, shape: g.geometric(p, shape), generator)


@method
def cauchy_(self: Tensor, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Filled with Cauchy distributed numbers. Source: torch.Tensor.cauchy_."""
    _floating(self, "cauchy_")
    return _filled(self, lambda g, shape: g.standard_cauchy(shape) * sigma + median, generator)


@method
def random_(self: Tensor, low: int = 0, to: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Filled with integers in [low, to), [0, low) where only that is given, or all that the type holds exactly.

    Source: torch.Tensor.random_.
    """
    if to is None:
        low, to = (0, low) if low else (0, _largest(self) + 1)
    if low >= to:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={to}")
    return _filled(self, lambda g, shape: g.integers(low, to - 1, shape, endpoint=True), generator)


def _largest(tensor: Tensor) -> int:
    """The largest integer up to which a tensor's type holds every integer."""
    kind = tensor._array.dtype
    if kind.kind in "iu":
        return int(np.iinfo(kind).max)
    return 1 if kind.kind == "b" else 2 ** (np.finfo(kind).nmant + 1)
