"""The pseudoinverse and what goes with it: least squares, rank, condition.

For P = A^+: dP = -P dA P + P P^H dA^H (1 - A P) + (1 - P A) dA^H P^H P, as long as the rank stays the same
(G. Golub, V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems", 1973).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg.checks import LeastSquares, implemented, matrices
from reference_engine.ops.linalg.norms import matrix_norm
from reference_engine.ops.linalg.solving import inv_ex, is_vector
from reference_engine.ops.linalg.spectral import svdvals
from reference_engine.ops.linalg.words import mH, product
from reference_engine.ops.out import with_out
from reference_engine.tensor import Tensor, wrap

DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def _number(value: Any) -> Any:
    """A tolerance as NumPy takes it."""
    return value._array if isinstance(value, Tensor) else value


def _limit(x: np.ndarray, largest: np.ndarray, atol: Any, rtol: Any) -> np.ndarray:
    """What singular values have to exceed: max(atol, rtol times the largest); rtol is max(m, n) eps where neither is given."""
    atol, rtol = _number(atol), _number(rtol)
    if rtol is None:
        default = max(x.shape[-2:]) * np.finfo(x.dtype).eps
        rtol = default if atol is None else np.where(np.asarray(atol) > 0, 0.0, default)
    return np.maximum(0.0 if atol is None else atol, rtol * largest)


def _pseudoinverse(x: np.ndarray, *, atol: Any, rtol: Any, hermitian: bool) -> np.ndarray:
    if not x.size:
        return np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    if hermitian:
        values, u = np.linalg.eigh(x)
        vh = u.conj().swapaxes(-1, -2)
    else:
        u, values, vh = np.linalg.svd(x, full_matrices=False)
    sizes = np.abs(values)
    counted = sizes > _limit(x, sizes.max(-1), atol, rtol)[..., None]
    inverted = np.where(counted, 1 / np.where(counted, values, 1), 0).astype(values.dtype)
    return np.matmul(vh.conj().swapaxes(-1, -2) * inverted[..., None, :], u.conj().swapaxes(-1, -2))


def _rule(g: Any, x: Any, y: Any) -> Any:
    """-P^H g P^H + (1 - A P) g^H P P^H + P^H P g^H (1 - P A)."""
    ph, gh = mH(y), mH(g)
    beside, beyond = product(gh, product(y, ph)), product(product(ph, y), gh)
    turned = beside - product(x, product(y, beside)) + beyond - product(product(beyond, y), x)
    return turned - product(product(ph, g), ph)


pinv_op = general("linalg_pinv", _pseudoinverse, _rule, inputs=("x",), holomorphic=False, saved_names=("self",))


@with_out
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The Moore-Penrose inverse; singular values up to max(atol, rtol * largest) count as 0. Source: torch.linalg.pinv."""
    if A._array.ndim < 2 or A._array.dtype.kind not in "fc" or A._array.dtype.itemsize < 4:
        kind = f"{dtypes.type_name(A.dtype)}{{{list(A._array.shape)}}}"
        raise RuntimeError(f"linalg.pinv({kind}): expected a tensor with 2 or more dimensions of float, double, cfloat or "
                           "cdouble types")  # fmt: skip
    return pinv_op(A, atol=_number(atol), rtol=_number(rtol if rcond is None else rcond), hermitian=hermitian)


registry.publish("pinverse", lambda input, rcond=1e-15: pinv(input, rcond))


def _rank(x: np.ndarray, *, tol: Any, hermitian: bool, atol: Any, rtol: Any) -> np.ndarray:
    sizes = np.abs(np.linalg.eigvalsh(x)) if hermitian else np.linalg.svd(x, compute_uv=False)
    limit = tol if tol is not None else _limit(x, sizes.max(-1, initial=0), atol, rtol)
    return np.asarray((sizes > np.asarray(limit)[..., None]).sum(-1), np.int64)


