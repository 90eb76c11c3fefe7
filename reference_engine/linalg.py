"""torch.linalg: functions of vectors and matrices. They are declared in ops/linalg/ and ops/products.py."""

from __future__ import annotations

from typing import Any

from reference_engine.ops.linalg.checks import LinAlgError
from reference_engine.ops.linalg.functions import matrix_exp, matrix_power, vander
from reference_engine.ops.linalg.ldl import ldl_factor, ldl_factor_ex, ldl_solve
from reference_engine.ops.linalg.lu import lu, lu_factor, lu_factor_ex, lu_solve
from reference_engine.ops.linalg.norms import matrix_norm, norm, vector_norm
from reference_engine.ops.linalg.orthogonal import householder_product, qr
from reference_engine.ops.linalg.pseudoinverse import cond, lstsq, matrix_rank, pinv
from reference_engine.ops.linalg.solving import det, inv, inv_ex, slogdet, solve, solve_ex, tensorinv, tensorsolve
from reference_engine.ops.linalg.spectral import eig, eigh, eigvals, eigvalsh, svd, svdvals
from reference_engine.ops.linalg.triangular import cholesky, cholesky_ex, solve_triangular
from reference_engine.ops.matmul import matmul
from reference_engine.ops.products import linalg_cross as cross
from reference_engine.ops.products import multi_dot, vecdot
from reference_engine.tensor import Tensor


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of matrices, a view. Source: torch.linalg.diagonal."""
    return A.diagonal(offset, dim1, dim2)


__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm",
    "pinv", "qr", "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander",
    "vecdot", "vector_norm",
]  # fmt: skip
