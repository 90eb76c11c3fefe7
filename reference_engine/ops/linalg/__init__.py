"""Linear algebra: functions of matrices, by theme. torch.linalg is spelled in reference_engine/linalg.py.

words.py has what rules are written in, kernels.py elimination on arrays, checks.py errors and results.
"""

from reference_engine.ops.linalg import (
    functions,
    ldl,
    lowrank,
    lu,
    norms,
    orthogonal,
    pseudoinverse,
    solving,
    spectral,
    triangular,
)

__all__ = [
    "functions",
    "ldl",
    "lowrank",
    "lu",
    "norms",
    "orthogonal",
    "pseudoinverse",
    "solving",
    "spectral",
    "triangular",
]
