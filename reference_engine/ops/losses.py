"""Losses of torch.nn.functional: pointwise ones with their reduction in one node, as torch records them.

Kink: the slope of the l1 loss at 0 is 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.activations import log_softmax, softplus_one
from reference_engine.ops.elementwise import where
from reference_engine.ops.kinds import general
from reference_engine.ops.masking import masked
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap


def _reduce_forward(loss: np.ndarray, reduction: str) -> np.ndarray:
    if reduction == "none":
        return loss
    summed = np.add.reduce(loss, axis=None)
    return np.asarray(summed / loss.size if reduction == "mean" else summed, loss.dtype)


def _seed(g: Any, reduction: str, count: int) -> Any:
    """The gradient of each element's loss."""
    return g / count if reduction == "mean" else g


def _loss(name: str, value: Any, slope: Any) -> Any:
    """A pointwise loss of (x, target) with its reduction in one node, as torch records it.

    value(x, t) over arrays; slope(x, t) = d value / dx over arrays and tensors; d value / dt = -slope.
    """

    def rule(g: Any, x: Any, t: Any, reduction: str) -> Any:
        return _seed(g, reduction, x._array.size if isinstance(x, Tensor) else x.size) * slope(x, t)

    return general(name, lambda x, t, *, reduction: _reduce_forward(value(x, t), reduction), rule,
                   lambda g, x, t, reduction: -rule(g, x, t, reduction), saved_names=("self", "target"))  # fmt: skip


def sign(x: Any) -> Any:
    """The sign, a constant; over arrays and tensors."""
    return wrap(np.sign(x._array)) if isinstance(x, Tensor) else np.sign(x)


# fmt: off
mse_op   = _loss("mse_loss",  lambda x, t: np.square(x - t),          lambda x, t: 2 * (x - t))
l1_op    = _loss("l1_loss",   lambda x, t: np.absolute(x - t),        lambda x, t: sign(x - t))
# fmt: on


