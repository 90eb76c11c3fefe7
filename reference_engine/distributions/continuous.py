"""Continuous distributions, each with samples along a path. Source: torch.distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from reference_engine import random
from reference_engine.distributions.base import (
    NOT_NEGATIVE,
    POSITIVE,
    REAL,
    Condition,
    Distribution,
    kind_of,
    shown,
    tensors,
)
from reference_engine.ops import registry
from reference_engine.tensor import Tensor, wrap

f = registry.functions


class _LocationScale(Distribution):
    """loc + scale times standard noise; `_noise(uniform)` gives the noise, `_log(z)` its log density."""

    constraints: ClassVar[dict[str, Condition]] = {"loc": REAL, "scale": POSITIVE}
    has_rsample = True
    _log: Callable[[Any], Any]

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = tensors(loc, scale)
        super().__init__(self.loc._array.shape, (), validate_args)

    def _noise(self, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        raise NotImplementedError

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc + scale times noise: slope 1 in loc and (sample - loc) / scale in scale."""
        noise = self._noise(self.extended(sample_shape), self.loc._array.dtype)
        return self.loc + self.scale * wrap(np.asarray(noise, self.loc._array.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p((value - loc) / scale) - log(scale)."""
        self.check(value)
        return type(self)._log((value - self.loc) / self.scale) - self.scale.log()


class Normal(_LocationScale):
    """The density exp(-z^2 / 2) / (sqrt(2 pi) scale). Source: torch.distributions.Normal."""

    _log = staticmethod(lambda z: -(z * z) / 2 - math.log(math.sqrt(2 * math.pi)))

    def _noise(self, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        return random.numpy_generator().standard_normal(shape)

    mean = mode = property(lambda self: self.loc)
    stddev = property(lambda self: self.scale)
    variance = property(lambda self: self.scale**2)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of what is smaller."""
        self.check(value)
        return 0.5 * (1 + f["erf"]((value - self.loc) / (self.scale * math.sqrt(2))))

    def icdf(self, value: Tensor) -> Tensor:
        """The value whose cdf is this."""
        return self.loc + self.scale * f["erfinv"](2 * value - 1) * math.sqrt(2)

    def entropy(self) -> Tensor:
        """(1 + log(2 pi)) / 2 + log(scale)."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()


class Laplace(_LocationScale):
    """The density exp(-|z|) / (2 scale). Source: torch.distributions.Laplace."""

    _log = staticmethod(lambda z: -z.abs() - math.log(2))

    def _noise(self, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        return random.numpy_generator().laplace(size=shape)

    mean = mode = property(lambda self: self.loc)
    variance = property(lambda self: 2 * self.scale**2)

    def entropy(self) -> Tensor:
        """1 + log(2 scale)."""
        return 1 + (2 * self.scale).log()


class Gumbel(_LocationScale):
    """The density exp(-z - exp(-z)) / scale. Source: torch.distributions.Gumbel."""

    _log = staticmethod(lambda z: -z - (-z).exp())

    def _noise(self, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        return random.numpy_generator().gumbel(size=shape)

    mean = property(lambda self: self.loc + self.scale * np.euler_gamma)
    mode = property(lambda self: self.loc)
    variance = property(lambda self: self.scale**2 * (math.pi**2 / 6))

    def entropy(self) -> Tensor:
        """log(scale) + 1 + Euler's constant."""
        return self.scale.log() + (1 + np.euler_gamma)


class LogNormal(Normal):
    """exp of a normal variable. Source: torch.distributions.LogNormal."""

    support = POSITIVE

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """exp of the normal sample."""
        return super().rsample(sample_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """The normal log density of log(value), less log(value)."""
        self.check(value)
        log = value.log()
        return Normal._log((log - self.loc) / self.scale) - self.scale.log() - log

    def entropy(self) -> Tensor:
        """The normal entropy plus loc."""
        return super().entropy() + self.loc

    mean = property(lambda self: (self.loc + self.scale**2 / 2).exp())
    mode = property(lambda self: (self.loc - self.scale**2).exp())
    variance = property(lambda self: (self.scale**2).expm1() * (2 * self.loc + self.scale**2).exp())
    stddev = property(lambda self: self.variance.sqrt())


class Uniform(Distribution):
    """The density 1 / (high - low) on [low, high). Source: torch.distributions.Uniform."""

    constraints: ClassVar[dict[str, Condition]] = {"low": REAL, "high": REAL}
    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = tensors(low, high)
        super().__init__(self.low._array.shape, (), validate_args)
        if self._validated and not (self.low._array < self.high._array).all():
            raise ValueError(f"Expected parameter low ({kind_of(self.low)}) of distribution {self!r} to satisfy the constraint "
                             f"LessThan(upper_bound={self.high}), but found invalid values:\n{shown(self.low)}")  # fmt: skip
        self.support = (f"Interval(lower_bound={self.low}, upper_bound={self.high})",
                        lambda x: (x >= self.low._array) & (x <= self.high._array))  # fmt: skip

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """low + (high - low) u."""
        u = random.numpy_generator().random(self.extended(sample_shape))
        return self.low + (self.high - self.low) * wrap(np.asarray(u, self.low._array.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(high - low), and -inf outside of [low, high)."""
        self.check(value)
        inside = ((value._array >= self.low._array) & (value._array < self.high._array)).astype(self.low._array.dtype)
        return f["log"](wrap(np.asarray(inside))) - (self.high - self.low).log()

    mean = property(lambda self: (self.high + self.low) / 2)
    variance = property(lambda self: (self.high - self.low) ** 2 / 12)

    def entropy(self) -> Tensor:
        """log(high - low)."""
        return (self.high - self.low).log()


class Exponential(Distribution):
    """The density rate exp(-rate x). Source: torch.distributions.Exponential."""

    constraints: ClassVar[dict[str, Condition]] = {"rate": POSITIVE}
    has_rsample, support = True, NOT_NEGATIVE

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = tensors(rate)
        super().__init__(self.rate._array.shape, (), validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Standard exponential noise divided by the rate."""
        noise = random.numpy_generator().standard_exponential(self.extended(sample_shape))
        return wrap(np.asarray(noise, self.rate._array.dtype)) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """log(rate) - rate x."""
        self.check(value)
        return self.rate.log() - self.rate * value

    mean = stddev = property(lambda self: 1 / self.rate)
    variance = property(lambda self: self.rate**-2)

    def entropy(self) -> Tensor:
        """1 - log(rate)."""
        return 1 - self.rate.log()
