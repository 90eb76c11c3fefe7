"""What happens to a gradient that reaches a leaf.

Law: `.grad` is added to, never replaced; in place while the backward pass is not recorded, so that a reference to it
sees the sum, out of place while it is. A leaf whose requires_grad was switched off meanwhile receives nothing.
Source: torch docs "Default gradient layouts".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.state import state

if TYPE_CHECKING:
    from collections import OrderedDict

    from reference_engine.tensor import Tensor


def accumulate(variable: Tensor, gradient: Any, *, recorded: bool) -> None:
    """Adds `gradient` (an array, or a tensor when the pass is recorded) to `variable.grad`."""
    if gradient is None or not variable._tracked:
        return
    current = variable._grad
    if recorded:
        variable._grad = gradient.clone() if current is None else current + gradient
    else:
        array = gradient._array if hasattr(gradient, "_array") else np.asarray(gradient)
        if current is None:
            variable._grad = _fresh(variable, array)
        else:
            np.add(current._array, array, out=current._array, casting="unsafe")
            current._bump_version()
    if variable._post_accumulate_hooks:
        _run_post_accumulate_hooks(variable)


def _fresh(variable: Tensor, array: np.ndarray) -> Tensor:
    """A new gradient: never the array that arrived (others may hold it), laid out like the variable where dense."""
    from reference_engine.tensor import wrap

    like = variable._array
    result = np.empty_like(like, dtype=array.dtype) if like.ndim > 1 else np.empty(like.shape, array.dtype)
    result[...] = array
    return wrap(result)


def run_tensor_hooks(hooks: OrderedDict, gradient: Any, *, recorded: bool) -> Any:
    """Passes a gradient through a tensor's hooks, in order; what a hook returns replaces it.

    `gradient` is an array, or a tensor when the pass is recorded; so is the result.
    """
    from reference_engine.tensor import Tensor, wrap

    value = gradient if recorded or gradient is None else wrap(np.asarray(gradient))
    for hook in list(hooks.values()):
        returned = hook(value)
        if returned is None:
            continue
        if not isinstance(returned, Tensor):
            raise TypeError(f"expected Variable, but hook returned '{type(returned).__name__}'")
        _check_replacement(hook, value, returned)
        value = returned
    return value if recorded or value is None else value._array


def _check_replacement(hook: Any, before: Tensor | None, after: Tensor) -> None:
    name = getattr(hook, "__name__", type(hook).__name__)
    if before is None:
        return
    if before._array.dtype != after._array.dtype:
        raise RuntimeError(f"hook '{name}' has changed the type of value (was {before.type()} got {after.type()})")
    if before._array.shape != after._array.shape:
        raise RuntimeError(f"hook '{name}' has changed the size of value")


def _run_post_accumulate_hooks(variable: Tensor) -> None:
    before = state.set_grad_enabled(False) if not state.grad_enabled else True
    try:
        for hook in list(variable._post_accumulate_hooks.values()):
            if hook(variable) is not None:
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")
    finally:
        state.set_grad_enabled(before)
