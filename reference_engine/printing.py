"""How a tensor looks: `tensor([1., 2.], requires_grad=True)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reference_engine import dtypes
from reference_engine.state import state
from reference_engine.tape.tangents import get

if TYPE_CHECKING:
    from reference_engine.tensor import Tensor


def show(tensor: Tensor) -> str:
    """The text of a tensor: its values, its dtype unless it is implied, its history."""
    array = tensor._array
    body = np.array2string(array, separator=", ", prefix="tensor(", precision=4, suppress_small=True,
                           formatter={"float_kind": _number}, threshold=1000)  # type: ignore[arg-type]  # fmt: skip
    extras = []
    default = dtypes.get_default_dtype()
    implied = (default, default.to_complex(), dtypes.int64, dtypes.bool_)
    if tensor.dtype not in implied:
        extras.append(f"dtype={tensor.dtype}")
    if array.size == 0 and array.ndim != 1:
        extras.append(f"size={tuple(array.shape)}")
    if tensor._edge is not None:
        extras.append(f"grad_fn=<{type(tensor._edge[0]).__name__}>")
    elif tensor._tracked:
        extras.append("requires_grad=True")
    tangent = get(tensor, state.dual_levels[-1]) if state.dual_levels else None
    if tangent is not None:
        extras.append(f"tangent={show(tangent)}")
    name = "Parameter containing:\ntensor" if type(tensor).__name__ == "Parameter" else "tensor"
    return f"{name}({', '.join([body, *extras])})"


def _number(x: float) -> str:
    if not np.isfinite(x):
        return str(float(x))
    if x == int(x) and abs(x) < 1e8:
        return f"{int(x)}."
    return f"{x:.4f}" if 1e-4 <= abs(x) < 1e8 else f"{x:.4e}"