matrix_rank_op = general("linalg_matrix_rank", _rank, None, inputs=("x",))


@with_out
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """How many singular values exceed max(atol, rtol * largest); never tracked. Source: torch.linalg.matrix_rank."""
    if A._array.ndim < 2:
        raise RuntimeError("torch.linalg.matrix_rank: The input tensor input must have at least 2 dimensions.")
    if A._array.dtype.kind not in "fc":
        raise RuntimeError("This function doesn't handle types other than float and double")
    return matrix_rank_op(A, tol=_number(tol), hermitian=hermitian, atol=_number(atol), rtol=_number(rtol))


def _ranked(x: np.ndarray, *, rcond: float | None) -> tuple:
    """(rank, singular values)."""
    sizes = np.linalg.svd(x, compute_uv=False)
    return np.asarray((sizes > _limit(x, sizes.max(-1, initial=0), None, rcond)[..., None]).sum(-1), np.int64), sizes


rank_op = general(
    "linalg_lstsq_rank", _ranked, None, inputs=("x",), outputs=("rank", "sizes"), nondifferentiable=("rank", "sizes")
)


def _residuals(A: Tensor, B: Tensor, solution: Tensor) -> Tensor:
    """The squares of B - A X summed over rows."""
    difference = (product(A, solution) - B).abs()
    return (difference * difference).sum(-2)


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X that makes |A X - B| least, and of least norm among those: A^+ B. The driver decides what is given besides:
    rank (all but gels), singular values (gelsd, gelss), residuals (all but gelsy, where A has more rows than columns and
    full rank). Source: torch.linalg.lstsq.
    """
    if driver is not None and driver not in DRIVERS:
        raise RuntimeError(f"torch.linalg.lstsq: parameter `driver` should be one of ({', '.join(DRIVERS)})")
    if A._array.ndim < 2:
        raise RuntimeError("torch.linalg.lstsq: input must have at least 2 dimensions.")
    driver = driver or "gelsy"
    vector = is_vector(A, B)
    right = B.unsqueeze(-1) if vector else B
    m, n = A._array.shape[-2:]
    if right._array.shape[-2] != m:
        raise RuntimeError(f"torch.linalg.lstsq: input.size(-2) should match other.size({'-1' if vector else '-2'})")
    implemented("linalg_lstsq_cpu", A)
    solution = product(pinv(A, rcond), right)
    rank, sizes = rank_op(A, rcond=rcond)
    empty = sizes.new_zeros(0)
    full = driver != "gelsy" and m > n and bool((rank == n).all())
    return LeastSquares(
        solution.squeeze(-1) if vector else solution,
        _residuals(A, right, solution) if full else empty,
        rank if driver != "gels" else rank.new_zeros(0),
        sizes if driver in ("gelsd", "gelss") else empty,
    )


@with_out
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: the largest singular value over the least, or |A| |A^-1| in another norm. Source: torch.linalg.cond."""
    if A._array.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p not in (None, "fro", "nuc", 1, -1, 2, -2, float("inf"), float("-inf")):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    if not A._array.size:
        return wrap(np.zeros(A._array.shape[:-2], A._array.real.dtype))
    if p in (None, 2, -2):
        values = svdvals(A)
        least, largest = values[..., -1], values[..., 0]
        return least / largest if p == -2 else largest / least
    matrices("cond", A)
    if A._array.shape[-1] != A._array.shape[-2]:
        raise RuntimeError(f"linalg.cond(ord={p}): A must be batches of square matrices, but they are {A._array.shape[-2]} by "
                           f"{A._array.shape[-1]} matrices")  # fmt: skip
    product_of_norms = matrix_norm(A, p) * matrix_norm(inv_ex(A).inverse, p)
    return (
        registry.functions["nan_to_num"](product_of_norms, nan=float("inf"), posinf=float("inf"))
        if "nan_to_num" in registry.functions
        else product_of_norms
    )
