"""Faults of operators' conventions: what a tie, a zero, an infinity, NaN, an option or a factorization's gauge makes of a
gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine import overrides
from reference_engine.ops import (
    activations,
    affine,
    cumulative,
    elementwise,
    embedding,
    embedding_bags,
    floats,
    fourier,
    likelihoods,
    linalg,
    masks,
    moments,
    nans,
    normalization,
    order,
    positions,
    quantiles,
    registry,
    scatter,
    scatter_reductions,
)
from reference_engine.ops.kinds import _array_at
from tests.faulty_engines.patching import Patch, fault


def _arrays(p: Patch, operator: Any, backward: Any) -> None:
    """Another plain backward of an elementwise operator: backward(g, a, b, y)."""

    def arrays(self: Any, grads: tuple, needed: tuple) -> tuple:
        return backward(grads[0], *self.values(_array_at))

    p.set(operator.operator.node, "arrays", arrays)


# --- reductions and order ----------------------------------------------------------------------------------------------


@fault("ops")
def medians_are_the_upper_ones(p: Patch) -> None:
    """The median of an even number of elements is the upper of both middle ones."""
    p.set(order.median_all, "forward", lambda x, *, dims, keepdim: np.sort(x, axis=None)[x.size // 2])


@fault("ops")
def running_maxima_come_from_the_first(p: Patch) -> None:
    """cummax names the first of several equal maxima instead of the last."""
    original = engine.cummax

    def cummax(input: Any, dim: int) -> Any:
        values, _ = original(input, dim)
        fresh = np.diff(values._array, axis=dim, prepend=-np.inf) > 0
        places = np.arange(values.shape[dim]).reshape([-1 if d == dim else 1 for d in range(input.ndim)])
        index = engine.asarray(np.maximum.accumulate(np.where(fresh, places, 0), axis=dim))
        return input.gather(dim, index), index

    p.function(original, cummax)


@fault("ops")
def midpoints_are_interpolated(p: Patch) -> None:
    """quantile takes midpoint for linear."""
    original = quantiles._interpolated
    p.function(original, lambda ordered, rank, interpolation: original(
        ordered, rank, "linear" if interpolation == "midpoint" else interpolation))  # fmt: skip


@fault("ops")
def quantile_takes_q_for_a_number(p: Patch) -> None:
    """quantile gives a tensor q no gradient."""
    original = quantiles._quantile
    p.function(original, lambda name, input, q, *rest: original(
        name, input, q.detach() if isinstance(q, engine.Tensor) else q, *rest))  # fmt: skip


@fault("ops")
def nan_gets_a_share_of_sums(p: Patch) -> None:
    """nansum gives the elements that it passes over gradient 1."""
    p.rules(nans.nansum_op, lambda g, x_shape, dims: np.broadcast_to(nans.restore(g, x_shape, dims), x_shape))


@fault("ops")
def running_products_divide_by_zero(p: Patch) -> None:
    """The gradient of cumprod is computed by division, 0/0 included."""
    p.rules(cumulative.cumprod_dim, lambda g, x, y, dim: cumulative._reverse_cumsum(g * y, dim) / x)


@fault("ops")
def corrections_stay_out_of_gradients(p: Patch) -> None:
    """The gradient of var_mean and std_mean divides by N whatever the correction."""
    original = moments._spread
    p.function(original, lambda g, x, dims, correction, factor: original(g, x, dims, 0.0, factor))


@fault("ops")
def the_mean_of_var_mean_is_detached(p: Patch) -> None:
    """The second output of var_mean passes no gradient."""
    p.function(moments._of_mean, lambda g, x_shape, dims: np.zeros(x_shape, g.dtype))


# --- elementwise -------------------------------------------------------------------------------------------------------


@fault("ops")
def log_softmax_is_the_log_of_softmax(p: Patch) -> None:
    """log_softmax takes the logarithm of softmax, which underflows."""
    original = activations._softmax_forward

    def forward(x: Any, *, dim: int) -> Any:
        with np.errstate(divide="ignore"):
            return np.log(original(x, dim=dim))

    p.set(activations.log_softmax_op, "forward", forward)


@fault("ops")
def softplus_compares_x_with_its_threshold(p: Patch) -> None:
    """softplus becomes linear where x, not beta x, exceeds the threshold."""
    p.function(engine.nn.functional.softplus, lambda input, beta=1.0, threshold=20.0: engine.where(
        input > threshold, input, activations.softplus_one(input * beta) / beta))  # fmt: skip


@fault("ops")
def powers_of_zero_have_nan_exponents(p: Patch) -> None:
    """The gradient of an exponent is y log(b) for a base of 0 too: 0 times -inf."""
    p.set(registry.ARRAY_WORDS, "log_safe", lambda a, b: np.log(a))


@fault("ops")
def remainders_round_towards_zero(p: Patch) -> None:
    """The gradient of remainder in its divisor is that of fmod."""
    _arrays(p, elementwise.remainder, lambda g, a, b, *_: (g, -g * np.trunc(a / b)))


@fault("ops")
def copysign_forgets_its_second_sign(p: Patch) -> None:
    """The gradient of copysign takes -0.0 for positive."""
    _arrays(p, floats.copysign, lambda g, a, s, *_: (g * np.sign(a) * np.where(s < 0, -1, 1).astype(g.dtype), 0 * g))


@fault("ops")
def exponents_are_floats(p: Patch) -> None:
    """frexp gives its exponent in the type of the mantissa."""
    original = engine.frexp
    p.function(original, lambda input: floats.Parts((original(input)[0], original(input)[1].to(input.dtype))))


@fault("ops")
def beta_multiplies_what_it_ignores(p: Patch) -> None:
    """addmm and its like add 0 times their input, NaN included."""
    for op in (affine.addmm_op, affine.baddbmm_op, affine.addmv_op):
        p.set(op, "forward", lambda c, a, b, *, beta, alpha: np.matmul(a, b) * alpha + c * beta)


@fault("ops")
def hard_samples_have_no_gradient(p: Patch) -> None:
    """gumbel_softmax with hard=True returns its one-hot samples without the soft gradient."""
    original = activations.gumbel_softmax
    p.function(original, lambda logits, tau=1, hard=False, eps=1e-10, dim=-1: (
        original(logits, tau, hard, eps, dim) * (0 if hard else 1) + (original(logits, tau, True).detach() if hard else 0)
    ))  # fmt: skip


# --- elements by index -------------------------------------------------------------------------------------------------


@fault("ops")
def repeated_indices_overwrite(p: Patch) -> None:
    """The backward of gather and indexing writes to repeated places instead of adding."""

    def put(g: Any, *, key: Any, shape: tuple) -> Any:
        result = np.zeros(shape, np.asarray(g).dtype)
        result[key] = g
        return result

    p.set(positions.add_at, "forward", put)


@fault("ops")
def overwritten_elements_keep_their_gradient(p: Patch) -> None:
    """scatter passes the gradient on to the elements of self that it overwrites."""
    p.rules(scatter._scatter_src, lambda g: g, lambda g, key: g[key])


@fault("ops")
def alpha_stays_out_of_gradients(p: Patch) -> None:
    """index_add gives its source the gradient without alpha."""
    original = scatter.index_add

    def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
        return original(input, dim, index, source + (source * (alpha - 1)).detach())

    p.function(engine.index_add, index_add)


@fault("ops")
def means_at_indices_forget_the_input(p: Patch) -> None:
    """The gradient of scatter_reduce's mean does not count self, which takes part."""
    original = scatter_reductions._over_counts
    p.function(original, lambda g, places, include_self: original(g, places, False))


