"""Whole Jacobians and Hessians, a row (reverse mode) or a column (forward mode) at a time.

A Hessian is the Jacobian of the gradient. `vectorize` promises the same result computed another way; this engine
computes rows one by one either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.autograd.forward_ad import dual_level, make_dual, unpack_dual
from reference_engine.autograd.functional.arguments import (
    Tensors,
    as_tensors,
    check_tracked,
    finished,
    gradients,
    outputs_of,
    prepared,
    single_output,
    unpacked,
)
from reference_engine.autograd.functional.products import NOT_STRICT, NOT_STRICT_GRAPH, check_twice_differentiable
from reference_engine.autograd.grad_mode import enable_grad
from reference_engine.tensor import Tensor, wrap

STRATEGIES = ("forward-mode", "reverse-mode")


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """J[i][j] of output i and input j, with the shape of output i followed by that of input j.

    Tuples of outputs and inputs give nested tuples. Source: torch.autograd.functional.jacobian.
    """
    _check_strategy(strategy, strict, vectorize, create_graph)
    given, is_tuple = as_tensors(inputs, "inputs", "jacobian")
    if strategy == "forward-mode":
        rows, outputs_tuple = _columns(func, prepared(given, keep_history=False, track=False))
        return unpacked(tuple(unpacked(row, is_tuple) for row in rows), outputs_tuple)
    with enable_grad():
        x = prepared(given, keep_history=create_graph)
        outputs, outputs_tuple = outputs_of(func, x, "jacobian")
        if strict:
            check_tracked(outputs)
        options = {"create_graph": create_graph, "strict": strict, "explicit": vectorize}
        rows = tuple(_row(i, output, x, **options) for i, output in enumerate(outputs))
        rows = tuple(finished(row, create_graph=create_graph) for row in rows)
    return unpacked(tuple(unpacked(row, is_tuple) for row in rows), outputs_tuple)


def _check_strategy(strategy: str, strict: bool, vectorize: bool, create_graph: bool) -> None:
    if strategy not in STRATEGIES:
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has '
                             'more outputs than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to '
                             'use "reverse-mode".')  # fmt: skip
    if strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError('torch.autograd.functional.jacobian: `create_graph=True` and '
                                      '`strategy="forward-mode"` are not supported together (yet). Please either set '
                                      '`create_graph=False` or `strategy="reverse-mode"`.')  # fmt: skip
        if strict:
            raise RuntimeError('torch.autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are not '
                               'supported together (yet). Please either set `strict=False` or '
                               '`strategy="reverse-mode"`.')  # fmt: skip
        if not vectorize:
            raise NotImplementedError('Computing Jacobian using forward-AD or forward-over-reverse Hessian is only '
                                      'implemented for `vectorize=True`.')  # fmt: skip
    elif strict and vectorize:
        raise RuntimeError("torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported "
                           "together. Please either set `strict=False` or `vectorize=False`.")  # fmt: skip


def _row(i: int, output: Tensor, x: Tensors, *, create_graph: bool, strict: bool, explicit: bool) -> Tensors:
    """The Jacobians of one output, by a backward pass for each of its elements, started with an explicit 1 or an implicit one,
    which complex numbers have not.
    """
    collected: list[list[Tensor]] = [[] for _ in x]
    for element in output.reshape(-1).unbind(0) if output.numel() else ():
        start = (wrap(np.ones_like(element._array)),) if explicit else None
        found = gradients((element,), x, start, create_graph=create_graph)
        for j, (g, xj) in enumerate(zip(found, x, strict=True)):
            if strict:
                _check_strict(i, j, g, create_graph)
            collected[j].append(wrap(np.zeros_like(xj._array)) if g is None else g)
    return tuple(_stacked(parts, output, xj) for parts, xj in zip(collected, x, strict=True))


def _check_strict(i: int, j: int, g: Tensor | None, create_graph: bool) -> None:
    if g is None:
        raise RuntimeError(f"Output {i} of the user-provided function is independent of input {j}. {NOT_STRICT}")
    if create_graph and not g.requires_grad:
        raise RuntimeError(
            f"The jacobian of the user-provided function is independent of input {j}. {NOT_STRICT_GRAPH}"
        )


def _stacked(parts: list[Tensor], output: Tensor, x: Tensor) -> Tensor:
    from reference_engine.ops.joining import stack

    shape = (*output._array.shape, *x._array.shape)
    return stack(parts, 0).reshape(shape) if parts else wrap(np.zeros(shape, x._array.dtype))


def _columns(func: Callable, x: Tensors) -> tuple[tuple[Tensors, ...], bool]:
    """All Jacobians by forward mode: func once for each element of each input, whose tangent is a unit vector."""
    columns: list[list[list[np.ndarray]]] = []  # by input, element, output
    outputs, outputs_tuple = (x, False) if any(xj.numel() for xj in x) else outputs_of(func, x, "jacobian")
    for j, xj in enumerate(x):
        columns.append([])
        for index in np.ndindex(xj._array.shape):
            unit = np.zeros_like(xj._array)
            unit[index] = 1
            with dual_level():
                moved = (*x[:j], make_dual(xj, wrap(unit)), *x[j + 1 :])
                outputs, outputs_tuple = outputs_of(func, moved, "jacobian")
                pushed = [unpack_dual(output).tangent for output in outputs]
            columns[j].append([np.zeros_like(o._array) if t is None else t.detach()._array
                               for o, t in zip(outputs, pushed, strict=True)])  # fmt: skip
    return tuple(tuple(_matrix([c[i] for c in columns[j]], output, xj) for j, xj in enumerate(x))
                 for i, output in enumerate(outputs)), outputs_tuple  # fmt: skip


def _matrix(columns: list[np.ndarray], output: Tensor, x: Tensor) -> Tensor:
    """The Jacobian of one output and one input from its columns."""
    shape = (*output._array.shape, *x._array.shape)
    return wrap(np.stack(columns, -1).reshape(shape) if columns else np.zeros(shape, output._array.dtype))


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """H[i][j] of a function with one output of one element, with the shape of input i followed by that of input j.

    Source: torch.autograd.functional.hessian.
    """
    given, is_tuple = as_tensors(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in STRATEGIES:
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def gradient(*x: Tensor) -> Tensors:
        if outer_jacobian_strategy == "forward-mode":
            x = tuple(t.requires_grad_() if not t.requires_grad else t for t in x)
        output = single_output(func, x, "hessian")
        if strict:
            check_tracked((output,))
        found = gradients((output.reshape(()),), x, None, create_graph=True)
        gradient = tuple([wrap(np.zeros_like(xi._array)) if g is None else g for g, xi in zip(found, x, strict=True)])
        if strict:
            check_twice_differentiable(gradient)
        return gradient

    result = jacobian(gradient, given, create_graph=create_graph, strict=strict, vectorize=vectorize,
                      strategy=outer_jacobian_strategy)  # fmt: skip
    blocks = tuple(tuple(block.to(x.dtype) for block in row) for row, x in zip(result, given, strict=True))
    return blocks if is_tuple else blocks[0][0]
