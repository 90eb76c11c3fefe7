"""Losses with a margin: hinges, which are 0 beyond it. At the hinge the gradient is 0, the smaller of both slopes.

Source: torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.activations import log_sigmoid
from reference_engine.ops.distances import cosine_similarity, pairwise_distance
from reference_engine.ops.elementwise import where
from reference_engine.ops.losses import constant_weight, reduced, reduction_of
from reference_engine.ops.masking import masked
from reference_engine.ops.one_node import one_node
from reference_engine.tensor import Tensor, wrap


def _hinge(x: Tensor) -> Tensor:
    return registry.functions["clamp"](x, min=0)


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
                        reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """max(0, margin - target (input1 - input2)). Source: torch.nn.functional.margin_ranking_loss."""
    sizes = [t.shape for t in (input1, input2, target)]
    if len({len(size) for size in sizes}) > 1:
        raise RuntimeError("margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
                           f"{sizes[0]}, input2: {sizes[1]}, target: {sizes[2]} ")  # fmt: skip
    return reduced(_hinge(-target * (input1 - input2) + margin), reduction_of(reduction, size_average, reduce))


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, size_average: Any = None, reduce: Any = None,
                         reduction: str = "mean") -> Tensor:  # fmt: skip
    """input where the target is 1, max(0, margin - input) where it is -1.

    Source: torch.nn.functional.hinge_embedding_loss.
    """
    far = where(target != 1, _hinge(margin - input), 0.0)
    near = where(target != -1, input, 0.0)
    return reduced(near + far, reduction_of(reduction, size_average, reduce))


def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
                          reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    Source: torch.nn.functional.cosine_embedding_loss.
    """
    dims = target._array.ndim
    if dims > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if {input1._array.ndim, input2._array.ndim} != {dims + 1}:
        raise RuntimeError(f"{dims}D target tensor expects {dims + 1}D input tensors, but found inputs with sizes "
                           f"{list(input1.shape)} and {list(input2.shape)}.")  # fmt: skip
    cosine = cosine_similarity(input1, input2, -1)
    loss = where(target == 1, 1 - cosine, 0.0) + where(target == -1, _hinge(cosine - margin), 0.0)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, size_average: Any = None, reduce: Any = None,
                        reduction: str = "mean") -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin). Source: torch.nn.functional.triplet_margin_loss."""
    return _triplet(lambda a, b: pairwise_distance(a, b, p, eps), anchor, positive, negative, margin, swap,
                    reduction_of(reduction, size_average, reduce))  # fmt: skip


def triplet_margin_with_distance_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *,
                                      distance_function: Callable | None = None, margin: float = 1.0, swap: bool = False,
                                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """triplet_margin_loss with a distance of one's own. Source: that function's page in torch."""
    return _triplet(distance_function or pairwise_distance, anchor, positive, negative, margin, swap, reduction)


def _triplet(distance: Callable, anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, swap: bool,
             reduction: str) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); swap: the negative is as near as it is to either."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    dims = [t._array.ndim for t in (anchor, positive, negative)]
    if len(set(dims)) > 1:
        raise RuntimeError("The anchor, positive, and negative tensors are expected to have the same number of dimensions, but "
                           f"got: anchor {dims[0]}D, positive {dims[1]}D, and negative {dims[2]}D inputs")  # fmt: skip
    far = distance(anchor, negative)
    if swap:
        far = registry.functions["minimum"](far, distance(positive, negative))
    return reduced(_hinge(distance(anchor, positive) - far + margin), reduction)


@one_node("MultiMarginLossBackward0", "input")
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


@one_node("MultilabelMarginLossBackward0", "input")
def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
                           reduction: str = "mean") -> Tensor:  # fmt: skip
    """Sum over targets y and classes i that are none of max(0, 1 - (x[y] - x[i])), divided by the number of classes.

    A row of targets ends before its first -1. Source: torch.nn.functional.multilabel_margin_loss.
    """
    x, y = input._array, target._array
    if x.ndim > 2:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(x.shape)}"
        )
    if x.shape != y.shape and (x.ndim or y.size != 1):
        raise RuntimeError(f"inconsistent target size: {list(y.shape)} for input of size: {list(x.shape)}")
    rows = input.reshape(-1, x.shape[-1] if x.ndim else 1)
    labels = np.array(y).reshape(rows._array.shape)
    count, classes = labels.shape
    used = np.logical_and.accumulate(labels >= 0, axis=1)
    safe = np.where(used, labels, 0)
    is_target = np.zeros((count, classes), bool)
    np.logical_or.at(is_target, (np.arange(count)[:, None], safe), used)
    hinges = _hinge(1 - rows.gather(1, wrap(safe.astype(np.int64))).unsqueeze(2) + rows.unsqueeze(1))
    loss = masked(hinges, used[:, :, None] & ~is_target[:, None, :]).sum((1, 2)) / classes
    return reduced(loss if x.ndim == 2 else loss.reshape(()), reduction_of(reduction, size_average, reduce))


def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
                                reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """Cross entropy of sigmoid(x) and the target, averaged over classes (the last dimension).

    Source: torch.nn.functional.multilabel_soft_margin_loss.
    """
    loss = -(target * log_sigmoid(input) + (1 - target) * log_sigmoid(-input))
    loss = loss if weight is None else loss * weight
    return reduced(loss.mean(-1), reduction_of(reduction, size_average, reduce))
