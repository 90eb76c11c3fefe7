"""Matrix products with something added: beta * input + alpha * product. linear and bilinear layers.

With beta 0 the input is not read: what is infinite or nan there stays out, and its gradient is 0. Source: torch.addmm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.complex import conjugated
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import Operator, general
from reference_engine.ops.masking import nil
from reference_engine.ops.matmul import checked, left, lowered, matmul, matvec, mT, outer_product, right, unmatched
from reference_engine.ops.out import with_out
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap


def _scaled(g: Any, factor: Any) -> Any:
    """g times the conjugate of a number, over arrays and tensors; 0 times infinity is 0."""
    return g if factor == 1 else nil(g) if factor == 0 else g * factor.conjugate()


def _adding(multiply: Callable) -> Callable:
    """The forward of beta * c + alpha * multiply(a, b). With beta 0, c is not read: what is infinite there stays out."""

    def forward(c: np.ndarray, a: np.ndarray, b: np.ndarray, *, beta: Any, alpha: Any) -> np.ndarray:
        result = multiply(a, b)
        result = result if alpha == 1 else result * alpha
        if beta == 0:
            return np.broadcast_to(result, np.broadcast_shapes(c.shape, result.shape))
        return np.add(result, c if beta == 1 else c * beta)

    return forward


def _summed_rows(a: Any, b: Any) -> Any:
    return np.add.reduce(np.matmul(a, b), axis=0)


def _back(g: Any, other: Any, alpha: Any, strides: tuple[int, ...] = ()) -> Any:
    """alpha g B^H, the gradient of the left factor, which has these strides."""
    return _scaled(left(g, conjugated(other), strides), alpha)


def _front(g: Any, other: Any, alpha: Any, strides: tuple[int, ...] = ()) -> Any:
    """alpha A^H g, the gradient of the right factor, which has these strides."""
    return _scaled(right(g, conjugated(other), strides), alpha)


def _outer_back(g: Any, other: Any, alpha: Any, strides: tuple[int, ...]) -> Any:
    return _scaled(outer_product(g, conjugated(other)), alpha)


def _vector_back(g: Any, other: Any, alpha: Any, strides: tuple[int, ...]) -> Any:
    return _scaled(matvec(g, conjugated(other)), alpha)


def _affine(name: str, multiply: Callable, back: Callable, front: Callable, second: str, third: str) -> Operator:
    """beta * c + alpha * multiply(a, b); the gradient of c is g itself, of complex numbers too."""
    rules = (
        lambda g, beta: _scaled(g, beta),
        lambda g, b, alpha, a_strides: back(g, b, alpha, a_strides),
        lambda g, a, alpha, b_strides: front(g, a, alpha, b_strides),
    )
    return Operator(name, _adding(multiply), rules, inputs=("c", "a", "b"), saved_names=("self", second, third),
                    holomorphic=False)  # fmt: skip


# fmt: off
#                               value               d / d a                                 d / d b
addmm_op   = _affine("addmm",   np.matmul,          _back,                                  _front,                                   "mat1", "mat2")
baddbmm_op = _affine("baddbmm", np.matmul,          _back,                                  _front,                                   "batch1", "batch2")
addbmm_op  = _affine("addbmm",  _summed_rows,       lambda g, b, k, s: _back(g[None], b, k), lambda g, a, k, s: _front(g[None], a, k), "batch1", "batch2")
addmv_op   = _affine("addmv",   np.matmul,          _outer_back,                            lambda g, a, k, s: _scaled(matvec(mT(conjugated(a)), g), k), "mat", "vec")
addr_op    = _affine("addr",    np.multiply.outer,  _vector_back,                           lambda g, a, k, s: _vector_back(mT(g), a, k, s), "vec1", "vec2")
# fmt: on


def _fits(c: Tensor, shape: tuple[int, ...]) -> None:
    """Checks that what is added broadcasts to the product's shape."""
    own = c._array.shape
    for i in range(1, len(shape) + 1):
        if i <= len(own) and own[-i] not in (1, shape[-i]):
            raise RuntimeError(f"The expanded size of the tensor ({shape[-i]}) must match the existing size ({own[-i]}) at "
                               f"non-singleton dimension {len(shape) - i}.  Target sizes: {list(shape)}.  Tensor sizes: "
                               f"{list(own)}")  # fmt: skip
    if len(own) > len(shape):
        raise RuntimeError(f"expand(torch.FloatTensor{{{list(own)}}}, size={list(shape)}): the number of sizes provided "
                           f"({len(shape)}) must be greater or equal to the number of dimensions in the tensor ({len(own)})")  # fmt: skip


def _typed(c: Tensor, a: Tensor, b: Tensor) -> None:
    for first, second in ((c, b), (a, b)):
        if first.dtype is not second.dtype:
            names = [dtypes.type_name(x.dtype) for x in (first, second)]
            raise RuntimeError(f"self and mat2 must have the same dtype, but got {names[0]} and {names[1]}")


def _whole(c: Tensor, **factors: Any) -> None:
    """Checks that integers are not scaled by fractions."""
    for name, factor in factors.items():
        if c.dtype.category < dtypes.FLOATING and isinstance(factor, float) and factor != int(factor):
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")


