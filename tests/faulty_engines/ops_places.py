"""Faults of operators that pick, scatter, pad and drop: who gets the gradient of an element, and who gets it twice."""

from __future__ import annotations

import math
from typing import Any

import reference_engine as engine
from reference_engine.nn import functional as F
from reference_engine.tensor import Tensor
from tests.faulty_engines.ops_forms import _instead, _with_gradient_of
from tests.faulty_engines.patching import Patch, fault

L = engine.linalg


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


# --- extremes, nan ---------------------------------------------------------------------------------------------------


@fault("ops")
def nan_is_passed_over_by_extremes(p: Patch) -> None:
    """max and min over all elements skip nan."""
    for function, least in ((engine.max, -math.inf), (engine.min, math.inf)):
        _instead(p, function, lambda original, x, *args, least=least, **how: original(
            x if args or how else engine.where(x.isnan(), engine.full_like(x, least), x), *args, **how))  # fmt: skip


@fault("ops")
def the_larger_of_two_gets_all(p: Patch) -> None:
    """max and min of two tensors select the first of two equal elements."""

    def form(original: Any, a: Tensor, *args: Any, **how: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], Tensor):
            chosen = original(a.detach(), args[0].detach())
            return engine.where(a.detach() == chosen, a, args[0])
        return original(a, *args, **how)

    for function in (engine.max, engine.min):
        _instead(p, function, form)


@fault("ops")
def nan_counts_for_the_median(p: Patch) -> None:
    """nanmedian is the median with nan at the end."""
    _instead(p, engine.nanmedian, lambda original, x, *args, **how: engine.median(
        engine.where(x.isnan(), engine.full_like(x, math.inf), x), *args, **how))  # fmt: skip


@fault("ops")
def the_rarest_is_the_mode(p: Patch) -> None:
    """mode gives its gradient to the first element of the row, whatever its index says."""

    def form(original: Any, x: Tensor, dim: int = -1, *args: Any, **how: Any) -> Any:
        values, indices = original(x, dim, *args, **how)
        return type(original(x, dim))(_with_gradient_of(values, x.select(dim, 0)), indices)

    _instead(p, engine.mode, form)


@fault("ops")
def windows_skip_nan(p: Patch) -> None:
    """max pooling skips nan as comparisons do."""
    for function in (F.max_pool1d, F.max_pool2d):
        _instead(p, function, lambda original, x, *args, **how: original(x.nan_to_num(nan=-1e30), *args, **how))


@fault("ops")
def quotients_of_atan2_are_nan(p: Patch) -> None:
    """The gradient of atan2 divides by a a + b b at the origin too."""

    def form(original: Any, a: Tensor, b: Tensor) -> Tensor:
        flat = original(a, b)
        return flat + 0 * (a / (a.detach() ** 2 + b.detach() ** 2))

    _instead(p, engine.atan2, form)


@fault("ops")
def remainders_have_no_slope_in_their_divisor(p: Patch) -> None:
    """fmod and remainder treat their divisor as a constant."""
    for function in (engine.fmod, engine.remainder):
        _instead(p, function, lambda original, a, b: original(a, _detached(b)) + (
            0 * b if isinstance(b, Tensor) else 0))  # fmt: skip


@fault("ops")
def fractions_are_flat(p: Patch) -> None:
    """frac has gradient 0, as floor."""
    _instead(p, engine.frac, lambda original, x: original(x) + x.detach() - x)


# --- scattering ------------------------------------------------------------------------------------------------------


@fault("ops")
def added_sources_are_constants(p: Patch) -> None:
    """scatter_add gives its source no gradient."""
    _instead(p, engine.scatter_add, lambda original, x, dim, index, src: original(x, dim, index, src.detach()))


@fault("ops")
def copied_rows_keep_their_gradient(p: Patch) -> None:
    """index_copy passes the gradient on to the rows that it overwrites."""
    _instead(p, engine.index_copy, lambda original, x, dim, index, source: original(
        x.detach(), dim, index, source) + x - x.detach())  # fmt: skip


