"""Index tensors and masks that a result's derivative needs: saved with the node, as torch saves them.

Rules read plain arrays that were made of them; what is kept here is the tensor, so that saved-tensor hooks see it and a
change in place before the backward pass raises. Source: torch notes/autograd, "In-place correctness checks".
"""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any

from reference_engine.ops.kinds import OpNode
from reference_engine.state import state
from reference_engine.tape.saved import save_input
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def also_save(result: Any, tensors: Iterable[Any]) -> Any:
    """Saves tensors with the node that made `result`, if it has one; returns the result."""
    first = result[0] if isinstance(result, tuple) else result
    if state.vmap_levels or not isinstance(first, Tensor) or first._edge is None:
        return result
    node = first._edge[0]
    if isinstance(node, OpNode):
        kept = [save_input(x) for x in tensors if isinstance(x, Tensor)]
        node.beside = (*node.beside, *kept)  # type: ignore[misc]
    return result


def saves(*names: str) -> Callable[[Callable], Callable]:
    """Decorator: the arguments of these names, where they are tensors, are saved with what the function records."""

    def decorate(function: Callable) -> Callable:
        parameters = list(inspect.signature(function).parameters)
        places = [(parameters.index(name), name) for name in names]

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            given = [args[i] if i < len(args) else kwargs.get(name) for i, name in places]
            return also_save(result, given)

        return call

    return decorate
