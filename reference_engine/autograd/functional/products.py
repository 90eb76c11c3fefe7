"""Products: v^T J by one backward pass, J v and H v by differentiating that pass again.

v^T J is linear in v; its derivative with respect to v, applied to a vector, is J times that vector. So jvp is a vjp of
a vjp (the "double backward trick"), and hvp the same on the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.autograd.functional.arguments import (
    Tensors,
    as_tensors,
    check_tracked,
    directions,
    filled,
    finished,
    gradients,
    outputs_of,
    prepared,
    single_output,
    unpacked,
)
from reference_engine.autograd.grad_mode import enable_grad
from reference_engine.tensor import Tensor, wrap

NOT_STRICT = "This is not allowed in strict mode."
NOT_STRICT_GRAPH = "This is not allowed in strict mode when create_graph=True."
OF_OUTPUT = "the user-provided function returns"
OF_INPUT = "the input to the user-provided function is"


def _independent(i: int) -> str:
    return f"The output of the user-provided function is independent of input {i}. {NOT_STRICT}"


def _constant(what: str) -> Callable[[int], str]:
    return lambda i: f"The {what} of the user-provided function is independent of input {i}. {NOT_STRICT_GRAPH}"


def vjp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v^T J); the product has the shapes of the inputs. Source: torch.autograd.functional.vjp."""
    given, is_tuple = as_tensors(inputs, "inputs", "vjp")
    with enable_grad():
        x = prepared(given, keep_history=create_graph)
        outputs, outputs_tuple = outputs_of(func, x, "vjp")
        if strict:
            check_tracked(outputs)
        seed = directions(v, outputs, outputs_tuple, OF_OUTPUT, "vjp")
        found = gradients(outputs, x, seed, create_graph=create_graph)
        product = filled(found, x, strict=strict, create_graph=create_graph, independent=_independent,
                         constant=_constant("jacobian"))  # fmt: skip
    return _pair(outputs, outputs_tuple, product, is_tuple, create_graph)


def jvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), J v); the product has the shapes of the outputs. Source: torch.autograd.functional.jvp."""
    given, _, vector = _directed(inputs, v, "jvp")
    with enable_grad():
        x = prepared(given, keep_history=create_graph)
        outputs, outputs_tuple = outputs_of(func, x, "jvp")
        if strict:
            check_tracked(outputs)
        product = jacobian_times(outputs, x, vector, create_graph=create_graph, strict=strict)
    return _pair(outputs, outputs_tuple, product, outputs_tuple, create_graph)


def jacobian_times(outputs: Tensors, x: Tensors, vector: Tensors, *, create_graph: bool, strict: bool) -> Tensors:
    """J v, by the double backward trick, for outputs computed from x."""
    dummies = tuple(wrap(np.zeros_like(o._array)).requires_grad_() for o in outputs)
    first = filled(gradients(outputs, x, dummies, create_graph=True), x, strict=strict, create_graph=create_graph,
                   independent=_independent, constant=_constant("jacobian"))  # fmt: skip
    found = gradients(first, dummies, vector, create_graph=create_graph)
    return filled(found, outputs, strict=False, create_graph=create_graph, independent=_independent,
                  constant=_constant("jacobian")) if not (strict and create_graph) else _strict(found, outputs)  # fmt: skip


def _strict(found: tuple[Tensor | None, ...], outputs: Tensors) -> Tensors:
    """In strict mode with create_graph the product depends on the input."""
    return filled(
        found, outputs, strict=True, create_graph=True, independent=_independent, constant=_constant("jacobian")
    )


def _directed(inputs: Any, v: Any, function: str) -> tuple[Tensors, bool, Tensors]:
    """The inputs, whether they were a tuple, and the direction v in their space."""
    given, is_tuple = as_tensors(inputs, "inputs", function)
    return given, is_tuple, directions(v, given, is_tuple, OF_INPUT, function)


def recorded_gradient(func: Callable, x: Tensors, function: str, *, strict: bool) -> tuple[Tensor, Tensors]:
    """The one-element output of func and its gradient, recorded, ready to be differentiated again."""
    output = single_output(func, x, function)
    if strict:
        check_tracked((output,))
    found = gradients((output.reshape(()),), x, None, create_graph=True)
    gradient = filled(found, x, strict=strict, create_graph=False, independent=_independent, constant=_independent)
    if strict:
        check_twice_differentiable(gradient)
    return output, gradient


def check_twice_differentiable(gradient: Tensors) -> None:
    """Strict mode: the gradient of a function whose Hessian is asked for depends on its inputs."""
    for i, g in enumerate(gradient):
        if not g.requires_grad:
            raise RuntimeError(f"While computing the hessian, found that the jacobian of the user-provided function with "
                               f"respect to input {i} is independent of the input. {NOT_STRICT} You should ensure that your "
                               "function is twice differentiable and that the jacobian depends on the inputs (this would be "
                               "violated by a linear function for example).")  # fmt: skip


def vhp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v^T H) for a function with one output of one element. Source: torch.autograd.functional.vhp."""
    given, is_tuple, vector = _directed(inputs, v, "vhp")
    with enable_grad():
        x = prepared(given, keep_history=create_graph)
        output, gradient = recorded_gradient(func, x, "vhp", strict=strict)
        found = gradients(gradient, x, vector, create_graph=create_graph)
        product = filled(found, x, strict=strict, create_graph=create_graph, independent=_independent,
                         constant=_constant("hessian"))  # fmt: skip
    return _pair((output,), False, product, is_tuple, create_graph)


def hvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), H v); equal to vhp where second derivatives commute. Source: torch.autograd.functional.hvp."""
    given, is_tuple, vector = _directed(inputs, v, "hvp")
    with enable_grad():
        x = prepared(given, keep_history=create_graph)
        output, gradient = recorded_gradient(func, x, "hvp", strict=strict)
        dummies = tuple(wrap(np.zeros_like(g._array)).requires_grad_() for g in gradient)
        found = gradients(gradient, x, dummies, create_graph=True)
        double = filled(found, x, strict=strict, create_graph=create_graph, independent=_independent,
                        constant=_constant("hessian"))  # fmt: skip
        found = gradients(double, dummies, vector, create_graph=create_graph)
        product = filled(found, x, strict=False, create_graph=create_graph, independent=_independent,
                         constant=_constant("hessian"))  # fmt: skip
        if strict and create_graph:
            filled(
                found,
                x,
                strict=True,
                create_graph=True,
                independent=_constant("hessian"),
                constant=_constant("hessian"),
            )
    return _pair((output,), False, product, is_tuple, create_graph)


def _pair(
    outputs: Tensors, outputs_tuple: bool, product: Tensors, product_tuple: bool, create_graph: bool
) -> tuple[Any, Any]:
    return (unpacked(finished(outputs, create_graph=create_graph), outputs_tuple),
            unpacked(finished(product, create_graph=create_graph), product_tuple))  # fmt: skip
