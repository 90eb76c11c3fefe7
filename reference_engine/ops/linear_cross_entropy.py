"""Cross entropy of a linear map's result, as one function; with options, one whose gradients are consumed by backward.

Source: torch.nn.functional.linear_cross_entropy, torch.nn.LinearCrossEntropyOptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from reference_engine.ops.affine import linear
from reference_engine.ops.likelihoods import cross_entropy
from reference_engine.tensor import Tensor

TWICE = (
    "linear_cross_entropy chunked backward called twice. Its gradients are precomputed and consumed by the first backward; use "
    "LinearCrossEntropyOptions(allow_retain_graph=True) to allow repeated backward."
)


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How the batch is cut into chunks, which changes memory and not values, and whether backward may run again."""

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None


def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
                         weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
                         label_smoothing: float = 0.0, options: LinearCrossEntropyOptions | None = None) -> Tensor:  # fmt: skip
    """cross_entropy(linear(input, linear_weight, linear_bias), target). Source: that function's page in torch.

    linear_weight (C, in) or (C, d1, ..., dK, in). With options, gradients have no graph, and a second backward raises.
    """
    settings = {"weight": weight, "reduction": reduction, "label_smoothing": label_smoothing,
                "ignore_index": -100 if ignore_index is None else ignore_index}  # fmt: skip
    if options is None or linear_weight._array.ndim != 2 or input._array.ndim != 2:
        return _loss(input, linear_weight, linear_bias, target, settings)
    return _chunked().apply(input, linear_weight, linear_bias, target, settings, options.allow_retain_graph)


def _loss(input: Tensor, matrix: Tensor, bias: Tensor | None, target: Tensor, settings: dict[str, Any]) -> Tensor:
    outer = matrix._array.shape[:-1]
    rows = matrix.reshape(-1, matrix._array.shape[-1])
    logits = linear(input, rows, None if bias is None else bias.reshape(-1))
    return cross_entropy(logits.reshape(*input._array.shape[:-1], *outer), target, **settings)


def _leaf(x: Tensor) -> Tensor:
    """x without its history, tracked as x is."""
    result = x.detach()
    result._set_tracked(x.requires_grad)
    return result


@cache
def _chunked() -> Any:
    """The function whose backward consumes what its forward kept; made when it is first needed."""
    from reference_engine.autograd.backward import grad
    from reference_engine.autograd.function import Function
    from reference_engine.autograd.grad_mode import enable_grad

    class LinearCrossEntropyChunked(Function):
        @staticmethod
        def forward(ctx: Any, input: Tensor, matrix: Tensor, bias: Tensor | None, target: Tensor, settings: dict,
                    repeatable: bool) -> Tensor:  # fmt: skip
            given = (input, matrix, bias)
            ctx.leaves = [None if x is None else _leaf(x) for x in given]
            rows, weights, offsets = ctx.leaves
            with enable_grad():
                ctx.loss = _loss(rows, weights, offsets, target, settings)
            ctx.repeatable = repeatable
            return ctx.loss.detach()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple:
            if ctx.loss is None:
                raise RuntimeError(TWICE)
            wanted = [x for x in ctx.leaves if x is not None and x.requires_grad]
            found = iter(grad(ctx.loss, wanted, g.detach(), retain_graph=True))
            if not ctx.repeatable:
                ctx.loss = None
            grads = [next(found) if x is not None and x.requires_grad else None for x in ctx.leaves]
            return (*grads, None, None, None)

    return LinearCrossEntropyChunked
