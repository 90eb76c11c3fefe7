"""`backward` and `grad`: what a user asks of the backward pass, checked, and what it is told when the question is wrong.

Source: torch.autograd.backward, torch.autograd.grad.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from reference_engine.autograd.graph import GradientEdge
from reference_engine.state import warn_once
from reference_engine.tape.backward import run_backward
from reference_engine.tape.node import Edge, edge_of
from reference_engine.tensor import Tensor, wrap

CYCLE = (
    "Using backward() with create_graph=True will create a reference cycle between the parameter and its gradient which "
    "can cause a memory leak. We recommend using autograd.grad when creating the graph to avoid this. If you have to "
    "use this function, make sure to reset the .grad fields of your parameters to None after use to break the cycle "
    "and avoid the leak."
)
UNUSED = (
    "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if this is the "
    "desired behavior."
)


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Any = None) -> None:  # fmt: skip
    """Adds the gradients of `tensors` to the `.grad` of every leaf, or of `inputs` alone. Source: autograd.backward."""
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError("`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. "
                               "Please only use `grad_tensors`.")  # fmt: skip
        grad_tensors = grad_variables
    targets = _backward_inputs(inputs)
    roots = _sequence(tensors)
    roots, given = _without_constants(roots, _matching(grad_tensors, roots))
    seeds = _seeds(roots, given)
    edges = _root_edges(roots)
    if create_graph:
        warn_once("create_graph", CYCLE)
    keep = create_graph if retain_graph is None else retain_graph
    run_backward(edges, seeds if create_graph else _arrays(seeds), keep_graph=keep, recorded=create_graph, targets=targets)


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
         allow_unused: bool | None = None, is_grads_batched: bool = False,
         materialize_grads: bool = False) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`; `.grad` is left alone. Source: torch.autograd.grad."""
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
                         "allow_unused=False.")  # fmt: skip
    if is_grads_batched:
        raise NotImplementedError("is_grads_batched needs vmap, which the reference engine does not have yet")
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    roots, wanted = _sequence(outputs), _sequence(inputs)
    seeds = _seeds(roots, _matching(grad_outputs, roots))
    edges = _root_edges(roots)
    targets = _grad_targets(wanted)
    keep = create_graph if retain_graph is None else retain_graph
    found = run_backward(
        edges, seeds if create_graph else _arrays(seeds), keep_graph=keep, recorded=create_graph,
        targets=[t for t in targets if t is not None], accumulating=False,
    )  # fmt: skip
    reached = iter(found)
    results = [next(reached) if t is not None else None for t in targets]
    return tuple(_result(x, g, create_graph, allow_unused, materialize_grads) for x, g in zip(wanted, results, strict=True))


def _result(x: Any, g: Any, recorded: bool, allow_unused: bool, materialize: bool) -> Tensor | None:
    if g is None:
        if not allow_unused:
            raise RuntimeError(UNUSED)
        return wrap(np.zeros_like(x._array)) if materialize and isinstance(x, Tensor) else None
    return g if recorded else wrap(np.asarray(g))


def _sequence(x: Any) -> tuple:
    if isinstance(x, (Tensor, GradientEdge)):
        return (x,)
    return tuple(x)


def _matching(grads: Any, roots: tuple) -> tuple:
    """One gradient per root."""
    if grads is None:
        return (None,) * len(roots)
    given = (grads,) if isinstance(grads, Tensor) or not isinstance(grads, (list, tuple)) else tuple(grads)
    if len(given) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    return given


def _without_constants(roots: tuple, grads: tuple) -> tuple[tuple, tuple]:
    """Leaves out roots that do not require grad and come with None, as documented, next to at least one that does."""
    kept = [(r, g) for r, g in zip(roots, grads, strict=True)
            if g is not None or not isinstance(r, Tensor) or r.requires_grad]  # fmt: skip
    return (tuple(r for r, _ in kept), tuple(g for _, g in kept)) if kept else (roots, grads)


def _seeds(roots: tuple, grads: tuple) -> list[Tensor]:
    """The gradient that each root starts with: ones for one element, else what was given, shape checked."""
    seeds = []
    for i, (root, g) in enumerate(zip(roots, grads, strict=True)):
        shape, dtype = _shape_dtype(root)
        if isinstance(g, Tensor):
            if tuple(g._array.shape) != tuple(shape):
                raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a "
                                   f"shape of torch.Size({list(shape)}).")  # fmt: skip
            if (g._array.dtype.kind == "c") != (dtype.kind == "c"):
                raise RuntimeError(f"For complex Tensors, both grad_output and output are required to have the same "
                                   f"dtype. Mismatch in dtype: grad_output[{i}] has a dtype of {g.dtype} and "
                                   f"output[{i}] has a dtype of {_dtype(dtype)}.")  # fmt: skip
            seeds.append(g if g._array.dtype == dtype else g.to(_dtype(dtype)))
        elif g is None:
            seeds.append(_implicit(root, shape, dtype))
        else:
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    return seeds


def _implicit(root: Any, shape: tuple, dtype: np.dtype) -> Tensor:
    if isinstance(root, Tensor) and not root.requires_grad:
        return wrap(np.ones(shape, dtype))  # _root_edges refuses it, with its own message
    if int(np.prod(shape)) != 1:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    if dtype.kind not in "f":
        raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {_dtype(dtype)}")
    return wrap(np.ones(shape, dtype))


def _dtype(numpy_type: np.dtype) -> Any:
    from reference_engine.dtypes import of_numpy

    return of_numpy(numpy_type)


def _shape_dtype(root: Any) -> tuple[tuple[int, ...], np.dtype]:
    if isinstance(root, GradientEdge):
        return root.node.output_shape(root.output_nr), root.node.output_dtype(root.output_nr)
    if not isinstance(root, Tensor):
        raise TypeError(f"expected a Tensor or a GradientEdge, but got {type(root).__name__}")
    return root._array.shape, root._array.dtype


def _root_edges(roots: tuple) -> list[Edge]:
    edges = []
    for i, root in enumerate(roots):
        edge = (root.node, root.output_nr) if isinstance(root, GradientEdge) else edge_of(root)
        if edge is None:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        edges.append(edge)
    return edges


def _arrays(seeds: list[Tensor]) -> list[Any]:
    # A 0-d seed starts as a NumPy scalar: scalar arithmetic is many times faster than that of 0-d arrays.
    return [seed._array[()] if seed._array.ndim == 0 else seed._array for seed in seeds]


def _grad_targets(inputs: tuple) -> list[Edge | None]:
    targets: list[Edge | None] = []
    for x in inputs:
        if isinstance(x, GradientEdge):
            targets.append((x.node, x.output_nr))
            continue
        if not isinstance(x, Tensor):
            raise TypeError(f"expected a Tensor or a GradientEdge as input, but got {type(x).__name__}")
        edge = edge_of(x)
        if edge is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        targets.append(edge)
    return targets


def _backward_inputs(inputs: Any) -> list[Edge] | None:
    if inputs is None:
        return None
    if isinstance(inputs, Mapping):
        if type(inputs) is not dict:
            raise TypeError(f"`inputs` argument to `backward()` must be a dict, not {type(inputs).__name__}")
        inputs = list(inputs.values())
    given = _sequence(inputs)
    if not given:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    targets = []
    for x in given:
        if isinstance(x, GradientEdge):
            targets.append((x.node, x.output_nr))
            continue
        if x._edge is not None or not x.requires_grad:
            x.retain_grad()
        edge = edge_of(x)
        assert edge is not None
        targets.append(edge)
    return targets


