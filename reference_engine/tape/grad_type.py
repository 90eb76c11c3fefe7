"""The dtype of a leaf's gradient: the leaf's own unless `grad_dtype` says otherwise. Source: torch.Tensor.grad_dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine import dtypes

if TYPE_CHECKING:
    import numpy as np

    from reference_engine.tensor import Tensor

OWN = object()  # not set: the tensor's own dtype


def get(tensor: Tensor) -> dtypes.dtype | None:
    """The dtype that `.grad` has; None where any goes."""
    if tensor._edge is not None:
        raise RuntimeError("grad_dtype can only be accessed on leaf tensors.")
    return expected(tensor)


def expected(tensor: Tensor) -> dtypes.dtype | None:
    """`get` without the check."""
    return tensor.dtype if tensor._grad_dtype is OWN else tensor._grad_dtype


def put(tensor: Tensor, wanted: Any) -> None:
    """Sets it: a dtype, or None for whatever dtype a gradient comes in."""
    if tensor._edge is not None:
        raise RuntimeError("grad_dtype can only be set on leaf tensors.")
    if wanted is not None and not isinstance(wanted, dtypes.dtype):
        raise RuntimeError(f"grad_dtype must be a torch.dtype or None, but got {type(wanted).__name__}")
    present = tensor._grad
    if present is not None and wanted is not None and present.dtype is not wanted:
        raise RuntimeError(f"Cannot set grad_dtype to '{dtypes.type_name(wanted)}' because there is already a gradient with "
                           f"dtype '{legacy_name(present.dtype)}'. Please clear the gradient (.grad = None) before changing "
                           "grad_dtype, or ensure the new grad_dtype matches the existing gradient's dtype.")  # fmt: skip
    tensor._grad_dtype = wanted
    accumulator = tensor._accumulator() if tensor._accumulator is not None else None
    if accumulator is not None:
        accumulator.dtype = of_edge(tensor)


def legacy_name(kind: dtypes.dtype) -> str:
    """A dtype by its other name where it has one: "double" for float64."""
    return {"float64": "double", "float32": "float", "float16": "half", "int64": "long", "int32": "int", "int16": "short",
            "complex128": "cdouble", "complex64": "cfloat"}.get(kind.name, kind.name)  # fmt: skip


def of_edge(tensor: Tensor) -> np.dtype | None:
    """The NumPy type to which gradients on the leaf's edge are brought; None: as they come."""
    wanted = expected(tensor)
    return None if wanted is None else wanted.numpy


def brought(tensor: Tensor, gradient: Any) -> Any:
    """A leaf's whole gradient in the dtype asked for. (Short paths have not looked at the edge.)"""
    wanted = of_edge(tensor)
    if gradient is None or wanted is None:
        return gradient
    from reference_engine.ops.types import cast

    present = getattr(gradient, "_array", gradient).dtype
    return gradient if dtypes.same(present, wanted) else cast(gradient, dtype=wanted)
