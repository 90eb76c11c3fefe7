"""Probability distributions: samples, with the derivative along the path of a sample where there is one, and log densities.

rsample is a differentiable function of the parameters and of noise that has none; sample is the same without a record.
What a discrete distribution draws has no such path: log_prob has the derivatives that an estimator needs. Parameters are
broadcast with one another to `batch_shape`; numbers become tensors of the default type. Source: torch.distributions.
"""

from reference_engine.distributions.base import Distribution
from reference_engine.distributions.continuous import Exponential, Gumbel, Laplace, LogNormal, Normal, Uniform
from reference_engine.distributions.discrete import Bernoulli, Categorical
from reference_engine.distributions.divergence import kl_divergence

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "Exponential", "Gumbel", "Laplace", "LogNormal", "Normal", "Uniform",
    "kl_divergence",
]  # fmt: skip
