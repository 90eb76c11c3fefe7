"""Products of vectors and matrices beyond matmul: across, of Kronecker, of several factors; trace, covariance.

Source: torch.linalg.cross, torch.kron, torch.linalg.multi_dot, torch.cov.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.complex import conjugated
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.matmul import dot, matmul, mT, product
from reference_engine.ops.one_node import one_node
from reference_engine.ops.out import with_out
from reference_engine.ops.registry import both, function
from reference_engine.ops.shapes import axis, mismatch
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor, wrap

# --- other products --------------------------------------------------------------------------------------------------


def _cross(a: np.ndarray, b: np.ndarray, *, dim: int) -> np.ndarray:
    return np.roll(a, -1, dim) * np.roll(b, -2, dim) - np.roll(a, -2, dim) * np.roll(b, -1, dim)


def crossed(a: Any, b: Any, dim: int) -> Any:
    """The cross product, over arrays and tensors."""
    return cross_op(a, b, dim=dim)


cross_op = general("linalg_cross", _cross, lambda g, b, dim: crossed(b, g, dim), lambda g, a, dim: crossed(g, a, dim),
                   inputs=("a", "b"), saved_names=("self", "other"), multilinear=True)  # fmt: skip


@with_out
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vectors perpendicular to two vectors of 3. Source: torch.linalg.cross."""
    if input._array.ndim != other._array.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    sizes = [x._array.shape[axis(dim, x._array.ndim)] for x in (input, other)]
    if sizes != [3, 3]:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {sizes[0]} and {sizes[1]}")
    if input.dtype is not other.dtype:
        names = [dtypes.type_name(x.dtype) for x in (input, other)]
        raise RuntimeError(f"expected scalar type {names[0]} but found {names[1]}")
    try:
        shape = np.broadcast_shapes(input._array.shape, other._array.shape)
    except ValueError:
        raise mismatch(input._array.shape, other._array.shape) from None
    return cross_op(input, other, dim=axis(dim, len(shape)))


@with_out
def _cross_of(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product, along the first dimension of size 3 unless one is named. Source: torch.cross."""
    if dim is None:
        warn_once("cross", "Using torch.cross without specifying the dim arg is deprecated.\nPlease either pass the dim explicitly "
                  "or simply use torch.linalg.cross.\nThe default value of dim will change to agree with that of linalg.cross in a "
                  "future release.", stacklevel=4)  # fmt: skip
        found = [d for d, n in enumerate(input._array.shape) if n == 3]
        if not found and input._array.ndim == other._array.ndim:
            raise RuntimeError("no dimension of size 3 in input")
        dim = found[0] if found else -1
    return linalg_cross(input, other, dim=dim)


registry.publish("cross", _cross_of)


@with_out
def kron(input: Tensor, other: Tensor) -> Tensor:
    """Blocks of `other`, one for each element of `input` and scaled by it. Source: torch.kron."""
    n = max(input._array.ndim, other._array.ndim)
    a, b = ([1] * (n - x._array.ndim) + list(x._array.shape) for x in (input, other))
    left = input.reshape([size for p in a for size in (p, 1)])
    right = other.reshape([size for q in b for size in (1, q)])
    return (left * right).reshape([p * q for p, q in zip(a, b, strict=True)])


registry.publish("kron", kron)


trace_op = linear("trace", lambda x: np.asarray(np.trace(x)), lambda g, x_shape: g * _eye(g, x_shape))


def _eye(g: Any, shape: tuple[int, ...]) -> Any:
    eye = np.eye(*shape, dtype=(g._array if isinstance(g, Tensor) else g).dtype)
    return wrap(eye) if isinstance(g, Tensor) else eye


@both
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix. Source: torch.trace."""
    if input._array.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input._array.ndim}")
    return trace_op(input if input.dtype.category >= dtypes.FLOATING else input.to(dtypes.int64))


@both
@with_out
@one_node("VdotBackward0", "input", "other")
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of conj(input) * other over two vectors. Source: torch.vdot."""
    return dot(conjugated(input), other)


@with_out
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sum of conj(x) * y along a dimension. Source: torch.linalg.vecdot."""
    if x.dtype is not y.dtype:
        names = [dtypes.type_name(t.dtype) for t in (x, y)]
        raise RuntimeError(f"linalg.vecdot: Expected vectors of same dtype, but got {names[0]} and {names[1]}")
    return (conjugated(x) * y).sum(dim)