def _check_reduction(reduction: str) -> str:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _same_shape(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if input._array.shape != target._array.shape:
        warnings.warn(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
                      "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
                      UserWarning, stacklevel=3)  # fmt: skip
        input, target = registry.functions["broadcast_tensors"](input, target)
    return input, target


def reduction_of(reduction: str, size_average: Any, reduce: Any) -> str:
    """The deprecated size_average and reduce in today's words."""
    if size_average is None and reduce is None:
        return _check_reduction(reduction)
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def mse_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """(input - target)^2. Source: torch.nn.functional.mse_loss."""
    input, target = _same_shape(input, target)
    return mse_op(input, target, reduction=reduction_of(reduction, size_average, reduce))


def l1_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Tensor:
    """|input - target|. Source: torch.nn.functional.l1_loss."""
    input, target = _same_shape(input, target)
    if input.is_complex() or target.is_complex():
        return reduced((input - target).abs(), reduction_of(reduction, size_average, reduce))
    return l1_op(input, target, reduction=reduction_of(reduction, size_average, reduce))


def constant_weight(function: str, weight: Tensor | None, argument: str = "weight") -> None:
    """A weight that a loss has no derivative for must not require grad while the loss is recorded."""
    if weight is not None and weight.requires_grad and state.grad_enabled:
        raise RuntimeError(f"The function '{function}' is not differentiable with respect to argument '{argument}'. This input "
                           "cannot have requires_grad True.")  # fmt: skip


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """A pointwise loss reduced as asked."""
    return loss if _check_reduction(reduction) == "none" else loss.mean() if reduction == "mean" else loss.sum()


def smooth_l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:  # fmt: skip
    """Quadratic within beta, linear beyond. Source: torch.nn.functional.smooth_l1_loss."""
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    input, target = _same_shape(input, target)
    d = input - target
    size = d.abs()
    return reduced(where(size._array < beta, 0.5 * d * d / beta, size - 0.5 * beta), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Tensor:
    """delta times smooth_l1_loss. Source: torch.nn.functional.huber_loss."""
    return smooth_l1_loss(input, target, reduction=reduction, beta=delta) * delta


def _bce_logits_forward(x: np.ndarray, t: np.ndarray, *, reduction: str, weight: Any, pos_weight: Any) -> np.ndarray:
    zero = np.zeros((), x.dtype)
    scale = 1 if pos_weight is None else (pos_weight - 1) * t + 1
    loss = (1 - t) * x + scale * np.logaddexp(-x, zero)
    loss = loss if weight is None else loss * weight
    return _reduce_forward(loss.astype(x.dtype, copy=False), reduction)


def _bce_logits_x(g: Any, x: Any, t: Any, reduction: str, weight: Any, pos_weight: Any) -> Any:
    s = x.sigmoid() if isinstance(x, Tensor) else 1 / (1 + np.exp(-x))
    weight, pos_weight = (None if w is None else wrap(w) if isinstance(x, Tensor) else w for w in (weight, pos_weight))
    scale = 1 if pos_weight is None else (pos_weight - 1) * t + 1
    slope = (1 - t) - scale * (1 - s)
    slope = slope if weight is None else slope * weight
    return _seed(g, reduction, int(np.prod(x.shape))) * slope


def _bce_logits_t(g: Any, x: Any, t: Any, reduction: str, weight: Any, pos_weight: Any) -> Any:
    weight, pos_weight = (None if w is None else wrap(w) if isinstance(x, Tensor) else w for w in (weight, pos_weight))
    slope = -x if pos_weight is None else -x + (pos_weight - 1) * softplus_of(-x)
    slope = slope if weight is None else slope * weight
    return _seed(g, reduction, int(np.prod(x.shape))) * slope


def softplus_of(x: Any) -> Any:
    """log(1 + exp(x)), over arrays and tensors."""
    return softplus_one(x) if isinstance(x, Tensor) else np.logaddexp(x, np.zeros((), x.dtype))


bce_logits_op = general("binary_cross_entropy_with_logits", _bce_logits_forward, _bce_logits_x, _bce_logits_t,
                        saved_names=("self", "target"))  # fmt: skip


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
                                     reduce: Any = None, reduction: str = "mean",
                                     pos_weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Cross entropy of sigmoid(input) and target, computed stably. Source: that function's page in torch."""
    if input._array.shape != target._array.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    for name, w in (("weight", weight), ("pos_weight", pos_weight)):
        constant_weight("binary_cross_entropy_with_logits", w, name)
    plain = [None if w is None else np.array(w._array) for w in (weight, pos_weight)]
    return bce_logits_op(input, target, reduction=reduction_of(reduction, size_average, reduce), weight=plain[0],
                         pos_weight=plain[1])  # fmt: skip


def _bce_forward(x: np.ndarray, t: np.ndarray, *, reduction: str) -> np.ndarray:
    loss = -(t * np.maximum(np.log(x), -100) + (1 - t) * np.maximum(np.log1p(-x), -100))
    return _reduce_forward(loss.astype(x.dtype, copy=False), reduction)


def _bce_x(g: Any, x: Any, t: Any, reduction: str) -> Any:
    spread = x * (1 - x)
    spread = spread.clamp(min=1e-12) if isinstance(x, Tensor) else np.maximum(spread, x.dtype.type(1e-12))
    return _seed(g, reduction, int(np.prod(x.shape))) * (x - t) / spread


def _bce_t(g: Any, x: Any, reduction: str) -> Any:
    log, log1p = (
        (registry.functions["log"], registry.functions["log1p"]) if isinstance(x, Tensor) else (np.log, np.log1p)
    )
    return _seed(g, reduction, int(np.prod(x.shape))) * (log1p(-x) - log(x))


bce_op = general("binary_cross_entropy", _bce_forward, _bce_x, _bce_t, saved_names=("self", "target"))


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
                         reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """-(t log x + (1 - t) log(1 - x)). Source: torch.nn.functional.binary_cross_entropy."""
    constant_weight("binary_cross_entropy", weight)
    reduction = reduction_of(reduction, size_average, reduce)
    if weight is None:
        return bce_op(input, target, reduction=reduction)
    return reduced(bce_op(input, target, reduction="none") * weight, reduction)


def _nll_forward(x: np.ndarray, *, target: np.ndarray, weight: Any, ignore_index: int, reduction: str) -> tuple:
    """x: (N, C, d1, ...) log-probabilities; the gradient's layout (the key, the weights) is kept for the rule."""
    keep = target != ignore_index
    safe = np.where(keep, target, 0)
    grid = list(np.ogrid[tuple(slice(n) for n in target.shape)])
    key = (grid[0], safe, *grid[1:]) if target.ndim else (safe,)
    w = (np.ones(target.shape, x.dtype) if weight is None else weight[safe].astype(x.dtype)) * keep
    loss = -x[key] * w
    if reduction == "none":
        return loss, key, w
    norm = np.add.reduce(w, axis=None) if reduction == "mean" else x.dtype.type(1)
    return np.asarray(np.add.reduce(loss, axis=None) / norm, x.dtype), key, w / norm


def _nll_rule(g: Any, key: Any, spread: Any, x_shape: tuple) -> Any:
    from reference_engine.ops.positions import place

    return place(-g * (wrap(spread) if isinstance(g, Tensor) else spread), key=key, shape=x_shape)


nll_op = general("nll_loss", _nll_forward, _nll_rule, inputs=("x",), aux=("key", "spread"), saved_names=("self",))


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
             reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """Minus the log-probability of the target class. Source: torch.nn.functional.nll_loss."""
    constant_weight("nll_loss2d_forward" if input._array.ndim > 2 else "nll_loss_forward", weight)
    classes = input._array.shape[1 if input._array.ndim > 1 else 0]
    indices = np.array(target._array)
    inside = (indices >= 0) & (indices < classes) | (indices == ignore_index)
    if not inside.all():
        raise IndexError(f"Target {int(indices[~inside].ravel()[0])} is out of bounds.")
    plain = None if weight is None else np.array(weight._array)
    return nll_op(input, target=indices, weight=plain, ignore_index=ignore_index,
                  reduction=reduction_of(reduction, size_average, reduce))  # fmt: skip


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
                  ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """nll_loss of log_softmax; the target is classes or probabilities. Source: torch.nn.functional.cross_entropy."""
    reduction = reduction_of(reduction, size_average, reduce)
    dim = 1 if input._array.ndim > 1 else 0
    logs = log_softmax(input, dim)
    classes = input._array.shape[dim]
    if target.is_floating_point():
        smooth = target * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else target
        weighted = logs if weight is None else logs * weight.reshape([-1 if i == dim else 1 for i in range(logs.ndim)])
        loss = -(weighted * smooth).sum(dim)
        count = input._array.size // classes
        return loss if reduction == "none" else loss.sum() / count if reduction == "mean" else loss.sum()
    plain = nll_loss(logs, target, weight, ignore_index=ignore_index, reduction=reduction)
    if not label_smoothing:
        return plain
    return (1 - label_smoothing) * plain + label_smoothing / classes * _smooth_part(logs, target, weight, ignore_index,
                                                                                     reduction, dim)  # fmt: skip


def _smooth_part(logs: Tensor, target: Tensor, weight: Any, ignore_index: int, reduction: str, dim: int) -> Tensor:
    keep = target._array != ignore_index
    weighted = logs if weight is None else logs * weight.reshape([-1 if i == dim else 1 for i in range(logs.ndim)])
    loss = masked(-weighted.sum(dim), keep)
    if reduction == "mean":
        spread = keep.sum() if weight is None else (weight._array[np.where(keep, target._array, 0)] * keep).sum()
        return loss.sum() / float(spread)
    return loss if reduction == "none" else loss.sum()


KL_MEAN = (
    "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides only by the "
    "batch size, and aligns with the KL div math definition.'mean' will be changed to behave the same as 'batchmean' in the "
    "next major release."
)


def kl_div(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
           log_target: bool = False) -> Tensor:  # fmt: skip
    """target * (log target - input). Source: torch.nn.functional.kl_div."""
    f = registry.functions
    if reduction == "mean":
        warnings.warn(KL_MEAN, stacklevel=2)
    loss = f["exp"](target) * (target - input) if log_target else f["xlogy"](target, target) - target * input
    if reduction == "batchmean":
        return loss.sum() / input._array.shape[0]
    return reduced(loss, reduction)
