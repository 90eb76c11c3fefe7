"""What a node runs, and how torch shows its arguments."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reference_engine.ops.dispatch import OpOverload, known_as, overload_of
from reference_engine.ops.elementwise import select_where
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.types import copy
from reference_engine.utils._pytree import tree_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.tensor import Tensor

END = 9223372036854775807  # how torch writes the end of a slice that has none


@dataclass(frozen=True)
class Call:
    """An operator with its parameters: `function(*inputs, **params)`, into the first input where it `changes` that.

    view: its results share that input's memory, but where it `copies`. made: it makes a tensor of sizes and numbers. The last
    inputs are the `held` parameters, which operators take as arrays.
    """

    function: Any
    params: dict[str, Any]
    changes: bool = False
    view: bool = False
    made: bool = False
    held: tuple[str, ...] = ()
    copies: bool = False

    def __call__(self, *inputs: Any) -> Any:
        if not self.changes:
            return self.compute(*inputs)
        return overwrite(inputs[0], lambda alias: self.compute(alias, *inputs[1:]))

    def compute(self, *inputs: Any) -> Any:
        """The operator's results, nothing changed."""
        count = len(inputs) - len(self.held)
        arrays = {name: x._array for name, x in zip(self.held, inputs[count:], strict=True)}
        results = self.function(*inputs[:count], **self.params, **arrays)
        return tree_map(copy, results) if self.copies else results


def lift(source: Tensor) -> Tensor:
    """A new tensor with the elements of another one."""
    return copy(source)


def item(results: Any, index: int) -> Any:
    """One of several results: what a `getitem` node runs."""
    return results[index]


def target_of(function: Any, inputs: tuple, params: dict[str, Any]) -> OpOverload:
    """The overload that torch calls an operator with these inputs."""
    name = getattr(function, "aten", None)
    return overload_of(*name) if name else known_as(function, inputs, params)


def changed(target: OpOverload) -> OpOverload:
    """The operator in place of one that is not."""
    return overload_of(f"{target._name}_", target._overload)


def copied(target: OpOverload) -> OpOverload:
    """The operator that copies what a view shares."""
    return overload_of(f"{target._name}_copy", target._overload)


def shown(target: OpOverload, function: Any, inputs: tuple, params: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """(args, kwargs) of a node: inputs in order, then parameters. Those that say the default at the end are left out."""
    if function in FIRST:
        inputs = (params[FIRST[function]], *inputs)
        params = {name: value for name, value in params.items() if name != FIRST[function]}
    if getattr(function, "variadic", False):
        inputs = (list(inputs),)
    name = getattr(function, "name", None)
    inputs = (*inputs, *getattr(function, "where", ()))
    if name in WHOLE and target._overload == "default":
        params = {}
    elif name in WHOLE and "dims" in params and target._overload != "dim_IntList" and name != "mean":
        params = {**params, "dims": params["dims"][0]}
    own = SHOWN[name](params) if name in SHOWN else _plain(params)
    return (*inputs, *own[0]), own[1]


def _plain(params: dict[str, Any]) -> tuple[list, dict[str, Any]]:
    values = [list(v) if isinstance(v, tuple) else v for v in params.values()]
    while values and (values[-1] is None or values[-1] is False):
        values.pop()
    return values, {}


def _slice(params: dict[str, Any]) -> tuple[list, dict[str, Any]]:
    part = params["part"]
    bounds = [part.start or 0, END if part.stop is None else part.stop]
    return [params["dim"], *bounds, *([part.step] if part.step not in (None, 1) else [])], {}


def _keywords(*positional: str) -> Callable:
    def split(params: dict[str, Any]) -> tuple[list, dict[str, Any]]:
        values = [params[n] for n in positional if n in params]
        rest = {n: v for n, v in params.items() if n not in positional and v is not None and v is not False}
        return [list(v) if isinstance(v, tuple) else v for v in values], rest

    return split


SHOWN = {
    "slice": _slice, "to_copy": _keywords(), "clone": _keywords(), "clone_ordered": lambda params: ([], {}),
    "var": _keywords("dims"), "std": _keywords("dims"),
}  # fmt: skip
WHOLE = frozenset({"sum", "mean", "prod", "max", "min", "median", "nanmedian"})  # along a dimension by another overload
FIRST = {select_where: "condition"}  # the parameter that torch has in front
getitem = operator.getitem
