"""The words that the rules of matrix functions are written in: over arrays and tensors alike.

Rules here give J^H g themselves (operators are declared with holomorphic=False): with <A, B> = Re tr(A^H B), the gradient
of Y = f(A) is the linear map that takes gY to gA in <gY, dY> = <gA, dA>. M. Giles, "Collected matrix derivative results
for forward and reverse mode algorithmic differentiation", 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.complex import conjugated
from reference_engine.ops.joining import concatenate
from reference_engine.ops.masking import masked, nil
from reference_engine.ops.matmul import mT, product
from reference_engine.ops.shapes import tri_lower, tri_upper
from reference_engine.tensor import Tensor, wrap

__all__ = [
    "array_of", "conjugated", "constant_like", "diagonal", "eye_like", "is_complex", "joined", "mH", "mT", "masked", "nil",
    "on_diagonal", "product", "real", "skew", "symmetric", "tri_lower", "tri_upper", "wrap",
]  # fmt: skip


def array_of(x: Any) -> np.ndarray:
    """The values of an array or tensor."""
    return x._array if isinstance(x, Tensor) else x


def is_complex(x: Any) -> bool:
    """Whether an array or tensor is complex."""
    return array_of(x).dtype.kind == "c"


def mH(x: Any) -> Any:
    """The conjugate transpose of the last two dimensions."""
    return mT(conjugated(x)) if is_complex(x) else mT(x)


def constant_like(values: np.ndarray, like: Any) -> Any:
    """A constant in the dtype of `like`, an array or a tensor as `like` is."""
    if isinstance(like, Tensor):
        return wrap(values.astype(like._array.dtype))
    return values.astype(like.dtype)


def eye_like(x: Any, n: int | None = None) -> Any:
    """The identity that x could be multiplied by from the right, or that of size n."""
    return constant_like(np.eye(array_of(x).shape[-1] if n is None else n), x)


def diagonal(x: Any) -> Any:
    """The diagonals of matrices."""
    if isinstance(x, Tensor):
        return registry.functions["diagonal"](x, 0, -2, -1)
    return np.diagonal(x, 0, -2, -1)


def on_diagonal(values: Any, like: Any = None) -> Any:
    """Square matrices with `values` on their diagonals and zeros elsewhere, whatever the values are."""
    n = values.shape[-1]
    return masked(values[..., None] + constant_like(np.zeros((n, n)), values), np.eye(n, dtype=bool))


def real(x: Any) -> Any:
    """The real part; a real array or tensor itself."""
    return x.real if is_complex(x) else x


def skew(x: Any) -> Any:
    """The part of square matrices that changes its sign under conjugate transposition."""
    return (x - mH(x)) / 2


def symmetric(x: Any) -> Any:
    """The part of square matrices that is its own conjugate transpose."""
    return (x + mH(x)) / 2


def joined(parts: Sequence[Any], dim: int) -> Any:
    """Blocks side by side (dim -1) or one below the other (dim -2)."""
    if any(isinstance(part, Tensor) for part in parts):
        return concatenate(*parts, dim=parts[0].ndim + dim)
    return np.concatenate(parts, dim)
