"""Checking derivatives against numerical differentiation. Source: torch.autograd.gradcheck; torch notes/gradcheck."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from reference_engine.autograd.backward import grad
from reference_engine.autograd.deprecated_jacobians import (
    get_analytical_jacobian,
    get_numerical_jacobian,
    get_numerical_jacobian_wrt_specific_input,
)
from reference_engine.autograd.jacobians import (
    Space,
    as_tuple,
    cotangents,
    differences,
    differentiable,
    floating,
    matrix_of_gradients,
    matrix_of_products,
    parts,
    pulled,
    pushed_forward,
    tangents,
)
from reference_engine.autograd.once import set_apart
from reference_engine.sparse.array import SparseArray
from reference_engine.tensor import Tensor, wrap

IN_FAST_MODE = """
The above quantities relating the numerical and analytical jacobians are computed \nin fast mode. See: \
https://github.com/pytorch/pytorch/issues/53876 for more background \nabout fast mode. Below, we recompute numerical and \
analytical jacobians in slow mode:

Numerical:\n {numerical}\nAnalytical:\n{analytical}

The max per-element difference (slow mode) is: {difference}.
"""
NOT_REENTRANT = (
    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives different "
    "values, although analytical gradient matches numerical gradient.The tolerance for nondeterminism was {tolerance}."
)


class GradcheckError(RuntimeError):
    """Raised by gradcheck and gradgradcheck where derivatives disagree."""


class Check(NamedTuple):
    """What is checked, and how strictly."""

    fn: Callable
    inputs: tuple
    tracked: list[Tensor]
    outputs: list[Tensor]
    eps: float
    atol: float
    rtol: float
    nondet_tol: float
    dtypes: bool
    fast: bool
    masked: bool

    def space(self, tensor: Tensor, *, fast: bool) -> Space:
        """The directions in which a tensor is varied: the same ones at each call."""
        return Space(tensor, masked=self.masked, random=np.random.default_rng(0) if fast else None)


def gradcheck(func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
              raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
              check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
              check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
              masked: bool | None = None) -> bool:  # fmt: skip
    """Whether backward (check_forward_ad: forward mode too) agrees with central differences in every element of the
    Jacobian, in `fast_mode` along one random direction. Source: torch.autograd.gradcheck.

    Raises GradcheckError where it does not, or returns False with raise_exception=False; other errors always raise.
    """
    assert check_forward_ad or check_backward_ad, (
        "Expected at least one of check_forward_ad or check_backward_ad to be True")  # fmt: skip
    assert not (check_batched_grad and not check_backward_ad), (
        "Setting check_batched_grad=True requires check_backward_ad to be True")  # fmt: skip
    assert not (check_batched_forward_grad and not check_forward_ad), (
        "Setting check_batched_forward_grad=True requires check_forward_ad to be True")  # fmt: skip
    given = as_tuple(inputs)
    try:
        tracked = _check_inputs(given)
        results = func(*given)
        _check_outputs(results)
        check = Check(func, given, tracked, differentiable(results), eps, atol, rtol, nondet_tol, check_grad_dtypes,
                      fast_mode, bool(masked))  # fmt: skip
        if not check.outputs:
            _check_constant(check)
            return True
        if check_backward_ad:
            _check_backward(check)
        if check_forward_ad:
            _check_forward(check, batched=check_batched_forward_grad)
        if check_batched_grad:
            _check_batched(check)
        if check_backward_ad:
            _check_linear(check)
            if check_undefined_grad:
                _check_undefined(check.outputs, tracked)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check_inputs(inputs: tuple) -> list[Tensor]:
    tracked = [x for x in _tensors(inputs) if x.requires_grad]
    if not any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of them have "
                         "requires_grad=True.")  # fmt: skip
    for i, x in enumerate(inputs):
        if not (isinstance(x, Tensor) and x.requires_grad):
            continue
        if x._array.dtype not in (np.float64, np.complex128):
            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This "
                          "check will likely fail if all the inputs are not of double precision floating point or "
                          "complex. ", stacklevel=4)  # fmt: skip
        steps = x._array.strides
        if x._array.size and any(step == 0 and n > 1 for n, step in zip(x._array.shape, steps, strict=False)):
            raise RuntimeError(f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                               "non-overlapping to be able to compute the numerical gradients correctly. You should call "
                               ".contiguous on the input before passing it to gradcheck.")  # fmt: skip
    return tracked


def _tensors(values: Any) -> Iterator[Tensor]:
    """Tensors among the arguments, also inside lists and tuples."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


