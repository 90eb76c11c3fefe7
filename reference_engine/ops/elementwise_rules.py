"""Partial derivatives as text, compiled: twice as rules over arrays and tensors, once as a node's whole backward step.

The common case of a node's `arrays`, real float arrays, has the rules written in; see elementwise_kind.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.tape.saved import FREED, read_array
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reference_engine.ops.kinds import OpNode

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
ndarray = np.ndarray


def compile_rule(partial: str, names: Sequence[str], words: dict[str, Any]) -> Callable:
    """The rule g -> g * partial, as a function of g, the inputs and y."""
    return eval(f"lambda g, {', '.join(names)}, y: {rule_text(partial)}", words)  # the table's own text


def rule_text(partial: str) -> str:
    """The rule g -> g * partial as text."""
    return {"1": "g", "-1": "-g", "0": "nil(g)"}.get(partial) or (
        partial if mentions(partial, "g") else f"g * ({partial})"
    )


def mentions(partial: str | None, name: str) -> bool:
    """Whether a partial reads `name`."""
    return partial is not None and name in compile(partial, "<partial>", "eval").co_names


def scalar(value: Any) -> Any:
    """A 0-d array as a NumPy scalar, whose arithmetic is many times faster; anything else itself."""
    return value[()] if type(value) is ndarray and value.ndim == 0 else value


# The common case of ElementwiseNode.arrays, real float arrays, with the rules written in: one copy for NumPy scalars,
# which 0-d gradients flow as, and one for arrays.
ARRAYS_TEMPLATE = """
def arrays(self, grads, needed):
    g, = grads
    saved, dtype = self.saved, self.dtype
    if g is None or saved is FREED or (dtype is not F64 and dtype is not F32):
        return general(self, grads, needed)
    {results} = None
    if type(g) is ndarray:
{over_arrays}
    else:
{over_scalars}
    return ({results})
"""
RULE = """\
        if needed[{i}]:
{reading}
            g{i} = {rule}"""
READ_INPUT = """\
            {name} = saved[{k}]
            {name} = {name}._array{scalar} if type({name}) is Tensor and ({name}._counter is None or not {name}._counter.version) else read{scalar_name}({name}, self)"""
READ_OUTPUT = """\
            {name} = saved[{k}]
            {name} = {name}[0]{scalar} if type({name}) is tuple and not {name}[1].version else read{scalar_name}({name}, self)"""


def compile_arrays(partials: Sequence[str | None], names: Sequence[str], general: Callable) -> Callable:
    """A node's `arrays`, compiled from the partials; `general` takes what is not the common case."""
    text = ARRAYS_TEMPLATE.format(
        results=" = ".join(f"g{i}" for i in range(len(partials))),
        over_arrays=_rules_text(partials, names, scalar="", scalar_name="_array"),
        over_scalars=_rules_text(partials, names, scalar="[()]", scalar_name="_scalar"),
    ).replace("return (" + " = ".join(f"g{i}" for i in range(len(partials))),
              "return (" + ", ".join(f"g{i}" for i in range(len(partials))) + ",")  # fmt: skip
    words = registry.ARRAY_WORDS
    words.update(FREED=FREED, F32=F32, F64=F64, general=general, Tensor=Tensor, ndarray=ndarray,
                 read_array=read_array, read_scalar=read_scalar, type=type, tuple=tuple)  # fmt: skip
    namespace: dict[str, Any] = {}
    exec(compile(text, "<elementwise rule>", "exec"), words, namespace)
    return namespace["arrays"]


def _rules_text(partials: Sequence[str | None], names: Sequence[str], **reading: str) -> str:
    """The rules of all inputs, each reading the saved entries that it mentions; what several mention is read once, before
    them, because reading may run the user's unpack hook.
    """
    read = {n: (READ_OUTPUT if n == "y" else READ_INPUT).format(name=n, k=k, **reading)
            for k, n in enumerate((*names, "y"))}  # fmt: skip
    shared = [n for n in read if sum(mentions(p, n) for p in partials) > 1]
    blocks = [read[n].replace(" " * 12, " " * 8) for n in shared]
    for i, partial in enumerate(partials):
        if partial is not None:
            reads = [read[n] for n in read if n not in shared and mentions(partial, n)]
            blocks.append(RULE.format(i=i, reading="\n".join(reads), rule=rule_text(partial)))
    return "\n".join(blocks) or "        pass"


def read_scalar(entry: Any, node: OpNode) -> Any:
    """A saved entry of a 0-d operation as a NumPy scalar."""
    return scalar(read_array(entry, node))


def with_a_number(node: type[OpNode], position: int, name: str | None) -> type[OpNode]:
    """The kind of node with a number at a position: no input is there. Its rules raise where there is no name."""

    def next_functions(self: OpNode) -> tuple:
        every = node.next_functions.fget(self)  # type: ignore[attr-defined]
        return (*every[:position], *every[position + 1 :])

    def raising(self: OpNode, grads: tuple, needed: Any) -> tuple:
        raise RuntimeError(f"derivative for aten::{self.op.name} is not implemented")

    own: dict[str, Any] = {"__slots__": (), "__module__": __name__, "next_functions": property(next_functions)}
    if name is None:
        own.update(arrays=raising, tensors=raising)
    return type(name or "NotImplemented", (node,), own)
