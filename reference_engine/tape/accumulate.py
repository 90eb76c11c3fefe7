"""What happens to a gradient that reaches a leaf.

Law: `.grad` is added to, never replaced; in place while the backward pass is not recorded, so that a reference to it
sees the sum, out of place while it is. A leaf whose requires_grad was switched off meanwhile receives nothing.
Source: torch docs "Default gradient layouts".
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.memory import kinds
from reference_engine.state import state
from reference_engine.tape.contract import fresh, laid_out, warn_of_mismatch
from reference_engine.tape.hooks import run_post_accumulate_hooks

if TYPE_CHECKING:
    from reference_engine.tensor import Tensor


# Threads that share a leaf each add all of their gradient: reading and writing back are one step.
_adding = Lock()


def accumulate(variable: Tensor, gradient: Any, *, recorded: bool) -> None:
    """Adds `gradient` (an array, a tensor when the pass is recorded, or None) to `variable.grad`; runs what waits for it."""
    if not variable._tracked:
        return
    if gradient is not None:
        with _adding:
            _add(variable, gradient, recorded)
    if variable._post_accumulate_hooks:
        run_post_accumulate_hooks(variable)


def _add(variable: Tensor, gradient: Any, recorded: bool) -> None:
    current = variable._grad
    if recorded and state.grad_enabled:  # without grad mode tensors flow only because of forward mode
        if current is None:
            variable._grad = laid_out(_copied(gradient), variable._array)
        else:
            variable._grad = laid_out(current + gradient, current._array)
            warn_of_mismatch(variable._grad._array, variable._array)
        return
    array = gradient._array if hasattr(gradient, "_array") else gradient
    if type(array) in kinds or (current is not None and type(current._array) in kinds):
        _add_sparse(variable, current, array)
        return
    array = np.asarray(array)
    if current is None:
        variable._grad = _fresh(variable, array)
        if state.inference:
            from reference_engine.tensor import mark_inference

            mark_inference(variable._grad)
    else:
        if current._inference and not state.inference:
            from reference_engine.tape.views import check_inplace

            check_inplace(current)
        total = current._array
        if total.strides != variable._array.strides:
            warn_of_mismatch(total, variable._array)
        np.add(total, array, out=total, casting="unsafe")
        if total.dtype.metadata is not None:
            total[...] = total.dtype.metadata["dtype"].rounded(total)
        current._bump_version()


def _copied(gradient: Tensor) -> Tensor:
    """A recorded gradient as a new tensor, which the graph shows as a copy into it."""
    from reference_engine.ops.filling import copy_from
    from reference_engine.tensor import wrap

    array = gradient._array
    return gradient.clone() if type(array) in kinds else copy_from(wrap(np.empty_like(array)), gradient)


def _add_sparse(variable: Tensor, current: Tensor | None, array: Any) -> None:
    """Adds where the gradient or `.grad` is sparse: sparse with dense is dense, and a dense `.grad` stays the same tensor."""
    from reference_engine.tensor import wrap

    if current is None:
        variable._grad = wrap(array.copy())
    elif type(current._array) not in kinds:
        np.add(current._array, array, out=current._array)
        current._bump_version()
    elif type(array) in kinds:
        current._array = current._array + array
        current._bump_version()
    else:
        variable._grad = wrap(current._array + array)


def _fresh(variable: Tensor, array: np.ndarray) -> Tensor:
    """A new gradient: never the array that arrived (others may hold it), laid out like the variable where dense."""
    from reference_engine.tensor import wrap

    return wrap(fresh(variable._array, array))
