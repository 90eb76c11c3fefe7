"""Jacobians as matrices: helpers of gradcheck that were never meant to be called. Source: torch.autograd.gradcheck."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference_engine.autograd.jacobians import (
    Space,
    as_tuple,
    cotangents,
    differences,
    floating,
    matrix_of_gradients,
    matrix_of_products,
    pulled,
)
from reference_engine.tensor import Tensor, wrap

DEPRECATED = (
    "`{name}` was part of PyTorch's private API and not meant to be exposed. We are deprecating it and it will be removed "
    "in a future version of PyTorch. If you have a specific use for this or feature request for this to be a stable API, "
    "please file us an issue at https://github.com/pytorch/pytorch/issues/new"
)


def _start(name: str, grad_out: float) -> None:
    warnings.warn(DEPRECATED.format(name=name), FutureWarning, stacklevel=3)
    if grad_out != 1.0:
        raise ValueError(f"Expected grad_out to be 1.0. {name} no longer supports values of grad_out != 1.0.")


def _refuse_complex(name: str, outputs: Sequence[Tensor]) -> None:
    if any(o._array.dtype.kind == "c" for o in outputs):
        raise ValueError(
            f"Expected output to be non-complex. {name} no longer supports functions that return complex outputs."
        )


def _tracked(inputs: Any) -> list[Tensor]:
    return [x for x in as_tuple(inputs) if isinstance(x, Tensor) and x.requires_grad]


def get_numerical_jacobian(fn: Callable, inputs: Any, target: Any = None, eps: float = 1e-3,
                           grad_out: float = 1.0) -> tuple[Tensor, ...]:  # fmt: skip
    """Per tracked input (of `target`, where given) the Jacobian of fn(inputs)'s first output by central differences:
    (elements of the input, elements of the output). Deprecated.
    """
    _start("get_numerical_jacobian", grad_out)
    _refuse_complex("get_numerical_jacobian", floating(fn(inputs)))
    return tuple(
        _numerical(lambda *given: fn(given), as_tuple(inputs), x, eps)[0]
        for x in _tracked(inputs if target is None else target)
    )


def _numerical(fn: Callable, inputs: tuple, varied: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Per output of fn(*inputs) the Jacobian with respect to one input."""
    rows = differences(fn, inputs, Space(varied), eps, floating)
    outputs = floating(fn(*inputs))
    return tuple(
        wrap(matrix_of_products(rows, j, cotangents(output, Space(output)))) for j, output in enumerate(outputs)
    )


def get_numerical_jacobian_wrt_specific_input(fn: Callable, input_idx: int, inputs: Any, outputs: Any, eps: float,
                                              input: Tensor | None = None,
                                              is_forward_ad: bool = False) -> tuple[Tensor, ...]:  # fmt: skip
    """Per output of fn(*inputs) the Jacobian with respect to one input, by central differences."""
    given = as_tuple(inputs)
    return _numerical(fn, given, given[input_idx] if input is None else input, eps)


def get_analytical_jacobian(inputs: Any, output: Tensor, nondet_tol: float = 0.0,
                            grad_out: float = 1.0) -> tuple[tuple[Tensor, ...], bool, bool, bool]:  # fmt: skip
    """Per tracked input the Jacobian of the output by backward; whether a second run gives the same within nondet_tol,
    and whether the gradients have the sizes and the types of their inputs. Deprecated.
    """
    _start("get_analytical_jacobian", grad_out)
    _refuse_complex("get_analytical_jacobian", [output])
    tracked, seeds = _tracked(inputs), cotangents(output, Space(output))
    runs = pulled(output, tracked, seeds), pulled(output, tracked, seeds)
    first, second = ([matrix_of_gradients(run, i, Space(x)) for i, x in enumerate(tracked)] for run in runs)
    same = all(np.allclose(a, b, rtol=0.0, atol=nondet_tol) for a, b in zip(first, second, strict=True))
    pairs = [(g, x) for row in runs[0] for g, x in zip(row, tracked, strict=True) if g is not None]
    sizes = all(g.shape == x.shape for g, x in pairs)
    types = all(g.dtype is x.dtype for g, x in pairs)
    return tuple(map(wrap, first)), same, sizes, types


__all__ = ["get_analytical_jacobian", "get_numerical_jacobian", "get_numerical_jacobian_wrt_specific_input"]
