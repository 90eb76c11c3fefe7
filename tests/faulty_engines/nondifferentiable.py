"""Faults of gradients where there is no derivative: at kinks and jumps, outside of domains, and of what has none."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine import converted, masked
from reference_engine.ops import (
    clamping,
    distances,
    elementwise,
    gates,
    losses,
    order,
    reductions,
    registry,
    sampling,
    selection,
    special,
    underivable,
)
from reference_engine.ops.kinds import _array_at
from reference_engine.ops.linalg import norms
from reference_engine.ops.positions import add_at
from tests.faulty_engines.patching import Patch, fault


def _arrays(p: Patch, operator: Any, backward: Any) -> None:
    """Another plain backward of an elementwise operator: backward(node, g, needed)."""
    p.set(operator.operator.node, "arrays", lambda self, grads, needed: backward(self, grads[0], needed))


# --- kinks -------------------------------------------------------------------------------------------------------------


@fault("nondifferentiable")
def relu_asks_its_result_for_its_sign(p: Patch) -> None:
    """relu passes the gradient where its result is >= 0, which it always is."""
    _arrays(p, elementwise.relu, lambda node, g, _: (np.where(node.values(_array_at)[1] >= 0, g, g * 0),))


@fault("nondifferentiable")
def relu_is_a_maximum_with_zero(p: Patch) -> None:
    """relu shares a tie with the 0 that it compares with: slope 1/2 at 0."""
    p.function(engine.relu, lambda input: engine.maximum(input, input.detach() * 0))


@fault("nondifferentiable")
def sign_is_one_at_zero(p: Patch) -> None:
    """The subgradient of abs at 0 is 1."""
    p.rules(elementwise._abs, lambda g, x: g * np.where(np.signbit(np.asarray(x)) & (np.asarray(x) != 0), -1, 1))


@fault("nondifferentiable")
def maximum_ties_go_to_the_first(p: Patch) -> None:
    """Of two equal arguments maximum and minimum give the whole gradient to the first."""
    p.set(registry.ARRAY_WORDS, "halved", lambda g, mask: g)
    p.set(registry.TENSOR_WORDS, "halved", lambda g, mask: g)


@fault("nondifferentiable")
def clamp_passes_at_its_bounds(p: Patch) -> None:
    """clamp has slope 1 where its input sits on the bound."""

    def inside(x: Any, low: Any, high: Any) -> Any:
        above = (x == x) if low is None else x >= low
        return above & (True if high is None else x <= high)

    p.function(clamping._inside, inside)


@fault("nondifferentiable")
def tensor_bounds_are_constants(p: Patch) -> None:
    """clamp gives tensor bounds no gradient."""
    original = clamping._clamp_tensors
    p.function(original, lambda input, low, high: original(
        input, *(b.detach() if isinstance(b, engine.Tensor) else b for b in (low, high))))  # fmt: skip


@fault("nondifferentiable")
def hypot_is_nan_at_the_origin(p: Patch) -> None:
    """hypot divides by its result, 0 at the origin too."""
    _arrays(p, elementwise.hypot, lambda node, g, _: tuple(
        g * node.values(_array_at)[i] / node.values(_array_at)[2] for i in (0, 1)))  # fmt: skip


@fault("nondifferentiable")
def norm_is_nan_at_zero(p: Patch) -> None:
    """The 2-norm divides by itself, at the zero vector too."""

    original = norms.constant_like
    p.set(norms, "masked", lambda g, mask: g)
    p.set(norms, "constant_like", lambda values, like: like * 0 if values.dtype == bool else original(values, like))


@fault("nondifferentiable")
def norm_zero_gives_zeros(p: Patch) -> None:
    """The norm of order 0 has a gradient of zeros instead of none."""
    original = norms._rule

    def rule(g: Any, x: Any, y: Any, ord: float, dims: tuple, x_shape: tuple) -> Any:
        return np.zeros(x_shape, g.dtype) if ord == 0 else original(g, x, y, ord, dims, x_shape)

    p.rules(norms.vector_norm_op, rule)


@fault("nondifferentiable")
def nuclear_norm_keeps_null_directions(p: Patch) -> None:
    """Singular values that are 0 add their singular vectors to the nuclear norm's gradient."""
    p.function(norms._positive, lambda values: values)


@fault("nondifferentiable")
def pairwise_distance_forgets_eps(p: Patch) -> None:
    """pairwise_distance takes the norm of the bare difference."""
    p.function(distances.pairwise_distance, lambda x1, x2, p=2.0, eps=1e-6, keepdim=False: norms.vector_norm(
        x1 - x2, p, -1, keepdim))  # fmt: skip


