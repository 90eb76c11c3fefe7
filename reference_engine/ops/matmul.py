"""Products of matrices and vectors. Bilinear: the rule of each factor is a product with the other.

matmul broadcasts as documented (torch.matmul): vectors are completed to matrices, leading dimensions broadcast; the
backward pass sums gradients back over broadcast dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import _into
from reference_engine.ops.kinds import general
from reference_engine.ops.out import with_out
from reference_engine.ops.registry import both
from reference_engine.state import state
from reference_engine.tensor import Tensor


def mT(x: Any) -> Any:
    """The last two dimensions swapped, over arrays and tensors."""
    return registry.functions["transpose"](x, -1, -2) if isinstance(x, Tensor) else x.swapaxes(-1, -2)


def product(a: Any, b: Any) -> Any:
    """a @ b with both at least matrices, over arrays and tensors."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return multiplied(a, b)
    return mm_op(a, b) if a.ndim == b.ndim == 2 else bmm_op(a, b)


def multiplied(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b of arrays that are matrices or batches of them.

    With one column it is an outer product, which BLAS is slow at, and for which einsum is faster than broadcasting where
    numbers are real. Where one b repeats for all of a batch, the rows of the batch are those of one matrix.
    """
    if a.shape[-1] == 1 == b.shape[-2]:
        return np.einsum("...i,...j->...ij", a[..., 0], b[..., 0, :]) if a.dtype.kind == "f" else a * b
    repeats = b.ndim == 3 and len(b) > 0 and b.strides[0] == 0
    if repeats and a.shape[:1] == b.shape[:1] and a.ndim == 3:
        batch, rows, inner = a.shape
        return np.matmul(a.reshape(batch * rows, inner), b[0]).reshape(batch, rows, b.shape[2])
    return np.matmul(a, b)


def left(g: Any, b: Any, a_strides: tuple[int, ...]) -> Any:
    """g b^T, which lies in memory as a does."""
    return mT(product(b, mT(g))) if by_columns(a_strides) else product(g, mT(b))


def right(g: Any, a: Any, b_strides: tuple[int, ...]) -> Any:
    """a^T g, which lies in memory as b does.

    A layer multiplies with its weight transposed: turned back, the gradient lies as the weight does.
    """
    return mT(product(mT(g), a)) if by_columns(b_strides) else product(mT(a), g)


def by_columns(strides: tuple[int, ...]) -> bool:
    """Whether a matrix lies in memory column by column. A sparse one has no strides."""
    return len(strides) == 2 and strides[0] < strides[1]


# fmt: off
#              value                              d/da                                   d/db
mm_op   = general("mm",  lambda a, b: multiplied(a, b), left,                                right,                          saved_names=("self", "mat2"), multilinear=True)
bmm_op  = general("bmm", lambda a, b: multiplied(a, b), lambda g, b: product(g, mT(b)),      lambda g, a: product(mT(a), g), saved_names=("self", "mat2"), multilinear=True)
mv_op   = general("mv",  lambda a, b: np.matmul(a, b), lambda g, b: outer_product(g, b),    lambda g, a: matvec(mT(a), g), saved_names=("self", "vec"), multilinear=True)
dot_op  = general("dot", lambda a, b: np.asarray(np.dot(a, b)), lambda g, b: g * b,         lambda g, a: g * a, saved_names=("self", "tensor"), multilinear=True)
# fmt: on


def matvec(a: Any, b: Any) -> Any:
    """Matrix times vector, over arrays and tensors."""
    return mv_op(a, b) if isinstance(a, Tensor) else np.matmul(a, b)


def outer_product(a: Any, b: Any) -> Any:
    """The outer product of two vectors, over arrays and tensors."""
    return a[:, None] * b[None, :]


def lowered(*inputs: Any) -> tuple:
    """The inputs as autocast wants them."""
    from reference_engine import autocasting

    return autocasting.lowered(*inputs)


def unmatched(a: Tensor, b: Tensor) -> RuntimeError:
    """The error for matrices whose sizes do not fit."""
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, a.shape))} and "
                        f"{'x'.join(map(str, b.shape))})")  # fmt: skip


def checked(a: Any, b: Any) -> None:
    """Checks that both factors are tensors of one dtype."""
    for x in (a, b):
        if not isinstance(x, Tensor):
            raise TypeError(f"matmul(): argument must be Tensor, not {type(x).__name__}")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {_c_name(a)} != {_c_name(b)}")


def _c_name(x: Tensor) -> str:
    return C_NAMES.get(x.dtype.name, x.dtype.name)


C_NAMES = {"float32": "float", "float64": "double", "int64": "long long", "complex64": "c10::complex<float>",
           "complex128": "c10::complex<double>"}  # fmt: skip


@both
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of vectors, matrices or batches of matrices. Source: torch.matmul."""
    if out is not None:
        return _into(matmul(input, other), out, "matmul")
    if state.autocast is not None:
        input, other = lowered(input, other)
    checked(input, other)
    m, n = input._array.ndim, other._array.ndim
    if m == 0 or n == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {m}D and {n}D")
    if input._array.shape[-1] != other._array.shape[-2 if n > 1 else 0]:
        if m == n == 1:
            raise RuntimeError(f"inconsistent tensor size, expected tensor {list(input.shape)} and src "
                               f"{list(other.shape)} to have the same number of elements")  # fmt: skip
        raise unmatched(input, other)
    if m == 1 and n == 1:
        return dot_op(input, other)
    if m == 2 and n == 2:
        return mm_op(input, other)
    if m == 2 and n == 1:
        return mv_op(input, other)
    if m == 1:
        return registry.functions["squeeze"](matmul(registry.functions["unsqueeze"](input, 0), other), -2)
    if n == 1:
        return registry.functions["squeeze"](matmul(input, registry.functions["unsqueeze"](other, 1)), -1)
    return bmm_op(input, other)


@both
@with_out
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices. Source: torch.mm."""
    if state.autocast is None:
        checked(input, mat2)
    if input._array.ndim != 2 or mat2._array.ndim != 2:
        raise RuntimeError("self must be a matrix" if input._array.ndim != 2 else "mat2 must be a matrix")
    return matmul(input, mat2)


@both
@with_out
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices. Source: torch.bmm."""
    if input._array.ndim != 3 or mat2._array.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor" if input._array.ndim != 3 else "batch2 must be a 3D tensor")
    batch, rows = input._array.shape[0], input._array.shape[2]
    if mat2._array.shape[:2] != (batch, rows):
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{batch}, {rows}] but got: "
                           f"{list(mat2._array.shape[:2])}.")  # fmt: skip
    return matmul(input, mat2)


@both
@with_out
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Matrix times vector. Source: torch.mv."""
    return matmul(input, vec)


@both
@with_out
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The dot product of two vectors. Source: torch.dot."""
    if input._array.ndim != 1 or tensor._array.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input._array.ndim}D and {tensor._array.ndim}D tensors")
    if input.dtype is not tensor.dtype and state.autocast is None:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {dtypes.type_name(input.dtype)} and "
                           f"{dtypes.type_name(tensor.dtype)}")  # fmt: skip
    return matmul(input, tensor)


@both
@with_out
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The outer product of two vectors. Source: torch.outer."""
    for name, vector in (("self", input), ("vec2", vec2)):
        if vector._array.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {vector._array.ndim}-D")
    return input.unsqueeze(1) * vec2.unsqueeze(0)


registry.publish("ger", outer)
