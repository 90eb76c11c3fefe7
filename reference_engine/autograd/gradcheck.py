"""Checking backward against numerical differentiation, element by element. Source: torch.autograd.gradcheck.

For every real input x_i the column of the Jacobian is (f(x + eps e_i) - f(x - eps e_i)) / (2 eps), compared with the
column that backward gives. Every element is compared with every other's tolerance: no averaging, no random projection.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.autograd.backward import grad
from reference_engine.tensor import Tensor, wrap


class GradcheckError(RuntimeError):
    """Raised by gradcheck and gradgradcheck where derivatives disagree."""


def _tuple(x: Any) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _differentiable(outputs: Any) -> list[Tensor]:
    return [o for o in _tuple(outputs) if isinstance(o, Tensor) and o.requires_grad]


def _check_inputs(inputs: tuple) -> list[Tensor]:
    tracked = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if not tracked:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of the them have "
                         "requires_grad=True.")  # fmt: skip
    for i, x in enumerate(inputs):
        if isinstance(x, Tensor) and x.requires_grad and x._array.dtype not in (np.float64, np.complex128):
            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This "
                          "check will likely fail if all the inputs are not of double precision floating point or "
                          "complex. ", stacklevel=3)  # fmt: skip
    return tracked


def _directions(x: Tensor) -> list[complex]:
    return [1, 1j] if x._array.dtype.kind == "c" else [1]


def numerical_jacobian(fn: Callable, inputs: tuple, x: Tensor, eps: float) -> list[np.ndarray]:
    """Per output the matrix of d output / d x by central differences: one row per (real) degree of freedom of x."""
    rows: list[list[np.ndarray]] = []
    array = x._array
    for index in np.ndindex(array.shape):
        original = array[index]
        for direction in _directions(x):
            array[index] = original + eps * direction
            above = [np.array(o._array) for o in _differentiable(fn(*inputs))]
            array[index] = original - eps * direction
            below = [np.array(o._array) for o in _differentiable(fn(*inputs))]
            array[index] = original
            rows.append([((a - b) / (2 * eps)).ravel() for a, b in zip(above, below, strict=True)])
    return [np.array([row[k] for row in rows]) for k in range(len(rows[0]))] if rows else []


def analytical_column(output: Tensor, x: Tensor, index: tuple, seed: complex) -> np.ndarray:
    """The gradient of x for a cotangent that is `seed` at one element of the output."""
    v = np.zeros(output._array.shape, output._array.dtype)
    v[index] = seed
    (g,) = grad(output, x, wrap(v), retain_graph=True, allow_unused=True)
    return np.zeros(x._array.shape, x._array.dtype) if g is None else np.array(g._array)


def _analytical(output: Tensor, x: Tensor) -> np.ndarray:
    """The same matrix from backward. For cotangent v, backward gives conj(J)^T-type products; real parts are read off."""
    columns = []
    for index in np.ndindex(output._array.shape):
        real = _degrees(analytical_column(output, x, index, 1), x)
        if output._array.dtype.kind == "c":
            real = real + 1j * _degrees(analytical_column(output, x, index, 1j), x)
        columns.append(real)
    shape = (x._array.size * len(_directions(x)), 0)
    return np.stack(columns, 1) if columns else np.zeros(shape)


def _degrees(g: np.ndarray, x: Tensor) -> np.ndarray:
    """A gradient as one real number per degree of freedom of x."""
    flat = g.ravel()
    return np.stack([flat.real, flat.imag], 1).ravel() if x._array.dtype.kind == "c" else flat.real


def gradcheck(func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
              raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
              check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
              check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
              masked: bool | None = None) -> bool:  # fmt: skip
    """Whether backward agrees with central differences, for every element. Source: torch.autograd.gradcheck.

    Every element is checked whatever `fast_mode` says: the random projection of torch's fast mode overlooks one wrong
    element among 1,000.
    """
    if check_forward_ad or check_batched_grad or check_batched_forward_grad:
        raise NotImplementedError("gradcheck of forward mode and of batched gradients waits for those transforms")
    try:
        return _gradcheck(func, _tuple(inputs), eps, atol, rtol, nondet_tol, check_undefined_grad)
    except GradcheckError:
        if raise_exception:
            raise
        return False


def _gradcheck(
    fn: Callable, inputs: tuple, eps: float, atol: float, rtol: float, nondet_tol: float, undefined: bool
) -> bool:
    tracked = _check_inputs(inputs)
    outputs = _differentiable(fn(*inputs))
    if not outputs:
        _check_constant(fn, inputs, tracked, eps)
        return True
    for i, x in enumerate(tracked):
        numerical = numerical_jacobian(fn, inputs, x, eps)
        for j, output in enumerate(outputs):
            analytical = _analytical(output, x)
            if i < len(tracked) and numerical and not _close(analytical, numerical[j], rtol, atol):
                raise GradcheckError(_mismatch(i, j, numerical[j], analytical))
            again = _analytical(output, x)
            if not _close(analytical, again, 0.0, nondet_tol):
                raise GradcheckError("Backward is not reentrant, i.e., running backward with same input and grad_output "
                                     "multiple times gives different values, although analytical gradient matches "
                                     f"numerical gradient.The tolerance for nondeterminism was {nondet_tol}.")  # fmt: skip
    if undefined:
        _check_undefined(outputs, tracked)
    return True


def _close(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> bool:
    return bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=False)) if a.size else True


def _mismatch(i: int, j: int, numerical: np.ndarray, analytical: np.ndarray) -> str:
    return (f"Jacobian mismatch for output {j} with respect to input {i},\nnumerical:{numerical}\n"
            f"analytical:{analytical}\n")  # fmt: skip


def _check_constant(fn: Callable, inputs: tuple, tracked: list[Tensor], eps: float) -> None:
    """Outputs without history must really not depend on the inputs."""
    for x in tracked:
        array = x._array
        for index in np.ndindex(array.shape):
            original = array[index]
            array[index] = original + eps
            above = [np.array(o._array) for o in _tuple(fn(*inputs)) if isinstance(o, Tensor)]
            array[index] = original - eps
            below = [np.array(o._array) for o in _tuple(fn(*inputs)) if isinstance(o, Tensor)]
            array[index] = original
            if any(not np.array_equal(a, b) for a, b in zip(above, below, strict=True)):
                raise GradcheckError("Numerical gradient for function expected to be zero")


def _check_undefined(outputs: list[Tensor], tracked: list[Tensor]) -> None:
    """Where every cotangent is undefined, gradients are undefined or zero."""
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
    if any(g is not None and np.asarray(g).any() for g in grads):
        raise GradcheckError("Expected all input grads to be undefined or zero when all output grads are undefined or "
                             "zero.")  # fmt: skip


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
                  rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
                  nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
                  fast_mode: bool = False, masked: bool = False, **unsupported: Any) -> bool:  # fmt: skip
    """gradcheck of the gradient: whether second derivatives agree. Source: torch.autograd.gradgradcheck."""
    if any(unsupported.values()):
        raise NotImplementedError(f"gradgradcheck with {sorted(unsupported)} waits for forward mode and vmap")
    arguments = _tuple(inputs)
    outputs = _differentiable(func(*arguments))
    seeds = _tuple(grad_outputs) if grad_outputs is not None else tuple(_random_like(o) for o in outputs)
    count = len(seeds)

    def gradient(*args: Any) -> tuple:
        given, cotangents = args[:-count], args[-count:]
        results = _differentiable(func(*given))
        wanted = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
        found = grad(results, wanted, list(cotangents), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradient, (*arguments, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad)  # fmt: skip


def _random_like(output: Tensor) -> Tensor:
    from reference_engine.random import randn_like

    return randn_like(output).requires_grad_()
