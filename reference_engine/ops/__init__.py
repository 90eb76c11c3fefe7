"""Operators, by family. Each file is a table: what an operator computes and what its derivative is; kinds.py says what
follows from that. Importing this package declares them all and hangs their methods onto Tensor.
"""

from reference_engine.ops import (
    activations,
    complex,
    elementwise,
    indexing,
    matmul,
    operators,
    reductions,
    shapes,
    types,
)

operators.install()

__all__ = ["activations", "complex", "elementwise", "indexing", "matmul", "operators", "reductions", "shapes", "types"]