@fault("nondifferentiable")
def l1_loss_slopes_up_at_zero(p: Patch) -> None:
    """l1_loss has slope 1 where input and target are equal."""

    def loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> Any:
        d = input - target
        return losses.reduced(engine.where(d >= 0, d, -d), reduction)

    p.function(losses.l1_loss, loss)


@fault("nondifferentiable")
def hardtanh_passes_at_its_bounds(p: Patch) -> None:
    """hardtanh and relu6 have slope 1 at the bounds."""
    p.rules(gates.hardtanh_op, lambda g, x, low, high: np.where((x >= low) & (x <= high), g, 0 * g))


@fault("nondifferentiable")
def leaky_relu_has_slope_one_at_zero(p: Patch) -> None:
    """leaky_relu takes the larger slope at 0."""
    p.rules(gates.leaky_op, lambda g, x, negative_slope: np.where(x >= 0, g, g * x.dtype.type(negative_slope)))


# --- extremes and order ------------------------------------------------------------------------------------------------


@fault("nondifferentiable")
def every_tied_extreme_gets_all(p: Patch) -> None:
    """amax, amin and the full max, min and median give each of several equal extremes the whole gradient."""

    def rule(g: Any, x: Any, y: Any, dims: tuple, x_shape: tuple) -> Any:
        extreme = y.reshape(reductions.kept(x_shape, dims))
        return reductions.restore(g, x_shape, dims) * (x == extreme)

    for op in (order.amax_dims, order.amin_dims, order.max_all, order.min_all, order.median_all):
        p.rules(op, rule)


@fault("nondifferentiable")
def first_tied_extreme_gets_all(p: Patch) -> None:
    """amax and amin give the whole gradient to the first of several equal extremes."""

    def rule(g: Any, x: Any, y: Any, dims: tuple, x_shape: tuple) -> Any:
        hits = x == y.reshape(reductions.kept(x_shape, dims))
        first = np.zeros(hits.size, bool)
        first[np.flatnonzero(hits)[0]] = True
        return reductions.restore(g, x_shape, dims) * first.reshape(x_shape)

    for op in (order.amax_dims, order.amin_dims):
        p.rules(op, rule)


@fault("nondifferentiable")
def median_ties_go_to_one(p: Patch) -> None:
    """The median of all elements gives its gradient to one of several equal elements."""

    def rule(g: Any, x: Any, y: Any, x_shape: tuple) -> Any:
        first = np.zeros(x.size, bool)
        first[np.flatnonzero(x == y)[0]] = True
        return g * first.reshape(x_shape)

    p.rules(order.median_all, rule)


@fault("nondifferentiable")
def max_along_a_dimension_shares_ties(p: Patch) -> None:
    """max along a dimension gives half of the gradient to the element behind the index that it returns."""

    def rule(gs: tuple, key: Any, x_shape: tuple, dim: int, keepdim: bool) -> Any:
        g = gs[0] if keepdim else np.expand_dims(gs[0], dim)
        return add_at(g * 0.5, key=key, shape=x_shape)

    for op in (order.max_dim, order.min_dim):
        p.rules(op, rule)


@fault("nondifferentiable")
def sorted_gradients_stay_in_order(p: Patch) -> None:
    """sort hands the gradient back in sorted order."""
    p.rules(order._sort, lambda gs: gs[0])


@fault("nondifferentiable")
def indices_are_tracked(p: Patch) -> None:
    """argmax gives a floating point result with a history."""
    p.set(engine.Tensor, "argmax", lambda self, *a, **k: self.amax() * 0)


@fault("nondifferentiable")
def amax_multiplies_by_its_mask(p: Patch) -> None:
    """amax multiplies the gradient by a mask of zeros, which lets nan through."""
    p.set(order, "masked", lambda g, mask: g)


@fault("nondifferentiable")
def kthvalue_counts_from_zero(p: Patch) -> None:
    """kthvalue(k) is the k-th smallest counted from 0."""
    original = selection._kthvalue.forward
    p.set(selection._kthvalue, "forward", lambda x, *, dim, keepdim, k: original(
        x, dim=dim, keepdim=keepdim, k=min(k + 1, x.shape[dim])))  # fmt: skip


# --- jumps, limits, domains ---------------------------------------------------------------------------------------------


