"""Faults of gradcheck and gradgradcheck: checks that are left out, differences that are taken wrongly."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import numpy as np

from reference_engine.autograd import deprecated_jacobians, jacobians
from reference_engine.sparse.array import SparseArray
from reference_engine.tensor import Tensor, wrap
from tests.faulty_engines.patching import Patch, fault

# The module: the package's attribute of that name is the function. It has the deprecated helpers' names as well.
checks: Any = importlib.import_module("reference_engine.autograd.gradcheck")
Space = jacobians.Space


# --- what is refused and what passes ---------------------------------------------------------------------------------


@fault("gradcheck")
def nothing_to_check_passes(p: Patch) -> None:
    """gradcheck passes where no input requires grad."""

    def check(inputs: tuple) -> list[Tensor]:
        tracked = [x for x in inputs if isinstance(x, Tensor)]
        return original(inputs) if any(x.requires_grad for x in tracked) else []

    original = checks._check_inputs
    p.set(checks, "_check_inputs", check)


@fault("gradcheck")
def overlapping_inputs_are_checked(p: Patch) -> None:
    """An input with stride 0 is not refused: its differences are those of all elements."""
    p.set(checks, "_check_inputs", lambda inputs: [x for x in inputs if isinstance(x, Tensor) and x.requires_grad])


@fault("gradcheck")
def constants_may_depend_on_the_input(p: Patch) -> None:
    """Outputs without history are not looked at."""
    p.set(checks, "_check_constant", lambda check: None)


@fault("gradcheck")
def sparse_outputs_pass(p: Patch) -> None:
    """Sparse outputs are left out of the check instead of refused."""

    def kept(outputs: Any) -> list[Tensor]:
        return [o for o in original(outputs) if not isinstance(o._array, SparseArray)]

    original = jacobians.differentiable
    p.set(checks, "_check_outputs", lambda outputs: None)
    p.function(original, kept)


@fault("gradcheck")
def the_first_output_alone_is_checked(p: Patch) -> None:
    """Of several outputs the first is checked."""
    original = jacobians.differentiable
    p.function(original, lambda outputs: original(outputs)[:1])


@fault("gradcheck")
def indices_are_exchanged(p: Patch) -> None:
    """The message names the input as the output."""
    original = checks._compare

    def compare(check: Any, how: str, pair: tuple, *rest: Any) -> None:
        try:
            original(check, how, pair, *rest)
        except checks.GradcheckError as error:
            i, j = pair
            text = str(error).replace(f"output {j} with respect to input {i}", f"output {i} with respect to input {j}")
            raise checks.GradcheckError(text) from None

    p.set(checks, "_compare", compare)


@fault("gradcheck")
def any_order_of_backward_passes(p: Patch) -> None:
    """Gradients need not be proportional to the incoming gradient."""
    p.set(checks, "_check_linear", lambda check: None)


@fault("gradcheck")
def undefined_gradients_are_not_tried(p: Patch) -> None:
    """check_undefined_grad checks nothing."""
    p.set(checks, "_check_undefined", lambda outputs, tracked: None)


@fault("gradcheck")
def batches_are_not_tried(p: Patch) -> None:
    """check_batched_grad checks nothing."""
    p.set(checks, "_check_batched", lambda check: None)


@fault("gradcheck")
def forward_mode_is_not_checked(p: Patch) -> None:
    """check_forward_ad checks nothing."""
    p.set(checks, "_check_forward", lambda check, batched: None)


@fault("gradcheck")
def once_is_enough(p: Patch) -> None:
    """A second backward is not compared with the first."""
    original = checks._close
    p.set(checks, "_close", lambda a, b, rtol, atol: True if rtol == 0.0 else original(a, b, rtol, atol))


@fault("gradcheck")
def tolerances_are_fixed(p: Patch) -> None:
    """atol and rtol are taken no notice of."""
    original = checks._close
    p.set(checks, "_close", lambda a, b, rtol, atol: original(a, b, 1e-3 if rtol else rtol, 1e-5 if rtol else atol))


@fault("gradcheck")
def refusals_raise_in_gradgradcheck(p: Patch) -> None:
    """gradgradcheck lets the error of a backward that is once_differentiable through."""
    p.set(checks, "set_apart", contextlib.nullcontext)


# --- differences -----------------------------------------------------------------------------------------------------


def _differences(p: Patch, take: Any) -> None:
    """Other differences: take(at, step, eps) per output, at(step) being the outputs at the moved input."""

    def differences(fn: Any, inputs: tuple, space: Space, eps: float, chosen: Any = jacobians.differentiable) -> list:
        def at(step: np.ndarray) -> list[np.ndarray]:
            moved, back = space.moved(inputs, step)
            try:
                return [np.array(o._array) for o in chosen(fn(*moved))]
            finally:
                back()

        return [take(at, space.shaped(vector), eps) for vector in space.vectors]

    p.function(jacobians.differences, differences)


@fault("gradcheck")
def differences_are_one_sided(p: Patch) -> None:
    """Differences are forward ones, (f(x + eps) - f(x)) / eps."""
    _differences(p, lambda at, d, eps: [(a - b) / eps for a, b in zip(at(d * eps), at(d * 0), strict=True)])


@fault("gradcheck")
def the_step_is_fixed(p: Patch) -> None:
    """The step is 1e-6, whatever eps is."""
    _differences(p, lambda at, d, eps: [
        (a - b) / 2e-6 for a, b in zip(at(d * 1e-6), at(-d * 1e-6), strict=True)])  # fmt: skip


@fault("gradcheck")
def inputs_stay_moved(p: Patch) -> None:
    """Inputs are left where the last evaluation moved them."""
    original = Space.moved
    p.set(Space, "moved", lambda self, inputs, step: (original(self, inputs, step)[0], lambda: None))


@fault("gradcheck")
def unstored_elements_are_never_checked(p: Patch) -> None:
    """Sparse inputs are checked as with masked=True."""
    original = Space.__init__

    def init(self: Any, tensor: Tensor, *, masked: bool = False, random: Any = None) -> None:
        original(self, tensor, masked=True, random=random)

    p.set(Space, "__init__", init)


@fault("gradcheck")
def imaginary_parts_stay(p: Patch) -> None:
    """Complex tensors are varied along real numbers alone."""
    p.function(jacobians.parts, lambda array: [1])


@fault("gradcheck")
def fast_mode_builds_everything(p: Patch) -> None:
    """fast_mode takes the whole Jacobians."""
    original = Space.__init__

    def init(self: Any, tensor: Tensor, *, masked: bool = False, random: Any = None) -> None:
        original(self, tensor, masked=masked)

    p.set(Space, "__init__", init)


@fault("gradcheck")
def random_directions_have_any_length(p: Patch) -> None:
    """The random directions of fast mode are not brought to length 1."""
    p.set(jacobians, "_unit", lambda random, count: random.uniform(0.1, 1.0, count))


@fault("gradcheck")
def fast_messages_are_short(p: Patch) -> None:
    """The message of fast mode shows no Jacobians of slow mode."""
    p.set(checks, "_in_slow_mode", lambda *arguments: "")


# --- second derivatives ----------------------------------------------------------------------------------------------


@fault("gradcheck")
def drawn_gradients_are_ones(p: Patch) -> None:
    """gradgradcheck takes constants for the gradients of outputs: they are not varied."""
    p.set(checks, "_random_like", lambda output, contiguous: wrap(np.ones_like(output._array)))


@fault("gradcheck")
def drawn_gradients_are_contiguous(p: Patch) -> None:
    """gen_non_contig_grad_outputs changes nothing."""
    original = checks._random_like
    p.set(checks, "_random_like", lambda output, contiguous: original(output, contiguous=True))


# --- deprecated helpers ----------------------------------------------------------------------------------------------


@fault("gradcheck")
def helpers_warn_of_nothing(p: Patch) -> None:
    """The deprecated helpers do not say that they are."""
    p.set(deprecated_jacobians, "_start", lambda name, grad_out: None)


@fault("gradcheck")
def helpers_have_a_row_per_output(p: Patch) -> None:
    """The numerical helper's Jacobian is transposed: a row per element of the output."""
    original = deprecated_jacobians._numerical
    p.set(deprecated_jacobians, "_numerical", lambda *given: tuple(wrap(m._array.T) for m in original(*given)))


@fault("gradcheck")
def numerical_helper_knows_no_target(p: Patch) -> None:
    """`target` is read over: every input is varied."""

    def numerical(fn: Any, inputs: Any, target: Any = None, eps: float = 1e-3, grad_out: float = 1.0) -> Any:
        return original(fn, inputs, None, eps, grad_out)

    original = deprecated_jacobians.get_numerical_jacobian
    p.function(original, numerical)


@fault("gradcheck")
def analytical_helper_accumulates(p: Patch) -> None:
    """The analytical helper leaves its gradients in the inputs."""

    def analytical(inputs: Any, output: Tensor, *options: Any) -> Any:
        output.sum().backward(retain_graph=True)
        return original(inputs, output, *options)

    original = deprecated_jacobians.get_analytical_jacobian
    p.function(original, analytical)
