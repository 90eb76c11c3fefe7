"""The names under which a node shows what its operator saved: `_saved_self`, `_raw_saved_self`, `_saved_exponent`.

Which names there are follows from the operator's rules: the inputs and outputs that any of them reads, and parameters.
Source: torch notes/autograd, "Saved tensors".
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from reference_engine.ops.shown_parameters import shown
from reference_engine.tape.handle import SavedTensor, number_tensor
from reference_engine.tape.saved import NUMBERS

if TYPE_CHECKING:
    from reference_engine.ops.kinds import Operator, OpNode
    from reference_engine.tensor import Tensor

SAVED, RAW = "_saved_", "_raw_saved_"
SPELLED = {"x": "self", "a": "self", "b": "other", "y": "result"}  # an operator's own letters, as torch calls them


@cache
def slots(op: Operator) -> dict[str, int]:
    """Name -> number of the entry in `OpNode.saved`, for what any rule of the operator reads."""
    used = set().union(*op.uses) if not op.variadic else set()
    results = ("result",) if len(op.outputs) == 1 else op.outputs
    names = [SPELLED.get(name, name) for name in (*op.saved_names, *results)]
    return {name: index for index, name in enumerate(names) if index in used}


def names(node: OpNode) -> list[str]:
    """All names of this kind, for `dir`."""
    tensors = slots(node.op)
    return [
        *(RAW + name for name in tensors),
        *(SAVED + name for name in tensors),
        *(SAVED + name for name in shown(node)),
    ]


def attribute(node: OpNode, name: str) -> Tensor | SavedTensor | Any:
    """The value of one of these names; reading a tensor unpacks it and checks its version. Raises AttributeError."""
    tensors = slots(node.op)
    if name.startswith(RAW) and name.removeprefix(RAW) in tensors:
        return SavedTensor.of(node, tensors[name.removeprefix(RAW)])
    if name.startswith(SAVED):
        wanted = name.removeprefix(SAVED)
        if wanted in tensors:
            value = node.tensor_at(tensors[wanted])
            return number_tensor(value) if isinstance(value, NUMBERS) else value
        read = shown(node).get(wanted)
        if read is not None:
            try:
                return read(node)
            except (KeyError, IndexError, TypeError, StopIteration):
                pass  # a node of this name that was recorded another way
    raise AttributeError(f"'{type(node).__name__}' object has no attribute '{name}'")
