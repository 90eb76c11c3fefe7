"""In-place operators, derived from the out-of-place ones.

Law: `x.op_(...)` computes op(x, ...), writes the values into x's memory, counts one version, and makes the recorded
node x's own. What the rules need of x's old value is a copy taken before the write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.tape.saved import Saved
from reference_engine.tape.views import check_inplace, rebase
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


def in_place(function: Callable, name: str) -> Callable:
    """The in-place form of `function`, whose first argument is the tensor changed."""

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_inplace(self)
        return overwrite(self, lambda alias: function(alias, *args, **kwargs))

    call.__name__ = call.__qualname__ = name
    return call


def overwrite(target: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Replaces `target`'s values by `compute(alias of target)` and its history by what that recorded."""
    alias = Tensor._adopt(target)
    alias._counter = None
    alias._edge, alias._tracked = target._edge, target._tracked
    alias._accumulator = target._accumulator
    result = compute(alias)
    if result.dtype.category > target.dtype.category:
        raise RuntimeError(f"result type {_type(result)} can't be cast to the desired output type {_type(target)}")
    if result.shape != target.shape:
        raise RuntimeError(f"output with shape {list(target.shape)} doesn't match the broadcast shape "
                           f"{list(result.shape)}")  # fmt: skip
    _keep_old_value(result, alias)
    target._write(result._array)
    target._bump_version()
    _own_saved_output(result, target)
    rebase(target, result)
    return target


def _type(tensor: Tensor) -> str:
    names = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "int32": "Int", "bool": "Bool",
             "complex64": "ComplexFloat", "complex128": "ComplexDouble"}  # fmt: skip
    return names.get(tensor.dtype.name, tensor.dtype.name)


def _keep_old_value(result: Tensor, alias: Tensor) -> None:
    """Gives the alias its own memory where the recorded node saved it."""
    if result._edge is None:
        return
    saved = getattr(result._edge[0], "saved", ())
    if isinstance(saved, tuple) and any(entry is alias for entry in saved):
        alias._array = np.array(alias._array)


def _own_saved_output(result: Tensor, target: Tensor) -> None:
    """A saved output is the changed tensor itself: it shares its memory and its version counter from here on."""
    if result._edge is None:
        return
    node, nr = result._edge
    if target._array.dtype != result._array.dtype and node.outputs == 1:
        node.dtype = target._array.dtype
    saved = getattr(node, "saved", ())
    if isinstance(saved, tuple) and saved:
        node.saved = tuple(Saved(target, nr) if _is_output(entry, nr) else entry for entry in saved)


def _is_output(entry: Any, nr: int) -> bool:
    return type(entry) is tuple or (getattr(entry, "nr", None) == nr and entry.unpack is None)
