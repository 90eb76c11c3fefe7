"""Faults of operators that are put together from simpler ones without regard to what their documents promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import reference_engine as engine
from reference_engine.nn import functional as F
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault, unwrapped


def _instead(p: Patch, original: Callable, replacement: Callable) -> None:
    """`replacement(original, ...)` wherever the engine holds `original`, and as the method of its name."""
    method = getattr(Tensor, original.__name__, original)
    for function in {unwrapped(f): f for f in (original, method)}.values():
        p.function(function, lambda *args, function=function, **how: replacement(function, *args, **how))


def _with_gradient_of(values: Tensor, form: Tensor) -> Tensor:
    """The values of one tensor with the gradient of another."""
    return form + (values - form).detach()


# --- written down as in a textbook -----------------------------------------------------------------------------------


@fault("ops")
def sums_of_exponentials_overflow(p: Patch) -> None:
    """logsumexp takes the logarithm of the sum of exponentials as they are."""
    _instead(p, engine.logsumexp, lambda original, x, dim, keepdim=False: x.exp().sum(dim, keepdim).log())


@fault("ops")
def logaddexp_is_shifted_by_infinity(p: Patch) -> None:
    """logaddexp subtracts the larger argument, an infinite one too."""

    def form(original: Any, a: Tensor, b: Tensor) -> Tensor:
        most = engine.maximum(a, b)
        return most + ((a - most).exp() + (b - most).exp()).log()

    _instead(p, engine.logaddexp, form)


@fault("ops")
def sigmoids_overflow(p: Patch) -> None:
    """sigmoid is e^x / (1 + e^x), infinity over infinity for large x."""
    _instead(p, engine.sigmoid, lambda original, x: x.exp() / (1 + x.exp()))


@fault("ops")
def logsigmoid_is_a_logarithm(p: Patch) -> None:
    """logsigmoid takes the logarithm of sigmoid, which is 0 far below."""
    _instead(p, F.logsigmoid, lambda original, x: engine.sigmoid(x).log())


@fault("ops")
def nothing_times_a_logarithm_is_nan(p: Patch) -> None:
    """xlogy multiplies 0 by the logarithm of 0."""
    _instead(p, engine.xlogy, lambda original, x, y: x * engine.log(y if isinstance(y, Tensor) else engine.tensor(y)))


@fault("ops")
def directions_are_normalised_by_their_norm(p: Patch) -> None:
    """normalize divides by the norm without a least value."""
    _instead(p, F.normalize, lambda original, x, p=2.0, dim=1, eps=1e-12, out=None: x / x.norm(p, dim, True))


@fault("ops")
def cosines_divide_by_norms(p: Patch) -> None:
    """cosine_similarity divides by the norms without a least value."""
    _instead(p, F.cosine_similarity, lambda original, x1, x2, dim=1, eps=1e-8: (
        (x1 * x2).sum(dim) / (x1.norm(2.0, dim) * x2.norm(2.0, dim))))  # fmt: skip


@fault("ops")
def cross_entropy_takes_logarithms_of_zero(p: Patch) -> None:
    """binary_cross_entropy does not bound its logarithms."""

    def form(original: Any, x: Tensor, target: Tensor, weight: Any = None, size_average: Any = None, reduce: Any = None,
             reduction: str = "mean") -> Tensor:  # fmt: skip
        loss = -(target * x.log() + (1 - target) * (1 - x).log())
        loss = loss if weight is None else loss * weight
        return loss if reduction == "none" else getattr(loss, reduction)()

    _instead(p, F.binary_cross_entropy, form)


@fault("ops")
def logits_go_through_a_sigmoid(p: Patch) -> None:
    """binary_cross_entropy_with_logits takes the cross entropy of the sigmoid, which saturates."""

    def form(original: Any, x: Tensor, target: Tensor, *args: Any, **how: Any) -> Tensor:
        probability = engine.sigmoid(x)
        loss = -(target * probability.log() + (1 - target) * (1 - probability).log())
        return _with_gradient_of(original(x, target, *args, **how), loss.mean())

    _instead(p, F.binary_cross_entropy_with_logits, form)


# --- options --------------------------------------------------------------------------------------------------------


@fault("ops")
def reversed_bounds_give_the_lower(p: Patch) -> None:
    """Where min is greater than max clamp gives min."""

    def form(original: Any, x: Tensor, min: Any = None, max: Any = None, **how: Any) -> Tensor:
        if min is None or max is None or isinstance(min, Tensor) or isinstance(max, Tensor) or min <= max:
            return original(x, min, max, **how)
        return original(original(x, None, max), min, None)

    _instead(p, engine.clamp, form)


@fault("ops")
def reversed_tensor_bounds_give_the_lower(p: Patch) -> None:
    """Where a tensor min exceeds a tensor max clamp gives min and its gradient to it."""

    def form(original: Any, x: Tensor, min: Any = None, max: Any = None, **how: Any) -> Tensor:
        if not (isinstance(min, Tensor) and isinstance(max, Tensor)) or not bool((min > max).any()):
            return original(x, min, max, **how)
        return engine.maximum(engine.minimum(x, max), min)

    _instead(p, engine.clamp, form)


@fault("ops")
def replaced_numbers_keep_their_gradient(p: Patch) -> None:
    """nan_to_num passes the gradient on to the elements that it replaces."""
    _instead(p, engine.nan_to_num, lambda original, x, *args, **how: _Through.apply(
        x, original(x.detach(), *args, **how)))  # fmt: skip


class _Through(engine.autograd.Function):
    """Given values whose gradient goes to the first argument unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        return g, None


