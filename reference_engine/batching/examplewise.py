"""Functions that read elements, where these differ from example to example: the function for each example, results stacked.

Law: a function of a user's runs once under vmap. A function of the engine that reads elements of its tensors (a mask, an
index, a check of values) is run example by example here, so that the one that calls it is not. `counts` tells. These are:
scatters, searches, indexing by tensors that differ, `any` and `all`, medians and quantiles, some losses, random draws. What
else reads (a tensor as a parameter: `pinverse`'s tolerance, `bernoulli_`'s p; `resize_`) has the user's function run anew for
each example, its writes taken back first (func/mapping.py).
Source: torch.func.vmap, the fallback for operators without a batching rule.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reference_engine.batching.hooks import IN_PLACE
from reference_engine.batching.rules import counts
from reference_engine.batching.tensor import Level, NeedsLoop, batched, exposed, innermost, is_batched_at
from reference_engine.ops import registry
from reference_engine.state import process, state
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import LEAF, tree_flatten, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of what is published by name; others have the decorator where they are defined.
NAMES = """
    all any argmax argmin bernoulli binomial bucketize histc index_add index_copy index_fill index_put inner isclose isin
    multinomial nanmean nanmedian nanquantile nansum native_dropout normal nuclear_norm poisson put quantile renorm
    repeat_interleave scatter scatter_add scatter_reduce searchsorted take take_along_dim
"""


def examplewise(function: Callable) -> Callable:
    """`function`, example by example where it would read what differs between examples."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not state.vmap_levels:
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        except NeedsLoop:
            return for_each(function, args, kwargs)

    return call


def for_each(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The results of function(*args, **kwargs) of each example, stacked."""
    leaves, form = tree_flatten((args, kwargs))
    level = innermost(leaves)
    if level is None:
        raise NeedsLoop
    counts["looped"] += 1
    rows, results_form = [], LEAF
    start = process.generator.get_state() if level.randomness == "same" else None
    for k in range(level.size):
        given, named = tree_unflatten(_example(leaves, k, level), form)
        if start is not None:
            process.generator.set_state(start)
        with _alone(level):
            results, results_form = tree_flatten(function(*given, **named))
        if not all(isinstance(x, Tensor) for x in results):
            raise NeedsLoop
        rows.append(results)
    stack = registry.functions["stack"]
    return tree_unflatten([batched(stack(list(column)), level) for column in zip(*rows, strict=True)], results_form)


@contextmanager
def _alone(level: Level) -> Iterator[None]:
    """While one example of a level runs by itself: random numbers are then the example's own."""
    around = state.vmap_levels
    state.vmap_levels = tuple(Level(1, v.randomness, looped=True) if v is level else v for v in around)
    try:
        yield
    finally:
        state.vmap_levels = around


def change_each(function: Callable, target: Tensor, *args: Any) -> None:
    """function(target, *args) of each example, which changes the example's part of the target in place."""
    leaves, form = tree_flatten(args)
    level = innermost(leaves)
    if level is None or not is_batched_at(target, level):
        raise RuntimeError(IN_PLACE)
    counts["looped"] += 1
    for k in range(level.size):
        function(exposed(target, level).select(0, k), *tree_unflatten(_example(leaves, k, level), form))


def _example(leaves: list, k: int, level: Level) -> list:
    return [exposed(x, level).select(0, k) if isinstance(x, Tensor) and is_batched_at(x, level) else x for x in leaves]


def declare() -> None:
    """Makes the functions of NAMES examplewise, once all are published."""
    for name in NAMES.split():
        for table in (registry.functions, registry.methods):
            if name in table:
                table[name] = examplewise(table[name])