# The usual case, and the hot one: nothing is scaled.
plain_addmm = general(
    "addmm", lambda c, a, b: np.add(np.matmul(a, b), c), lambda g: g,
    lambda g, b, a_strides: left(g, conjugated(b), a_strides),
    lambda g, a, b_strides: right(g, conjugated(a), b_strides),
    saved_names=("self", "mat1", "mat2"), holomorphic=False,
)  # fmt: skip


@with_out
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2). Source: torch.addmm."""
    if state.autocast is not None:
        input, mat1, mat2 = lowered(input, mat1, mat2)
    for name, x in (("mat1", mat1), ("mat2", mat2)):
        if x._array.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {x._array.ndim}-D tensor")
    checked(mat1, mat2)
    if mat1._array.shape[1] != mat2._array.shape[0]:
        raise unmatched(mat1, mat2)
    _fits(input, (mat1._array.shape[0], mat2._array.shape[1]))
    if beta == 1 and alpha == 1:
        return plain_addmm(input, mat1, mat2)
    return addmm_op(input, mat1, mat2, beta=beta, alpha=alpha)


@with_out
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec). Source: torch.addmv."""
    dims = input._array.ndim, mat._array.ndim, vec._array.ndim
    if dims[1:] != (2, 1) or dims[0] > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {dims[0]}, {dims[1]}, {dims[2]}")
    rows, columns = mat._array.shape
    if vec._array.shape[0] != columns or input._array.size not in (1, rows):
        raise RuntimeError(f"size mismatch, got input ({input._array.size}), mat ({rows}x{columns}), vec "
                           f"({vec._array.shape[0]})")  # fmt: skip
    _typed(input, mat, vec)
    return addmv_op(input, mat, vec, beta=beta, alpha=alpha)


@with_out
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2). Source: torch.addr."""
    for name, vector in (("vec1", vec1), ("vec2", vec2)):
        if vector._array.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got {vector._array.ndim}-D")
    _fits(input, (vec1._array.shape[0], vec2._array.shape[0]))
    common = dtypes.result_type([(x.dtype, 2) for x in (input, vec1, vec2)])
    _whole(wrap(np.zeros(0, common.numpy)), beta=beta, alpha=alpha)
    return addr_op(input.to(common), vec1.to(common), vec2.to(common), beta=beta, alpha=alpha)


def _batches(batch1: Tensor, batch2: Tensor) -> tuple[int, int, int]:
    """(count, rows, columns) of the products of two batches."""
    for name, batch in (("batch1", batch1), ("batch2", batch2)):
        if batch._array.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    (count, rows, inner), (other, own, columns) = batch1._array.shape, batch2._array.shape
    if count != other:
        raise RuntimeError(f"batch1 and batch2 must have same number of batches, got {count} and {other}")
    if inner != own:
        raise RuntimeError(f"Incompatible matrix sizes for bmm ({rows}x{inner} and {own}x{columns})")
    return count, rows, columns


@with_out
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (the sum of batch1[i] @ batch2[i]). Source: torch.addbmm."""
    _fits(input, _batches(batch1, batch2)[1:])
    _typed(input, batch1, batch2)
    return addbmm_op(input, batch1, batch2, beta=beta, alpha=alpha)


@with_out
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2). Source: torch.baddbmm."""
    if state.autocast is not None:
        input, batch1, batch2 = lowered(input, batch1, batch2)
    _fits(input, _batches(batch1, batch2))
    if not input.dtype is batch1.dtype is batch2.dtype:
        names = [
            {"float32": "float", "float64": "double"}.get(x.dtype.name, x.dtype.name) for x in (input, batch1, batch2)
        ]
        raise RuntimeError(
            f"Input dtypes must be the same, got: input {names[0]}, batch1: {names[1]}, batch2: {names[2]}"
        )
    return baddbmm_op(input, batch1, batch2, beta=beta, alpha=alpha)


for _function in (addmm, addmv, addr, addbmm, baddbmm):
    registry.publish(_function.__name__, _function)
    registry.publish(f"{_function.__name__}_", in_place(_function, f"{_function.__name__}_"), module=_function is addmv)

# --- layers ----------------------------------------------------------------------------------------------------------


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias. Source: torch.nn.functional.linear."""
    transposed = weight.t() if weight._array.ndim == 2 else weight
    if bias is None:
        return matmul(input, transposed)
    if input._array.ndim == 2 or weight._array.ndim != 2:
        return addmm(bias, input, transposed)
    *batch, size = input._array.shape
    rows = input.reshape(math.prod(batch), size)
    return addmm(bias, rows, transposed).reshape((*batch, weight._array.shape[0]))


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1^T A_k x2 + b_k, for every slice A_k of the weight. Source: torch.nn.functional.bilinear."""
    for position, (x, size) in enumerate(((input1, weight._array.shape[1]), (input2, weight._array.shape[2])), 1):
        if x._array.shape[-1] != size:
            raise RuntimeError(f"bilinear(): input{position} size does not match weight size: got {x._array.shape[-1]} but "
                               f"expected {size}")  # fmt: skip
    result = registry.functions["einsum"]("...i,kij,...j->...k", input1, weight, input2)
    return result if bias is None else result + bias


registry.publish("bilinear", bilinear, method=False)
