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
from reference_engine.ops.registry import both, function
from reference_engine.state import state
from reference_engine.tensor import Tensor


def mT(x: Any) -> Any:
    """The last two dimensions swapped, over arrays and tensors."""
    return registry.functions["transpose"](x, -1, -2) if isinstance(x, Tensor) else x.swapaxes(-1, -2)


def product(a: Any, b: Any) -> Any:
    """a @ b with both at least matrices, over arrays and tensors."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        return np.matmul(a, b)
    return mm_op(a, b) if a.ndim == b.ndim == 2 else bmm_op(a, b)


# fmt: off
#              value                              d/da                                   d/db
mm_op   = general("mm",  lambda a, b: np.matmul(a, b), lambda g, b: product(g, mT(b)),      lambda g, a: product(mT(a), g), saved_names=("self", "mat2"))
bmm_op  = general("bmm", lambda a, b: np.matmul(a, b), lambda g, b: product(g, mT(b)),      lambda g, a: product(mT(a), g), saved_names=("self", "mat2"))
mv_op   = general("mv",  lambda a, b: np.matmul(a, b), lambda g, b: outer_product(g, b),    lambda g, a: matvec(mT(a), g), saved_names=("self", "vec"))
dot_op  = general("dot", lambda a, b: np.asarray(np.dot(a, b)), lambda g, b: g * b,         lambda g, a: g * a, saved_names=("self", "tensor"))
# fmt: on


def matvec(a: Any, b: Any) -> Any:
    """Matrix times vector, over arrays and tensors."""
    return mv_op(a, b) if isinstance(a, Tensor) else np.matmul(a, b)


def outer_product(a: Any, b: Any) -> Any:
    """The outer product of two vectors, over arrays and tensors."""
    return a[:, None] * b[None, :]


def _lowered(*inputs: Any) -> tuple:
    """The inputs as autocast wants them."""
    from reference_engine.autocasting import lowered

    return lowered(*inputs)


def _mismatch(a: Tensor, b: Tensor) -> RuntimeError:
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, a.shape))} and "
                        f"{'x'.join(map(str, b.shape))})")  # fmt: skip


def _check(a: Any, b: Any) -> None:
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
        input, other = _lowered(input, other)
    _check(input, other)
    m, n = input._array.ndim, other._array.ndim
    if m == 0 or n == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {m}D and {n}D")
    if input._array.shape[-1] != other._array.shape[-2 if n > 1 else 0]:
        if m == n == 1:
            raise RuntimeError(f"inconsistent tensor size, expected tensor {list(input.shape)} and src "
                               f"{list(other.shape)} to have the same number of elements")  # fmt: skip
        raise _mismatch(input, other)
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
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices. Source: torch.mm."""
    if state.autocast is None:
        _check(input, mat2)
    if input._array.ndim != 2 or mat2._array.ndim != 2:
        raise RuntimeError("self must be a matrix" if input._array.ndim != 2 else "mat2 must be a matrix")
    return matmul(input, mat2)


@both
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
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Matrix times vector. Source: torch.mv."""
    return matmul(input, vec)


@both
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The dot product of two vectors. Source: torch.dot."""
    if input._array.ndim != 1 or tensor._array.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input._array.ndim}D and {tensor._array.ndim}D tensors")
    if input.dtype is not tensor.dtype and state.autocast is None:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {dtypes.type_name(input.dtype)} and "
                           f"{dtypes.type_name(tensor.dtype)}")  # fmt: skip
    return matmul(input, tensor)


registry.publish("inner", lambda input, other: _inner(input, other))


def _inner(input: Tensor, other: Tensor) -> Tensor:
    if input._array.ndim == 0 or other._array.ndim == 0:
        return input * other
    return tensordot(input, other, dims=([-1], [-1]))


@both
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The outer product of two vectors. Source: torch.outer."""
    return input.unsqueeze(1) * vec2.unsqueeze(0)


registry.publish("ger", outer)


@both
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2). Source: torch.addmm."""
    if state.autocast is not None:
        input, mat1, mat2 = _lowered(input, mat1, mat2)
    if beta == 1 and alpha == 1:
        _check(mat1, mat2)
        if mat1._array.shape[-1] != mat2._array.shape[0]:
            raise _mismatch(mat1, mat2)
        return addmm_op(input, mat1, mat2)
    product = matmul(mat1, mat2)
    return (input if beta == 1 else beta * input) + (product if alpha == 1 else alpha * product)


addmm_op = general(
    "addmm", lambda c, a, b: np.add(np.matmul(a, b), c), lambda g: g, lambda g, b: product(g, mT(b)),
    lambda g, a: product(mT(a), g), saved_names=("self", "mat1", "mat2"),
)  # fmt: skip


