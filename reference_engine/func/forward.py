"""jvp: a function's Jacobian times a vector, by forward mode. Source: torch.func.jvp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine.autograd.forward_ad import NESTED, view_below, with_tangent
from reference_engine.func.differentiated import check_outputs, out_of_inference, with_aux
from reference_engine.state import state
from reference_engine.tape.tangents import enter, get, leave
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_map, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.tape.tangents import Level

NAME = "jvp(f, primals, tangents)"


def jvp(func: Callable, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> tuple:
    """(func(*primals), J times tangents), and with has_aux what func returned as its second value.

    primals, tangents: tuples of the same structure, of tensors of the same shapes. strict: raise where an output does not
    depend on the inputs, rather than give zeros. Source: torch.func.jvp.
    """
    _check_tuple(primals, "primals")
    _check_tuple(tangents, "tangents")
    flat_primals, form = tree_flatten(primals)
    flat_tangents, form_of_tangents = tree_flatten(tangents)
    if form != form_of_tangents:
        raise RuntimeError(f"{NAME}: Expected primals and tangents to have the same python structure. For "
                           f"example, if primals is a tuple of 3 tensors, tangents also must be. Got primals with structure "
                           f"{form} and tangents with structure {form_of_tangents}")  # fmt: skip
    _check_tensors(flat_primals, "primals")
    _check_tensors(flat_tangents, "tangents")
    if any(level.public for level in state.dual_levels):
        raise RuntimeError(NESTED)
    level = enter(public=False)
    try:
        with out_of_inference():
            return _pushed(func, flat_primals, flat_tangents, form, level, strict=strict, has_aux=has_aux)
    finally:
        leave(level)


def _pushed(
    func: Callable, primals: list, tangents: list, form: Any, level: Level, *, strict: bool, has_aux: bool
) -> tuple:
    """What jvp returns, computed at a level of its own."""
    duals = [with_tangent(p, t, level) for p, t in zip(primals, tangents, strict=True)]
    result = func(*tree_unflatten(duals, form))
    result, aux = with_aux(result, NAME, has_aux)
    leaves, form = tree_flatten(result)
    check_outputs(NAME, leaves)
    out = tree_unflatten([view_below(y, level) for y in leaves], form)
    pushed = tree_unflatten([_tangent(y, level, strict) for y in leaves], form)
    if not has_aux:
        return out, pushed
    return out, pushed, tree_map(lambda a: view_below(a, level), aux)


def _tangent(output: Tensor, level: Level, strict: bool) -> Tensor:
    """What came out as tangent, zeros where the output does not depend on the inputs."""
    from reference_engine.creation import zeros_like

    tangent = get(output, level)
    if tangent is None and strict:
        raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is "
                           "not allowed with strict=True.")  # fmt: skip
    return zeros_like(output) if tangent is None else tangent


def _check_tuple(given: Any, which: str) -> None:
    if not isinstance(given, tuple):
        raise RuntimeError(f"{NAME}: Expected {which} to be a tuple. E.g. it should be valid to call "
                           "f(*primals).")  # fmt: skip
    if not given:
        raise RuntimeError(f"{NAME}: Expected {which} to contain at least one Tensor.")


def _check_tensors(leaves: list, which: str) -> None:
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{NAME}: Expected {which} to only contain Tensors, got unsupported type {type(leaf)}")
