"""Faults at kinks, limits and nan of functions that are written down by their formulas, and of what is not differentiable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import reference_engine as engine
from reference_engine.autograd.function import FunctionCtx
from reference_engine.nn import functional as F
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, Sloped, everywhere, fault

L = engine.linalg


def _slope(p: Patch, function: Callable, slope: Callable) -> None:
    """Another slope of a function of one real tensor: slope(x, ...)."""

    def form(original: Any, x: Tensor, *args: Any, **how: Any) -> Tensor:
        fixed = x.detach()
        return Sloped.apply(x, original(fixed, *args, **how), slope(fixed, *args, **how))

    everywhere(p, function, form)


# --- kinks -----------------------------------------------------------------------------------------------------------


@fault("nondifferentiable")
def one_largest_magnitude_gets_all(p: Patch) -> None:
    """The infinity norm gives its whole gradient to one of several entries of the largest magnitude."""

    def form(original: Any, x: Tensor, ord: Any = 2, *args: Any, **how: Any) -> Tensor:
        if not math.isinf(float(ord)) or args or how:
            return original(x, ord, *args, **how)
        place = x.detach().abs().argmax() if ord > 0 else x.detach().abs().argmin()
        return x.reshape(-1)[place].abs()

    everywhere(p, L.vector_norm, form)


@fault("nondifferentiable")
def the_1_norm_slopes_up_at_zero(p: Patch) -> None:
    """The 1-norm has slope 1 in an entry that is 0."""

    def form(original: Any, x: Tensor, ord: Any = 2, *args: Any, **how: Any) -> Tensor:
        if ord != 1 or args or how:
            return original(x, ord, *args, **how)
        return Sloped.apply(x, x.detach().abs(), 2 * (x.detach() >= 0).to(x.dtype) - 1).sum()

    everywhere(p, L.vector_norm, form)


@fault("nondifferentiable")
def frobenius_is_a_root_of_squares(p: Patch) -> None:
    """The Frobenius norm is the root of the sum of squares, nan at 0."""

    def form(original: Any, x: Tensor, ord: Any = "fro", *args: Any, **how: Any) -> Tensor:
        return (x * x).sum().sqrt() if ord == "fro" and not args and not how else original(x, ord, *args, **how)

    everywhere(p, L.matrix_norm, form)


@fault("nondifferentiable")
def distances_are_roots_of_squares(p: Patch) -> None:
    """cdist takes the root of the sum of squared differences, nan between equal points."""

    def form(original: Any, a: Tensor, b: Tensor, p: float = 2.0, **how: Any) -> Tensor:
        if p != 2:
            return original(a, b, p, **how)
        return ((a.unsqueeze(-2) - b.unsqueeze(-3)) ** 2).sum(-1).sqrt()

    everywhere(p, engine.cdist, form)


@fault("nondifferentiable")
def hardsigmoid_slopes_at_its_ends(p: Patch) -> None:
    """hardsigmoid has slope 1/6 where it reaches 0 and 1."""
    _slope(p, F.hardsigmoid, lambda x, *args: ((x >= -3) & (x <= 3)).to(x.dtype) / 6)


@fault("nondifferentiable")
def selu_takes_its_right_slope(p: Patch) -> None:
    """selu has slope 1.05 at 0, that of its right side."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    _slope(p, F.selu, lambda x, *args: scale * engine.where(x >= 0, engine.ones_like(x), alpha * x.exp()))


@fault("nondifferentiable")
def hardswish_slopes_before_its_end(p: Patch) -> None:
    """hardswish has slope (2 x + 3) / 6 at its ends too: -1/2 and 3/2."""
    _slope(p, F.hardswish, lambda x, *args: engine.where(x > 3, engine.ones_like(x), engine.where(
        x < -3, engine.zeros_like(x), (2 * x + 3) / 6)))  # fmt: skip


@fault("nondifferentiable")
def prelu_takes_the_identity_at_zero(p: Patch) -> None:
    """prelu has slope 1 at 0."""

    def form(original: Any, x: Tensor, weight: Tensor) -> Tensor:
        return engine.where(x >= 0, x, weight * x)

    everywhere(p, F.prelu, form)


