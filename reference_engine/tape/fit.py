"""A gradient brought to the shape and dtype of what it is for: broadcasting's transpose, and the cast back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from reference_engine.tape.node import Edge, Node


def fit(gradient: Any, shape: tuple[int, ...], dtype: Any, source: tuple[Node, Edge]) -> Any:
    """Brings a gradient to the shape and dtype of what it is for; `source` is the node that gave it and the edge it takes.
    Works on arrays and on tensors alike.
    """
    if gradient.shape != shape:
        from reference_engine.ops.shapes import sum_to_shape

        if not _broadcasts_to(shape, gradient.shape):
            node, edge = source
            index = node.edges.index(edge)
            raise RuntimeError(f"Function {node.name()} returned an invalid gradient at index {index} - got "
                               f"{list(gradient.shape)} but expected shape compatible with {list(shape)}")  # fmt: skip
        gradient = sum_to_shape(gradient, shape=tuple(shape))
    present = gradient._array.dtype if hasattr(gradient, "_array") else gradient.dtype
    if dtype is None:  # a leaf that takes any
        return gradient
    if present != dtype or present.metadata is not None or dtype.metadata is not None:
        from reference_engine.ops.types import cast

        gradient = cast(gradient, dtype=dtype)
    return gradient


def summed(a: Any, b: Any) -> Any:
    """The sum of two gradients for the same thing, arrays or tensors, rounded where their type is narrow."""
    total = a + b
    metadata = a.dtype.metadata if isinstance(a, np.ndarray) else None
    return total if metadata is None else metadata["dtype"].rounded(total)


def _broadcasts_to(shape: tuple[int, ...], larger: tuple[int, ...]) -> bool:
    if len(shape) > len(larger):
        return False
    tail = larger[len(larger) - len(shape) :]
    return shape == tail or all(s in (1, t) for s, t in zip(shape, tail, strict=True))
