"""Functions that read masks, indices or targets, where these differ from example to example.

Each is the same function on what the batched tensors hold, its arguments lined up behind the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine.batching.rules import aligned, counts, dimensions
from reference_engine.batching.tensor import batched, bottom, exposed, innermost
from reference_engine.ops.registry import functions

if TYPE_CHECKING:
    from reference_engine.batching.tensor import Level
    from reference_engine.tensor import Tensor


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """torch.where."""
    return _aligned("where", condition, a, b)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Tensor.masked_fill."""
    return _aligned("masked_fill", input, mask, value)


def _aligned(name: str, *args: Any) -> Tensor:
    level, ndim = _level(args), dimensions(args)
    return batched(functions[name](*[aligned(x, level, ndim) for x in args]), level)


def _level(args: tuple) -> Level:
    counts["batched"] += 1
    level = innermost(args)
    assert level is not None
    return level


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """torch.gather."""
    level = _level((input, index))
    behind = dim % max(input.dim(), 1) + 1
    value, places = exposed(input, level), exposed(index, level)
    if not input.dim():
        return batched(value, level)
    return batched(functions["gather"](value, behind, places), level)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str) -> Tensor:
    """torch.nn.functional.nll_loss, put together from operators that have rules."""
    classes = 1 if input.dim() > 1 else 0
    if weight is None and not (bottom(target)._array == ignore_index).any():
        loss = -functions["gather"](input, classes, target.unsqueeze(classes)).squeeze(classes)
        return loss if reduction == "none" else getattr(loss, reduction)()
    kept = target.ne(ignore_index)
    safe = target.masked_fill(kept.logical_not(), 0)
    picked = functions["gather"](input, classes, safe.unsqueeze(classes)).squeeze(classes)
    scale = kept.to(input.dtype)
    if weight is not None:
        table = weight.expand(*safe.shape, weight.shape[0])
        scale = scale * functions["gather"](table, -1, safe.unsqueeze(-1)).squeeze(-1)
    loss = -picked * scale
    if reduction == "none":
        return loss
    return loss.sum() / scale.sum() if reduction == "mean" else loss.sum()