@both
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec). Source: torch.addmv."""
    return beta * input + alpha * matmul(mat, vec)


@both
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2). Source: torch.baddbmm."""
    if state.autocast is not None:
        (input,) = _lowered(input)
    return beta * input + alpha * matmul(batch1, batch2)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias. Source: torch.nn.functional.linear."""
    transposed = weight.t() if weight._array.ndim == 2 else weight
    if bias is not None and input._array.ndim == 2:
        return addmm(bias, input, transposed)
    if state.autocast is not None and bias is not None:
        (bias,) = _lowered(bias)
    result = matmul(input, transposed)
    return result if bias is None else result + bias


@function
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Contraction over pairs of dimensions. Source: torch.tensordot."""
    if isinstance(dims, int):
        left, right = list(range(a._array.ndim - dims, a._array.ndim)), list(range(dims))
    else:
        left, right = [[d] if isinstance(d, int) else list(d) for d in dims]
    left = [d % a._array.ndim for d in left]
    right = [d % b._array.ndim for d in right]
    free_a = [d for d in range(a._array.ndim) if d not in left]
    free_b = [d for d in range(b._array.ndim) if d not in right]
    shape = [a._array.shape[d] for d in free_a] + [b._array.shape[d] for d in free_b]
    inner = int(np.prod([a._array.shape[d] for d in left]))
    rows = a.permute(free_a + left).reshape(-1, inner)
    columns = b.permute(right + free_b).reshape(inner, -1)
    return mm_op(rows, columns).reshape(shape)


def _einsum_forward(*xs: np.ndarray, equation: str) -> np.ndarray:
    return np.einsum(equation, *xs, optimize=len(xs) > 2)


def _einsum_rule(g: Any, index: int, equation: str, inputs: tuple, shapes: tuple) -> Any:
    """The gradient of one factor is the einsum of g with the others, its missing letters broadcast."""
    sources, target = equation.split("->")
    letters = sources.split(",")
    own = letters[index]
    others = [x for i, x in enumerate(inputs) if i != index]
    names = [target, *(s for i, s in enumerate(letters) if i != index)]
    present = "".join(dict.fromkeys(c for c in own if any(c in n for n in names)))
    result = einsum_over(f"{','.join(names)}->{present}", g, *others)
    sizes = dict(zip(own, shapes[index], strict=True))
    full = "".join(dict.fromkeys(own))
    shape = tuple(sizes[c] if c in present else 1 for c in full)
    order = [present.index(c) for c in full if c in present]
    result = result.permute(order) if isinstance(result, Tensor) else result.transpose(order)
    result = result.reshape(shape)
    wanted = tuple(sizes[c] for c in full)
    result = result.expand(wanted) if isinstance(result, Tensor) else np.broadcast_to(result, wanted)
    return result if full == own else _to_diagonal(result, full, own, shapes[index])


def _to_diagonal(g: Any, full: str, own: str, shape: tuple[int, ...]) -> Any:
    """The transpose of taking a diagonal: letters that stand twice in one operand."""
    from reference_engine.ops.positions import put_positions

    positions = np.einsum(f"{own}->{full}", np.arange(int(np.prod(shape))).reshape(shape))
    return put_positions(g, positions=positions, shape=shape)


einsum_op = general("einsum", _einsum_forward, _einsum_rule, variadic=True)


def einsum_over(equation: str, *operands: Any) -> Any:
    """einsum with an explicit output, over arrays and tensors."""
    if any(isinstance(x, Tensor) for x in operands):
        return einsum_op(*operands, equation=equation)
    return np.einsum(equation, *operands)


@function
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation. Source: torch.einsum."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    equation = equation.replace(" ", "")
    equation = _expand_ellipsis(equation, operands)
    if "->" not in equation:
        letters = equation.replace(",", "")
        equation += "->" + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    common = dtypes.result_type([(x.dtype, 2) for x in operands])
    return einsum_op(*[x.to(common) for x in operands], equation=equation)


def _expand_ellipsis(equation: str, operands: tuple) -> str:
    """Replaces ... by letters that are not used."""
    if "..." not in equation:
        return equation
    sources, arrow, target = equation.partition("->")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    parts = sources.split(",")
    most = max(x._array.ndim - len(p.replace("...", "")) for p, x in zip(parts, operands, strict=True))
    names = "".join(free[:most])
    filled = []
    for part, x in zip(parts, operands, strict=True):
        count = x._array.ndim - len(part.replace("...", ""))
        filled.append(part.replace("...", names[most - count :]))
    if not arrow:
        letters = sources.replace("...", "").replace(",", "")
        target = names + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return ",".join(filled) + "->" + target.replace("...", names)