def _check_outputs(outputs: Any) -> None:
    if any(isinstance(o, Tensor) and isinstance(o._array, SparseArray) for o in as_tuple(outputs)):
        raise ValueError("Sparse output is not supported at gradcheck yet. Please call to_dense(masked_grad=...) on the "
                         "output of fn for gradcheck.")  # fmt: skip


def _check_backward(check: Check) -> None:
    """Backward against central differences, then against itself."""
    rows = [differences(check.fn, check.inputs, check.space(x, fast=check.fast), check.eps) for x in check.tracked]
    for j, output in enumerate(check.outputs):
        seeds = cotangents(output, check.space(output, fast=check.fast))
        found, again = pulled(output, check.tracked, seeds), pulled(output, check.tracked, seeds)
        for i, x in enumerate(check.tracked):
            space = check.space(x, fast=check.fast)
            numerical = matrix_of_products(rows[i], j, seeds)
            analytical = matrix_of_gradients(found, i, space)
            if check.dtypes and any(g[i] is not None and g[i].dtype is not x.dtype for g in found):
                raise GradcheckError("Gradient has dtype mismatch")
            _compare(check, "", (i, j), numerical, analytical, "outputs")
            if not _close(analytical, matrix_of_gradients(again, i, space), 0.0, check.nondet_tol):
                raise GradcheckError(NOT_REENTRANT.format(tolerance=check.nondet_tol))


def _check_forward(check: Check, *, batched: bool) -> None:
    """Forward mode against central differences; `batched`: and under vmap, where a batch of tangents gives the stack of what
    each gives.
    """
    for i, x in enumerate(check.tracked):
        space = check.space(x, fast=check.fast)
        pushed = tangents(check.fn, check.inputs, space)
        rows = differences(check.fn, check.inputs, space, check.eps)
        for j, output in enumerate(check.outputs):
            seeds = cotangents(output, check.space(output, fast=check.fast))
            _compare(check, " computed with forward mode", (i, j), matrix_of_products(rows, j, seeds),
                     matrix_of_products(pushed, j, seeds), "inputs")  # fmt: skip
        if batched and pushed:
            _check_batched_tangents(check, space, pushed)


def _compare(check: Check, how: str, pair: tuple[int, int], numerical: np.ndarray, analytical: np.ndarray,
             varied: str) -> None:  # fmt: skip
    """Raises where two matrices of products differ; says which part of complex outputs (inputs) is at fault."""
    i, j = pair
    atol = check.atol
    if check.fast:
        atol *= check.space(check.tracked[i], fast=True).weight * check.space(check.outputs[j], fast=True).weight
    if _close(analytical, numerical, check.rtol, atol):
        return
    tensor = check.outputs[j] if varied == "outputs" else check.tracked[i]
    prefix = ""
    if len(parts(tensor._array)) == 2:
        halves = [
            (m[:, 1::2], m[:, ::2]) if varied == "outputs" else (m[1::2], m[::2]) for m in (analytical, numerical)
        ]
        imaginary_differs = not _close(halves[0][0], halves[1][0], check.rtol, atol)
        which = 0 if imaginary_differs else 1
        prefix = f"While considering the {('imaginary', 'real')[which]} part of complex {varied} only, "
        analytical, numerical = halves[0][which], halves[1][which]
    message = (f"{prefix}Jacobian{how} mismatch for output {j} with respect to input {i},\n"
               f"numerical:{_shown(check, i, numerical)}\nanalytical:{_shown(check, i, analytical)}\n")  # fmt: skip
    raise GradcheckError(message + (_in_slow_mode(check, how, i, j) if check.fast else ""))


