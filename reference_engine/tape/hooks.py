"""Hooks: the user's functions that are shown gradients on their way, and may replace them.

Law: a hook that returns None leaves the gradient; what it returns instead has the same type and size. Hooks of one kind
run in the order of their registration, each on what the one before left. A hook is shown None where no gradient arrived.
Source: torch docs, Tensor.register_hook, graph.Node; torch notes/autograd, "Backward Hooks execution".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine.tape.saved import error_type

if TYPE_CHECKING:
    from collections import OrderedDict

    from reference_engine.tape.node import NodeHooks
    from reference_engine.tensor import Tensor


def as_tensors(values: tuple, recorded: bool) -> tuple:
    """Gradients as hooks see them: tensors, also while plain arrays flow."""
    if recorded:
        return tuple(values)
    from reference_engine.tensor import held

    return tuple([v if v is None else held(v) for v in values])


def as_values(tensors: tuple, recorded: bool) -> tuple:
    """Gradients as they flow: arrays, or tensors while the pass is recorded."""
    return tensors if recorded else tuple([t if t is None else t._array for t in tensors])


def run_tensor_hooks(hooks: OrderedDict, gradient: Any, *, recorded: bool) -> Any:
    """Passes one gradient (an array, or a tensor when recorded) through a tensor's hooks."""
    (value,) = as_tensors((gradient,), recorded)
    for hook in list(hooks.values()):
        returned = hook(value)
        if returned is not None:
            _check(hook, value, returned)
            value = returned
    return as_values((value,), recorded)[0]


def run_output_hooks(hooks: NodeHooks, grads: tuple, *, recorded: bool) -> tuple:
    """The tensor hooks of a node's outputs."""
    changed = list(grads)
    for nr, tensor_hooks in list(hooks.tensor.items()):
        if tensor_hooks:
            changed[nr] = run_tensor_hooks(tensor_hooks, changed[nr], recorded=recorded)
    return tuple(changed)


def keep_retained(hooks: NodeHooks, grads: tuple, *, recorded: bool) -> None:
    """Gives the outputs that retain their gradient what arrived for them."""
    for nr, reference in list(hooks.retain.items()):
        tensor = reference()
        if tensor is not None and grads[nr] is not None:
            tensor._retain(grads[nr], recorded=recorded)


def run_prehooks(hooks: NodeHooks, grads: tuple, *, recorded: bool) -> tuple:
    """Node pre-hooks: each may replace the tuple of gradients of the node's outputs."""
    if not hooks.pre:
        return grads
    value = as_tensors(grads, recorded)
    for hook in list(hooks.pre.values()):
        value = _replaced(hook, value, hook(value))
    return as_values(value, recorded)


def run_posthooks(hooks: NodeHooks, results: tuple, grads: tuple, *, recorded: bool) -> tuple:
    """Node post-hooks: each may replace the tuple of gradients of the node's inputs."""
    if not hooks.post:
        return results
    outgoing, incoming = as_tensors(results, recorded), as_tensors(grads, recorded)
    for hook in list(hooks.post.values()):
        outgoing = _replaced(hook, outgoing, hook(outgoing, incoming))
    return as_values(outgoing, recorded)


def run_post_accumulate_hooks(variable: Tensor) -> None:
    """What runs on a leaf whose `.grad` was just added to. Source: Tensor.register_post_accumulate_grad_hook."""
    for hook in list(variable._post_accumulate_hooks.values()):  # type: ignore[union-attr]
        returned = hook(variable)
        if returned is not None:
            _check(hook, variable, returned)


def _replaced(hook: Any, before: tuple, returned: Any) -> tuple:
    """What a node hook left: `before`, or the tuple that it returned."""
    if returned is None:
        return before
    if not isinstance(returned, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(returned).__name__}'")
    if len(returned) != len(before):
        raise RuntimeError(f"hook '{_name(hook)}' has returned an incorrect number of values (got {len(returned)}, but "
                           f"expected {len(before)})")  # fmt: skip
    for old, new in zip(before, returned, strict=True):
        if new is not None:
            _check(hook, old, new)
    return returned


def _check(hook: Any, before: Tensor | None, after: Any) -> None:
    """Raises where `after` cannot stand for `before`."""
    from reference_engine.tensor import Tensor

    if before is None:
        raise RuntimeError("can't replace a None gradient with a non-None value")
    if not isinstance(after, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(after).__name__}'")
    if before._array.dtype != after._array.dtype:
        raise RuntimeError(
            f"hook '{_name(hook)}' has changed the type of value (was {error_type(before.dtype)} "
            f"got {error_type(after.dtype)})"
        )
    if before._array.shape != after._array.shape:
        raise RuntimeError(f"hook '{_name(hook)}' has changed the size of value")


def _name(hook: Any) -> str:
    return getattr(hook, "__name__", "<unknown>")
