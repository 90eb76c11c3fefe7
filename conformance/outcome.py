"""What running one case on one engine leaves behind, as plain values that hold nothing of the engine alive.

An `Outcome` is made inside the process that ran the case and travels between processes as MessagePack. It knows
nothing of verdicts: judging compares an outcome with the written expectations (already in its observations) and with
the oracle's outcome.
"""

from __future__ import annotations

import msgspec


class TensorValue(msgspec.Struct, tag_field="is", tag="tensor", frozen=True, omit_defaults=True):
    """A tensor read once: `data` holds its elements in C order, little endian.

    `dtype` is torch's name without the prefix ("float32", "bfloat16", "complex64", "bool"). bfloat16, which NumPy
    does not have, is stored as the bytes of float32. The flags are None where only the value was looked at. `error` is
    how far the elements may be off where they are a numerical estimate.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    requires_grad: bool | None = None
    is_leaf: bool | None = None
    grad: TensorValue | None = None
    error: float = 0.0


class Opaque(msgspec.Struct, tag_field="is", tag="opaque", frozen=True):
    """A value that the kit does not look into; equal only where a program says how. `text` is for reading."""

    type: str
    text: str


class Mapping(msgspec.Struct, tag_field="is", tag="mapping", frozen=True):
    """A dict, or a module's parameters and buffers, by key; keys are shown as text."""

    items: dict[str, Plain]


class Items(msgspec.Struct, tag_field="is", tag="items", frozen=True):
    """A list or tuple. `type` is "list" or "tuple"."""

    type: str
    items: tuple[Plain, ...]


class Number(msgspec.Struct, tag_field="is", tag="complex", frozen=True):
    """A Python complex number, which MessagePack does not have."""

    real: float
    imag: float


# None, bool, int, float and str stand for themselves.
Plain = None | bool | int | float | str | TensorValue | Opaque | Mapping | Items | Number


class Measure(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far two numeric values are apart. `index` is the worst element's; the tolerances are those applied."""

    max_abs: float | None = None
    max_rel: float | None = None
    ulps: float | None = None
    index: tuple[int, ...] | None = None
    rtol: float | None = None
    atol: float | None = None


class Observation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One link of one assertion (or one `raises`, `warns`) at one moment.

    line, column: position in the case's program, from 1. `site` numbers the place in the program; `iteration` counts
    how often that place was reached before (loops, hooks, functions).
    kind: "==", "!=", "<", "is", "in", "truth", "raises", "warns", ... ; `what` is the left side's source text.
    finding: None where it agrees, else the word of the verdict table ("wrong", "dtype", "shape", "semantics",
    "no-error").
    error: the text of an exception raised while the assertion was evaluated. note: the assert's own message.
    """

    site: int
    line: int
    column: int
    iteration: int
    kind: str
    what: str
    value: Plain
    expected: Plain
    agrees: bool
    finding: str | None = None
    measure: Measure | None = None
    error: str | None = None
    note: str | None = None


class Raised(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception that left the program. `line` is in the program, 0 where unknown."""

    type: str
    message: str
    line: int = 0
    traceback: str = ""


class Outcome(msgspec.Struct, omit_defaults=True):
    """Everything one run of one case left behind.

    state: the final state, by variable name (tensors with flags and grads; containers and modules walked).
    error: an exception the program did not expect.
    missing: names that the engine does not spell; non-empty means unsupported.
    random: the case drew from the engine's own generator, so values of the state are not comparable.
    seconds: time inside the program itself.
    printed: what the engine wrote to standard output meanwhile, cut to a readable length.
    rules: (node, its derivative rules as text) of what made the result of a table's operator, where the engine tells.
    """

    case: str
    observations: list[Observation] = msgspec.field(default_factory=list)
    state: dict[str, Plain] = msgspec.field(default_factory=dict)
    error: Raised | None = None
    missing: tuple[str, ...] = ()
    random: bool = False
    seconds: float = 0.0
    printed: str = ""
    rules: list[tuple[str, list[str]]] = msgspec.field(default_factory=list)
