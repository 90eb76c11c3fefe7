"""Where the engine meets batched tensors outside of operators: gradients asked for, changes in place, random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.batching.tensor import (
    BatchedTensor,
    NeedsLoop,
    batched,
    exposed,
    hidden,
    holds_batch_of,
    innermost,
)
from reference_engine.creation import ones_like
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.batching.tensor import Level

IN_PLACE = (
    "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args that has "
    "more elements than `self`. This happened due to `other` being vmapped over but `self` not being vmapped over in a vmap. "
    "Please try to use out-of-place operators instead of inplace arithmetic. If said operator is being called inside the "
    "PyTorch framework, please file a bug report instead."
)
RANDOM = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness "
    "flags on vmap or perform the randomness operation out of vmap"
)


def gradients(
    grad: Callable, outputs: tuple, inputs: tuple, cotangents: tuple, options: dict[str, Any]
) -> tuple | None:
    """autograd.grad where roots or inputs are batched: of what they hold, example by example. None where neither is."""
    level = innermost((*outputs, *inputs))
    if level is None:
        return None
    if not all(holds_batch_of(x, level) for x in inputs):
        raise NeedsLoop  # each example has a gradient of its own for what they share
    seeds = []
    for y, c in zip(outputs, cotangents, strict=True):
        if c is not None:
            seeds.append(exposed(c, level))
        elif y.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        else:
            seeds.append(_ones(exposed(y, level)))
    roots, wanted = [exposed(y, level) for y in outputs], [exposed(x, level) for x in inputs]
    # Where no other level is around, all of it is plain, and arrays can flow.
    around, state.vmap_levels = state.vmap_levels, () if state.vmap_levels == (level,) else state.vmap_levels
    try:
        found = grad(roots, wanted, seeds, **options)
    finally:
        state.vmap_levels = around
    return tuple(None if g is None else hidden(g, level) for g in found)


def _ones(x: Tensor) -> Tensor:
    """Ones like x, batched as x is."""
    if isinstance(x, BatchedTensor):
        return batched(_ones(x._value), x._level)
    return ones_like(x) if state.tracing else wrap(np.ones_like(x._array))


def overwrite_held(target: Tensor, compute: Callable) -> Tensor:
    """A change in place of a batched tensor: of what it holds."""
    from reference_engine.ops.inplace import overwrite

    assert isinstance(target, BatchedTensor)
    level = target._level
    overwrite(target._value, lambda alias: exposed(compute(batched(alias, level)), level))
    return target


def refuse_write(target: Tensor, result: Tensor) -> None:
    """Raises: what differs between examples cannot be written into what they share."""
    level = innermost((result,))
    assert level is not None
    if result.shape != target.shape or target._base is None:  # for views torch has another message
        raise RuntimeError(f"output with shape {list(target.shape)} doesn't match the broadcast shape "
                           f"{[level.size, *result.shape]}")  # fmt: skip
    raise RuntimeError(IN_PLACE)


def randomness(shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[Level]]:
    """(the shape to draw, the levels whose batches stand in front of it), by what the vmaps around say."""
    levels = []
    for level in state.vmap_levels:
        if level.randomness == "error":
            raise RuntimeError(RANDOM)
        if level.randomness == "different" and not level.looped:
            levels.append(level)
    return (*(level.size for level in levels), *shape), levels


def drawn(tensor: Tensor, levels: list[Level]) -> Tensor:
    """What was drawn in such a shape: batched at these levels."""
    for level in levels:
        tensor = batched(tensor, level)
    return tensor


STATISTICS = (
    "Batch norm got a batched tensor as input while the running_mean or running_var, which will be updated in place, were not "
    "batched. If you are using a module and do not need eval mode, please set `track_running_stats` to be False. If you are "
    "using a prebuilt module and do not need eval mode, please see the functorch website for resources on how to patch your "
    "module to work with vmap"
)


def refuse_statistics(input: Tensor, statistics: Tensor | None) -> None:
    """Raises where what all examples share would be updated by what differs between them."""
    if isinstance(input, BatchedTensor) and not isinstance(statistics, BatchedTensor):
        raise RuntimeError(STATISTICS)


def check_random() -> None:
    """Raises where a random operator that is not drawn for all examples at once cannot be what a vmap around asks for."""
    if randomness(())[1]:
        raise NeedsLoop