def _shown(check: Check, i: int, matrix: np.ndarray) -> Any:
    """A matrix as its message shows it: a number in fast mode, else of the input's precision."""
    if check.fast and matrix.size == 1:
        return matrix.item()
    return wrap(matrix.astype(np.empty(0, check.tracked[i]._array.dtype).real.dtype))


def _in_slow_mode(check: Check, how: str, i: int, j: int) -> str:
    """What to add to a message of fast mode: the whole matrices."""
    x, output = check.tracked[i], check.outputs[j]
    space = check.space(x, fast=False)
    seeds = cotangents(output, check.space(output, fast=False))
    numerical = matrix_of_products(differences(check.fn, check.inputs, space, check.eps), j, seeds)
    if how:
        analytical = matrix_of_products(tangents(check.fn, check.inputs, space), j, seeds)
    else:
        analytical = matrix_of_gradients(pulled(output, check.tracked, seeds), i, space)
    difference = float(np.abs(numerical - analytical).max(initial=0.0))
    text = IN_FAST_MODE.format(numerical=wrap(numerical), analytical=wrap(analytical), difference=difference)
    if _close(analytical, numerical, check.rtol, check.atol):
        text += ("\nFast gradcheck failed but element-wise differences are small. This means that the\ntest might've passed "
                 "in slow_mode!\n")  # fmt: skip
    return text


