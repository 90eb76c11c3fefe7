"""Views, and what an in-place change through one means for the others.

A view knows its base (the tensor that owns the memory's history); the base knows its live views. Law: a change in
place through any of them is a change of the base. The base's new history is CopySlices: outside the changed region
the old history, inside it the changing operator's. Every other view's history is then "read these positions of the
base", and is renewed at once, so that `_edge` is always true.
Source: torch notes/autograd, "In-place operations"; torch docs "Tensor Views".
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any

from reference_engine.state import state
from reference_engine.tape.node import Edge, Node, edge_of, next_sequence_number
from reference_engine.tape.overridden import override, recorded_edge
from reference_engine.tape.region import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_engine.tensor import Tensor

LEAF_IN_PLACE = "a leaf Variable that requires grad is being used in an in-place operation."
LEAF_VIEW_IN_PLACE = "a view of a leaf Variable that requires grad is being used in an in-place operation."
MULTI_OUTPUT = (
    "Output {nr} of {node} is a view and is being modified inplace. This view is the output of a function that returns "
    "multiple views. Such functions do not allow the output views to be modified inplace. You should replace the "
    "inplace operation by an out-of-place one."
)
NO_GRAD_VIEW = (
    "A view was created in {mode} mode and is being modified inplace {now}. Given that this use case is ambiguous and "
    "error-prone, it is forbidden. You can clarify your code by moving both the view and the inplace either both inside "
    "the {block} block (if you don't want the inplace to be tracked) or both outside (if you want the inplace to be "
    "tracked)."
)
UNRECORDED = "A view was created in no_grad mode and is being modified inplace with grad mode enabled. "
CHANGED = "is being modified"
MODES = {
    "no_grad": {"mode": "no_grad", "now": "with grad mode enabled", "block": "no_grad"},
    "inference": {"mode": "inference", "now": "in normal mode", "block": "inference_mode"},
}


IN_FUNCTION = (
    "Output {nr} of {node} is a view and is being modified inplace. This view was created inside a custom Function (or "
    "because an input was returned as-is) and the autograd logic to handle view+inplace would override the custom "
    "backward associated with the custom Function, leading to incorrect gradients. This behavior is forbidden. You can "
    "fix this by cloning the output of the custom Function."
)


class ViewInfo:
    """How a view came to be, where that forbids changing it: made with grad mode off (then `no_grad` is the mode:
    "no_grad" or "inference"), as one of several outputs, or as output of a custom Function; one of these at most.

    shares_tangent: whether it has the tangents of its base; not so a dual tensor, which is a view of its primal.
    """

    __slots__ = ("in_function", "multi_output", "no_grad", "shares_tangent")

    def __init__(self, no_grad: str | None, multi_output: bool, in_function: bool = False) -> None:
        self.no_grad, self.multi_output, self.in_function = no_grad, multi_output, in_function
        self.shares_tangent = True

    @property
    def ordinary(self) -> bool:
        """Whether its history is "read these positions of the base", whatever happens to that."""
        return not (self.no_grad or self.multi_output or self.in_function)


def link_views(source: Tensor, views: Sequence[Tensor], *, several: bool = False) -> None:
    """Makes `views` views of `source`'s base: shared version counter, and known to the base. several: they come from a
    function that gives any number of them, be it one.
    """
    base = source._base if source._base is not None else source
    counter = source._version_counter()
    inherited = source._view
    mode = "inference" if state.inference else None if state.grad_enabled else "no_grad"
    known = base._views
    if known is None:
        known = base._views = []
    elif len(known) > 64:
        known[:] = [r for r in known if r() is not None]
    for view in views:
        view._base, view._counter = base, counter
        view._view = ViewInfo(mode, mode is None and several)
        if view._view.ordinary and inherited is not None:
            view._view = ViewInfo(inherited.no_grad, inherited.multi_output, inherited.in_function)
        if inherited is not None and not inherited.shares_tangent:
            view._view.shares_tangent = False
        known.append(weakref.ref(view))


def check_inplace(tensor: Tensor) -> None:
    """Raises where torch forbids changing `tensor` in place: for what is recorded first, then for where it lies."""
    _check_recorded(tensor)
    if (
        0 in tensor._array.strides
        and tensor._array.size
        and any(n > 1 and s == 0 for n, s in zip(tensor._array.shape, tensor._array.strides, strict=True))
    ):
        raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory "
                           "location. Please clone() the tensor before performing the operation.")  # fmt: skip


def _check_recorded(tensor: Tensor) -> None:
    if tensor.is_inference() and not state.inference:
        if tensor._tracked and tensor._base is None and state.grad_enabled:
            raise RuntimeError(LEAF_IN_PLACE)
        raise RuntimeError("Inplace update to inference tensor outside InferenceMode is not allowed.You can make a "
                           "clone to get a normal tensor before doing inplace update.See "
                           "https://github.com/pytorch/rfcs/pull/17 for more details.")  # fmt: skip
    if not state.grad_enabled or state.inference or (not tensor.requires_grad and tensor._base is None):
        return
    base = tensor._base
    if base is None:
        if tensor._edge is None:
            raise RuntimeError(LEAF_IN_PLACE)
        return
    if not (tensor.requires_grad or base.requires_grad):
        return
    check_view(tensor)
    if base._edge is None and base._tracked:
        raise RuntimeError(LEAF_VIEW_IN_PLACE)


def check_view(tensor: Tensor) -> None:
    """Raises where a view came to be in a way that forbids a recorded change in place: by what is recorded for the view or
    its base, or by an operand that brings a history to both.
    """
    info = tensor._view
    if not info.ordinary:
        raise RuntimeError(_refusal(tensor))


def _refusal(view: Tensor) -> str:
    """Why a view may not be changed in place: how it came to be, with the operator that made it."""
    info, edge = view._view, recorded_edge(view)
    if info.no_grad:
        return NO_GRAD_VIEW.format(**MODES[info.no_grad])
    message = MULTI_OUTPUT if info.multi_output else IN_FUNCTION
    if edge is None:  # then nothing was recorded for it
        return UNRECORDED + message.partition("inplace. ")[2]
    node, nr = edge
    return message.format(nr=nr, node=re.sub(r"Backward\d*$", "", node.name()))


def rebase(target: Tensor, result: Tensor) -> None:
    """Gives `target`, just overwritten with `result`'s values, and its aliases the history that follows."""
    base = target._base
    if not state.grad_enabled or state.inference:
        return
    if base is None:
        if result._edge is None and target._edge is None:
            return
        move_retain(target, result._edge)
        target._edge, target._hooks = result._edge, None
        target._tracked = target._tracked and result._edge is None
        changed = target
    else:
        if result._edge is None and not base.requires_grad:
            return
        node = CopySlices(base, target, result._edge)
        if state.anomaly:
            from reference_engine.tape.anomaly import remember

            remember(node)
        move_retain(base, (node, 0))
        base._edge, base._tracked, base._hooks = (node, 0), False, None
        changed = base
    renew_views(changed)


