"""Losses with a margin: hinges, which are 0 beyond it. At the hinge the gradient is 0, the smaller of both slopes.

Source: torch.nn.functional.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.distances import cosine_similarity, pairwise_distance
from reference_engine.ops.elementwise import where
from reference_engine.ops.losses import constant_weight, reduced, reduction_of
from reference_engine.ops.masking import masked
from reference_engine.ops.registry import function
from reference_engine.tensor import Tensor


def _hinge(x: Tensor) -> Tensor:
    return registry.functions["clamp"](x, min=0)


@function
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
                        reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """max(0, margin - target (input1 - input2)). Source: torch.nn.functional.margin_ranking_loss."""
    return reduced(_hinge(-target * (input1 - input2) + margin), reduction_of(reduction, size_average, reduce))


@function
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, size_average: Any = None, reduce: Any = None,
                         reduction: str = "mean") -> Tensor:  # fmt: skip
    """input where the target is 1, max(0, margin - input) where it is -1.

    Source: torch.nn.functional.hinge_embedding_loss.
    """
    far = where(target != 1, _hinge(margin - input), 0.0)
    near = where(target != -1, input, 0.0)
    return reduced(near + far, reduction_of(reduction, size_average, reduce))


@function
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
                          reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    Source: torch.nn.functional.cosine_embedding_loss.
    """
    cosine = cosine_similarity(input1, input2, -1)
    loss = where(target == 1, 1 - cosine, 0.0) + where(target == -1, _hinge(cosine - margin), 0.0)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


@function
def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, size_average: Any = None, reduce: Any = None,
                        reduction: str = "mean") -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin). Source: torch.nn.functional.triplet_margin_loss."""
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = registry.functions["minimum"](far, pairwise_distance(positive, negative, p, eps))
    loss = _hinge(pairwise_distance(anchor, positive, p, eps) - far + margin)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
                      size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """sum over i != y of max(0, margin - x[y] + x[i])^p, divided by the number of classes.

    Source: torch.nn.functional.multi_margin_loss.
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    constant_weight("multi_margin_loss", weight)
    rows = input if input._array.ndim == 2 else input.unsqueeze(0)
    classes = rows._array.shape[1]
    index = np.array(target._array).reshape(-1)
    key = (np.arange(len(index)), index)
    hinges = _hinge(margin - rows[key].unsqueeze(1) + rows) ** p
    others = np.ones(rows._array.shape, bool)
    others[key] = False
    loss = masked(hinges, others).sum(1) / classes
    loss = loss if weight is None else loss * weight[index]
    loss = loss if input._array.ndim == 2 else loss.squeeze(0)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


def soft_margin_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
                     reduction: str = "mean") -> Tensor:  # fmt: skip
    """log(1 + exp(-target input)). Source: torch.nn.functional.soft_margin_loss."""
    f = registry.functions
    return reduced(f["log1p"](f["exp"](-target * input)), reduction_of(reduction, size_average, reduce))
