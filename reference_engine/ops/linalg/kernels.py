"""Elimination and substitution over batches of matrices, on arrays: what NumPy refuses for singular ones.

As in torch (and LAPACK below it), a zero pivot is reported in `info` and leads to infinities and nan where one divides by it.
"""

from __future__ import annotations

import numpy as np


def _magnitude(x: np.ndarray) -> np.ndarray:
    """The size by which a pivot is chosen."""
    return np.abs(x.real) + np.abs(x.imag) if x.dtype.kind == "c" else np.abs(x)


def eliminate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussian elimination with row exchanges: (L below the diagonal and U on and above it, pivots counted from 1, info).

    info is the number of the first zero pivot, counted from 1, or 0.
    """
    *batch, m, n = x.shape
    count, least = int(np.prod(batch)), min(m, n)
    packed = np.array(x, order="C").reshape(count, m, n)
    pivots, info = np.zeros((count, least), np.int32), np.zeros(count, np.int32)
    every = np.arange(count)
    for j in range(least):
        best = j + _magnitude(packed[:, j:, j]).argmax(1)
        pivots[:, j] = best + 1
        exchanged = packed[every, best]
        packed[every, best] = packed[:, j].copy()
        packed[:, j] = exchanged
        pivot = packed[:, j, j]
        info[(info == 0) & (pivot == 0)] = j + 1
        factor = packed[:, j + 1 :, j] / np.where(pivot == 0, np.ones((), x.dtype), pivot)[:, None]
        packed[:, j + 1 :, j] = factor
        packed[:, j + 1 :, j + 1 :] -= factor[:, :, None] * packed[:, j, None, j + 1 :]
    return packed.reshape(x.shape), pivots.reshape(*batch, least), info.reshape(batch)


def row_order(pivots: np.ndarray, rows: int) -> np.ndarray:
    """The order that exchanges bring rows into: row i of L U is row order[i] of the matrix."""
    *batch, count = pivots.shape
    flat = pivots.reshape(-1, count) - 1 if count else np.zeros((int(np.prod(batch)), 0), np.int64)
    order = np.tile(np.arange(rows), (flat.shape[0], 1))
    every = np.arange(flat.shape[0])
    for j in range(count):
        order[:, j], order[every, flat[:, j]] = order[every, flat[:, j]], order[:, j].copy()
    return order.reshape(*batch, rows)


def permutation(pivots: np.ndarray, rows: int, dtype: np.dtype) -> np.ndarray:
    """P in A = P L U."""
    order = row_order(pivots, rows)
    return np.swapaxes(np.eye(rows, dtype=dtype)[order], -1, -2)


def substitute(a: np.ndarray, b: np.ndarray, *, upper: bool, unit: bool = False) -> np.ndarray:
    """X with A X = B for triangular A; only that triangle is read, and with `unit` not its diagonal."""
    n = a.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, (*batch, *b.shape[-2:])), dtype=np.result_type(a, b))
    for i in reversed(range(n)) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(0, i)
        x[..., i, :] -= np.matmul(a[..., i : i + 1, known], x[..., known, :])[..., 0, :]
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
    return x


def solution(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X with A X = B, and info: where A is singular X is not finite."""
    batch = a.shape[:-2]
    try:
        return np.linalg.solve(a, b), np.zeros(batch, np.int32)
    except np.linalg.LinAlgError:
        packed, pivots, info = eliminate(a)
        permuted = np.matmul(np.swapaxes(permutation(pivots, a.shape[-1], a.dtype), -1, -2), b)
        return substitute(packed, substitute(packed, permuted, upper=False, unit=True), upper=True), info


def inverse(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse, and info: where A is singular the inverse is not finite."""
    try:
        return np.linalg.inv(a), np.zeros(a.shape[:-2], np.int32)
    except np.linalg.LinAlgError:
        divided, info = solution(a, np.eye(a.shape[-1], dtype=a.dtype))
        regular = (info == 0)[..., None, None]
        return np.where(regular, np.linalg.inv(np.where(regular, a, np.eye(a.shape[-1], dtype=a.dtype))), divided), info


def cholesky(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L with A = L L^H from the lower triangle of A, and info: the order of the first minor that is not positive."""
    n = a.shape[-1]
    low, info = np.zeros_like(a), np.zeros(a.shape[:-2], np.int32)
    for j in range(n):
        row = low[..., j, :j]
        square = (a[..., j, j] - np.sum(row * row.conj(), -1)).real
        info = np.where((info == 0) & ~(square > 0), np.int32(j + 1), info)
        low[..., j, j] = np.sqrt(square)
        rest = a[..., j + 1 :, j] - np.matmul(low[..., j + 1 :, :j], row.conj()[..., None])[..., 0]
        low[..., j + 1 :, j] = rest / low[..., j, j, None]
    return low, info.astype(np.int32)