@fault("nondifferentiable")
def floor_is_straight_through(p: Patch) -> None:
    """floor hands the gradient through."""
    _arrays(p, elementwise.floor, lambda node, g, _: (g,))


@fault("nondifferentiable")
def rounding_cuts_history(p: Patch) -> None:
    """round gives a result that does not require grad."""
    original = engine.round
    p.function(original, lambda input, *, decimals=0: original(input.detach(), decimals=decimals))


@fault("nondifferentiable")
def infinite_gradients_are_capped(p: Patch) -> None:
    """sqrt has a finite slope at 0."""
    _arrays(p, elementwise.sqrt, lambda node, g, _: (g * 0.5 / np.maximum(node.values(_array_at)[1], 1e-6),))


@fault("nondifferentiable")
def where_multiplies_by_its_condition(p: Patch) -> None:
    """where sends the gradient times 0 to the branch that it does not select."""
    p.rules(elementwise.select_where, lambda g, condition: g * condition, lambda g, condition: g * ~condition)


@fault("nondifferentiable")
def sinc_divides_by_zero(p: Patch) -> None:
    """The slope of sinc at 0 is computed by its formula, 0 / 0."""
    p.set(registry.ARRAY_WORDS, "sinc_slope", lambda x: (np.cos(np.pi * x) - np.sinc(x)) / x)


@fault("nondifferentiable")
def prod_divides_by_its_factors(p: Patch) -> None:
    """The gradient of prod is the product over the factor, 0 / 0 included."""

    def rule(g: Any, x: Any, y: Any, dims: tuple, x_shape: tuple) -> Any:
        g, y = reductions.restore(g, x_shape, dims), reductions.restore(y, x_shape, dims)
        return g * y / x

    p.rules(reductions.prod_dims, rule)


# --- without a derivative -----------------------------------------------------------------------------------------------


@fault("nondifferentiable")
def missing_derivatives_are_zero(p: Patch) -> None:
    """heaviside gives its inputs gradient 0 instead of an error."""
    p.rules(underivable.heaviside_op, lambda g: g * 0, lambda g: g * 0)


@fault("nondifferentiable")
def missing_derivatives_raise_in_forward(p: Patch) -> None:
    """heaviside of a tensor that requires grad raises at once."""

    def forward(input: Any, values: Any) -> Any:
        if input.requires_grad or values.requires_grad:
            raise RuntimeError("derivative for aten::heaviside is not implemented")
        return underivable.heaviside_op(input, values)

    p.function(engine.heaviside, forward)


@fault("nondifferentiable")
def samples_have_zero_gradient(p: Patch) -> None:
    """bernoulli, poisson and normal give their parameters gradients of zeros."""
    for op in (sampling._bernoulli_op, sampling._poisson_op):
        p.rules(op, lambda g: g * 0)


@fault("nondifferentiable")
def binomial_cuts_history(p: Patch) -> None:
    """binomial gives a result that does not require grad, so that backward names no operator."""
    p.rules(sampling._binomial_op, None, None)


@fault("nondifferentiable")
def unique_cuts_history(p: Patch) -> None:
    """unique gives values that do not require grad."""
    p.rules(underivable._unique, None)


@fault("nondifferentiable")
def floor_divide_has_zero_gradient(p: Patch) -> None:
    """floor_divide has gradient 0 instead of an error in backward."""
    _arrays(p, elementwise.floor_divide, lambda node, g, _: (g * 0, g * 0))


@fault("nondifferentiable")
def gammainc_forgets_its_density(p: Patch) -> None:
    """The gradient of gammainc has the wrong sign."""
    p.rules(special.gammainc_op, special.gammainc_op.rules[0].fn, lambda g, a, x: -g * special._gamma_density(a, x))


@fault("nondifferentiable")
def weights_of_losses_may_require_grad(p: Patch) -> None:
    """A class weight that requires grad is taken as a constant without an error."""
    p.function(losses.constant_weight, lambda function, weight, argument="weight": None)


@fault("nondifferentiable")
def numpy_reads_what_requires_grad(p: Patch) -> None:
    """numpy() detaches by itself."""
    p.set(converted.Converted, "numpy", lambda self, *, force=False: self._array)


@fault("nondifferentiable")
def masked_out_elements_have_zero_gradient(p: Patch) -> None:
    """The gradient of a masked tensor is a plain tensor."""
    p.function(masked._under, lambda g, mask: g.filled(0) if isinstance(g, masked.MaskedArray) else g)
