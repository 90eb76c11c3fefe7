"""torch.linalg: functions of vectors and matrices. They are declared in ops/."""

from __future__ import annotations

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
    "LinAlgError", "det", "inv", "matmul", "matrix_norm", "norm", "slogdet", "solve", "svd", "svdvals", "vecdot",
    "vector_norm",
]  # fmt: skip