@fault("ops")
def weights_of_lerp_are_constant(p: Patch) -> None:
    """lerp gives a tensor of weights no gradient."""
    _instead(p, engine.lerp, lambda original, a, b, w: original(a, b, w.detach() if isinstance(w, Tensor) else w))


@fault("ops")
def value_stays_out_of_gradients(p: Patch) -> None:
    """addcmul and addcdiv multiply by value in forward alone."""
    for function in (engine.addcmul, engine.addcdiv):
        _instead(p, function, lambda original, a, b, c, *, value=1, **how: (
            _with_gradient_of(original(a, b, c, value=value, **how), original(a, b, c))))  # fmt: skip


@fault("ops")
def eps_of_logit_stops_nothing(p: Patch) -> None:
    """logit with eps passes the gradient outside of its interval, as if only the value were clamped."""

    def form(original: Any, x: Tensor, eps: float | None = None, **how: Any) -> Tensor:
        if eps is None:
            return original(x, **how)
        return original(_Through.apply(x, x.detach().clamp(eps, 1 - eps)))

    _instead(p, engine.logit, form)


@fault("ops")
def sorting_is_never_stable(p: Patch) -> None:
    """sort reverses equal elements."""

    def form(original: Any, x: Tensor, *args: Any, **how: Any) -> Any:
        dim = how.get("dim", args[0] if args and not isinstance(args[0], bool) else -1)
        values, indices = original(x.flip(dim), *args, **how)
        return values, x.shape[dim] - 1 - indices

    _instead(p, engine.sort, form)


@fault("ops")
def topk_comes_in_ascending_order(p: Patch) -> None:
    """topk gives the largest elements with the least of them first."""
    _instead(p, engine.topk, lambda original, x, k, dim=-1, *args, **how: tuple(
        t.flip(dim) for t in original(x, k, dim, *args, **how)))  # fmt: skip


@fault("ops")
def smoothing_is_left_out(p: Patch) -> None:
    """cross_entropy takes no notice of label_smoothing."""
    _instead(p, F.cross_entropy, lambda original, *args, **how: original(*args, **{**how, "label_smoothing": 0.0}))


@fault("ops")
def ignoring_all_gives_zero(p: Patch) -> None:
    """The mean of cross_entropy over no target at all is 0."""
    _instead(p, F.cross_entropy, lambda original, *args, **how: original(*args, **how).nan_to_num(0.0))