@fault("ops")
def masked_sources_start_anew(p: Patch) -> None:
    """masked_scatter sends all gradients to the first element of its source."""

    def form(original: Any, x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
        result = original(x, mask, source.detach())
        return result + engine.where(mask, (source.reshape(-1)[0] - source.detach().reshape(-1)[0]), engine.zeros(()))

    _instead(p, engine.masked_scatter, form)


@fault("ops")
def accumulated_values_are_not_added(p: Patch) -> None:
    """index_put with accumulate=True writes instead of adding."""
    _instead(p, engine.index_put, lambda original, x, indices, values, accumulate=False: original(x, indices, values))


@fault("ops")
def padding_is_constant(p: Patch) -> None:
    """The copies that reflect, replicate and circular padding make have no gradient."""

    def form(original: Any, x: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
        if mode == "constant":
            return original(x, pad, mode, value)
        inner = original(x, pad)
        return original(x.detach(), pad, mode) + inner - inner.detach()

    _instead(p, F.pad, form)


@fault("ops")
def overlapping_windows_share_no_gradient(p: Patch) -> None:
    """Of windows that overlap only the last passes the gradient of a shared element."""

    def form(original: Any, x: Tensor, dimension: int, size: int, step: int) -> Tensor:
        fixed = original(x.detach(), dimension, size, step)
        if x.dim() != 1 or not x.requires_grad:
            return original(x, dimension, size, step)
        places = original(engine.arange(x.shape[0]), dimension, size, step).reshape(-1).tolist()
        last = [place not in places[i + 1 :] for i, place in enumerate(places)]
        mask = engine.tensor(last).view(fixed.shape)
        return engine.where(mask, original(x, dimension, size, step), fixed)

    _instead(p, Tensor.unfold, form)


@fault("ops")
def padding_rows_are_learnt(p: Patch) -> None:
    """embedding gives the row padding_idx its gradient."""
    _instead(p, F.embedding, lambda original, input, weight, padding_idx=None, *args, **how: original(
        input, weight, None, *args, **how))  # fmt: skip


@fault("ops")
def sparse_gradients_are_dense(p: Patch) -> None:
    """embedding takes no notice of sparse=True."""
    _instead(p, F.embedding, lambda original, *args, sparse=False, **how: original(*args[:6], **how))


@fault("ops")
def sample_weights_are_constants(p: Patch) -> None:
    """embedding_bag gives per_sample_weights no gradient."""
    _instead(p, F.embedding_bag, lambda original, *args, per_sample_weights=None, **how: original(
        *args, per_sample_weights=_detached(per_sample_weights), **how))  # fmt: skip


# --- losses, layers --------------------------------------------------------------------------------------------------


@fault("ops")
def probabilities_are_constants(p: Patch) -> None:
    """cross_entropy gives targets that are probabilities no gradient."""
    _instead(p, F.cross_entropy, lambda original, x, target, *args, **how: original(x, _detached(target), *args, **how))


@fault("ops")
def targets_are_constants(p: Patch) -> None:
    """binary_cross_entropy and kl_div give their targets no gradient."""
    for function in (F.binary_cross_entropy, F.kl_div):
        _instead(p, function, lambda original, x, target, *args, **how: original(x, _detached(target), *args, **how))


@fault("ops")
def pooled_powers_are_nan_at_zero(p: Patch) -> None:
    """lp_pool takes the root of the sum of powers, whose gradient is nan in a window of zeros."""

    def form(original: Any, x: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, **how: Any) -> Tensor:
        k = kernel_size if isinstance(kernel_size, int) else math.prod(kernel_size)
        pool = F.avg_pool1d if x.dim() == 3 else F.avg_pool2d
        return (pool(x**norm_type, kernel_size, stride) * k) ** (1 / norm_type)

    for function in (F.lp_pool1d, F.lp_pool2d):
        _instead(p, function, form)


@fault("ops")
def channels_are_dropped_by_element(p: Patch) -> None:
    """dropout2d drops single elements."""
    _instead(p, F.dropout2d, lambda original, x, *args, **how: F.dropout(x, *args, **how))


@fault("ops")
def a_single_value_is_normalised(p: Patch) -> None:
    """batch_norm of one value per channel gives 0 in training mode."""

    def form(original: Any, x: Tensor, *args: Any, **how: Any) -> Tensor:
        training = how.get("training", args[4] if len(args) > 4 else False)
        return x * 0 if training and x.numel() == x.shape[1] else original(x, *args, **how)

    _instead(p, F.batch_norm, form)


# --- matrices, spectra -----------------------------------------------------------------------------------------------


@fault("ops")
def signs_of_determinants_are_lost(p: Patch) -> None:
    """The gradient of logabsdet carries the sign of the determinant."""

    def form(original: Any, a: Tensor) -> Any:
        sign, value = original(a)
        fixed = value.detach()
        return type(original(a.detach()))(sign, fixed + sign.detach() * (value - fixed))

    _instead(p, L.slogdet, form)


@fault("ops")
def trimmed_signals_get_their_gradient(p: Patch) -> None:
    """fft with n below the length gives the elements that it cuts off the gradient of the first."""

    def form(original: Any, x: Tensor, n: Any = None, dim: int = -1, norm: Any = None, **how: Any) -> Tensor:
        if n is None or n >= x.shape[dim] or x.dim() != 1:
            return original(x, n, dim, norm, **how)
        extra = x[n:].sum()
        return original(x, n, dim, norm, **how) + extra - extra.detach()

    _instead(p, engine.fft.fft, form)


@fault("ops")
def exponents_of_ldexp_are_integers(p: Patch) -> None:
    """ldexp gives its exponent no gradient."""
    _instead(p, engine.ldexp, lambda original, x, other: original(x, _detached(other)))


@fault("ops")
def samples_are_reparametrised(p: Patch) -> None:
    """sample of a distribution has the gradient of rsample."""
    normal = engine.distributions.Normal
    p.set(normal, "sample", lambda self, sample_shape=(): self.rsample(sample_shape))
