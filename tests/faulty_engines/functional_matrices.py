"""Faults of torch.autograd.functional: blocks in the wrong place, vectors that do not count, another way that differs."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import reference_engine as engine
from reference_engine.autograd.functional import arguments, matrices, products
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault


def _changed(p: Patch, name: str, change: Any) -> None:
    """jacobian or hessian, its result changed by change(result, inputs, options)."""
    original = getattr(engine.autograd.functional, name)
    signature = inspect.signature(original)

    def replaced(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        given.apply_defaults()
        strategy = given.arguments.get("strategy", given.arguments.get("outer_jacobian_strategy"))
        return change(original(*args, **options), given.arguments["inputs"], {**given.arguments, "strategy": strategy})

    p.set(engine.autograd.functional, name, replaced)


def _is_nested(found: Any) -> bool:
    return isinstance(found, tuple) and all(isinstance(row, tuple) for row in found)


@fault("functional")
def vectorized_jacobians_are_nested_by_input(p: Patch) -> None:
    """With vectorize=True a Jacobian of several outputs and inputs is J[input][output]."""
    _changed(
        p,
        "jacobian",
        lambda j, x, options: tuple(zip(*j, strict=True)) if options["vectorize"] and _is_nested(j) else j,
    )


@fault("functional")
def vectorized_rows_are_columns(p: Patch) -> None:
    """With vectorize=True a matrix is laid out column by column."""

    def transposed(j: Tensor) -> Tensor:
        return j.t().reshape(j.shape) if j.dim() == 2 else j

    def change(j: Any, x: Any, options: Any) -> Any:
        if not options["vectorize"] or options["strategy"] == "forward-mode":
            return j
        return engine.utils._pytree.tree_map(transposed, j)

    _changed(p, "jacobian", change)


@fault("functional")
def vectorized_jacobians_forget_unused_inputs(p: Patch) -> None:
    """With vectorize=True the Jacobian of an input that an output ignores is None."""

    def change(j: Any, x: Any, options: Any) -> Any:
        if not options["vectorize"] or not _is_nested(j):
            return j
        return tuple(tuple(b if bool(b.any()) else None for b in row) for row in j)

    _changed(p, "jacobian", change)


@fault("functional")
def vectorized_batches_are_summed(p: Patch) -> None:
    """With vectorize=True the rows of one output are added up."""

    def change(j: Any, x: Any, options: Any) -> Any:
        if not options["vectorize"] or options["strategy"] == "forward-mode":
            return j
        return engine.utils._pytree.tree_map(lambda b: b.sum(0, keepdim=True).expand(b.shape) if b.dim() > 1 else b, j)

    _changed(p, "jacobian", change)


@fault("functional")
def columns_are_rows(p: Patch) -> None:
    """In forward mode the columns of a Jacobian are stacked as its rows."""

    def matrix(columns: list, output: Any, x: Any) -> Any:
        found = original(columns, output, x)
        return found.t().reshape(found.shape) if found.dim() == 2 else found

    original = matrices._matrix
    p.set(matrices, "_matrix", matrix)


@fault("functional")
def hessians_are_nested_the_other_way(p: Patch) -> None:
    """Block H[i][j] stands at H[j][i]."""
    _changed(p, "hessian", lambda h, x, options: tuple(zip(*h, strict=True)) if _is_nested(h) else h)


@fault("functional")
def vectorized_hessians_are_blockwise_transposed(p: Patch) -> None:
    """With vectorize=True block H[i][j] has the elements of input j first."""

    def change(h: Any, x: Any, options: Any) -> Any:
        if not options["vectorize"] or not _is_nested(h):
            return h
        return tuple(tuple(b.t().reshape(b.shape) if b.dim() == 2 else b for b in row) for row in h)

    _changed(p, "hessian", change)


@fault("functional")
def jacobians_of_tuples_of_one_are_unpacked(p: Patch) -> None:
    """A tuple of one input or output makes no level of nesting."""
    p.set(matrices, "unpacked", lambda values, is_tuple: values if is_tuple and len(values) > 1 else values[0])


@fault("functional")
def scalar_outputs_have_a_row(p: Patch) -> None:
    """The Jacobian of a 0-d output has a first dimension of 1."""

    def stacked(parts: list, output: Any, x: Any) -> Any:
        found = original(parts, output, x)
        return found if output.dim() else found.unsqueeze(0)

    original = matrices._stacked
    p.set(matrices, "_stacked", stacked)


@fault("functional")
def the_first_vector_stands_for_all(p: Patch) -> None:
    """Of a tuple v the first entry counts for all outputs or inputs of its shape."""

    def directions(*args: Any) -> Any:
        found = original(*args)
        return tuple(found[0] if v.shape == found[0].shape else v for v in found)

    original = arguments.directions
    p.function(original, directions)


@fault("functional")
def the_other_vectors_are_zero(p: Patch) -> None:
    """Of a tuple v the first entry counts, and the others are taken for zero."""

    def directions(*args: Any) -> Any:
        found = original(*args)
        return (found[0], *(v * 0 for v in found[1:]))

    original = arguments.directions
    p.function(original, directions)


@fault("functional")
def vectors_are_broadcast(p: Patch) -> None:
    """A v of another size is broadcast, or cut."""

    def directions(v: Any, like: Any, like_is_tuple: bool, whose: str, function: str) -> Any:
        values = v if isinstance(v, tuple) else (v,)
        if v is not None and len(values) == len(like) and all(isinstance(x, Tensor) for x in values):
            values = tuple(x if x.shape == y.shape else engine.ones_like(y) for x, y in zip(values, like, strict=True))
            return original(values, like, like_is_tuple, whose, function)
        return original(v, like, like_is_tuple, whose, function)

    original = arguments.directions
    p.function(original, directions)


@fault("functional")
def a_missing_vector_is_ones(p: Patch) -> None:
    """v may be left out always, and stands for ones."""

    def directions(v: Any, like: Any, *rest: Any) -> Any:
        return tuple(engine.ones_like(y) for y in like) if v is None else original(v, like, *rest)

    original = arguments.directions
    p.function(original, directions)


@fault("functional")
def functions_of_vectors_have_hessians(p: Patch) -> None:
    """The Hessian of a function with several elements is that of their sum."""

    def single_output(fn: Any, inputs: Any, function: str) -> Any:
        outputs, _ = arguments.outputs_of(fn, inputs, function)
        return outputs[0] if outputs[0].numel() == 1 else outputs[0].sum()

    p.function(arguments.single_output, single_output)


@fault("functional")
def strict_looks_at_outputs_alone(p: Patch) -> None:
    """strict=True refuses outputs without history, and no input that an output ignores."""
    original = arguments.filled
    p.function(original, lambda found, like, *, strict, **options: original(found, like, strict=False, **options))
    p.set(matrices, "_check_strict", lambda *args: None)


@fault("functional")
def strict_takes_linear_functions(p: Patch) -> None:
    """strict=True gives zeros for the Hessian of a linear function."""
    p.function(products.check_twice_differentiable, lambda gradient: None)


@fault("functional")
def lists_of_inputs_are_taken_for_tuples(p: Patch) -> None:
    """A list of inputs is as good as a tuple."""

    def as_tensors(given: Any, what: str, function: str) -> Any:
        return original(tuple(given) if isinstance(given, list) else given, what, function)

    original = arguments.as_tensors
    p.function(original, as_tensors)


@fault("functional")
def functional_obeys_no_grad(p: Patch) -> None:
    """Under no_grad nothing is recorded, and derivatives are zero."""
    for owner in (arguments, matrices, products):
        p.set(owner, "enable_grad", contextlib.nullcontext)


@fault("functional")
def jacobians_have_the_outputs_dtype(p: Patch) -> None:
    """In reverse mode a Jacobian has the dtype of the output."""

    def stacked(parts: list, output: Any, x: Any) -> Any:
        return original(parts, output, x).to(output.dtype)

    original = matrices._stacked
    p.set(matrices, "_stacked", stacked)


@fault("functional")
def second_derivatives_end_there(p: Patch) -> None:
    """With create_graph=True Hessians and their products are constants."""
    finished = arguments.finished
    p.set(products, "finished", lambda values, *, create_graph: finished(values, create_graph=False))
    _changed(p, "hessian", lambda h, x, options: h.detach() if isinstance(h, Tensor) else h)


@fault("functional")
def any_options_go_together(p: Patch) -> None:
    """Unknown strategies, and options that exclude each other, are let in: strict gives way to vectorize."""
    p.function(matrices._check_strategy, lambda strategy, strict, vectorize, create_graph: None)
    p.set(matrices, "STRATEGIES", (*matrices.STRATEGIES, "x"))
