"""Cases from program text, and small engines to run them on."""

from __future__ import annotations

import ast
import marshal
import textwrap
from types import SimpleNamespace
from typing import Any

import reference_engine
from conformance.case import Case
from conformance.engines import TorchLike
from conformance.language import execute
from conformance.language.lower import lower
from conformance.outcome import Outcome


def case(program: str, **fields: Any) -> Case:
    """A case around a program; `requires` and the like as keyword arguments."""
    text = textwrap.dedent(program).strip() + "\n"
    code, sites = lower(ast.parse(text))
    return Case(
        "made", "up", "Claim.", "source", text, "made.yaml", 1, 2, code=marshal.dumps(code), sites=sites, **fields
    )


def engine(**changes: Any) -> TorchLike:
    """The reference as a drop-in engine, or with some names replaced."""
    if not changes:
        return TorchLike(reference_engine, name="reference", drop_in=True)
    names = {n: getattr(reference_engine, n) for n in dir(reference_engine) if not n.startswith("__")}
    return TorchLike(SimpleNamespace(**{**names, **changes}), name="changed", drop_in=True)


def run(program: str, on: Any = None, **fields: Any) -> Outcome:
    """What a program leaves behind."""
    return execute(case(program, **fields), on if on is not None else engine())


def agreed(program: str, on: Any = None, **fields: Any) -> list[bool]:
    """For each observation, in order, whether it agrees."""
    end = run(program, on, **fields)
    assert end.error is None, end.error
    return [o.agrees for o in end.observations]


class NoGradients:
    """A tensor of an engine that computes but has no autograd at all."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.dtype, self.shape = "float32", (len(values),) if isinstance(values, list) else ()

    def tolist(self) -> Any:
        return self.values

    def __mul__(self, other: Any) -> NoGradients:
        return NoGradients([v * (other.values[i] if isinstance(other, NoGradients) else other)
                            for i, v in enumerate(self.values)])  # fmt: skip


def forward_only() -> TorchLike:
    """An engine without backward."""
    names = SimpleNamespace(tensor=lambda values, **_: NoGradients(values), Tensor=NoGradients)
    return TorchLike(names, name="forward only")
