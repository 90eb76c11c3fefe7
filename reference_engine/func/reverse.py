"""grad, grad_and_value, vjp: derivatives by reverse mode, as functions of functions. Source: torch.func."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from reference_engine.func.differentiated import (
    check_outputs,
    chosen,
    gradients,
    new_inputs,
    outside,
    replaced,
    tracked_outside,
    transforming,
    with_aux,
)
from reference_engine.state import state
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "grad_and_value(f)(*args)"  # grad is made of it, and torch says so


def grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """The function that computes the gradient of `func`, whose result is a 0-d tensor, with respect to the arguments
    numbered `argnums`: a tensor or tree of tensors, or with a tuple a tuple of these. has_aux: func returns (output, aux),
    and the result is (gradient, aux). Source: torch.func.grad.
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        gradient, (_, aux) = _grad_and_value(func, argnums, has_aux, args, kwargs)
        return (gradient, aux) if has_aux else gradient

    return wrapped


def grad_and_value(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """Like grad, with the result (gradient, value), or (gradient, (value, aux)). Source: torch.func.grad_and_value."""

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        gradient, (value, aux) = _grad_and_value(func, argnums, has_aux, args, kwargs)
        return (gradient, (value, aux)) if has_aux else (gradient, value)

    return wrapped


def _grad_and_value(func: Callable, argnums: Any, has_aux: bool, args: tuple, kwargs: dict) -> tuple:
    """(gradient, (value, aux))."""
    outer_grad_mode = state.grad_enabled
    with transforming() as transform:
        numbers, picked = chosen(args, argnums)
        inputs = new_inputs(picked)
        result = func(*replaced(args, numbers, inputs, isinstance(argnums, int)), **kwargs)
        value, aux = with_aux(result, NAME, has_aux)
        if not isinstance(value, Tensor):
            raise RuntimeError(f"{NAME}: Expected f(*args) to return a Tensor, got {type(value)}")
        if value.dim() != 0:
            raise RuntimeError(f"{NAME}: Expected f(*args) to return a scalar Tensor, got tensor with {value.dim()} dims. "
                               "Maybe you wanted to use the vjp or jacrev APIs instead?")  # fmt: skip
        leaves = [value, *(t for t in tree_flatten(aux)[0] if isinstance(t, Tensor))]
        tracked = outer_grad_mode and tracked_outside(leaves, tree_flatten(inputs)[0])
        gradient = gradients([value], inputs, [None], recorded=tracked)
    gradient, value, aux = outside((gradient, value, aux), transform, tracked=tracked)
    return gradient, (value, aux)


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """(func(*primals), vjp_fn), and with has_aux what func returned as its second value. vjp_fn(cotangents), the cotangents
    in the form of the output, is a tuple with the vector-Jacobian product for each primal. Source: torch.func.vjp.
    """
    outer_grad_mode = state.grad_enabled
    with transforming() as transform:
        inputs = new_inputs(primals)
        output, aux = with_aux(func(*inputs), "vjp(f, *primals)", has_aux)
        leaves, form = tree_flatten(output)
        check_outputs("vjp(f, *primals)", leaves)
        _check_differentiable(leaves)
        flat_inputs = tree_flatten(inputs)[0]
        connected = tracked_outside(leaves, flat_inputs)
        tracked = outer_grad_mode and connected

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        flat, given_form = tree_flatten(cotangents)
        if given_form != form:
            raise RuntimeError(f"Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                               f"function. cotangents: {given_form}, primal output: {form}")  # fmt: skip
        recorded = state.grad_enabled and (connected or any(isinstance(c, Tensor) and c.requires_grad for c in flat))
        with transforming() as pulling:
            found = gradients(leaves, inputs, flat, recorded=recorded)
        return outside(found, pulling, tracked=recorded)

    result, aux = outside((tree_unflatten(leaves, form), aux), transform, tracked=tracked)
    return (result, vjp_fn, aux) if has_aux else (result, vjp_fn)


def _check_differentiable(leaves: list) -> None:
    for leaf in leaves:
        if not (leaf.is_floating_point() or leaf.is_complex()):
            raise RuntimeError("vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor with "
                               f"dtype {leaf.dtype}")  # fmt: skip
