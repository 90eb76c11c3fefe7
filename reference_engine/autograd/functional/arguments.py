"""What the functions of this API have in common: their arguments, checked and prepared, and gradients without holes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.autograd.backward import grad
from reference_engine.autograd.grad_mode import enable_grad
from reference_engine.tensor import Tensor, wrap

Tensors = tuple[Tensor, ...]


def as_tensors(given: Any, what: str, function: str) -> tuple[Tensors, bool]:
    """`given` as a tuple of tensors, and whether it was a tuple; a TypeError for anything else."""
    values = given if isinstance(given, tuple) else (given,)
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            where = f"the value at index {i}" if isinstance(given, tuple) else f"the given {what}"
            raise TypeError(f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but {where} has "
                            f"type {type(value)}.")  # fmt: skip
    return values, isinstance(given, tuple)


def prepared(inputs: Tensors, *, keep_history: bool, track: bool = True) -> Tensors:
    """Copies to differentiate with respect to: aliases with the inputs' own history where that is to be kept (so that
    a captured input counts as a constant), fresh leaves otherwise.
    """
    return tuple(x.view_as(x) if keep_history and x.requires_grad else x.detach().requires_grad_(track) for x in inputs)


def outputs_of(fn: Callable, inputs: Tensors, function: str) -> tuple[Tensors, bool]:
    """What the user's function returns, checked."""
    return as_tensors(fn(*inputs), "outputs of the user-provided function", function)


def single_output(fn: Callable, inputs: Tensors, function: str) -> Tensor:
    """The user's function's one output of one element: what a Hessian is of."""
    outputs, is_tuple = outputs_of(fn, inputs, function)
    if is_tuple:
        raise RuntimeError(f"The function given to {function} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {function} should contain a single element")
    return outputs[0]


def check_tracked(outputs: Tensors) -> None:
    """Strict mode: every output depends on an input."""
    for i, output in enumerate(outputs):
        if not output.requires_grad:
            raise RuntimeError(f"Output {i} of the user-provided function does not require gradients. The outputs must be "
                               "computed in a differentiable manner from the input when running in strict mode.")  # fmt: skip


def directions(v: Any, like: Tensors, like_is_tuple: bool, whose: str, function: str) -> Tensors:
    """The vector of a product, checked against what it multiplies; ones where it may be left out."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if {whose} a single Tensor with a single element.")
        if like[0].is_complex():
            raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {like[0].dtype}")
        return (wrap(np.ones_like(like[0]._array)),)
    values, _ = as_tensors(v, "v", function)
    if len(values) != len(like):
        if like_is_tuple:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(values)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (value, x) in enumerate(zip(values, like, strict=True)):
        if value.shape != x.shape:
            prefix = f"Entry {i} in " if len(like) > 1 else ""
            raise RuntimeError(f"{prefix}v has invalid size: should be {x.shape} but got {value.shape}.")
    return values


def gradients(outputs: Tensors, inputs: Tensors, v: Any, *, create_graph: bool) -> tuple[Tensor | None, ...]:
    """v^T J by backward, None where an output does not depend on an input."""
    kept = [i for i, output in enumerate(outputs) if output.requires_grad]
    if not kept:
        return (None,) * len(inputs)
    with enable_grad():
        return grad(
            [outputs[i] for i in kept], inputs, None if v is None else [v[i] for i in kept], allow_unused=True,
            create_graph=create_graph, retain_graph=True,
        )  # fmt: skip


def filled(found: tuple[Tensor | None, ...], like: Tensors, *, strict: bool, create_graph: bool,
           independent: Callable[[int], str], constant: Callable[[int], str]) -> Tensors:  # fmt: skip
    """Zeros for what was not reached; in strict mode an error, as for a result that is constant where it is to be
    differentiated further.
    """
    results = []
    for i, (g, x) in enumerate(zip(found, like, strict=True)):
        if g is None:
            if strict:
                raise RuntimeError(independent(i))
            g = wrap(np.zeros_like(x._array))
        elif strict and create_graph and not g.requires_grad:
            raise RuntimeError(constant(i))
        results.append(g)
    return tuple(results)


def finished(values: Tensors, *, create_graph: bool) -> Tensors:
    """Results without history unless they are to be differentiated further."""
    return values if create_graph else tuple(v.detach() for v in values)


def unpacked(values: tuple, is_tuple: bool) -> Any:
    """A tuple for a tuple, its one element for a tensor."""
    return values if is_tuple else values[0]
