"""jacrev, jacfwd, hessian, linearize: whole Jacobians by vmap over unit vectors. Source: torch.func."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from reference_engine.func.differentiated import chosen, replaced, untracked, with_aux
from reference_engine.func.forward import jvp
from reference_engine.func.mapping import RANDOMNESS, vmap
from reference_engine.func.reverse import vjp
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_map, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Callable


def jacrev(func: Callable, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, chunk_size: int | None = None,
           _preallocate_and_copy: bool = False) -> Callable:  # fmt: skip
    """The function that computes the Jacobian of `func` by reverse mode: for each output, for each chosen argument, a tensor
    of shape output.shape + argument.shape. chunk_size: how many rows at a time; 1 goes without vmap.
    Source: torch.func.jacrev.
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        numbers, picked = chosen(args, argnums)
        single = isinstance(argnums, int)

        def of_picked(values: Any) -> Any:
            return func(*replaced(args, numbers, values, single), **kwargs)

        if has_aux:
            output, pull, aux = vjp(of_picked, picked, has_aux=True)
        else:
            (output, pull), aux = vjp(of_picked, picked), None
        outputs, form = tree_flatten(output)
        check_real("jacrev", "inputs", tree_flatten(picked)[0])
        check_real("jacrev", "outputs", outputs)
        basis = _units(outputs)

        def rows(*cotangents: Tensor) -> list:
            return tree_flatten(pull(tree_unflatten(cotangents, form))[0])[0]

        columns = _mapped(rows, basis, chunk_size)  # per input: rows of all outputs, one below the other
        _, inputs_form = tree_flatten(picked)
        result = _by_output(columns, outputs, tree_flatten(picked)[0])
        jacobian = tree_unflatten([tree_unflatten(row, inputs_form) for row in result], form)
        return (jacobian, aux) if has_aux else jacobian

    return wrapped


def check_real(name: str, which: str, tensors: list) -> None:
    """Raises where a tensor is complex: which Jacobian is meant is not said."""
    for i, x in enumerate(tensors):
        if isinstance(x, Tensor) and x.is_complex():
            raise RuntimeError(f"{name}: Expected all {which} to be real but received complex tensor at flattened "
                               f"{which[:-1]} idx: {i}")  # fmt: skip


def _units(outputs: list[Tensor]) -> list[Tensor]:
    """Per output the unit vectors of all outputs together, in its shape: of shape (sum of sizes, *shape)."""
    from reference_engine.creation import zeros

    total, start, basis = sum(y.numel() for y in outputs), 0, []
    for y in outputs:
        unit = zeros(total, y.numel(), dtype=y.dtype)
        unit[start : start + y.numel()].diagonal().fill_(1)
        basis.append(unit.view(total, *y.shape))
        start += y.numel()
    return basis


def _mapped(function: Callable, basis: list[Tensor], chunk_size: int | None, randomness: str = "error") -> list[Tensor]:
    """function over the first dimension of the basis; its results stacked."""
    if chunk_size == 1:
        count = basis[0].shape[0] if basis else 0
        rows = [function(*[b[k] for b in basis]) for k in range(count)]
        from reference_engine.ops.joining import stack

        return [stack(list(column)) for column in zip(*rows, strict=True)]
    return vmap(function, chunk_size=chunk_size, randomness=randomness)(*basis)


def _by_output(columns: list[Tensor], outputs: list[Tensor], inputs: list[Tensor]) -> list[list[Tensor]]:
    """Per output, per input its block, in shape output.shape + input.shape."""
    result, start = [], 0
    for y in outputs:
        end = start + y.numel()
        result.append([c[start:end].reshape(*y.shape, *x.shape) for c, x in zip(columns, inputs, strict=True)])
        start = end
    return result


def jacfwd(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *,
           randomness: str = "error") -> Callable:  # fmt: skip
    """The function that computes the Jacobian of `func` by forward mode, column by column: shapes as for jacrev.
    Source: torch.func.jacfwd.
    """

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if randomness not in RANDOMNESS:
            raise RuntimeError(
                f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}"
            )
        numbers, picked = chosen(args, argnums)
        single = isinstance(argnums, int)
        inputs, inputs_form = tree_flatten(picked)
        check_real("jacfwd", "inputs", inputs)
        kept: list[Any] = []

        def of_picked(*values: Any) -> Any:
            result = func(*replaced(args, numbers, tree_unflatten(values, inputs_form), single), **kwargs)
            return with_aux(result, "jacfwd", has_aux) if has_aux else result

        def columns(*tangents: Tensor) -> list:
            pushed = jvp(of_picked, tuple(inputs), tangents, has_aux=has_aux)
            leaves, form = tree_flatten(pushed[1])
            check_real("jacfwd", "outputs", tree_flatten(pushed[0])[0])
            kept[:] = [form, pushed[0], pushed[2] if has_aux else None]
            return leaves

        found = _mapped(columns, _units(inputs), None, randomness)  # per output (sum of input sizes, *output.shape)
        form, aux = kept[0], kept[2]
        blocks = []
        for column in found:
            start, row = 0, []
            for x in inputs:
                block = column[start : start + x.numel()].movedim(0, -1)
                row.append(block.reshape(*column.shape[1:], *x.shape))
                start += x.numel()
            blocks.append(tree_unflatten(row, inputs_form))
        jacobian = tree_unflatten(blocks, form)
        return (jacobian, aux) if has_aux else jacobian

    return wrapped


def hessian(func: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """jacfwd of jacrev: per output and pair of arguments a tensor of shape output + input + input.
    Source: torch.func.hessian.
    """
    return jacfwd(jacrev(func, argnums), argnums)


def linearize(func: Callable, *primals: Any) -> tuple:
    """(func(*primals), jvp_fn); jvp_fn(*tangents), of the primals' shapes and types, is the Jacobian times them, without
    running func again. Source: torch.func.linearize.
    """
    flat, form = tree_flatten(primals)
    output = func(*primals)
    outputs, output_form = tree_flatten(output)
    value, pull = vjp(func, *primals)
    connected = any(y.requires_grad for y in tree_flatten(value)[0])

    # J t: the gradient of <pull(u), t> with respect to u, as pull is linear in u.
    def jvp_fn(*tangents: Any) -> Any:
        given, given_form = tree_flatten(tangents)
        if given_form != form:
            raise RuntimeError(f"Expected the tangents {given_form} to have the same argspec as the primals {form}")
        for k, (p, t) in enumerate(zip(flat, given, strict=True)):
            if t.shape != p.shape:
                raise RuntimeError(f"tangent {k} has shape {t.shape} which doesn't match the shape {p.shape} of the "
                                   "corresponding primal")  # fmt: skip
            if t.dtype is not p.dtype:
                raise RuntimeError(f"tangent {k} has dtype {t.dtype} which doesn't match the dtype {p.dtype} of the "
                                   "corresponding primal")  # fmt: skip
        zeros = tree_map(lambda y: y.detach() * 0, tree_unflatten(outputs, output_form))
        _, transposed = vjp(lambda u: pull(u), zeros)
        found = transposed(tangents)[0]
        return found if connected or any(t.requires_grad for t in given) else untracked(found)

    return output, jvp_fn
