"""The LDL factorization: recorded, and without a derivative. Source: torch.linalg.ldl_factor, ldl_solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.batching.examplewise import examplewise
from reference_engine.batching.tensor import bottom
from reference_engine.ops.linalg.checks import LDL, LDLEx, square
from reference_engine.ops.underivable import unrecorded
from reference_engine.tensor import Tensor


def _each(function: Callable, *matrices: np.ndarray) -> tuple[np.ndarray, ...]:
    """function(*matrix) -> arrays, for every matrix of a batch, stacked."""
    batch = matrices[0].shape[:-2]
    rows = [m.reshape(-1, *m.shape[len(batch) :]) for m in matrices]
    results = [function(*parts) for parts in zip(*rows, strict=True)]
    return tuple(np.stack(column).reshape((*batch, *column[0].shape)) for column in zip(*results, strict=True))


def _factored(a: np.ndarray) -> tuple:
    from scipy.linalg import get_lapack_funcs

    (sytrf,) = get_lapack_funcs(("sytrf",), (a,))
    packed, pivots, info = sytrf(a, lower=1)
    return np.tril(packed), np.asarray(pivots, np.int32), np.asarray(info, np.int32)


def _solved(ld: np.ndarray, b: np.ndarray, *, pivots: np.ndarray) -> np.ndarray:
    def one(packed: np.ndarray, right: np.ndarray, order: np.ndarray) -> tuple:
        from scipy.linalg import get_lapack_funcs

        (sytrs,) = get_lapack_funcs(("sytrs",), (packed,))
        return (sytrs(packed, order, right, lower=1)[0],)

    batch = ld.shape[:-2]
    return _each(one, ld, np.broadcast_to(b, (*batch, *b.shape[-2:])), pivots)[0]


_ldl = unrecorded("linalg_ldl_factor_ex", lambda x: _each(_factored, x), ("x",), outputs=("ld", "pivots", "info"),
                  nondifferentiable=("pivots", "info"))  # fmt: skip
_ldl_solve = unrecorded("linalg_ldl_solve", _solved, ("ld", "b"))


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """(LD, pivots, info): A = L D L^T, packed; without a derivative. Source: torch.linalg.ldl_factor_ex."""
    result = LDLEx(*_ldl(square("ldl_factor_ex", A)))
    if check_errors and (worst := int(bottom(result.info)._array.max(initial=0))):
        raise RuntimeError(f"torch.linalg.ldl_factor_ex: D[{worst},{worst}] is zero and using it on ldl_solve would result in a "
                           "division by zero.")  # fmt: skip
    return result


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """(LD, pivots). Source: torch.linalg.ldl_factor."""
    return LDL(*ldl_factor_ex(A, hermitian=hermitian)[:2])


@examplewise
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with L D L^T X = B; without a derivative. Source: torch.linalg.ldl_solve."""
    return _ldl_solve(LD, B, pivots=np.array(pivots._array))