def _close(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> bool:
    return bool(np.allclose(a, b, rtol=rtol, atol=atol)) if np.size(a) else True


def _check_constant(check: Check) -> None:
    """Outputs without history must really not depend on the inputs."""
    for x in check.tracked:
        for row in differences(check.fn, check.inputs, check.space(x, fast=False), check.eps, floating):
            if any(np.any(product != 0) for product in row):
                raise GradcheckError("Numerical gradient for function expected to be zero")


def _check_batched_tangents(check: Check, space: Space, one_by_one: list[list]) -> None:
    from reference_engine.func import vmap

    try:
        together = vmap(lambda tangent: tuple(pushed_forward(check.fn, check.inputs, space.tensor, tangent)))(
            wrap(np.stack([space.shaped(vector) for vector in space.vectors])))  # fmt: skip
    except RuntimeError as error:
        raise GradcheckError(f"While computing batched gradients, got: {error}") from error
    for j, whole in enumerate(together):
        if not _close(_dense(whole), np.stack([row[j] for row in one_by_one]), 1e-5, 1e-8):
            raise GradcheckError(f"For output {j}: computing batched forward gradients gives other values than computing them "
                                 "one by one")  # fmt: skip


def _check_batched(check: Check) -> None:
    """Backward under vmap: a batch of vectors gives the stack of what each gives."""
    from reference_engine.func import vmap

    for output in check.outputs:
        seeds = [wrap(np.asarray(np.random.default_rng(k).standard_normal(output._array.shape), output._array.dtype))
                 for k in range(2)]  # fmt: skip
        one_by_one = pulled(output, check.tracked, seeds)
        reached = [i for i, g in enumerate(one_by_one[0]) if g is not None]
        inputs = [check.tracked[i] for i in reached]

        def products(seed: Any, output: Tensor = output, inputs: list = inputs) -> tuple:
            return grad(output, inputs, seed, retain_graph=True)

        try:
            together = vmap(products)(wrap(np.stack([seed._array for seed in seeds]))) if inputs else ()
        except RuntimeError as error:
            raise GradcheckError(f"While computing batched gradients, got: {error}") from error
        for i, whole in zip(reached, together, strict=True):
            if not _close(_dense(whole), np.stack([_dense(row[i]) for row in one_by_one]), 1e-5, 1e-8):
                raise GradcheckError(f"For input {i}: computing batched gradients gives other values than computing them one "
                                     "by one")  # fmt: skip


def _check_linear(check: Check) -> None:
    """A gradient of zeros gives zeros, of the inputs' types and sizes."""
    zeros = [wrap(np.zeros_like(o._array)) for o in check.outputs]
    found = grad(check.outputs, check.tracked, zeros, retain_graph=True, allow_unused=True)
    if all(g is None for g in found):
        raise GradcheckError("no Tensors requiring grad found in input")
    for g, x in zip(found, check.tracked, strict=True):
        if g is None:
            continue
        if np.any(_dense(g) != 0):
            raise GradcheckError("backward not multiplied by grad_output")
        if g.dtype is not x.dtype:
            raise GradcheckError("grad is incorrect type")
        if g.shape != x.shape:
            raise GradcheckError("grad is incorrect size")


def _dense(tensor: Any) -> np.ndarray:
    array = tensor._array if isinstance(tensor, Tensor) else tensor
    return array.todense() if isinstance(array, SparseArray) else np.asarray(array)


def _check_undefined(outputs: list[Tensor], tracked: list[Tensor]) -> None:
    """Where cotangents are undefined, all or one of several, gradients are undefined or zero, or as for zeros."""
    from reference_engine.tape.backward import run_backward
    from reference_engine.tape.node import edge_of

    edges = [edge for edge in map(edge_of, outputs) if edge is not None]
    targets = [edge for edge in map(edge_of, tracked) if edge is not None]
    try:
        grads = run_backward(edges, [None] * len(edges), keep_graph=True, recorded=False, targets=targets,
                             accumulating=False)  # fmt: skip
    except RuntimeError as error:
        raise GradcheckError("Expected backward function to handle undefined output grads. Please look at 'Notes about "
                             f"undefined output gradients' in 'tools/autograd/derivatives.yaml': {error}") from error  # fmt: skip
    if any(g is not None and _dense(g).any() for g in grads):
        raise GradcheckError("Expected all input grads to be undefined or zero when all output grads are undefined or "
                             "zero. Please look at 'Notes about undefined output gradients' in "
                             "'tools/autograd/derivatives.yaml'")  # fmt: skip


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
                  rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
                  nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
                  check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
                  fast_mode: bool = False, masked: bool = False) -> bool:  # fmt: skip
    """gradcheck of the gradient, in the inputs and in the gradients of the outputs: whether second derivatives agree.

    check_rev_over_rev, check_fwd_over_rev: whether backward, and forward mode, of the gradient are checked.
    Source: torch.autograd.gradgradcheck.
    """
    assert check_fwd_over_rev or check_rev_over_rev, (
        "Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")  # fmt: skip
    assert not (check_undefined_grad and not check_rev_over_rev), (
        "Setting check_undefined_grad=True requires check_rev_over_rev to be True")  # fmt: skip
    assert not (check_batched_grad and not check_rev_over_rev), (
        "Setting check_batched_grad=True requires check_rev_over_rev to be True")  # fmt: skip
    arguments = as_tuple(inputs)
    if grad_outputs is not None:
        seeds = as_tuple(grad_outputs)
    else:
        outputs = differentiable(func(*arguments))
        seeds = tuple(_random_like(o, contiguous=not gen_non_contig_grad_outputs) for o in outputs)
    count = len(seeds)

    def gradient(*args: Any) -> tuple:
        given, incoming = args[: len(args) - count], args[len(args) - count :]
        results = differentiable(func(*given))
        wanted = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
        with set_apart():
            found: Sequence[Tensor | None] = grad(results, wanted, list(incoming), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradient, (*arguments, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad,
                     check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad, fast_mode=fast_mode,
                     check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, masked=masked)  # fmt: skip


def _random_like(output: Tensor, *, contiguous: bool) -> Tensor:
    """A gradient for the output, every second element of a larger one where it is not to be contiguous."""
    from reference_engine.random import randn_like

    values = randn_like(output)
    if not contiguous:
        values = wrap(np.repeat(values._array[..., None], 2, axis=-1)[..., 0])
    return values.requires_grad_()


__all__ = [
    "GradcheckError", "get_analytical_jacobian", "get_numerical_jacobian", "get_numerical_jacobian_wrt_specific_input",
    "gradcheck", "gradgradcheck",
]  # fmt: skip
