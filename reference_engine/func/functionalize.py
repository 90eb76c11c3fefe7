"""functionalize: the same function, written without changes in place. Source: torch.func.functionalize."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from reference_engine.state import state
from reference_engine.utils._pytree import tree_map

if TYPE_CHECKING:
    from collections.abc import Callable

REMOVE = ("mutations", "mutations_and_views")
INVALID = (
    "functionalize(f, remove='mutations'): received invalid argument for remove={given}. Valid options are:\n"
    "     remove='mutations': all inplace and out= operators will be removed from the program, and replaced with their "
    "out-of-place equivalents.\n     remove='mutations_and_views': In addition to the above, all aliasing operators {{view}} "
    "will be replaced with their non-aliasing counterparts, {{view}}_copy."
)


def functionalize(func: Callable, *, remove: str = "mutations") -> Callable:
    """The function with the results of `func`, and its changes of inputs, in which no intermediate is changed in place.

    Where make_fx makes a graph it is written anew without them (fx/functionalization.py). Elsewhere nobody could tell: an
    operator in place is here an operator out of place whose result takes the operand's name (ops/inplace.py), and a change
    through a view is replayed on its base (tape/views.py). It is a transform: backward() inside raises RuntimeError.
    Source: torch.func.functionalize.
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if remove not in REMOVE:
            raise RuntimeError(INVALID.format(given=remove))
        if state.tracing:
            from reference_engine.fx.functionalization import functionalized

            return functionalized(func, args, kwargs, copies=remove == "mutations_and_views")
        state.transforms, state.depth = state.transforms + 1, state.depth + 1
        try:
            return func(*tree_map(lambda x: x, args), **tree_map(lambda x: x, kwargs))
        finally:
            state.transforms, state.depth = state.transforms - 1, state.depth - 1

    return wrapped