@fault("nondifferentiable")
def smooth_l1_divides_by_beta(p: Patch) -> None:
    """smooth_l1_loss with beta 0 divides its quadratic part by it."""

    def form(
        original: Any, x: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0, **how: Any
    ) -> Tensor:
        d = x - target
        near = 0.5 * d * d / engine.tensor(beta)
        return engine.where(d.abs() <= beta, near, d.abs() - 0.5 * beta).sum()

    everywhere(p, F.smooth_l1_loss, form)


@fault("nondifferentiable")
def margins_are_met_from_within(p: Patch) -> None:
    """multi_margin_loss has the slope of its hinge exactly at it."""

    def form(original: Any, x: Tensor, target: Tensor, **how: Any) -> Tensor:
        right = x[0, target[0]]
        gap = 1 - right + x[0]
        others = engine.arange(x.shape[1]) != target[0]
        return gap[(gap >= 0) & others].sum() / x.shape[1]

    everywhere(p, F.multi_margin_loss, form)


# --- limits, nan -----------------------------------------------------------------------------------------------------


@fault("nondifferentiable")
def limits_are_capped(p: Patch) -> None:
    """asin, acos, atanh and logit keep away from their poles by eps, so that slopes there are finite."""
    for function in (engine.asin, engine.atanh, engine.acos):
        everywhere(p, function, lambda original, x: original(x.clamp(-1 + 1e-7, 1 - 1e-7)))


@fault("nondifferentiable")
def roots_of_quotients_divide_twice(p: Patch) -> None:
    """rsqrt is 1 / sqrt(x), whose gradient at 0 is infinity times infinity with the wrong sign lost to nan."""
    _slope(p, engine.rsqrt, lambda x: -0.5 * x / (x * x * x.sqrt()))


@fault("nondifferentiable")
def inactive_sides_multiply_by_zero(p: Patch) -> None:
    """relu, clamp and masked_fill multiply the gradient by 0 where they are inactive, which nan survives."""
    _slope(p, engine.relu, lambda x: (x > 0).to(x.dtype))

    def fill(original: Any, x: Tensor, mask: Tensor, value: Any) -> Tensor:
        return x * (~mask).to(x.dtype) + original(engine.zeros_like(x), mask, value)

    everywhere(p, engine.masked_fill, fill)


@fault("nondifferentiable")
def nan_reaches_all_of_a_maximum(p: Patch) -> None:
    """max over all elements multiplies the gradient by a mask of the largest."""

    def form(original: Any, x: Tensor, *args: Any, **how: Any) -> Any:
        if args or how:
            return original(x, *args, **how)
        mask = (x.detach() == original(x.detach())).to(x.dtype)
        return (x * mask).sum() / mask.sum()

    everywhere(p, engine.max, form)


@fault("nondifferentiable")
def rounded_quotients_keep_their_slope(p: Patch) -> None:
    """div with a rounding mode has the gradient of the quotient."""

    def form(original: Any, a: Tensor, b: Any, *, rounding_mode: Any = None, **how: Any) -> Tensor:
        exact = original(a, b)
        if rounding_mode is None:
            return exact
        return exact + (original(a, b, rounding_mode=rounding_mode) - exact).detach()

    everywhere(p, engine.div, form)


# --- what is not differentiable --------------------------------------------------------------------------------------


@fault("nondifferentiable")
def marks_have_no_effect(p: Patch) -> None:
    """mark_non_differentiable is not looked at."""
    p.set(FunctionCtx, "mark_non_differentiable", lambda self, *outputs: None)


@fault("nondifferentiable")
def histograms_are_tracked(p: Patch) -> None:
    """histc requires grad, and raises in backward as histogram does."""
    everywhere(p, engine.histc, lambda original, x, *args, **how: Sloped.apply(
        x, original(x.detach(), *args, **how), engine.zeros(())))  # fmt: skip


@fault("nondifferentiable")
def drawn_indices_are_floats(p: Patch) -> None:
    """multinomial gives its indices in the type of the probabilities."""
    everywhere(p, engine.multinomial, lambda original, x, *args, **how: original(x, *args, **how).to(x.dtype))