@with_out
def multi_dot(tensors: Any) -> Tensor:
    """The product of two or more matrices; the first and the last may be vectors. Source: torch.linalg.multi_dot."""
    factors = list(tensors)
    if len(factors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(factors)}")
    for i, x in enumerate(factors):
        ends = (1, 2) if i in (0, len(factors) - 1) else (2,)
        if x._array.ndim not in ends:
            raise RuntimeError(
                f"multi_dot(): tensor {i} must be {'1D or 2D' if len(ends) > 1 else '2D'} but got {x._array.ndim}D"
            )
        if x.dtype is not factors[0].dtype:
            names = [{"float32": "float", "float64": "double"}.get(t.dtype.name, t.dtype.name) for t in (factors[0], x)]
            raise RuntimeError(f"multi_dot(): all tensors must have be the same dtype but tensor 0 is {names[0]} and tensor {i} "
                               f"{names[1]}")  # fmt: skip
    result = factors[0]
    for i, x in enumerate(factors[1:], 1):
        if result._array.shape[-1] != x._array.shape[0]:
            shapes = [list(t._array.shape) for t in (factors[i - 1], x)]
            raise RuntimeError(
                f"multi_dot(): tensors {i - 1} and {i} with shapes {shapes[0]} and {shapes[1]} cannot be multiplied"
            )
        result = matmul(result, x)
    return result


@function
def chain_matmul(*matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of matrices. Source: torch.chain_matmul."""
    warn_once("chain_matmul", "torch.chain_matmul is deprecated and will be removed in a future PyTorch release. Use "
              "torch.linalg.multi_dot instead, which accepts a list of two or more tensors rather than multiple parameters.")  # fmt: skip
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices, out=out)


def grouped_mm(mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None,
               out_dtype: Any = None) -> Tensor:  # fmt: skip
    """Products of groups: group i ends before offs[i], along the rows of a matrix a, the columns of a matrix b, or the
    dimension that both share; batches need no offsets. Source: torch.nn.functional.grouped_mm.
    """
    if bias is not None:
        raise RuntimeError("Bias not supported yet")
    dims = mat_a._array.ndim, mat_b._array.ndim
    if (offs is None) != (dims == (3, 3)):
        raise RuntimeError("Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d")
    if offs is None:
        return matmul(mat_a, mat_b)
    ends = [int(end) for end in offs._array]
    groups = list(enumerate(zip([0, *ends], ends)))  # noqa: B905 - the last end starts nothing
    f = registry.functions
    if dims == (2, 3):
        return f["cat"]([matmul(mat_a[start:end], mat_b[i]) for i, (start, end) in groups], 0)
    if dims == (3, 2):
        return f["cat"]([matmul(mat_a[i], mat_b[:, start:end]) for i, (start, end) in groups], -1)
    return f["stack"]([matmul(mat_a[:, start:end], mat_b[start:end]) for _, (start, end) in groups])


# --- covariance ------------------------------------------------------------------------------------------------------


@both
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of variables, a row each; observations are columns, counted (fweights) and weighted (aweights).

    Source: torch.cov.
    """
    if input._array.ndim > 2:
        raise RuntimeError("cov(): expected input to have two or fewer dimensions but got an input with "
                           f"{input._array.ndim} dimensions")  # fmt: skip
    if fweights is not None and fweights._array.dtype.kind not in "iu":
        raise RuntimeError("cov(): expected fweights to have integral dtype but got fweights with "
                           f"{dtypes.type_name(fweights.dtype)} dtype")  # fmt: skip
    x = input if input._array.ndim == 2 else input.reshape(1, -1)
    x = x if x.dtype.category >= dtypes.FLOATING else x.to(dtypes.get_default_dtype())
    counts = None if fweights is None else fweights.to(x.dtype.to_real())
    given = [w for w in (counts, aweights) if w is not None]
    if not given:
        centred, left = x - x.mean(1, True), max(x._array.shape[1] - correction, 0)
        return (product(centred, conjugated(mT(centred))) / float(left)).squeeze()
    weights = given[0] if len(given) == 1 else given[0] * given[1]
    total = weights.sum()
    centred = x - (x * weights).sum(1, True) / total
    lost = correction if aweights is None else correction * (weights * given[-1]).sum() / total
    return (product(centred * weights, conjugated(mT(centred))) / (total - lost).clamp(min=0)).squeeze()


@both
def corrcoef(input: Tensor) -> Tensor:
    """The coefficients of correlation: covariances divided by both standard deviations. Source: torch.corrcoef."""
    if input._array.ndim > 2:
        raise RuntimeError("corrcoef(): expected input to have two or fewer dimensions but got an input with "
                           f"{input._array.ndim} dimensions")  # fmt: skip
    covariances = cov(input)
    if covariances._array.ndim == 0:
        return covariances / covariances
    deviations = registry.functions["diagonal"](covariances, 0, -2, -1).sqrt()
    result = covariances / deviations.unsqueeze(1) / deviations.unsqueeze(0)
    clamp = registry.functions["clamp"]
    if result.is_complex():
        return registry.functions["complex"](clamp(result.real, -1, 1), clamp(result.imag, -1, 1))
    return clamp(result, -1, 1)