@fault("ops")
def a_filled_value_gets_one_gradient(p: Patch) -> None:
    """The value of masked_fill gets the mean of the gradients of its places instead of their sum."""
    p.rules(masks.fill_op, lambda g, mask: g * ~mask, lambda g, mask: np.where(mask, g / max(mask.sum(), 1), 0))


@fault("ops")
def frequencies_are_not_divided_by(p: Patch) -> None:
    """embedding ignores scale_grad_by_freq."""
    p.function(embedding.frequencies, lambda indices, count: np.ones(indices.shape))


@fault("ops")
def padding_counts_in_bags(p: Patch) -> None:
    """embedding_bag takes the row padding_idx into its reductions."""
    p.function(embedding_bags._padding_row, lambda padding_idx, rows: None)


# --- layers and losses -------------------------------------------------------------------------------------------------


@fault("ops")
def ignored_targets_count(p: Patch) -> None:
    """The mean of cross_entropy divides by the number of all targets, ignored ones included."""
    original = likelihoods._nll_forward

    def forward(x: Any, *, target: Any, weight: Any, ignore_index: int, reduction: str) -> tuple:
        loss, key, spread = original(x, target=target, weight=weight, ignore_index=ignore_index, reduction=reduction)
        if reduction != "mean" or weight is not None:
            return loss, key, spread
        share = x.dtype.type((target != ignore_index).mean())
        return np.asarray(loss * share), key, spread * share

    p.set(likelihoods.nll_op, "forward", forward)


