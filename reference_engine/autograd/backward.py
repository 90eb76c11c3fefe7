"""`backward` and `grad`: what a user asks of the backward pass, checked, and what it is told when the question is wrong.

Source: torch.autograd.backward, torch.autograd.grad.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from reference_engine.autograd.batched import batched_seeds, pull_batched
from reference_engine.autograd.graph import GradientEdge
from reference_engine.creation import ones_like
from reference_engine.dtypes import of_numpy, same
from reference_engine.state import state, warn_once
from reference_engine.tape.backward import run_backward
from reference_engine.tape.node import Edge, edge_of
from reference_engine.tensor import Tensor, held, wrap

CYCLE = (
    "Using backward() with create_graph=True will create a reference cycle between the parameter and its gradient which "
    "can cause a memory leak. We recommend using autograd.grad when creating the graph to avoid this. If you have to "
    "use this function, make sure to reset the .grad fields of your parameters to None after use to break the cycle "
    "and avoid the leak."
)
UNUSED = "appears to not have been used in the graph. Set allow_unused=True if this is the desired behavior."
IN_TRANSFORM = (
    "backward() called inside a functorch transform. This is not supported, please use functorch.grad or functorch.vjp "
    "instead or call backward() outside of functorch transforms."
)
ONLY_INPUTS = (
    "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for other parts of "
    "the graph, please use torch.autograd.backward."
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
    if state.transforming:
        raise RuntimeError(IN_TRANSFORM)
    targets = _backward_inputs(inputs)
    roots = _sequence(tensors)
    roots, given = _without_constants(roots, _matching(grad_tensors, roots))
    seeds = _seeds(roots, given)
    edges = _root_edges(roots)
    if create_graph:
        warn_once("create_graph", CYCLE)
    keep = create_graph if retain_graph is None else retain_graph
    run_backward(edges, _flowing(seeds, create_graph), keep_graph=keep, recorded=create_graph, targets=targets)


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> Any:  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`, a tuple or a dict like these; `.grad` is left alone.

    With is_grads_batched the first dimension of each of grad_outputs, and of each result, is a batch of vectors.
    Source: torch.autograd.grad.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
                         "allow_unused=False.")  # fmt: skip
    roots, wanted = _sequence(outputs), _given_inputs(inputs, "grad")
    if not only_inputs:
        warnings.warn(ONLY_INPUTS, FutureWarning, stacklevel=2)
    roots, given = _without_constants(roots, _matching(grad_outputs, roots))
    keep = create_graph if retain_graph is None else retain_graph
    if state.vmap_levels:
        from reference_engine.batching.hooks import gradients

        options = {"retain_graph": keep, "create_graph": create_graph, "allow_unused": allow_unused,
                   "materialize_grads": materialize_grads}  # fmt: skip
        batched = gradients(grad, roots, wanted, given, options)
        if batched is not None:
            return dict(zip(inputs, batched, strict=True)) if type(inputs) is dict else batched

    def pull(seeds: list[Tensor], keep_graph: bool) -> list:
        """The results for one vector per root: tensors when recorded, else arrays; None where nothing arrived."""
        edges, targets = _root_edges(roots), _grad_targets(wanted)
        return run_backward(edges, _flowing(seeds, create_graph), keep_graph=keep_graph,
                            recorded=create_graph, targets=targets, accumulating=False)  # fmt: skip

    if is_grads_batched:
        found = pull_batched(batched_seeds(roots, given), pull, keep_graph=keep, recorded=create_graph)
    else:
        found = pull(_seeds(roots, given), keep)
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    results = [_result(i, x, g, allow_unused) for i, (x, g) in enumerate(zip(wanted, found, strict=True))]
    if materialize_grads:
        results = [_materialized(x, g, create_graph) for x, g in zip(wanted, results, strict=True)]
    return dict(zip(inputs, results, strict=True)) if type(inputs) is dict else tuple(results)


def _result(index: int, x: Any, g: Any, allow_unused: bool) -> Tensor | None:
    if g is None and not allow_unused:
        raise RuntimeError(f"The differentiated Tensor at index {index} {UNUSED}")
    return g if g is None or isinstance(g, Tensor) else held(g)


def _materialized(x: Any, g: Tensor | None, recorded: bool) -> Tensor:
    """Zeros for an input that was not used; they require grad where the others may, to be differentiated again."""
    if g is not None:
        return g
    if not isinstance(x, Tensor):
        raise RuntimeError("materialize_grads cannot be used when the given input is a GradientEdge")
    zeros = wrap(np.zeros_like(x._array))
    zeros._tracked = recorded
    return zeros


def _given_inputs(inputs: Any, where: str) -> tuple:
    """The tensors and edges that `inputs` names: one, a sequence, or the values of a dict."""
    if isinstance(inputs, Mapping):
        if type(inputs) is not dict:
            raise TypeError(f"`inputs` argument to `{where}()` must be a dict, not {type(inputs).__name__}. Other Mapping "
                            "types are not supported.")  # fmt: skip
        inputs = tuple(inputs.values())
    given = _sequence(inputs)
    if not given:
        raise RuntimeError(f"`inputs` argument to `{where}()` cannot be empty.")
    return given


def _sequence(x: Any) -> tuple:
    if isinstance(x, (Tensor, GradientEdge)):
        return (x,)
    return tuple(x)


def _matching(grads: Any, roots: tuple) -> tuple:
    """One gradient per root."""
    if grads is None:
        return (None,) * len(roots)
    given = (grads,) if isinstance(grads, Tensor) else tuple(grads)
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
                                   f"output[{i}] has a dtype of {of_numpy(dtype)}.")  # fmt: skip
            seeds.append(g if same(g._array.dtype, dtype) or _takes_any(root) else g.to(of_numpy(dtype)))
        elif g is None:
            seeds.append(_implicit(root, shape, dtype))
        else:
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    return seeds


def _takes_any(root: Any) -> bool:
    """Whether the root is a leaf whose gradient may have any dtype."""
    return isinstance(root, Tensor) and root._grad_dtype is None and root._edge is None


def _implicit(root: Any, shape: tuple, dtype: np.dtype) -> Tensor:
    if isinstance(root, Tensor) and not root.requires_grad:
        return wrap(np.ones(shape, dtype))  # _root_edges refuses it, with its own message
    if prod(shape) != 1:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    if dtype.kind not in "f":
        raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {of_numpy(dtype)}")
    if state.tracing and isinstance(root, Tensor):
        return ones_like(root)
    return wrap(np.ones(shape, dtype))


def _shape_dtype(root: Any) -> tuple[tuple[int, ...], np.dtype]:
    if isinstance(root, GradientEdge):
        if root.output_nr >= root._recorded[0].outputs:
            raise IndexError("tuple index out of range")
        node, nr = root._recorded
        return node.output_shape(nr), node.output_dtype(nr)
    if not isinstance(root, Tensor):
        raise TypeError(f"expected a Tensor or a GradientEdge, but got {type(root).__name__}")
    return root._array.shape, root._array.dtype


def _root_edges(roots: tuple) -> list[Edge]:
    edges = []
    for i, root in enumerate(roots):
        edge = root._recorded if isinstance(root, GradientEdge) else edge_of(root)
        if edge is None:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        edges.append(edge)
    return edges


def _flowing(seeds: list[Tensor], recorded: bool) -> list[Any]:
    """The seeds as the pass has them flow: tensors while it is recorded or may carry tangents, else arrays."""
    if recorded or state.lets_tensors_flow():
        return seeds
    # A 0-d seed starts as a NumPy scalar: scalar arithmetic is many times faster than that of 0-d arrays.
    # (A scalar has no mark of a narrow type.)
    return [seed._array if seed._array.ndim or seed._array.dtype.metadata else seed._array[()] for seed in seeds]


def _grad_targets(inputs: tuple) -> list[Edge]:
    targets: list[Edge] = []
    for x in inputs:
        edge = _target(x)
        if edge is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        targets.append(edge)
    return targets


def _target(x: Any) -> Edge | None:
    """Where the gradient of an input arrives."""
    if isinstance(x, GradientEdge):
        return x._recorded
    if not isinstance(x, Tensor):
        raise RuntimeError(f"all inputs have to be Tensors or GradientEdges, but got {type(x).__name__}")
    return edge_of(x)


def _backward_inputs(inputs: Any) -> list[Edge] | None:
    if inputs is None:
        return None
    targets = []
    for x in _given_inputs(inputs, "backward"):
        if isinstance(x, Tensor) and (x._edge is not None or not x.requires_grad):
            x.retain_grad()
        edge = _target(x)
        assert edge is not None
        targets.append(edge)
    return targets
