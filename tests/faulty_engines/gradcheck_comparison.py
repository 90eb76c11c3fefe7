"""Faults of gradcheck: matrices that are compared in part, with the wrong side, or not against differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.autograd import gradcheck as checking
from reference_engine.autograd import jacobians
from reference_engine.autograd.backward import backward
from reference_engine.tensor import Tensor, wrap
from tests.faulty_engines.gradcheck import checks
from tests.faulty_engines.patching import Patch, fault


def _compared(p: Patch, change: Any) -> None:
    """The comparison with change(check, pair, numerical, analytical) -> (check, numerical, analytical) before it."""
    original = checks._compare

    def compare(check: Any, how: str, pair: tuple, numerical: Any, analytical: Any, varied: str) -> None:
        check, numerical, analytical = change(check, pair, numerical, analytical)
        original(check, how, pair, numerical, analytical, varied)

    p.set(checks, "_compare", compare)


@fault("gradcheck")
def the_diagonal_alone_is_compared(p: Patch) -> None:
    """Of a Jacobian the diagonal is compared: that an element does not depend on another is taken for granted."""

    def diagonal(check: Any, pair: tuple, numerical: Any, analytical: Any) -> tuple:
        square = analytical.shape[0] == analytical.shape[1]
        return check, numerical, np.where(np.eye(len(analytical)), analytical, numerical) if square else analytical

    _compared(p, diagonal)


@fault("gradcheck")
def rows_are_summed_before_they_are_compared(p: Patch) -> None:
    """Jacobians are compared by the sum of their columns, as one backward with ones gives it."""

    def summed(check: Any, pair: tuple, numerical: Any, analytical: Any) -> tuple:
        return check, numerical.sum(1, keepdims=True), analytical.sum(1, keepdims=True)

    _compared(p, summed)


@fault("gradcheck")
def rtol_is_of_the_analytical_side(p: Patch) -> None:
    """rtol is relative to the analytical derivative, where it is to be relative to the numerical one."""
    original = checks._close
    p.set(checks, "_close", lambda a, b, rtol, atol: original(b, a, rtol, atol))


@fault("gradcheck")
def atol_alone_counts(p: Patch) -> None:
    """rtol is taken no notice of."""
    original = checks._close
    p.set(checks, "_close", lambda a, b, rtol, atol: original(a, b, 0.0, atol))


@fault("gradcheck")
def the_first_input_alone_is_checked(p: Patch) -> None:
    """Of several inputs that require grad the first is checked."""
    original = checks._check_inputs
    p.set(checks, "_check_inputs", lambda inputs: original(inputs)[:1])


@fault("gradcheck")
def forward_mode_is_compared_with_backward(p: Patch) -> None:
    """check_forward_ad compares forward mode with backward, and not with differences."""

    def forward(check: Any, *, batched: bool) -> None:
        for x in check.tracked:
            space = check.space(x, fast=False)
            pushed = jacobians.tangents(check.fn, check.inputs, space)
            for j, output in enumerate(check.outputs):
                seeds = jacobians.cotangents(output, check.space(output, fast=False))
                found = jacobians.pulled(output, [x], seeds)
                analytical = jacobians.matrix_of_gradients(found, 0, space)
                if not checks._close(
                    jacobians.matrix_of_products(pushed, j, seeds), analytical, check.rtol, check.atol
                ):
                    raise checks.GradcheckError("Jacobian computed with forward mode mismatch")

    p.set(checks, "_check_forward", forward)


@fault("gradcheck")
def failures_of_any_kind_return_false(p: Patch) -> None:
    """raise_exception=False returns False for arguments that cannot be checked, too."""

    def check(func: Any, inputs: Any, *, raise_exception: bool = True, **options: Any) -> bool:
        try:
            return bool(original(func, inputs, raise_exception=raise_exception, **options))
        except (ValueError, RuntimeError):
            if raise_exception:
                raise
            return False

    original = checking
    p.function(original, check)


@fault("gradcheck")
def checking_accumulates(p: Patch) -> None:
    """gradcheck runs backward(), which leaves gradients in the inputs."""
    original = jacobians.pulled

    def pulled(output: Tensor, inputs: Any, seeds: Any) -> Any:
        if seeds and output.requires_grad:
            backward(output, seeds[0], retain_graph=True)
        return original(output, inputs, seeds)

    p.function(original, pulled)


@fault("gradcheck")
def mismatches_are_runtime_errors(p: Patch) -> None:
    """A mismatch raises a plain RuntimeError."""
    p.set(checks, "GradcheckError", type("GradcheckFailure", (RuntimeError,), {}))


@fault("gradcheck")
def single_precision_is_checked_in_silence(p: Patch) -> None:
    """An input of single precision draws no warning."""

    def check_inputs(inputs: tuple) -> list:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(original(inputs))

    original = checks._check_inputs
    p.set(checks, "_check_inputs", check_inputs)


@fault("gradcheck")
def imaginary_seeds_are_conjugated(p: Patch) -> None:
    """Backward of a complex output is run with -1j for the imaginary part."""
    original = jacobians.cotangents
    p.function(original, lambda output, space: [
        wrap(seed._array.conj()) if seed.is_complex() else seed for seed in original(output, space)])  # fmt: skip


@fault("gradcheck")
def all_directions_of_fast_mode_are_mixed(p: Patch) -> None:
    """In fast mode a complex input moves along one direction of real and imaginary parts together."""
    original = jacobians.Space.__init__

    def init(self: Any, tensor: Tensor, *, masked: bool = False, random: Any = None) -> None:
        original(self, tensor, masked=masked, random=random)
        if random is not None and len(self.vectors) == 2:
            self.vectors = [self.vectors[0] + self.vectors[1], self.vectors[0] - self.vectors[1]]

    p.set(jacobians.Space, "__init__", init)


@fault("gradcheck")
def second_derivatives_include_the_first(p: Patch) -> None:
    """gradgradcheck checks the gradient too."""
    original = checks.gradgradcheck

    def both(func: Any, inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
        shared = {k: options[k] for k in ("eps", "atol", "rtol", "raise_exception") if k in options}
        return bool(checks.gradcheck(func, inputs, **shared) and original(func, inputs, grad_outputs, **options))

    p.function(original, both)


@fault("gradcheck")
def gradients_given_are_not_used(p: Patch) -> None:
    """gradgradcheck draws gradients of outputs, whatever it is given."""
    original = checks.gradgradcheck
    p.function(original, lambda func, inputs, grad_outputs=None, **options: original(func, inputs, **options))


@fault("gradcheck")
def gradients_given_are_constants(p: Patch) -> None:
    """gradgradcheck does not vary gradients of outputs that it is given."""
    original = checks.gradgradcheck

    def constant(func: Any, inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
        given = (grad_outputs,) if isinstance(grad_outputs, Tensor) else grad_outputs
        return bool(original(func, inputs, given and tuple(g.detach() for g in given), **options))

    p.function(original, constant)


@fault("gradcheck")
def masks_never_count(p: Patch) -> None:
    """Sparse inputs are checked in every element, also with masked=True."""
    original = jacobians.Space.__init__

    def init(self: Any, tensor: Tensor, *, masked: bool = False, random: Any = None) -> None:
        original(self, tensor, masked=False, random=random)

    p.set(jacobians.Space, "__init__", init)


@fault("gradcheck")
def batches_of_tangents_are_not_tried(p: Patch) -> None:
    """check_batched_forward_grad checks nothing."""
    p.set(checks, "_check_batched_tangents", lambda check, space, one_by_one: None)
