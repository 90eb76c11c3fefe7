"""Discrete distributions: samples without a derivative, log-probabilities with one. Source: torch.distributions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from reference_engine.autograd.grad_mode import no_grad
from reference_engine.distributions.base import BOOLEAN, REAL, UNIT, Condition, Distribution, tensors
from reference_engine.ops import registry
from reference_engine.tensor import Tensor, wrap

f = registry.functions


def _least(probs: Tensor) -> float:
    """What probabilities keep from 0 and 1, so that logits stay finite."""
    return float(np.finfo(probs._array.dtype).eps)


class _OfProbabilities(Distribution):
    """Given by probabilities or by logits; the other is computed when it is asked for."""

    def _given(self, probs: Any, logits: Any) -> Tensor:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        (value,) = tensors(logits if probs is None else probs)
        return value


class Bernoulli(_OfProbabilities):
    """1 with probability probs = sigmoid(logits), else 0. Source: torch.distributions.Bernoulli."""

    constraints: ClassVar[dict[str, Condition]] = {"probs": UNIT, "logits": REAL}
    support = BOOLEAN

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        value = self._given(probs, logits)
        vars(self)["logits" if probs is None else "probs"] = value
        super().__init__(value._array.shape, (), validate_args)

    def __getattr__(self, name: str) -> Tensor:
        if name not in ("probs", "logits"):
            raise AttributeError(name)
        if name == "probs":
            value = vars(self)["logits"].sigmoid()
        else:
            value = f["logit"](vars(self)["probs"], _least(vars(self)["probs"]))
        vars(self)[name] = value
        return value

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros and ones."""
        with no_grad():
            return f["bernoulli"](self.probs.expand(self.extended(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """value log(probs) + (1 - value) log(1 - probs)."""
        self.check(value)
        return value * self.logits - f["logaddexp"](self.logits, wrap(np.zeros((), self.logits._array.dtype)))

    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1 - self.probs))


class Categorical(_OfProbabilities):
    """One of n classes, with probabilities along the last dimension. Source: torch.distributions.Categorical."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        value = self._given(probs, logits)
        if probs is None:
            self.logits = f["log_softmax"](value, -1)
        else:
            least = _least(value)
            self.logits = (value / value.sum(-1, keepdim=True)).clamp(least, 1 - least).log()
        super().__init__(value._array.shape[:-1], (), validate_args)
        last = value._array.shape[-1] - 1
        self.support = (f"IntegerInterval(lower_bound=0, upper_bound={last})", lambda x: (x >= 0) & (x <= last))

    @property
    def probs(self) -> Tensor:
        """The probabilities, which add up to 1."""
        return self.logits.exp()

    def __repr__(self) -> str:
        return f"Categorical(probs: {self.logits.size()})"

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Classes, int64."""
        shape = self.extended(sample_shape)
        with no_grad():
            rows = self.probs.reshape(-1, self.logits._array.shape[-1])
            drawn = f["multinomial"](rows, math.prod(sample_shape), True)
        return drawn.t().reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the class's probability."""
        self.check(value)
        index, logits = f["broadcast_tensors"](value.long().unsqueeze(-1), self.logits)
        return logits.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Minus the sum of p log p."""
        return -f["xlogy"](self.probs, self.probs).sum(-1)
