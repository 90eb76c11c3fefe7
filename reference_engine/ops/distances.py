"""Distances: norms of differences. The norm's subgradient 0 holds where two points are equal.

Source: torch.dist, torch.cdist, torch.nn.functional.pdist, pairwise_distance.
"""

from __future__ import annotations

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.elementwise import sign
from reference_engine.ops.linalg.norms import vector_norm
from reference_engine.ops.one_node import one_node
from reference_engine.ops.registry import both, function
from reference_engine.tensor import Tensor


def _norm(difference: Tensor, p: float) -> Tensor:
    """The p-norm along the last dimension; for p = 0 the number of elements that are not 0, with gradient 0."""
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    return sign(difference.abs()).sum(-1) if p == 0 else vector_norm(difference, p, -1)


@both
@one_node("DistBackward0", "input", "other")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other. Source: torch.dist."""
    return vector_norm(input - other, p)


@function
@one_node("CdistBackward0", "x1", "x2")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The distance of each row of x1 to each row of x2, batch by batch. Source: torch.cdist."""
    if x1._array.ndim < 2 or x2._array.ndim < 2:
        raise RuntimeError("cdist only supports at least 2D tensors")
    if x1._array.shape[-1] != x2._array.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1._array.shape[-1]} X2: "
                           f"{x2._array.shape[-1]}")  # fmt: skip
    return _norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


@function
@one_node("PdistBackward0", "input")
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The distances between all pairs of rows i < j, in order. Source: torch.nn.functional.pdist."""
    if input._array.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input._array.ndim}D")
    first, second = np.triu_indices(input._array.shape[0], 1)
    return _norm(input[first] - input[second], p)


@function
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension. Source: torch.nn.functional.pairwise_distance."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


@function
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors; each norm is at least eps. Source: torch.nn.functional.cosine_similarity."""
    bounded = [x / registry.functions["clamp"](vector_norm(x, 2, dim, True), min=eps) for x in (x1, x2)]
    return (bounded[0] * bounded[1]).sum(dim)
