"""Contractions: einsum and tensordot. The gradient of one factor is the contraction of g with the others.

Source: torch.einsum, torch.tensordot.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops.kinds import general
from reference_engine.ops.matmul import mm_op
from reference_engine.ops.out import with_out
from reference_engine.ops.registry import function, publish
from reference_engine.tensor import Tensor

LETTERS = string.ascii_uppercase + string.ascii_lowercase


@with_out
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Contraction over pairs of dimensions: the last ones of a with the first ones of b, or those named.

    Source: torch.tensordot.
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a._array.ndim, b._array.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(-dims, 0)), list(range(dims))
    else:
        left, right = [[d] if isinstance(d, int) else list(d) for d in dims]
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have same length")
    for p, q in zip(left, right, strict=True):
        m, n = a._array.shape[p], b._array.shape[q]
        if m != n and 1 not in (m, n):
            raise RuntimeError(f"contracted dimensions need to match, but first has size {m} in dim {p} and second has size {n} "
                               f"in dim {q}")  # fmt: skip
        if m != n:  # a dimension of 1 broadcasts: what it meets is summed
            a, b = (a.sum(p, True), b) if n == 1 else (a, b.sum(q, True))
    left, right = [d % a._array.ndim for d in left], [d % b._array.ndim for d in right]
    free_a = [d for d in range(a._array.ndim) if d not in left]
    free_b = [d for d in range(b._array.ndim) if d not in right]
    shape = [a._array.shape[d] for d in free_a] + [b._array.shape[d] for d in free_b]
    inner = int(np.prod([a._array.shape[d] for d in left]))
    rows = a.permute(free_a + left).reshape(int(np.prod([a._array.shape[d] for d in free_a])), inner)
    columns = b.permute(right + free_b).reshape(inner, int(np.prod([b._array.shape[d] for d in free_b])))
    if rows.dtype is not columns.dtype:
        raise RuntimeError(f"both inputs should have same dtype, got {rows.dtype} and {columns.dtype}")
    return mm_op(rows, columns).reshape(shape)


publish("tensordot", tensordot, method=False)


@with_out
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The dot products of the vectors along the last dimensions. Source: torch.inner."""
    if input._array.ndim == 0 or other._array.ndim == 0:
        return input * other
    if input._array.shape[-1] != other._array.shape[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got shapes "
                           f"{list(input._array.shape)} and {list(other._array.shape)}")  # fmt: skip
    return tensordot(input, other, dims=([-1], [-1]))


publish("inner", inner)


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


einsum_op = general("einsum", _einsum_forward, _einsum_rule, variadic=True, multilinear=True)


def einsum_over(equation: str, *operands: Any) -> Any:
    """einsum with an explicit output, over arrays and tensors."""
    if any(isinstance(x, Tensor) for x in operands):
        return einsum_op(*operands, equation=equation)
    return np.einsum(equation, *operands)


@function
def einsum(*args: Any) -> Tensor:
    """Sums of products in Einstein's notation: einsum("ij,jk->ik", a, b), or einsum(a, [0, 1], b, [1, 2], [0, 2]).

    A letter twice in an operand takes its diagonal; without "->" the letters that occur once remain, in alphabetical order.
    Source: torch.einsum.
    """
    equation, operands = _in_letters(args) if isinstance(args[0], Tensor) else (args[0], args[1:])
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand and its "
                         "subscripts list")  # fmt: skip
    equation = equation.replace(" ", "")
    sources = equation.split("->")[0].split(",")
    if len(sources) != len(operands):
        which = "fewer" if len(operands) < len(sources) else "more"
        raise RuntimeError(f"einsum(): {which} operands were provided than specified in the equation")
    equation = _spelled_out(equation, operands)
    if len({x.dtype for x in operands}) > 1:
        names = [dtypes.type_name(x.dtype) for x in operands]
        other = next(name for name in names if name != names[0])
        raise RuntimeError(f"expected scalar type {names[0]} but found {other}")
    return _contracted(equation, operands)


def _in_letters(args: tuple) -> tuple[str, tuple]:
    """The form with lists of numbers as an equation."""
    pairs = len(args) // 2
    parts = ["".join("..." if n is Ellipsis else LETTERS[n] for n in args[2 * i + 1]) for i in range(pairs)]
    equation = ",".join(parts)
    if len(args) % 2:
        equation += "->" + "".join("..." if n is Ellipsis else LETTERS[n] for n in args[-1])
    return equation, args[: 2 * pairs : 2]


def _spelled_out(equation: str, operands: tuple) -> str:
    """The equation with letters in the place of "..." and with its output."""
    sources, arrow, target = equation.partition("->")
    for index, c in enumerate(sources):
        if c not in LETTERS + ".,":
            raise RuntimeError(f"einsum(): invalid subscript given at index {index} in the equation string, subscripts must be in "
                               "[a-zA-Z]")  # fmt: skip
    parts = sources.split(",")
    for index, (part, x) in enumerate(zip(parts, operands, strict=True)):
        count, dims = len(part.replace("...", "")), x._array.ndim
        if "..." not in part and count != dims:
            raise RuntimeError(f"einsum(): the number of subscripts in the equation ({count}) "
                               f"{'does not match' if count < dims or dims < count else ''} the number of dimensions ({dims}) for "
                               f"operand {index} and no ellipsis was given")  # fmt: skip
        if count > dims:
            raise RuntimeError(f"einsum(): the number of subscripts in the equation ({count}) is more than the number of "
                               f"dimensions ({dims}) for operand {index}")  # fmt: skip
    free = [c for c in LETTERS if c not in equation]
    hidden = [x._array.ndim - len(p.replace("...", "")) for p, x in zip(parts, operands, strict=True)]
    names = "".join(free[: max(hidden)])
    parts = [p.replace("...", names[len(names) - h :]) for p, h in zip(parts, hidden, strict=True)]
    if not arrow:
        visible = sources.replace("...", "").replace(",", "")
        target = names + "".join(sorted(c for c in set(visible) if visible.count(c) == 1))
    target = target.replace("...", names)
    for c in target:
        if target.count(c) > 1:
            raise RuntimeError(f"einsum(): output subscript {c} appears more than once in the output")
        if not any(c in part for part in parts):
            raise RuntimeError(f"einsum(): output subscript {c} does not appear in the equation for any input operand")
    return ",".join(parts) + "->" + target


def _contracted(equation: str, operands: tuple) -> Tensor:
    """Runs the equation, after dimensions of size 1 that broadcast were dropped."""
    sources, target = equation.split("->")
    parts = sources.split(",")
    sizes: dict[str, int] = {}
    for index, (part, x) in enumerate(zip(parts, operands, strict=True)):
        own: dict[str, int] = {}
        for c, n in zip(part, x._array.shape, strict=True):
            if own.setdefault(c, n) != n:
                raise RuntimeError(f"einsum(): subscript {c} is repeated for operand {index} but the sizes don't match, {n} != "
                                   f"{own[c]}")  # fmt: skip
            if n != 1 and sizes.get(c, 1) not in (1, n):
                raise RuntimeError(f"einsum(): subscript {c} has size {n} for operand {index} which does not broadcast with "
                                   f"previously seen size {sizes[c]}")  # fmt: skip
            sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]
    given = []
    for i, x in enumerate(operands):
        dropped = [d for d, c in enumerate(parts[i]) if x._array.shape[d] != sizes[c]]
        parts[i] = "".join(c for d, c in enumerate(parts[i]) if d not in dropped)
        given.append(x.squeeze(tuple(dropped)) if dropped else x)
    return einsum_op(*given, equation=f"{','.join(parts)}->{target}")
