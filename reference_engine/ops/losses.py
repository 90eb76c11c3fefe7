"""Losses of torch.nn.functional: pointwise ones with their reduction in one node, as torch records them.

Kink: the slope of the l1 loss at 0 is 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap


def reduce_forward(loss: np.ndarray, reduction: str) -> np.ndarray:
    """A pointwise loss reduced as asked, over arrays."""
    if reduction == "none":
        return loss
    summed = np.add.reduce(loss, axis=None)
    return np.asarray(summed / loss.size if reduction == "mean" else summed, loss.dtype)


def seed(g: Any, reduction: str, x: Any) -> Any:
    """The gradient of each element's loss."""
    return g / int(np.prod(x.shape)) if reduction == "mean" else g


def _loss(name: str, value: Any, slope: Any) -> Any:
    """A pointwise loss of (x, target) with its reduction in one node, as torch records it.

    value(x - t, width) over arrays; slope = its derivative, over arrays and tensors.
    """

    def rule(g: Any, x: Any, t: Any, reduction: str, width: Any) -> Any:
        return seed(g, reduction, x) * slope(x - t, width)

    return general(name, lambda x, t, *, reduction, width: reduce_forward(value(x - t, width), reduction), rule,
                   lambda g, x, t, reduction, width: -rule(g, x, t, reduction, width), saved_names=("self", "target"))  # fmt: skip


def _clipped(d: Any, bound: float) -> Any:
    """d between -bound and bound, over arrays and tensors."""
    return registry.functions["clamp"](d, -bound, bound) if isinstance(d, Tensor) else np.clip(d, -bound, bound)


def _rounded_corner(d: np.ndarray, width: float) -> np.ndarray:
    """d^2 / 2 where |d| < width, width (|d| - width / 2) beyond."""
    size = np.absolute(d)
    with np.errstate(over="ignore"):
        return np.where(size < width, 0.5 * size * size, width * (size - 0.5 * width)).astype(size.dtype, copy=False)


# fmt: off
#                                   value                                        d value / d (x - t)
mse_op    = _loss("mse_loss",       lambda d, _: np.square(d),                   lambda d, _: 2 * d)
huber_op  = _loss("huber_loss",     _rounded_corner,                             _clipped)
smooth_op = _loss("smooth_l1_loss", lambda d, w: _rounded_corner(d, w) / w,      lambda d, w: _clipped(d / w, 1.0))
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
    meant = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{meant}' instead.", stacklevel=3
    )
    return meant


def constant_weight(function: str, weight: Tensor | None, argument: str = "weight") -> None:
    """A weight that a loss has no derivative for must not require grad while the loss is recorded."""
    if weight is not None and weight.requires_grad and state.grad_enabled:
        raise RuntimeError(f"The function '{function}' is not differentiable with respect to argument '{argument}'. This input "
                           "cannot have requires_grad True.")  # fmt: skip


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """A pointwise loss reduced as asked."""
    return loss if _check_reduction(reduction) == "none" else loss.mean() if reduction == "mean" else loss.sum()


def weighted(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """A pointwise loss with a weight per element, reduced as asked; the mean is the weighted one."""
    if weight is None:
        return reduced(loss, reduction)
    if weight._array.shape != loss._array.shape:
        raise ValueError("Weights and input must have the same size.")
    if _check_reduction(reduction) == "mean":
        return (loss * weight).sum() / weight.sum()
    return reduced(loss * weight, reduction)


def mse_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
             weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """(input - target)^2. Source: torch.nn.functional.mse_loss."""
    reduction = reduction_of(reduction, size_average, reduce)
    input, target = _same_shape(input, target)
    if weight is None:
        return mse_op(input, target, reduction=reduction, width=None)
    return weighted(mse_op(input, target, reduction="none", width=None), weight, reduction)


def l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
            weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """|input - target|. Source: torch.nn.functional.l1_loss."""
    input, target = _same_shape(input, target)
    return weighted((input - target).abs(), weight, reduction_of(reduction, size_average, reduce))


def smooth_l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:  # fmt: skip
    """Quadratic within beta, linear beyond. Source: torch.nn.functional.smooth_l1_loss."""
    reduction = reduction_of(reduction, size_average, reduce)
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    input, target = _same_shape(input, target)
    return smooth_op(input, target, reduction=reduction, width=beta)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """delta times smooth_l1_loss with beta = delta. Source: torch.nn.functional.huber_loss."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    input, target = _same_shape(input, target)
    if weight is None:
        return huber_op(input, target, reduction=_check_reduction(reduction), width=delta)
    if weight._array.shape != input._array.shape:
        raise ValueError("Weights and input must have the same size.")
    return reduced(huber_op(input, target, reduction="none", width=delta) * weight, reduction)


soft_margin_op = general(
    "soft_margin_loss",
    lambda x, *, target, reduction: reduce_forward(np.logaddexp(-target * x, np.zeros((), x.dtype)), reduction),
    lambda g, x, target, reduction: _soft_margin_rule(g, x, target, reduction),
    inputs=("x",), saved_names=("self",),
)  # fmt: skip


def _soft_margin_rule(g: Any, x: Any, target: Any, reduction: str) -> Any:
    t = wrap(target) if isinstance(x, Tensor) else target
    return seed(g, reduction, x) * -t * registry.TENSOR_WORDS["sigmoid"](-t * x) if isinstance(x, Tensor) else (
        seed(g, reduction, x) * -t * registry.ARRAY_WORDS["sigmoid"](-t * x))  # fmt: skip


def soft_margin_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
                     reduction: str = "mean") -> Tensor:  # fmt: skip
    """log(1 + exp(-target input)). Source: torch.nn.functional.soft_margin_loss."""
    constant_weight("soft_margin_loss", target, "target")
    x, t = registry.functions["broadcast_tensors"](input, target)
    signs = np.array(t._array).astype(x._array.dtype)
    return soft_margin_op(x, target=signs, reduction=reduction_of(reduction, size_average, reduce))
