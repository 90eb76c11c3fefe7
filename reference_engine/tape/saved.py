"""What a node keeps for its backward rules, and the check that nobody changed it meanwhile.

Law: a saved tensor may be read only while its version is the one it was saved at. An input is kept as the tensor
itself; an output is kept as its array and version counter, never as the tensor, which would close a cycle through
its node. The common cases are kept bare: an input at version 0 as that tensor, a node's only output at version 0 as
the pair (array, counter). Source: torch notes/autograd, "Saved tensors" and "In-place correctness checks".
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.state import state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_engine.tape.node import Edge, Node
    from reference_engine.tensor import Tensor


NUMBERS = (int, float, complex, bool)


class VersionCounter:
    """Counts in-place changes of a storage; shared by a tensor, its views and its detached aliases."""

    __slots__ = ("version",)

    def __init__(self) -> None:
        self.version = 0


class Freed:
    """Stands in `Node.saved` after the graph was freed: no entries, and distinguishable from having saved none."""

    def __iter__(self) -> Any:
        return iter(())


FREED = Freed()

FREED_MESSAGE = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
    "saved tensors after calling backward."
)


HINT = (
    "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
    "torch.autograd.set_detect_anomaly(True)."
)
HINT_GUARDED = (
    "Hint: the backtrace further above shows the operation that failed to compute its gradient. The variable in "
    "question was changed in there or anywhere later. Good luck!"
)

INFERENCE_MESSAGE = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation "
    "tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use "
    "`torch.no_grad()` instead of `torch.inference_mode()`."
)


BACKWARD = r"Backward\d*$"  # errors name the operator, not its node: "Exp" for ExpBackward0


def modified(array: np.ndarray, version: int, expected: int, node: Node | None, nr: int = 0) -> RuntimeError:
    """The error for a saved tensor that was changed in place."""
    from reference_engine.dtypes import of_numpy

    kind = error_type(of_numpy(array.dtype))
    by = f", which is output {nr} of {re.sub(BACKWARD, '', node.name())}," if node is not None else ""
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{kind} {list(array.shape)}]{by} is at version {version}; expected version {expected} instead. "
        + (HINT_GUARDED if state.anomaly else HINT)
    )


def type_name(d: Any) -> str:
    """torch's legacy tensor type: "FloatTensor" for float32."""
    from reference_engine.dtypes import type_name as legacy

    return legacy(d) + "Tensor"


def error_type(d: Any) -> str:
    """A type as errors spell it: those that torch has no tensor class for by another name."""
    from reference_engine.dtypes import type_name as legacy

    return f"CPU{legacy(d)}Type" if d.is_complex or d.name == "bool" else f"torch.{type_name(d)}"


class Saved:
    """A saved tensor that is not simply "an input at version 0".

    For an input: the tensor and its version. For an output (`edge` None until read): its array and counter, from
    which a tensor with the node's own edge is made when it is unpacked. With saved-tensor hooks: what pack returned.
    """

    __slots__ = ("array", "counter", "nr", "packed", "tangents", "tensor", "unpack", "version")

    def __init__(self, tensor: Tensor, output_nr: int | None = None) -> None:
        self.counter = tensor._version_counter()
        self.version = self.counter.version
        self.array = tensor._array
        self.tangents = tensor._tangents
        self.nr = output_nr
        self.tensor = tensor if output_nr is None else None
        self.unpack: Any = None  # what the user's pair of hooks gave and takes back
        self.packed: Any = None

    def check(self, node: Node) -> None:
        """Raises where the tensor was modified in place since it was saved."""
        if self.counter.version != self.version:
            maker = node if self.nr is not None else (self.tensor._edge[0] if self.tensor._edge else None)
            raise modified(self.array, self.counter.version, self.version, maker, self.nr or 0)


class Packed(Saved):
    """A tensor handed to a pack hook, once and at once; `unpack` gives a tensor back at each reading.

    The hook runs with grad mode off. It may not change what it is given, and there is no version check afterwards: the
    values are the hooks' business. Source: torch notes/autograd, "Hooks for saved tensors".
    """

    __slots__ = ()

    def __init__(self, tensor: Tensor, output_nr: int | None, pack: Any, unpack: Any) -> None:
        super().__init__(tensor, output_nr)
        self.tensor = self.array = None
        self.unpack = unpack
        before = state.set_grad_enabled(False)
        try:
            self.packed = pack(tensor)
        finally:
            state.set_grad_enabled(before)
        if self.counter.version != self.version:
            raise RuntimeError("A saved tensor pack hook is modifying its input in place. Tensors provided as "
                               "input to pack hook cannot be modified by in-place operations as this can lead to "
                               "unexpected side-effects. Please open an issue if you need to perform in-place operations on "
                               "the input to a pack hook.")  # fmt: skip