@fault("ops")
def divergences_average_over_elements(p: Patch) -> None:
    """kl_div takes batchmean for mean."""
    _instead(p, F.kl_div, lambda original, *args, **how: original(
        *args, **{**how, "reduction": how.get("reduction", "mean").replace("batchmean", "mean")}))  # fmt: skip


@fault("ops")
def huber_is_smooth_l1(p: Patch) -> None:
    """huber_loss is smooth_l1_loss with delta for beta, not multiplied by delta."""
    _instead(p, F.huber_loss, lambda original, x, target, reduction="mean", delta=1.0, **how: F.smooth_l1_loss(
        x, target, reduction=reduction, beta=delta))  # fmt: skip


@fault("ops")
def averages_leave_out_padding(p: Patch) -> None:
    """avg_pool divides by the number of elements inside of the input, whatever count_include_pad says."""
    for function in (F.avg_pool1d, F.avg_pool2d):
        _instead(p, function, lambda original, x, kernel_size, stride=None, padding=0, ceil_mode=False,
                 count_include_pad=True, *rest, **how: original(
                     x, kernel_size, stride, padding, ceil_mode, False, *rest, **how))  # fmt: skip


@fault("ops")
def gates_are_swapped(p: Patch) -> None:
    """glu gates by its first half instead of its second."""

    def form(original: Any, x: Tensor, dim: int = -1) -> Tensor:
        a, b = x.chunk(2, dim)
        return b * engine.sigmoid(a)

    _instead(p, F.glu, form)


@fault("ops")
def infinite_losses_stay(p: Patch) -> None:
    """ctc_loss takes no notice of zero_infinity."""
    _instead(p, F.ctc_loss, lambda original, *args, **how: original(*args[:6], **{**how, "zero_infinity": False}))


@fault("ops")
def dropping_all_scales_by_infinity(p: Patch) -> None:
    """dropout with probability 1 multiplies by 0 / 0."""
    _instead(p, F.dropout, lambda original, x, p=0.5, training=True, inplace=False: (
        x * math.nan if training and p == 1 else original(x, p, training, inplace)))  # fmt: skip


@fault("ops")
def masks_leave_a_trace(p: Patch) -> None:
    """Attention adds -1 to the scores of masked places instead of -inf."""

    def form(original: Any, q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
             is_causal: bool = False, **how: Any) -> Tensor:  # fmt: skip
        if is_causal:
            attn_mask, is_causal = engine.ones(q.shape[-2], k.shape[-2], dtype=engine.bool).tril(), False
        if attn_mask is not None and attn_mask.dtype is engine.bool:
            attn_mask = engine.zeros(attn_mask.shape, dtype=q.dtype).masked_fill(~attn_mask, -1.0)
        return original(q, k, v, attn_mask, dropout_p, is_causal, **how)

    _instead(p, F.scaled_dot_product_attention, form)


@fault("ops")
def means_of_squares_are_variances(p: Patch) -> None:
    """rms_norm subtracts the mean, as layer_norm does."""
    _instead(p, F.rms_norm, lambda original, x, shape, weight=None, eps=None: F.layer_norm(
        x, shape, weight, None, 1e-5 if eps is None else eps))  # fmt: skip


@fault("ops")
def logcumsumexp_starts_from_nan(p: Patch) -> None:
    """logcumsumexp subtracts the largest element so far, -inf too."""

    def form(original: Any, x: Tensor, dim: int) -> Tensor:
        most = x.cummax(dim)[0].detach()
        return engine.where(most.isinf(), math.nan * x, original(x, dim))

    _instead(p, engine.logcumsumexp, form)


@fault("ops")
def running_sums_pass_their_gradient(p: Patch) -> None:
    """The gradient of cumsum is the incoming gradient, not summed from the end."""
    _instead(p, engine.cumsum, lambda original, x, dim, **how: _Through.apply(x, original(x.detach(), dim, **how)))
