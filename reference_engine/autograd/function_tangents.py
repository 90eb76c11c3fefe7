"""Forward mode through custom functions: the user's jvp, and what it has to return.

Law: forward and jvp run without forward mode, so that neither sees a tangent but those that jvp is given. jvp is given one
tangent per argument and returns one per output. What forward changed in place, jvp changes in place; where forward
returned a view, jvp returns a view. Source: torch notes/extending, "Forward mode AD".
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.state import state
from reference_engine.tape.tangents import below, get, levels_of, put
from reference_engine.tensor import Tensor, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_engine.autograd.function_node import FunctionNode
    from reference_engine.tape.tangents import Level

NOT_IN_PLACE = (
    "An inplace custom Function is not modifying the forward mode gradients inplace. If the forward is modifying an input "
    "inplace, then the jvp function must modify the corresponding gradient inplace."
)
NO_VIEW = "A custom Function's forward is returning a view (or an input as-is) but the jvp is not returning a view."
NO_TENSOR = (
    "Function's jvp returned a gradient at position {nr}, but  the corresponding forward output is not a differentiable "
    "Tensor.You should return None at that position instead."
)
NO_TANGENT = "Expected both tensor and its forward grad to be floating point or complex"


@contextmanager
def without_tangents() -> Iterator[None]:
    """Forward mode switched off."""
    before, state.forward_grad_enabled = state.forward_grad_enabled, False
    try:
        yield
    finally:
        state.forward_grad_enabled = before


def push(node: FunctionNode, args: tuple, results: Any, dirty: tuple[Tensor, ...], marked: tuple[Tensor, ...]) -> None:
    """Gives the results of a custom function the tangents that its jvp computes."""
    if not state.forward_grad_enabled or state.inference:
        return
    outs = results if isinstance(results, tuple) else (results,)
    for level in levels_of(args):
        given = [_given(node, arg, level) for arg in args]
        with _calling(node, level):
            returned = node.function.jvp(node.context, *given)
        returned = returned if isinstance(returned, tuple) else (returned,)
        if len(returned) != len(outs):
            raise RuntimeError(f"Function's jvp returned an invalid number of forward gradients (expected {len(outs)} but "
                               f"got {len(returned)})")  # fmt: skip
        for nr, tangent in enumerate(returned):
            if tangent is not None and not isinstance(tangent, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(tangent).__name__}) for grad output {nr}.")
        for nr, (out, tangent) in enumerate(zip(outs, returned, strict=True)):
            if not isinstance(out, Tensor) or out._array.dtype.kind not in "fc" or any(out is m for m in marked):
                if tangent is not None:
                    raise RuntimeError(NO_TENSOR.format(nr=nr))
            else:
                _put(out, tangent, level, args, given, changed=any(out is d for d in dirty))


def _given(node: FunctionNode, arg: Any, level: Level) -> Tensor | None:
    """The tangent that jvp is given for an argument."""
    if not isinstance(arg, Tensor):
        return None
    tangent = get(arg, level)
    if tangent is None and node.context.materialize_grads and arg._array.dtype.kind in "fc":
        return wrap(np.zeros_like(arg._array))
    return tangent


@contextmanager
def _calling(node: FunctionNode, level: Level) -> Iterator[None]:
    """While jvp runs its context shows what save_for_forward kept, as seen from outside of `level`."""
    context = node.context
    saved = context.saved_for_forward or ()
    context._shown = tuple([below(x, level) if isinstance(x, Tensor) else x for x in saved])
    try:
        if level.index:
            yield
        else:
            with without_tangents():
                yield
    finally:
        context._shown = None


def _put(out: Tensor, tangent: Tensor | None, level: Level, args: tuple, given: list, *, changed: bool) -> None:
    """One result's tangent, checked."""
    if tangent is None or tangent._array.dtype.kind not in "fc":
        raise RuntimeError(NO_TANGENT)
    if changed:
        own = next((t for arg, t in zip(args, given, strict=True) if arg is out), None)
        if own is not None and tangent is not own:
            raise RuntimeError(NOT_IN_PLACE)
    elif _is_view(out, args) and not _is_view(tangent, given):
        raise RuntimeError(NO_VIEW)
    if tangent.shape != out.shape:
        from reference_engine.autograd.forward_ad import SIZE

        raise RuntimeError(SIZE.format(size=list(out.shape), given=list(tangent.shape)))
    _share_with_base(out, level, tangent) if changed else put(out, level, tangent)


def _share_with_base(out: Tensor, level: Level, tangent: Tensor) -> None:
    """A tensor changed in place has its tangent in the memory of its base's, where it is a view."""
    if get(out, level) is tangent:
        return
    base = out._base
    if base is not None and out._view.shares_tangent and get(base, level) is None:
        put(base, level, wrap(np.zeros_like(base._array)))
    present = get(out, level)
    if present is None:
        put(out, level, tangent)
    else:
        present.copy_(tangent)


def _is_view(tensor: Tensor, of: Any) -> bool:
    """Whether a tensor is a view on the memory of one of the others."""
    return tensor._base is not None and any(
        isinstance(x, Tensor) and np.may_share_memory(x._array, tensor._array) for x in of
    )