def save_input(tensor: Any) -> Any:
    """The entry for an input. The common case, a tensor never changed in place, is kept bare."""
    if tensor is None or isinstance(tensor, NUMBERS):
        return tensor  # numbers go past the hooks, as torch documents for "wrapped numbers"
    if (tensor._inference or (tensor._base is not None and tensor._base._inference)) and not state.transforms:
        raise RuntimeError(INFERENCE_MESSAGE)
    if state.saved_tensor_hooks:
        return Packed(tensor, None, *state.saved_tensor_hooks[-1])
    counter = tensor._counter
    if counter is None or counter.version == 0:
        return tensor
    return Saved(tensor)


def save_output(tensor: Tensor, nr: int = 0) -> Saved:
    """The entry for output `nr` of the node that is being recorded."""
    if state.saved_tensor_hooks:
        return Packed(tensor, nr, *state.saved_tensor_hooks[-1])
    return Saved(tensor, nr)


def pack_auxiliary(params: dict[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Packed]]:
    """What forward computed for its rules alone, such as a mean, goes through hooks too: (other parameters, packed)."""
    from reference_engine.tensor import wrap

    kept = dict(params)
    floats = [name for name in names if isinstance(kept[name], np.ndarray) and kept[name].dtype.kind in "fc"]
    return kept, {name: Packed(wrap(kept.pop(name)), None, *state.saved_tensor_hooks[-1]) for name in floats}


def read_array(entry: Any, node: Node) -> Any:
    """A saved entry as a plain array (Python numbers and None stand for themselves); checks its version."""
    if type(entry) is tuple:
        array, counter = entry
        if counter.version:
            raise modified(array, counter.version, 0, node)
        return array
    if isinstance(entry, Saved):
        if entry.unpack is not None:
            return _unpack(entry)._array
        entry.check(node)
        return entry.array
    if entry is None or isinstance(entry, NUMBERS):
        return entry
    counter = entry._counter
    if counter is not None and counter.version:
        raise modified(entry._array, counter.version, 0, entry._edge[0] if entry._edge else None)
    return entry._array


def read_tensor(entry: Any, node: Node, edge: Edge | None) -> Any:
    """A saved entry as a tensor with the history it was saved with; `edge` is the recorded edge of that input."""
    from reference_engine.tensor import wrap

    if entry is None or isinstance(entry, NUMBERS):
        return entry
    if type(entry) is tuple:
        result = wrap(read_array(entry, node))
        result._counter, result._edge = entry[1], (node, 0)
        return result
    if isinstance(entry, Saved):
        if entry.unpack is not None:
            return _restored(_unpack(entry), (node, entry.nr) if entry.nr is not None else edge)
        entry.check(node)
        if entry.nr is not None:
            result = wrap(entry.array)
            result._counter, result._edge, result._tangents = entry.counter, (node, entry.nr), entry.tangents
            return result
        tensor = entry.tensor
    else:
        read_array(entry, node)
        tensor = entry
    if tensor._edge is edge or (tensor._edge is None and (edge is None or tensor._tracked)):
        return tensor
    # Its history changed since (detach_, requires_grad_): the graph that was recorded counts.
    return with_history(tensor, edge)


def with_history(tensor: Tensor, edge: Edge | None) -> Tensor:
    """An alias of `tensor` whose gradient goes along `edge`; a leaf where that ends at an accumulator."""
    from reference_engine.tape.node import LEAF
    from reference_engine.tensor import Tensor

    result = Tensor._alias(tensor)
    result._tangents = tensor._tangents
    if edge is not None and edge[0].role == LEAF:
        result._tracked, result._accumulator = True, weakref.ref(edge[0])
    else:
        result._edge = edge
    return result


def _restored(tensor: Tensor, edge: Edge | None) -> Tensor:
    """What unpack returned, with the recorded history in place of its own."""
    return tensor if edge is None and not tensor.requires_grad else with_history(tensor, edge)


def _unpack(entry: Saved) -> Tensor:
    from reference_engine.tensor import Tensor

    assert entry.unpack is not None
    result = entry.unpack(entry.packed)
    if not isinstance(result, Tensor):
        raise TypeError(f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                        f"{type(result).__name__}")  # fmt: skip
    return result
