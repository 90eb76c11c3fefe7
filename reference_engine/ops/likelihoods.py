"""Losses that are negative log-likelihoods: of classes, probabilities, counts and normal numbers.

Source: torch.nn.functional.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.examplewise import examplewise
from reference_engine.batching.tensor import innermost
from reference_engine.ops import registry
from reference_engine.ops.activations import log_softmax, softplus_one, straight_through
from reference_engine.ops.also_saved import saves
from reference_engine.ops.gates import gated
from reference_engine.ops.kinds import general
from reference_engine.ops.losses import constant_weight, reduce_forward, reduced, reduction_of, seed
from reference_engine.ops.masking import masked
from reference_engine.ops.positions import open_grid, place
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap


def _bce_logits_forward(x: np.ndarray, t: np.ndarray, *, reduction: str, weight: Any, pos_weight: Any) -> np.ndarray:
    zero = np.zeros((), x.dtype)
    scale = 1 if pos_weight is None else (pos_weight - 1) * t + 1
    loss = (1 - t) * x + scale * np.logaddexp(-x, zero)
    loss = loss if weight is None else loss * weight
    return reduce_forward(loss.astype(x.dtype, copy=False), reduction)


def _bce_logits_x(g: Any, x: Any, t: Any, reduction: str, weight: Any, pos_weight: Any) -> Any:
    s = x.sigmoid() if isinstance(x, Tensor) else 1 / (1 + np.exp(-x))
    weight, pos_weight = (None if w is None else wrap(w) if isinstance(x, Tensor) else w for w in (weight, pos_weight))
    scale = 1 if pos_weight is None else (pos_weight - 1) * t + 1
    slope = (1 - t) - scale * (1 - s)
    slope = slope if weight is None else slope * weight
    return seed(g, reduction, x) * slope


def _bce_logits_t(g: Any, x: Any, t: Any, reduction: str, weight: Any, pos_weight: Any) -> Any:
    weight, pos_weight = (None if w is None else wrap(w) if isinstance(x, Tensor) else w for w in (weight, pos_weight))
    slope = -x if pos_weight is None else -x + (pos_weight - 1) * softplus_of(-x)
    slope = slope if weight is None else slope * weight
    return seed(g, reduction, x) * slope


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
    return reduce_forward(loss.astype(x.dtype, copy=False), reduction)


def _bce_x(g: Any, x: Any, t: Any, reduction: str) -> Any:
    spread = x * (1 - x)
    spread = spread.clamp(min=1e-12) if isinstance(x, Tensor) else np.maximum(spread, x.dtype.type(1e-12))
    return seed(g, reduction, x) * (x - t) / spread


def _bce_t(g: Any, x: Any, reduction: str) -> Any:
    """The difference of both logarithms, clamped as the loss clamps them: it is linear in the target."""
    if isinstance(x, Tensor):
        f = registry.functions
        return seed(g, reduction, x) * (f["log1p"](-x).clamp(min=-100) - f["log"](x).clamp(min=-100))
    return seed(g, reduction, x) * (np.maximum(np.log1p(-x), -100) - np.maximum(np.log(x), -100))


bce_op = general("binary_cross_entropy", _bce_forward, _bce_x, _bce_t, saved_names=("self", "target"))


@examplewise
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
                         reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """-(t log x + (1 - t) log(1 - x)). Source: torch.nn.functional.binary_cross_entropy."""
    constant_weight("binary_cross_entropy", weight)
    reduction = reduction_of(reduction, size_average, reduce)
    if input._array.shape != target._array.shape:
        raise ValueError(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is "
                         "deprecated. Please ensure they have the same size.")  # fmt: skip
    if ((input._array < 0) | (input._array > 1)).any():
        raise RuntimeError("all elements of input should be between 0 and 1")
    if weight is None:
        return bce_op(input, target, reduction=reduction)
    return reduced(bce_op(input, target, reduction="none") * weight, reduction)


def _nll_forward(x: np.ndarray, *, target: np.ndarray, weight: Any, ignore_index: int, reduction: str) -> tuple:
    """x: (N, C, d1, ...) log-probabilities; the gradient's layout (the key, the weights) is kept for the rule."""
    keep = target != ignore_index
    all_kept = keep.all()

    def kept(values: np.ndarray) -> np.ndarray:
        """0 where the target is ignored, whatever stands there."""
        return values if all_kept else np.where(keep, values, np.zeros((), values.dtype))

    classes = kept(target)
    grid = open_grid(target.shape)
    key = (grid[0], classes, *grid[1:]) if grid else (classes,)
    w = kept(np.ones(target.shape, x.dtype) if weight is None else weight[classes].astype(x.dtype))
    loss = kept(-x[key] * w)
    if reduction == "none":
        return loss, key, w
    norm = np.add.reduce(w, axis=None) if reduction == "mean" else x.dtype.type(1)
    return np.asarray(np.add.reduce(loss, axis=None) / norm, x.dtype), key, kept(w / norm)


