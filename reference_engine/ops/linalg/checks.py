"""What matrix functions ask of their inputs, and the errors and named results that they give. Source: torch.linalg."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes, return_types
from reference_engine.batching.tensor import bottom
from reference_engine.state import state
from reference_engine.tensor import Tensor


class _LinAlgError(RuntimeError):
    """A matrix has no such decomposition or inverse. Source: torch.linalg.LinAlgError."""


LinAlgError = _LinAlgError

# fmt: off
Inverse       = return_types.linalg_inv_ex
Solution      = return_types.linalg_solve_ex
SlogDet       = return_types.linalg_slogdet
CholeskyEx    = return_types.linalg_cholesky_ex
LU            = return_types.linalg_lu
LUFactor      = return_types.linalg_lu_factor
LUFactorEx    = return_types.linalg_lu_factor_ex
LDL           = return_types.linalg_ldl_factor
LDLEx         = return_types.linalg_ldl_factor_ex
Unpacked      = return_types.lu_unpack
QR            = return_types.linalg_qr
Geqrf         = return_types.geqrf
Eig           = return_types.linalg_eig
Eigh          = return_types.linalg_eigh
SVD           = return_types.linalg_svd
OldSVD        = return_types.svd
Triangular    = return_types.triangular_solve
LeastSquares  = return_types.linalg_lstsq
# fmt: on


def matrices(name: str, x: Tensor, what: str = "A") -> Tensor:
    """x, after a check that it holds matrices."""
    if not isinstance(x, Tensor):
        raise TypeError(f"linalg_{name}(): argument '{what}' (position 1) must be Tensor, not {type(x).__name__}")
    if x._array.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor {what} must have at least 2 dimensions.")
    return x


def floating(name: str, x: Tensor) -> Tensor:
    """x, after a check that its numbers are real or complex."""
    if x._array.dtype.kind not in "fc":
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got "
                           f"{dtypes.type_name(x.dtype)}")  # fmt: skip
    if x._array.dtype.itemsize < 4:
        raise RuntimeError(f"linalg.{name}: Low precision dtypes not supported. Got {dtypes.type_name(x.dtype)}")
    return x


def square(name: str, x: Tensor, *, types: str | None = None) -> Tensor:
    """x, after a check that it holds square matrices of real or complex numbers.

    `types`: the name under which a wrong element type is reported, where it is another.
    """
    matrices(name, x)
    if x._array.shape[-1] != x._array.shape[-2]:
        raise RuntimeError(f"linalg.{name}: A must be batches of square matrices, but they are {x._array.shape[-2]} by "
                           f"{x._array.shape[-1]} matrices")  # fmt: skip
    return floating(types or name, x)


def implemented(kernel: str, x: Tensor) -> Tensor:
    """x, after a check that there is a kernel for its element type."""
    if x._array.dtype.kind not in "fc" or x._array.dtype.itemsize < 4:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{dtypes.type_name(x.dtype)}'")
    return x


def failed(info: Tensor) -> tuple[int, str] | None:
    """The first failure that `info` tells of: the number in it, and "(Batch element i): " in a batch, vmap's too. None where
    the numbers are not known, in a function that make_fx traces.
    """
    numbers: Any = bottom(info)._array
    if state.tracing and not isinstance(numbers, np.ndarray):
        return None
    for element, number in enumerate(np.reshape(numbers, -1)):
        if number:
            return int(number), f"(Batch element {element}): " if np.ndim(numbers) else ""
    return None
