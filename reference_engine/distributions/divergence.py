"""The divergence of one distribution from another: the expectation, under p, of log p - log q."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference_engine.distributions.base import Distribution
from reference_engine.distributions.continuous import Exponential, Laplace, Normal
from reference_engine.distributions.discrete import Bernoulli, Categorical
from reference_engine.tensor import Tensor


def _normal(p: Any, q: Any) -> Tensor:
    ratio, shift = (p.scale / q.scale) ** 2, ((p.loc - q.loc) / q.scale) ** 2
    return 0.5 * (ratio + shift - 1 - ratio.log())


def _laplace(p: Any, q: Any) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


def _bernoulli(p: Any, q: Any) -> Tensor:
    true, false = p.probs, 1 - p.probs
    return true.xlogy(true) - true.xlogy(q.probs) + false.xlogy(false) - false.xlogy(1 - q.probs)


def _categorical(p: Any, q: Any) -> Tensor:
    return (p.probs * (p.logits - q.logits)).sum(-1)


FORMULAS: dict[type, Callable[[Any, Any], Tensor]] = {
    Normal: _normal, Laplace: _laplace, Exponential: _exponential, Bernoulli: _bernoulli, Categorical: _categorical,
}  # fmt: skip


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p, q) of two distributions of one kind. Source: torch.distributions.kl_divergence."""
    formula = FORMULAS.get(type(p)) if type(p) is type(q) else None
    if formula is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return formula(p, q)