def move_retain(tensor: Tensor, edge: Edge | None) -> None:
    """retain_grad follows the tensor to its new node."""
    if tensor._retains and tensor._edge is not None and edge is not None:
        node, nr = tensor._edge
        node.hooks().retain.pop(nr, None)
        edge[0].hooks().retain[edge[1]] = weakref.ref(tensor)


def renew_views(base: Tensor) -> None:
    """After a change of the base: every live view reads its positions of the new base."""
    if base._views is None:
        return
    for reference in base._views:
        view = reference()
        if view is not None and view is not base:
            edge = edge_of(base)
            if edge is None:
                view._edge = None
            elif view._view.ordinary:
                maker = AsStridedBackward0(base, view, edge)
                move_retain(view, (maker, 0))
                view._edge, view._hooks = (maker, 0), None
            else:
                override(
                    view, _refusal(view).replace(CHANGED, "its base or another view of its base has been modified")
                )


class _RegionNode(Node):
    """A node that maps between a base and the region that a view shows."""

    region: Region

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return self.apply(grads[0], needed, recorded=False)

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return self.apply(grads[0], needed, recorded=True)

    def apply(self, gradient: Any, needed: tuple[bool, ...], *, recorded: bool) -> tuple:
        """Gradients of the inputs."""
        raise NotImplementedError


class AsStridedBackward0(_RegionNode):
    """The history of a view whose base was changed after it was taken."""

    def __init__(self, base: Tensor, view: Tensor, edge: Edge) -> None:
        self.sequence_number = next_sequence_number()
        self.edges = (edge,)
        self.shape, self.dtype = view._array.shape, view._array.dtype
        self.region = Region(base, view)

    def apply(self, gradient: Any, needed: tuple[bool, ...], *, recorded: bool) -> tuple:
        return (None if gradient is None else self.region.put(gradient),)


class CopySlices(_RegionNode):
    """The history of a base after a view of it was changed in place by the operator behind `inner`.

    Inputs: the base as it was, then the operator's other inputs. An operator that recorded several nodes reaches the
    base as it was through the view's old history; then all inputs of its last node are others.
    """

    def __init__(self, base: Tensor, view: Tensor, inner: Edge | None) -> None:
        self.sequence_number = next_sequence_number()
        self.inner = inner
        edges = inner[0].edges if inner is not None else ()
        self.direct = not edges or edges[0] == edge_of(view)
        self.edges = (edge_of(base), *(edges[1:] if self.direct else edges))
        self.shape, self.dtype = base._array.shape, base._array.dtype
        self.region = Region(base, view)

    def name(self) -> str:
        return "torch::autograd::CopySlices"

    def free(self) -> None:
        if self.inner is not None:
            self.inner[0].free()

    def apply(self, gradient: Any, needed: tuple[bool, ...], *, recorded: bool) -> tuple:
        if gradient is None:
            return (None,) * len(self.edges)
        inside = self.region.take(gradient)
        results: tuple = (None,)
        if self.inner is not None:
            node, nr = self.inner
            grads = tuple(inside if i == nr else None for i in range(node.outputs))
            wanted = (node.edges[0] is not None, *needed[1:]) if self.direct else needed[1:]
            results = node.tensors(grads, wanted) if recorded else node.arrays(grads, wanted)
            results = results if self.direct else (None, *results)
        if not needed[0]:
            return (None, *results[1:])
        outside = gradient - self.region.put(inside)
        if results[0] is not None:
            outside = outside + self.region.put(results[0])
        return (outside, *results[1:])
