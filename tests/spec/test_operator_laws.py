"""The laws among transforms that tables derive: on the reference they hold, and a fault in one transform breaks its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import reference_engine as torch
from conformance.engines import load as load_engine
from conformance.language import execute
from tests.faulty_engines import FAULTS, Patch

from .conftest import Folder

LAWS = {"jacobian", "linearize", "vmap", "hessian"}
PRODUCT = ("op: mul", "x: [[1.0, 2.0, 3.0]]\ny: [[-2.0], [1.5]]")
ROWS = ("op: mul", "x: [[1.0, 2.0], [3.0, 0.5]]\ny: [-2.0, 1.5]")
SUM = ("op: sum\ncall: (x * x).sum(1)", "x: [[1.0, 2.0, 3.0], [0.5, 4.0, 1.0]]")
MATRIX = ("op: sin\ncall: (x @ x).sin()", "x: [[1.0, 2.0], [0.5, 4.0]]")


def broken(folder: Folder, table: tuple[str, str]) -> set[str]:
    """The checks of a table's one sample that do not hold on the reference as it is."""
    engine, found = load_engine("reference"), set()
    for case in folder.table(*table).load().cases:
        end = execute(case, engine, alone=True)
        if end.error is not None or not all(o.agrees for o in end.observations):
            found.add(case.id.partition(",")[2][:-1])
    return found


def columns_first(p: Patch) -> None:
    """jacfwd gives the input's dimensions first."""

    def make(original: Any) -> Any:
        def jacfwd(func: Callable, argnums: Any = 0, **options: Any) -> Callable:
            def wrapped(*args: Any) -> Any:
                blocks = original(func, argnums, **options)(*args)
                return tuple(b.movedim(tuple(range(b.dim() // 2)), tuple(range(b.dim() // 2, b.dim()))) for b in blocks)

            return wrapped if isinstance(argnums, tuple) else original(func, argnums, **options)

        return jacfwd

    p.wrap(torch.func, "jacfwd", make)


def linearized_elsewhere(p: Patch) -> None:
    """linearize is at a point nearby."""
    p.wrap(
        torch.func, "linearize", lambda original: lambda func, *primals: original(func, *(x * 1.01 for x in primals))
    )


def affine(p: Patch) -> None:
    """What linearize gives remembers the tangent of its first call."""

    def make(original: Any) -> Any:
        def linearize(func: Callable, *primals: Any) -> Any:
            output, push = original(func, *primals)
            seen: list[Any] = []

            def again(*tangents: Any) -> Any:
                seen.append(push(*tangents))
                return seen[-1] if len(seen) == 1 else seen[-1] + seen[0] * 0.01

            return output, again

        return linearize

    p.wrap(torch.func, "linearize", make)


def pulled_too_far(p: Patch) -> None:
    """vjp, of torch.func alone, is 1 % too long."""

    def make(original: Any) -> Any:
        def vjp(func: Callable, *primals: Any) -> Any:
            output, pull = original(func, *primals)
            return output, lambda cotangent: tuple(g * 1.01 for g in pull(cotangent))

        return vjp

    p.wrap(torch.func, "vjp", make)


def mixed_derivatives_lost(p: Patch) -> None:
    """The first factor's gradient is recorded as if the second were a constant."""
    node = type((torch.ones(1, requires_grad=True) * torch.ones(1)).grad_fn)
    p.wrap(node, "tensors", lambda original: lambda self, grads, needed: (
        lambda found: (found[0].detach(), *found[1:]))(tuple(original(self, grads, needed))))  # fmt: skip


def reverse_over_reverse_lost(p: Patch) -> None:
    """jacrev inside jacrev is differentiated as a constant."""
    depth = [0]

    def make(original: Any) -> Any:
        def jacrev(func: Callable, argnums: Any = 0, **options: Any) -> Callable:
            inner = original(func, argnums, **options)

            def wrapped(*args: Any) -> Any:
                depth[0] += 1
                try:
                    found = inner(*args)
                    return torch.utils._pytree.tree_map(lambda t: t * 2 if depth[0] == 2 else t, found)
                finally:
                    depth[0] -= 1

            return wrapped

        return jacrev

    p.wrap(torch.func, "jacrev", make)


def planted(name: str) -> Callable[[Patch], None]:
    return FAULTS[name].plant


@pytest.mark.parametrize("table", [PRODUCT, SUM, MATRIX])
def test_laws_hold_on_the_reference(folder: Folder, table: tuple[str, str]) -> None:
    """Every law is made of a smooth sample, and holds."""
    made = {case.id.partition(",")[2][:-1] for case in folder.table(*table).load().cases}
    assert made >= LAWS
    assert broken(folder, table) == set()


@pytest.mark.parametrize(
    ("plant", "table", "laws"),
    [
        (columns_first, MATRIX, {"jacobian", "hessian"}),
        (linearized_elsewhere, MATRIX, {"linearize"}),
        (affine, MATRIX, {"linearize"}),
        (pulled_too_far, MATRIX, {"linearize"}),
        (planted("dimensions_count_the_batch"), SUM, {"vmap", "jacobian", "hessian"}),
        (planted("the_batch_is_broadcast"), ROWS, {"vmap", "jacobian", "hessian"}),
        (planted("in_dims_transpose"), PRODUCT, {"vmap"}),
        (mixed_derivatives_lost, PRODUCT, {"hessian", "double", "linearize"}),
        (reverse_over_reverse_lost, MATRIX, {"hessian"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_a_fault_breaks_its_law(folder: Folder, plant: Callable[[Patch], None], table: Any, laws: set[str]) -> None:
    """And leaves the checks of plain backward alone."""
    patch = Patch()
    try:
        plant(patch)
        found = broken(folder, table)
    finally:
        patch.undo()
    assert found & (LAWS | {"double"}) == laws
    assert not found & {"value", "vjp", "float32"}


def test_which_samples_have_which_law(folder: Folder) -> None:
    """None without a derivative or with draws; no Jacobian of nothing; a changed input is in every batch."""

    def laws(operator: str, sample: str) -> set[str]:
        return {case.id.partition(",")[2][:-1] for case in folder.table(operator, sample).load().cases} & LAWS

    assert laws("", "x: [1.0]") == LAWS
    assert laws("forward: false", "x: [1.0]") == {"vmap"}
    assert laws("orders: 1", "x: [1.0]") == LAWS - {"hessian"}
    assert laws("orders: 0", "x: [1.0]") == set()
    assert laws("", "x: {distribution: normal, shape: [0, 2], seed: 1}") == {"linearize", "vmap"}
    assert laws("call: |\n  torch.manual_seed(0)\n  torch.dropout(x, 0.5, True)", "x: [1.0]") == set()
    folder.table("op: Tensor.mul_\ncall: |\n  out = x.clone()\n  out.mul_(y)", "x: [1.0]\ny: [2.0]\nonly: [vmap]")
    (case,) = folder.load().cases
    assert case.program.count("torch.func.vmap(") == 1
