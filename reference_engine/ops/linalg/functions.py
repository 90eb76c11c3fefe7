"""Functions of square matrices: powers, the exponential; Vandermonde's matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.linalg.checks import square
from reference_engine.ops.linalg.solving import inv
from reference_engine.ops.linalg.words import eye_like, joined, masked, mH, nil, product
from reference_engine.ops.out import with_out
from reference_engine.tensor import Tensor, wrap


def _exponential(x: np.ndarray) -> np.ndarray:
    from scipy.linalg import expm

    return np.asarray(expm(x), x.dtype) if x.size else np.array(x)


def _corner(x: Any, direction: Any) -> Any:
    """[[x, direction], [0, x]]."""
    return joined([joined([x, direction], -1), joined([nil(x), x], -1)], -2)


def _along_rule(g: Any, x: Any, direction: Any) -> Any:
    """The derivative along [[0, g], [0, 0]] at the adjoint of the whole block; x stands in it twice."""
    n = x.shape[-1]
    whole = exp_along(mH(_corner(x, direction)), joined([joined([nil(g), g], -1), joined([nil(g), nil(g)], -1)], -2))
    return whole[..., :n, :n] + whole[..., n:, n:]


# The derivative of the exponential at x along a direction is the upper right block of exp [[x, direction], [0, x]]: R. Mathias,
# "A chain rule for matrix functions and applications", 1996. Its adjoint is the derivative at x^H.
exp_along = general(
    "linalg_matrix_exp_along", lambda x, direction: _exponential(_corner(x, direction))[..., : x.shape[-1], x.shape[-1] :],
    _along_rule, lambda g, x: exp_along(mH(x), g), holomorphic=False, node="LinalgMatrixExpBackward1",
)  # fmt: skip
exp_op = general("linalg_matrix_exp", _exponential, lambda g, x: exp_along(mH(x), g), inputs=("x",), holomorphic=False,
                 saved_names=("self",))  # fmt: skip


@with_out
def matrix_exp(A: Tensor) -> Tensor:
    """The sum of A^k / k!. Source: torch.linalg.matrix_exp."""
    return exp_op(square("matrix_exp", A))


@with_out
def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied n times; the inverse for negative n, the identity with gradient 0 for 0. Source: torch.linalg.matrix_power."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}")
    if A._array.ndim < 2 or A._array.shape[-1] != A._array.shape[-2]:
        square("matrix_power", A)
    if n == 0:
        return masked(A, np.zeros((), bool)) + eye_like(A)
    base, power = (A if n > 0 else inv(A)), abs(n)
    result: Tensor | None = None
    while power:
        if power % 2:
            result = base if result is None else product(result, base)
        power //= 2
        base = product(base, base) if power else base
    assert result is not None
    return result.clone() if n == 1 else result


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Rows 1, x, x^2 .. x^(N-1), for each element of x. Source: torch.linalg.vander."""
    count = (x._array.shape[-1] if x._array.ndim else 0) if N is None else N
    if count <= 1:
        raise RuntimeError("N must be greater than 1.")
    if x._array.dtype.kind in "b":
        x = x.to(dtypes.int64)
    powers = x.unsqueeze(-1).expand((*x._array.shape, count - 1)).cumprod(-1)
    return joined([wrap(np.ones((*x._array.shape, 1), powers._array.dtype)), powers], -1)


@registry.function
def _vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each element as a row, the highest first unless `increasing`. Source: torch.vander."""
    if x._array.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = x._array.shape[0] if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    if count <= 1:
        return wrap(np.ones((x._array.shape[0], count), x._array.dtype))
    result = vander(x, count)
    return result if increasing else result.flip(-1)


registry.functions["vander"] = registry.functions.pop("_vander")
registry.publish("matrix_exp", matrix_exp)
registry.publish("matrix_power", matrix_power)
