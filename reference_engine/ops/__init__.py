"""Operators, by family. Each file is a table: what an operator computes and what its derivative is; kinds.py says what
follows from that. Importing this package declares them all and hangs their methods onto Tensor.
"""

from reference_engine.ops import (
    activations,
    clamping,
    comparisons,
    complex,
    compositions,
    convolution,
    dropout,
    elementwise,
    embedding,
    filling,
    fused,
    indexing,
    inplace_forms,
    losses,
    matmul,
    moments,
    normalization,
    operators,
    order,
    padding,
    pooling,
    positions,
    reductions,
    scatter,
    shapes,
    splitting,
    strided,
    types,
)

inplace_forms.declare()
operators.install()

__all__ = [
    "activations", "clamping", "comparisons", "complex", "compositions", "convolution", "dropout", "elementwise", "embedding",
    "filling", "fused", "indexing", "inplace_forms", "losses", "matmul", "moments", "normalization", "operators", "order",
    "padding", "pooling", "positions", "reductions", "scatter", "shapes", "splitting", "strided", "types",
]  # fmt: skip