@fault("ops")
def means_ignore_class_weights(p: Patch) -> None:
    """The mean of a weighted cross_entropy divides by the number of targets instead of by their weights."""
    original = likelihoods._nll_forward

    def forward(x: Any, *, target: Any, weight: Any, reduction: str, **options: Any) -> tuple:
        loss, key, spread = original(x, target=target, weight=weight, reduction=reduction, **options)
        if reduction != "mean" or weight is None:
            return loss, key, spread
        factor = x.dtype.type(weight[target].mean())
        return np.asarray(loss * factor), key, spread * factor

    p.set(likelihoods.nll_op, "forward", forward)


@fault("ops")
def variances_are_clamped_in_the_record(p: Patch) -> None:
    """gaussian_nll_loss gives a variance below eps gradient 0, as a clamp does."""
    p.function(likelihoods.straight_through, lambda soft, hard: engine.where(
        engine.asarray(hard == soft._array), soft, engine.asarray(hard)))  # fmt: skip


@fault("ops")
def statistics_are_constants(p: Patch) -> None:
    """Normalisations do not differentiate through the mean and variance of their input."""

    def rule(g: Any, x: Any, weight: Any, inverse: Any, view: tuple, affine: tuple, needs: tuple) -> tuple:
        scaled = g if weight is None else g * weight.reshape(affine)
        return (scaled.reshape(view) * inverse).reshape(x.shape), None, None

    for op in (normalization.batch_norm_op, normalization.layer_norm_op, normalization.group_norm_op):
        p.joint(op, rule)


@fault("ops")
def running_variances_are_biased(p: Patch) -> None:
    """The running variance of batch_norm is moved by the biased variance."""
    original = normalization.batch_options

    def batch_options(
        input: Any, mean: Any, var: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
    ) -> Any:
        options = original(input, mean, var, weight, bias, training, momentum, eps)
        if training and var is not None:
            unbiased = np.var(input._array, axis=options["dims"], ddof=1)
            var._array[...] -= momentum * unbiased * var._array.size / input._array.size
        return options

    p.function(original, batch_options)


# --- matrices and transforms -------------------------------------------------------------------------------------------


@fault("ops")
def cofactors_are_not_transposed(p: Patch) -> None:
    """The gradient of det is det(A) inv(A), without the transpose."""
    solving = linalg.solving
    p.rules(solving.det_op, lambda g, x, y: (g * y)[..., None, None] * np.linalg.inv(x))


@fault("ops")
def one_triangle_gets_the_gradient(p: Patch) -> None:
    """cholesky gives the upper triangle, which it does not read, no gradient."""
    triangular = linalg.triangular
    original = triangular._cholesky_rule

    def rule(gs: tuple, L: Any, upper: bool) -> tuple:
        (g,) = original(gs, L, upper)
        return (np.tril(g) + np.tril(g, -1),)

    p.joint(triangular.cholesky_op, rule)


@fault("ops")
def both_triangles_get_the_gradient(p: Patch) -> None:
    """solve_triangular gives the triangle that it does not read a gradient."""
    p.set(linalg.triangular, "tri_lower", lambda x, diagonal=0: x)


@fault("ops")
def half_spectra_count_once(p: Patch) -> None:
    """The gradient of irfft counts the bins that stand for two once."""
    p.rules(fourier.c2r, lambda g, dims, size, scale, x_shape: fourier._r2c(g, dims=dims, scale=scale))


def _unscaled(rule: Any) -> Any:
    return lambda g, dims, inverse: rule(g, dims, inverse, 1.0)


@fault("ops")
def norms_stay_out_of_gradients(p: Patch) -> None:
    """The gradient of fft has the scale of the default norm whatever the norm."""
    for op in (fourier.c2c, fourier.real_c2c):
        p.rules(op, _unscaled(op.rules[0].fn))


@fault("ops")
def results_of_subclasses_are_plain(p: Patch) -> None:
    """What a function makes of a subclass's instance is a plain tensor."""
    p.set(overrides, "_converted", lambda result, cls: result)


@fault("ops")
def classes_are_not_asked(p: Patch) -> None:
    """An object that has __torch_function__ is an argument like any other."""
    p.set(overrides, "_asks", lambda x: False)
