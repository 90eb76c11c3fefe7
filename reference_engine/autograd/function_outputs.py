"""What a custom function's forward returned becomes outputs of its node.

Law: an input that was changed in place is returned itself, with the node as its new history; an input returned as it
was comes back as a view of itself; what forward made is returned as it is. Only floating point and complex results that
were not marked non-differentiable get history, and only while the call is recorded.
Source: torch.autograd.Function, FunctionCtx.mark_dirty and mark_non_differentiable; torch notes/extending.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reference_engine.state import state
from reference_engine.tape.anomaly import remember
from reference_engine.tape.node import edge_of
from reference_engine.tape.saved import save_input, save_output
from reference_engine.tape.views import ViewInfo, check_inplace, check_view, link_views, rebase
from reference_engine.tensor import Tensor, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_engine.autograd.function_node import FunctionNode

SEVERAL_WITH_VIEW = (
    "If your Function modifies inplace an input that is a view of another Tensor, your Function cannot return more than "
    "one Tensor. This is not supported by the current autograd engine. You should either make sure the input is not a "
    "view (using .clone() for example) or make your Function only return one Tensor (potentially splitting it into two "
    "Functions: one doing the inplace that returns a single Tensor and a second one that does the other operations)."
)
SAVED_AS_IS = (
    "An input that has been returned as-is as output is being saved for backward. This is not supported if you override "
    "setup_context. You should return and save a view of the input instead, e.g. with x.view_as(x) or setup ctx inside "
    "the forward function itself."
)


@dataclass(frozen=True)
class Call:
    """One call of forward: its tensor arguments, what it returned, and the tensors that it marked."""

    node: FunctionNode
    inputs: list[Tensor]
    outputs: list[Any]
    dirty: tuple[Tensor, ...]
    non_differentiable: tuple[Tensor, ...]
    separate: bool  # whether the context was set up apart from forward
    tracked: bool

    def is_input(self, tensor: Tensor) -> bool:
        return _among(tensor, self.inputs)

    def differentiable(self, output: Any) -> bool:
        """Whether an output takes part in differentiation."""
        return (self.tracked and isinstance(output, Tensor) and output._array.dtype.kind in "fc"
                and not _among(output, self.non_differentiable))  # fmt: skip


def finish(node: FunctionNode, args: tuple, output: Any, *, separate: bool = False) -> Any:
    """Turns what forward returned into outputs of the node; results in the form that forward gave them."""
    single = not isinstance(output, tuple)
    outputs = [output] if single else list(output)
    tracked = state.grad_enabled and any(edge is not None for edge in node.edges)
    inputs = [a for a in args if isinstance(a, Tensor)]
    context = node.context
    call = Call(node, inputs, outputs, _dirty(node, outputs), _non_differentiable(node), separate, tracked)
    node.outputs = len(outputs)
    node.results = tuple([(o._array.shape, o._array.dtype) if isinstance(o, Tensor) else None for o in outputs])
    results = [_result(call, nr, out) if isinstance(out, Tensor) else out for nr, out in enumerate(outputs)]
    _mark_views(call, results)
    if tracked:
        node.kept = _entries(call, results)
        if state.anomaly:
            remember(node)
    context.forget_marks()
    return results[0] if single else tuple(results)


def _among(tensor: Tensor, others: Iterable[Any]) -> bool:
    return any(tensor is other for other in others)


def _dirty(node: FunctionNode, outputs: list) -> tuple[Tensor, ...]:
    """The tensors marked dirty, their change counted."""
    dirty = node.context.dirty_tensors or ()
    for index, tensor in enumerate(dirty):
        if not isinstance(tensor, Tensor):
            raise RuntimeError(
                f"mark_dirty can only accept variables, but argument {index} is of type {type(tensor).__name__}"
            )
        if not tensor.is_inference():
            tensor._bump_version()
    for tensor in dirty:
        if not _among(tensor, outputs):
            raise RuntimeError("Some elements marked as dirty during the forward method were not returned as output. The "
                               "inputs that are modified inplace must all be outputs of the Function.")  # fmt: skip
    return dirty


def _non_differentiable(node: FunctionNode) -> tuple[Tensor, ...]:
    marked = node.context.non_differentiable or ()
    for tensor in marked:
        if not isinstance(tensor, Tensor):
            raise RuntimeError(
                f"mark_non_differentiable only accepts variable arguments, but got {type(tensor).__name__}"
            )
    return marked


def _result(call: Call, nr: int, out: Tensor) -> Tensor:
    """One output with the history it has from now on."""
    given, dirty = call.is_input(out), _among(out, call.dirty)
    if not call.differentiable(out):
        if out.requires_grad:
            return out.detach()
        return _view_of_itself(out) if given and not dirty else out
    if dirty:
        return _changed_in_place(call, nr, out, given=given)
    if given:
        if call.separate and _among(out, call.node.context.to_save or ()):
            raise RuntimeError(SAVED_AS_IS)
        out = _view_of_itself(out)
    elif out._tracked or (out._edge is not None and out._edge[0] is not call.node):
        out = Tensor._alias(out)  # neither an input nor made here: it keeps its own history
    out._edge, out._tracked = (call.node, nr), False
    return out


def _view_of_itself(tensor: Tensor) -> Tensor:
    alias = Tensor._alias(tensor)
    link_views(tensor, (alias,))
    return alias


def _changed_in_place(call: Call, nr: int, out: Tensor, *, given: bool) -> Tensor:
    """A tensor marked dirty: itself, with the node as its history."""
    if not given:
        warnings.warn("ctx.mark_dirty() received a tensor that was not an input. Only input Tensors that have been mutated "
                      "should be passed to ctx.mark_dirty().", UserWarning, stacklevel=5)  # fmt: skip
    if out._base is None and out._edge is None and out._tracked:
        raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
    check_inplace(out)
    if out._base is not None:
        check_view(out)
        if len(call.outputs) > 1:
            raise RuntimeError(SEVERAL_WITH_VIEW)
    result = wrap(out._array)
    result._edge = (call.node, nr)
    rebase(out, result)
    return out


def _mark_views(call: Call, results: list) -> None:
    """Views that leave a custom function are not to be changed in place: that would go past its backward."""
    several = sum(map(call.differentiable, call.outputs)) > 1
    for out, result in zip(call.outputs, results, strict=True):
        if isinstance(result, Tensor) and result._base is not None and not (
            _among(out, call.dirty) and call.is_input(out)
        ):  # fmt: skip
            result._view = ViewInfo(no_grad=None, multi_output=several, in_function=not several)


def _entries(call: Call, results: list) -> tuple:
    """The saved entries: outputs by number, so that the node does not hold its own output; the rest with their edges."""
    numbers = {id(out): nr for nr, out in enumerate(call.outputs)}
    entries: list[Any] = []
    for index, tensor in enumerate(call.node.context.to_save or ()):
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"save_for_backward can only save variables, but argument {index} is of type "
                            f"{type(tensor).__name__}")  # fmt: skip
        nr = numbers.get(id(tensor)) if tensor is not None else None
        if nr is not None and results[nr] is tensor and _made_by(call.node, results[nr]):
            entries.append((save_output(results[nr], nr), None))
        else:
            entries.append((save_input(tensor), None if tensor is None else edge_of(tensor)))
    return tuple(entries)


def _made_by(node: FunctionNode, result: Tensor) -> bool:
    """Whether a tensor's history starts at the node, be it behind a change of its base."""
    return result._edge is not None and (result._base is not None or result._edge[0] is node)
