"""torch.linalg: functions of vectors and matrices. They are declared in ops/."""

from __future__ import annotations

from reference_engine.ops.factorizations import (
    cholesky,
    cholesky_ex,
    inv_ex,
    ldl_factor,
    ldl_factor_ex,
    ldl_solve,
    lstsq,
    lu,
    lu_factor,
    lu_factor_ex,
    matrix_rank,
    solve_ex,
)
from reference_engine.ops.linalg import (
    LinAlgError,
    det,
    matrix_norm,
    norm,
    slogdet,
    solve,
    svd,
    svdvals,
    vecdot,
)
from reference_engine.ops.linalg import inverse as inv
from reference_engine.ops.matmul import matmul
from reference_engine.ops.reductions import vector_norm

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "det", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq",
    "lu", "lu_factor", "lu_factor_ex", "matmul", "matrix_norm", "matrix_rank", "norm", "slogdet", "solve", "solve_ex", "svd",
    "svdvals", "vecdot", "vector_norm",
]  # fmt: skip
