"""Plain values as JSON values for people to read, and program lines with what was seen there."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np

from conformance.arrays import decode
from conformance.case import Case
from conformance.outcome import Items, Mapping, Number, Observation, Opaque, Plain, Raised, TensorValue
from conformance.records import EQUAL, CaseInfo, ErrorInfo, Observed

SHOWN_ELEMENTS = 64  # a larger tensor is shown by its dtype, shape, range, mean and digest
SHOWN_ITEMS = 100  # of a list, dict or module
SHOWN_TEXT = 2000  # characters
SAFE_INTEGER = 2**63


def shown(value: Plain) -> Any:
    """A plain value as a JSON value. Non-finite numbers are left to `results.encode`, which writes them as strings."""
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if -SAFE_INTEGER <= value < SAFE_INTEGER else str(value)
        case str():
            return _text(value)
        case TensorValue():
            return _tensor(value)
        case Number(real=real, imag=imag):
            return {"real": real, "imag": imag}
        case Items(items=items):
            return [shown(v) for v in items[:SHOWN_ITEMS]] + _left_out(len(items))
        case Mapping(items=mapping):
            first = {_text(k): shown(v) for k, v in list(mapping.items())[:SHOWN_ITEMS]}
            return first | ({"...": _left_out(len(mapping))[0]} if len(mapping) > SHOWN_ITEMS else {})
        case Opaque(type=kind, text=text):
            return {"type": kind, "text": _text(text)}


def _text(value: str) -> str:
    text = value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no text that a file can hold
    return text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]}... ({len(text)} characters)"


def _left_out(count: int) -> list[str]:
    return [f"... ({count - SHOWN_ITEMS} more)"] if count > SHOWN_ITEMS else []


def _tensor(value: TensorValue) -> dict[str, Any]:
    out: dict[str, Any] = {"dtype": value.dtype, "shape": list(value.shape)}
    try:
        elements = decode(value)
    except ValueError:  # a dtype that NumPy lacks, or a buffer that does not fit the shape
        out["bytes"] = value.data[:SHOWN_ELEMENTS].hex()
    else:
        out |= _elements(elements)
    for flag in ("requires_grad", "is_leaf"):
        if getattr(value, flag) is not None:
            out[flag] = getattr(value, flag)
    if value.grad is not None:
        out["grad"] = _tensor(value.grad)
    return out


def _elements(elements: np.ndarray) -> dict[str, Any]:
    if elements.size <= SHOWN_ELEMENTS:
        if elements.dtype.kind == "c":
            pairs = np.stack([elements.real, elements.imag], axis=-1)
            return {"value": _short(pairs).tolist(), "complex": True}
        return {"value": _short(elements).tolist()}
    numbers = np.abs(elements) if elements.dtype.kind == "c" else elements.astype(np.float64)
    with np.errstate(all="ignore"):
        return {
            "value": None,
            "min": float(numbers.min()),
            "max": float(numbers.max()),
            "mean": float(numbers.mean()),
            "sha256": hashlib.sha256(elements.tobytes()).hexdigest()[:16],
        }


def _short(elements: np.ndarray) -> np.ndarray:
    """Narrow floats as the float64 of fewest digits that reads back as the same: 0.1, not 0.10000000149011612."""
    if elements.dtype.kind != "f" or elements.dtype.itemsize == 8:
        return elements
    return np.array([float(str(x)) for x in elements.reshape(-1)]).reshape(elements.shape)


def digest(state: dict[str, Plain]) -> str | None:
    """16 digits over the bits of a final state, None where there is none. What the kit does not look into counts by type."""
    if not state:
        return None
    bits = msgspec.msgpack.encode({name: _bare(value) for name, value in state.items()})
    return hashlib.sha256(bits).hexdigest()[:16]


def _bare(value: Plain) -> Plain:
    """The value without the text of what the kit does not look into: it may hold an address."""
    match value:
        case Opaque(type=kind):
            return Opaque(kind, "")
        case Items(type=kind, items=items):
            return Items(kind, tuple(map(_bare, items)))
        case Mapping(items=mapping):
            return Mapping({key: _bare(inner) for key, inner in mapping.items()})
    return value


def seconds(taken: float) -> float:
    """A time to three digits: a clock has no more."""
    return float(f"{taken:.3g}")


def observed(observation: Observation) -> Observed:
    kind = EQUAL if observation.kind == EQUAL else observation.kind
    return Observed(
        line=observation.line,
        what=observation.what,
        value=observation.error if observation.error is not None else shown(observation.value),
        expected=None if kind is EQUAL and observation.agrees else shown(observation.expected),
        kind=kind,
        agrees=observation.agrees,
        iteration=observation.iteration,
    )


def error_info(raised: Raised) -> ErrorInfo:
    return ErrorInfo(raised.type, _text(raised.message), raised.line, _text(raised.traceback))


def case_info(case: Case) -> CaseInfo:
    return CaseInfo(
        case=case.name,
        chapter=case.chapter,
        claim=case.claim,
        source=case.source,
        program=case.program,
        file=case.file,
        line=case.line,
        program_line=case.program_line,
        covers=list(case.covers),
        requires=list(case.requires),
        torch_departs=case.torch_departs,
        pending=case.pending,
        note=case.note,
        check=case.check,
    )
