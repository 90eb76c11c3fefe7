"""What reverse-mode transforms share: inputs that are new to the graph, outputs that belong to what is outside.

Law: inside a transform its inputs are tracked, whatever they are outside and whatever the grad mode there. What leaves it
has the history that it has outside: none, where it depends on nothing that is tracked there or grad mode is off there.
An input that is tracked outside stays connected, so that transforms nest; each is differentiated with respect to its own
inputs alone, so that they are never confused. Source: torch docs, "UX Limitations", "torch.func API Reference".
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reference_engine.batching.tensor import apply, bottom, everywhere
from reference_engine.creation import zeros_like
from reference_engine.state import state
from reference_engine.tape.node import LEAF, edge_of
from reference_engine.tape.tangents import share
from reference_engine.tape.transforms import Transform, leaving
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_map, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOOKS = "torch.func.{grad, vjp, jacrev, hessian} don't yet support saved tensor hooks. Please open an issue with your use case."


@contextmanager
def transforming() -> Iterator[Transform]:
    """The inside of a reverse-mode transform: recorded, and without saved-tensor hooks."""
    if state.saved_tensor_hooks:
        raise RuntimeError(HOOKS)
    before, disabled = state.set_grad_enabled(True), state.saved_tensor_hooks_disabled
    state.saved_tensor_hooks_disabled = HOOKS
    try:
        with Transform() as transform, out_of_inference():
            yield transform
    finally:
        state.saved_tensor_hooks_disabled = disabled
        state.set_grad_enabled(before)


@contextmanager
def out_of_inference() -> Iterator[None]:
    """What is computed here is tracked, also where inference mode is on outside."""
    before, state.inference = state.inference, False
    state.refresh()
    try:
        yield
    finally:
        state.inference = before
        state.refresh()


def new_inputs(tree: Any) -> Any:
    """The tensors of a tree as inputs of a transform."""
    return tree_map(_new_input, tree)


def _new_input(x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    if not (x.is_floating_point() or x.is_complex()):
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    x = everywhere(x)
    result = x.view_as(x) if x.requires_grad else apply(_leaf, x)
    state.reversing[-1].owns(bottom(result))
    return result


def _leaf(x: Tensor) -> Tensor:
    """A leaf of its own with the elements, and the tangents, of x."""
    result = _bare(x)
    result._tracked = True
    return result


def _bare(x: Tensor) -> Tensor:
    """x without history, and with its tangents: those belong to levels outside."""
    result = Tensor._alias(x)
    result._inference = False
    share(x, result)
    return result


def leaves_of(tensors: Sequence[Tensor]) -> set[int]:
    """Which accumulators the graphs of `tensors` end at, by identity."""
    found, seen = set(), set()
    stack = [edge[0] for t in tensors if (edge := edge_of(t)) is not None]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.role == LEAF:
            found.add(id(node))
        else:
            stack += [edge[0] for edge in node.edges if edge is not None]
    return found


def tracked_outside(results: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether results depend on anything tracked besides the transform's own inputs."""
    own = {id(edge[0]) for x in inputs if x.is_leaf and (edge := edge_of(x)) is not None}
    return bool(leaves_of(results) - own)


def outside(tree: Any, transform: Transform, *, tracked: bool) -> Any:
    """The tensors of a tree as they leave a transform."""
    if not tracked:
        return untracked(tree)
    return tree_map(lambda t: apply(lambda x: leaving(x, transform), t) if isinstance(t, Tensor) else t, tree)


def untracked(tree: Any) -> Any:
    """The tensors of a tree without history."""
    return tree_map(lambda t: apply(_bare, t) if isinstance(t, Tensor) and t.requires_grad else t, tree)


def chosen(args: tuple, argnums: Any) -> tuple[list[int], Any]:
    """(positions that are differentiated, the arguments there: one, or a tuple)."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    if not numbers:
        raise RuntimeError("argnums must be non-empty")
    for n in numbers:
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int, got: {type(n)}")
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    numbers = [n % len(args) for n in numbers]
    if len(set(numbers)) != len(numbers):
        raise RuntimeError(f"argnums elements must be unique, got {tuple(numbers)}")
    picked = tuple(args[n] for n in numbers)
    return numbers, picked[0] if isinstance(argnums, int) else picked


def replaced(args: tuple, numbers: list[int], values: Any, single: bool) -> list:
    """The arguments with others in the chosen places."""
    result = list(args)
    for n, value in zip(numbers, (values,) if single else values, strict=True):
        result[n] = value
    return result


def with_aux(result: Any, where: str, has_aux: bool) -> tuple[Any, Any]:
    """(output, aux) of what a function returned; aux is None without has_aux."""
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{where}: output of function f should be a tuple: (output, aux) if has_aux is True")
    output, aux = result
    for leaf in tree_flatten(aux)[0]:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(leaf)}")
    return output, aux


def check_outputs(where: str, leaves: list) -> None:
    """Raises where a function has no outputs, or one that is no tensor."""
    if not [leaf for leaf in leaves if leaf is not None]:
        raise RuntimeError(f"{where}: Expected f to be a function that has non-empty output (got output = {leaves})")
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(
                f"{where}: expected f(*primals) to return only tensors, got unsupported type {type(leaf)}"
            )


def gradients(outputs: Sequence[Tensor], inputs: Any, cotangents: Sequence[Tensor | None], *, recorded: bool) -> Any:
    """The vector-Jacobian products for a tree of inputs, zeros where outputs do not depend on one."""
    from reference_engine.autograd.backward import grad

    flat, form = tree_flatten(inputs)
    pairs = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad]
    if not pairs:
        return tree_unflatten([zeros_like(x) for x in flat], form)
    ys, seeds = zip(*pairs, strict=True)
    found = grad(ys, flat, seeds, retain_graph=True, create_graph=recorded, allow_unused=True)
    return tree_unflatten([zeros_like(x) if g is None else g for x, g in zip(flat, found, strict=True)], form)
