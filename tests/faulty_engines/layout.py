"""Faults of layouts, dense and sparse."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine import layouts
from reference_engine.autograd.grad_mode import enforce_grad_layout_policy
from reference_engine.ops import types
from reference_engine.ops.kinds import Rule
from reference_engine.sparse import operators
from reference_engine.sparse.array import SparseArray
from reference_engine.tape import accumulate, contract
from tests.faulty_engines.patching import Patch, fault


@fault("layout")
def gradients_are_row_major(p: Patch) -> None:
    """Every new .grad lies in C order, whatever its leaf's strides are."""
    p.function(contract.fresh, lambda like, array: np.array(array, order="C"))


@fault("layout")
def gradients_keep_their_own_strides(p: Patch) -> None:
    """Every new .grad has the strides in which the gradient came."""
    p.function(contract.fresh, lambda like, array: np.array(array, order="K"))


@fault("layout")
def gradients_follow_gaps(p: Patch) -> None:
    """The new .grad of a leaf that overlaps follows the order of its strides."""
    p.function(layouts.is_dense, lambda array: True)


@fault("layout")
def grad_is_the_array_passed_in(p: Patch) -> None:
    """A gradient that the caller passed becomes .grad itself where no layout is enforced."""
    p.set(contract, "_given_by_the_user", lambda array: False)
    p.set(contract, "preserved", lambda array: array)


@fault("layout")
def mismatch_is_silent(p: Patch) -> None:
    """No warning where .grad and its leaf differ in layout."""
    p.function(contract.warn_of_mismatch, lambda gradient, like: None)


@fault("layout")
def policy_is_not_restored(p: Patch) -> None:
    """Leaving enforce_grad_layout_policy leaves the policy as it was inside."""
    p.set(enforce_grad_layout_policy, "__exit__", lambda self, *exc: None)


@fault("layout")
def clone_is_row_major(p: Patch) -> None:
    """clone makes every copy contiguous."""
    p.set(types.copy, "forward", lambda x: np.array(x, order="C"))


@fault("layout")
def recorded_sum_has_its_own_strides(p: Patch) -> None:
    """Under create_graph the new .grad does not keep the strides of the old one."""
    p.set(accumulate, "laid_out", lambda gradient, like: gradient)


@fault("layout")
def sparse_gradients_become_dense(p: Patch) -> None:
    """A sparse gradient is stored as a dense one."""

    def add(variable: Any, current: Any, array: Any) -> None:
        dense = array.todense() if isinstance(array, SparseArray) else array
        variable._grad = engine.from_numpy(dense if current is None else current._array + dense)

    p.set(accumulate, "_add_sparse", add)


@fault("layout")
def duplicates_overwrite(p: Patch) -> None:
    """Of values at the same index of a sparse tensor the last counts."""

    def todense(self: Any) -> Any:
        result = np.zeros(self.shape, self.dtype)
        result[tuple(self.indices)] = self.values
        return result

    p.set(SparseArray, "todense", todense)


@fault("layout")
def to_dense_does_not_mask(p: Patch) -> None:
    """The gradient of to_dense has an entry wherever the incoming one has, whatever the pattern."""
    p.set(operators.densify, "rules", (Rule(lambda g, x: operators._densify_rule(g, x, False)),))


@fault("layout")
def sparse_product_does_not_mask(p: Patch) -> None:
    """torch.sparse.mm gives its sparse operand the gradient at all positions."""

    def rule(g: Any, b: Any) -> Any:
        return operators.matrix_product(g, operators.mT(b))

    p.set(operators.masked_mm, "rules", (Rule(rule), operators.masked_mm.rules[1]))
    p.set(operators.sparse_sparse_mm, "rules", (Rule(rule), operators.sparse_sparse_mm.rules[1]))


@fault("layout")
def values_are_copied(p: Patch) -> None:
    """values() of a sparse tensor is a copy, without history."""
    p.set(operators.values_of, "forward", lambda x, *, pattern: x.values.copy())
