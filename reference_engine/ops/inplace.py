"""In-place operators, derived from the out-of-place ones.

Law: `x.op_(...)` computes op(x, ...), writes the values into x's memory, counts one version, and makes the recorded
node x's own. What the rules need of x's old value is a copy taken before the write.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import dtypes
from reference_engine.state import state
from reference_engine.tape import tangents
from reference_engine.tape.node import next_sequence_number
from reference_engine.tape.overridden import recorded_edge
from reference_engine.tape.saved import Saved
from reference_engine.tape.views import check_inplace, check_view, rebase
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


CHANGED_OUTSIDE = (
    "make_fx: a tensor from outside of the traced function is changed in it, which has no form in this graph"
)


def in_place(function: Callable, name: str) -> Callable:
    """The in-place form of `function`, whose first argument is the tensor changed."""
    operator = getattr(function, "operator", None)

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_inplace(self)
        if operator is not None and not kwargs and operator.writes(self, args):
            self._bump_version()
            return self
        return overwrite(self, lambda alias: function(alias, *args, **kwargs))

    call.__name__ = call.__qualname__ = name
    return call


def overwrite(target: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Replaces `target`'s values by `compute(alias of target)` and its history by what that recorded."""
    if state.vmap_levels:
        from reference_engine.batching.hooks import overwrite_held
        from reference_engine.batching.tensor import BatchedTensor

        if isinstance(target, BatchedTensor):
            return overwrite_held(target, compute)
    alias = Tensor._adopt(target)
    alias._counter, alias._others = None, []
    alias._edge, alias._tracked = recorded_edge(target), target._tracked
    alias._accumulator = target._accumulator
    forward_mode = state.dual_levels and state.forward_grad_enabled
    if forward_mode:
        tangents.share(target, alias)
    if state.saved_tensor_hooks:
        alias._array = np.array(alias._array)  # a hook may keep what is saved: it must not be overwritten
    before = next_sequence_number()
    result = compute(alias)
    if state.vmap_levels:
        from reference_engine.batching.hooks import refuse_write

        if isinstance(result, BatchedTensor):
            refuse_write(target, result)
    if result.dtype.category > target.dtype.category:
        names = dtypes.type_name(result.dtype), dtypes.type_name(target.dtype)
        raise RuntimeError(f"result type {names[0]} can't be cast to the desired output type {names[1]}")
    if result.shape != target.shape:
        raise RuntimeError(f"output with shape {list(target.shape)} doesn't match the broadcast shape "
                           f"{list(result.shape)}")  # fmt: skip
    if target._base is not None and result._edge is not None:
        check_view(target)
    _keep_old_values(result, alias, before)
    about_to_write(target)
    written = result._array
    if state.tracing and isinstance(target._array, np.ndarray):
        raise RuntimeError(CHANGED_OUTSIDE)
    if not (state.tracing or dtypes.same(written.dtype, target._array.dtype)):
        written = dtypes.converted(written, target._array.dtype)
    target._write(written)
    target._bump_version()
    if forward_mode:
        tangents.overwrite(target, result)
    _own_saved_output(result, target)
    rebase(target, result)
    return target


def about_to_write(target: Tensor) -> None:
    """Tells who wants to know that the memory of `target` is going to be overwritten."""
    if state.before_write is not None:
        state.before_write(target)


def write_out(out: Tensor, result: Tensor) -> Tensor:
    """Writes a result into an `out=` argument, resized where its shape differs; autograd is not told.

    Source: torch docs, "out" arguments; resizing a tensor that holds elements warns.
    """
    if result.dtype.category > out.dtype.category:
        names = dtypes.type_name(result.dtype), dtypes.type_name(out.dtype)
        raise RuntimeError(f"result type {names[0]} can't be cast to the desired output type {names[1]}")
    written = result._array
    if not (state.tracing or dtypes.same(written.dtype, out._array.dtype)):
        written = dtypes.converted(written, out._array.dtype)
    if out.is_inference() and not state.inference:
        check_inplace(out)
    about_to_write(out)
    if result.shape == out.shape:
        out._write(written)
    else:
        if out._array.size:
            warnings.warn(f"An output with one or more elements was resized since it had shape {list(out.shape)}, which "
                          f"does not match the required output shape {list(result.shape)}. This behavior is deprecated, "
                          "and in a future PyTorch release outputs will not be resized unless they have zero elements. "
                          "You can explicitly reuse an out tensor t by resizing it, inplace, to zero elements with "
                          "t.resize_(0).", UserWarning, stacklevel=4)  # fmt: skip
        out._array = written
    out._bump_version()
    return out


OUT_FUNCTION = "Trying to use forward AD with {name} that does not support it because it is an out= function"


def refuse_out(*tensors: Any, name: str = "an operator") -> None:
    """Raises where a tensor with a tangent meets `out=`, which forward mode does not know."""
    if tangents.levels_of(tensors):
        raise NotImplementedError(OUT_FUNCTION.format(name=name))
    if state.vmap_levels and not all(isinstance(t._array, np.ndarray) for t in tensors):
        raise RuntimeError("Batching rule not implemented for an out= function; the fallback path doesn't work on out= or "
                           "view ops.")  # fmt: skip


def copy_of(array: Any) -> Any:
    """The elements as they are now; those of a trace by an operator of its own."""
    return array.copied() if state.tracing and not isinstance(array, np.ndarray) else np.array(array)


def _keep_old_values(result: Tensor, alias: Tensor, before: int) -> None:
    """Gives the alias its own memory where a node recorded since `before` may have saved it, and its views too."""
    if result._edge is None:
        return
    node = result._edge[0]
    if node.sequence_number > before + 1:  # several nodes
        _get_own_memory(alias)
        return
    saved = getattr(node, "saved", ())
    if isinstance(saved, tuple) and any(entry is alias for entry in saved):
        alias._array = copy_of(alias._array)


def _get_own_memory(tensor: Tensor) -> None:
    """Copies what a tensor holds, and what its views and those that stand in for it do."""
    for other in [reference() for reference in (*(tensor._views or ()), *(tensor._others or ()))]:
        if other is not None:
            _get_own_memory(other)
    tensor._array = copy_of(tensor._array)


def _own_saved_output(result: Tensor, target: Tensor) -> None:
    """A saved output is the changed tensor itself: it shares its memory and its version counter from here on."""
    if result._edge is None:
        return
    node, nr = result._edge
    if not dtypes.same(target._array.dtype, result._array.dtype) and node.outputs == 1:
        node.dtype = target._array.dtype
    saved = getattr(node, "saved", ())
    if isinstance(saved, tuple) and saved:
        node.saved = tuple(Saved(target, nr) if _is_output(entry, nr) else entry for entry in saved)


def _is_output(entry: Any, nr: int) -> bool:
    return type(entry) is tuple or (getattr(entry, "nr", None) == nr and entry.unpack is None)
