"""Faults of torch.func.jvp: tangents of the wrong primal, order, structure or size."""

from __future__ import annotations

from typing import Any

from reference_engine.autograd import forward_ad
from reference_engine.func import forward
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_unflatten
from tests.faulty_engines.patching import Patch, fault


@fault("func_transforms")
def tangents_are_dealt_out_in_reverse(p: Patch) -> None:
    """jvp gives the tangents to the primals in reverse order."""

    def reversed_jvp(func: Any, primals: Any, tangents: Any, **options: Any) -> tuple:
        flat, form = tree_flatten(tangents)
        shapes = [tuple(getattr(t, "shape", ())) for t in flat]
        turned = tree_unflatten(flat[::-1], form) if shapes == shapes[::-1] else tangents
        return original(func, primals, turned, **options)

    original = forward.jvp
    p.function(original, reversed_jvp)


@fault("func_transforms")
def jvp_casts_tangents(p: Patch) -> None:
    """jvp brings a tangent into the dtype of its primal."""

    def cast(tensor: Tensor, tangent: Tensor, level: Any) -> Tensor:
        return original(tensor, tangent.to(tensor.dtype), level)

    original = forward_ad.with_tangent
    p.set(forward, "with_tangent", cast)


@fault("func_transforms")
def strict_jvp_is_lenient(p: Patch) -> None:
    """jvp with strict gives zeros for what does not depend on the inputs."""
    original = forward._tangent
    p.set(forward, "_tangent", lambda output, level, strict: original(output, level, False))


def _jvp(p: Patch, change: Any) -> None:
    """jvp, its result changed by change(result, primals)."""
    original = forward.jvp
    p.function(original, lambda func, primals, tangents, **options: change(
        original(func, primals, tangents, **options), primals))  # fmt: skip


@fault("func_transforms")
def tangents_come_first(p: Patch) -> None:
    """jvp returns (tangent, output)."""
    _jvp(p, lambda result, primals: (result[1], result[0], *result[2:]))


@fault("func_transforms")
def tangents_are_flat(p: Patch) -> None:
    """Tangents come as a tuple, whatever the structure of the output."""

    def flat(result: tuple, primals: Any) -> tuple:
        leaves = tree_flatten(result[1])[0]
        return (result[0], leaves[0] if isinstance(result[1], Tensor) else tuple(leaves), *result[2:])

    _jvp(p, flat)


@fault("func_transforms")
def aux_of_jvp_is_its_tangent(p: Patch) -> None:
    """With has_aux jvp returns the tangent of what the function returns as its second value."""

    def jvp_of_both(func: Any, primals: Any, tangents: Any, *, has_aux: bool = False, **options: Any) -> tuple:
        if not has_aux:
            return original(func, primals, tangents, **options)
        result = original(func, primals, tangents, has_aux=True, **options)
        return (*result[:2], original(func, primals, tangents, **options)[1][1])

    original = forward.jvp
    p.function(original, jvp_of_both)


@fault("func_transforms")
def primals_are_made_tuples(p: Patch) -> None:
    """jvp takes a bare tensor for a tuple of one."""

    def lenient(func: Any, primals: Any, tangents: Any, **options: Any) -> tuple:
        given = [x if isinstance(x, tuple) else (x,) for x in (primals, tangents)]
        return original(func, *given, **options)

    original = forward.jvp
    p.function(original, lenient)


@fault("func_transforms")
def tangents_are_broadcast_to_primals(p: Patch) -> None:
    """jvp takes a tangent of any size: it is filled up with its first element."""

    def make(tensor: Tensor, tangent: Tensor, level: Any) -> Tensor:
        whole = tangent if tangent.shape == tensor.shape else tangent.reshape(-1)[0].expand(tensor.shape)
        return original(tensor, whole, level)

    original = forward_ad.with_tangent
    p.set(forward, "with_tangent", make)