def _nll_rule(g: Any, x: Any, key: Any, spread: Any) -> Any:
    """-g times the weight of each target, at the target; as on torch a recorded gradient hangs on x, with derivative 0."""
    if not isinstance(g, Tensor):
        return place(-g * spread, key=key, shape=x.shape)
    return gated(place(-g * wrap(spread), key=key, shape=x.shape), x, np.True_)


nll_op = general("nll_loss", _nll_forward, _nll_rule, inputs=("x",), aux=("key", "spread"), saved_names=("self",))


def _same_batch(input: Tensor, target: Tensor) -> None:
    shape, wanted = input._array.shape, target._array.shape
    if len(shape) > 1 and wanted[:1] != shape[:1]:
        raise ValueError(f"Expected input batch_size ({shape[0]}) to match target batch_size "
                         f"({wanted[0] if wanted else 1}).")  # fmt: skip


@saves("target", "weight")
def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
             reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """Minus the log-probability of the target class. Source: torch.nn.functional.nll_loss."""
    constant_weight("nll_loss2d_forward" if input._array.ndim > 2 else "nll_loss_forward", weight)
    if state.vmap_levels and innermost((input, target, weight)) is not None:
        from reference_engine.batching import by_elements

        return by_elements.nll_loss(input, target, weight, ignore_index, reduction_of(reduction, size_average, reduce))
    _same_batch(input, target)
    classes = input._array.shape[1 if input._array.ndim > 1 else 0]
    if target._array.ndim > max(input._array.ndim - 1, 0):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target._array.dtype.kind not in "iu":
        raise RuntimeError(f"expected scalar type Long but found {dtypes.type_name(target.dtype)}")
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
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    logs = log_softmax(input, dim)
    classes = input._array.shape[dim]
    if target._array.shape == input._array.shape:
        if not target.is_floating_point():
            raise RuntimeError("Expected floating point type for target with class probabilities, got "
                               f"{dtypes.type_name(target.dtype)}")  # fmt: skip
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
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
        return loss.sum() / wrap(np.asarray(spread, logs._array.dtype))
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
    for x in (input, target):
        if x.is_complex() or not x.is_floating_point():
            raise RuntimeError(f"kl_div: {'Complex' if x.is_complex() else 'Integral'} inputs not supported.")
    if reduction != "batchmean":
        reduction = reduction_of(reduction, size_average, reduce)
    if reduction == "mean":
        warnings.warn(KL_MEAN, stacklevel=2)
    loss = f["exp"](target) * (target - input) if log_target else f["xlogy"](target, target) - target * input
    if reduction == "batchmean":
        return loss.sum() / (input._array.shape[0] if input._array.ndim else 1)
    return reduced(loss, reduction)


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: Any = None,
                     eps: float = 1e-8, reduce: Any = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """exp(x) - target x, or x - target log(x + eps); full: Stirling's formula for log(target!) added where target > 1.

    Source: torch.nn.functional.poisson_nll_loss.
    """
    f = registry.functions
    loss = f["exp"](input) - target * input if log_input else input - target * f["log"](input + eps)
    if full:
        stirling = target * f["log"](target) - target + 0.5 * f["log"](2 * np.pi * target)
        loss = loss + masked(stirling, target._array > 1)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


def gaussian_nll_loss(input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """(log var + (input - target)^2 / var) / 2, var being at least eps, a bound of which the gradient takes no notice.

    Source: torch.nn.functional.gaussian_nll_loss.
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = wrap(np.full_like(input._array, var))
    elif (var._array < 0).any():
        raise ValueError("var has negative entry/entries")
    shape, given = input._array.shape, var._array.shape
    if given != shape:
        if given == shape[:-1]:
            var = var.unsqueeze(-1)
        elif not (given[:-1] == shape[:-1] and given[-1:] == (1,)):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    var = straight_through(var, hard=np.maximum(var._array, var._array.dtype.type(eps)))
    difference = input - target
    loss = 0.5 * (registry.functions["log"](var) + difference * difference / var)
    return reduced(loss + 0.5 * np.log(2 * np.pi).item() if full else loss, reduction)
