"""Random results of tensors: bernoulli, binomial, poisson, normal, multinomial.

A sample is no function of its parameters: it is recorded as a result of theirs, and a backward pass that reaches it
raises. What an in-place filling draws replaces the old values, so that these get gradient zero (inplace_forms.py).
Source: torch notes/autograd, "Gradients for non-differentiable functions" (6).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops.registry import both, function
from reference_engine.ops.underivable import unrecorded
from reference_engine.random import Generator, numpy_generator
from reference_engine.random import normal as plain_normal
from reference_engine.tensor import Tensor, wrap


def _bernoulli(x: np.ndarray, *, p: Any, generator: Any) -> np.ndarray:
    return (numpy_generator(generator).random(x.shape) < (x if p is None else p)).astype(x.dtype)


def _binomial(count: np.ndarray, prob: np.ndarray, *, generator: Any) -> np.ndarray:
    return numpy_generator(generator).binomial(count.astype(np.int64), np.clip(prob, 0, 1)).astype(count.dtype)


def _poisson(rate: np.ndarray, *, generator: Any) -> np.ndarray:
    return numpy_generator(generator).poisson(rate).astype(rate.dtype)


def _normal(mean: Any, std: Any, *, generator: Any) -> np.ndarray:
    shape = np.broadcast_shapes(np.shape(mean), np.shape(std))
    dtype = mean.dtype if isinstance(mean, np.ndarray) else std.dtype
    return (numpy_generator(generator).standard_normal(shape) * std + mean).astype(dtype)


_bernoulli_op = unrecorded("bernoulli", _bernoulli, ("x",))
_binomial_op = unrecorded("binomial", _binomial, ("count", "prob"))
_poisson_op = unrecorded("poisson", _poisson, ("rate",))
_normal_op = unrecorded("normal", _normal, ("mean", "std"))


@both
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probabilities in `input`, or with probability `p`, in its shape and type. Source: torch.bernoulli."""
    if p is not None and not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    if p is None and not ((input._array >= 0) & (input._array <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return _bernoulli_op(input, p=p, generator=generator)


@function
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """The number of successes in `count` trials. Source: torch.binomial."""
    return _binomial_op(count, prob, generator=generator)


@function
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson distributed with the rates in `input`. Source: torch.poisson."""
    if input.dtype.category < dtypes.FLOATING:
        raise NotImplementedError(f"\"poisson_cpu\" not implemented for '{dtypes.type_name(input.dtype)}'")
    if (input._array < 0).any():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return _poisson_op(input, generator=generator)


@function
def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, **options: Any
) -> Tensor:
    """Normal with given mean and deviation, either of which may be a tensor. Source: torch.normal."""
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        return plain_normal(mean, std, size, generator=generator, **options)
    if (np.asarray(std._array if isinstance(std, Tensor) else std) < 0).any():
        raise RuntimeError("normal expects all elements of std >= 0.0")
    return _normal_op(mean, std, generator=generator)


@both
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *,
                generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Indices drawn with the weights in each row; never tracked. Source: torch.multinomial."""
    if input.dtype.category < dtypes.FLOATING:
        raise RuntimeError("multinomial only supports floating-point dtypes for input, got: "
                           f"{dtypes.type_name(input.dtype)}")  # fmt: skip
    weights = input._array.astype(np.float64)
    rows = weights.reshape(-1, weights.shape[-1])
    if not replacement and num_samples > rows.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (rows.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    draw = numpy_generator(generator)
    if replacement:
        found = np.stack([draw.choice(row.size, num_samples, p=row / row.sum()) for row in rows])
    else:  # the largest of -log u / w read downwards: exponential clocks, the first to ring are drawn
        found = np.argsort(draw.standard_exponential(rows.shape) / np.where(rows > 0, rows, 1e-300), -1)[
            :, :num_samples
        ]
    return wrap(found.reshape(*weights.shape[:-1], num_samples).astype(np.int64))
