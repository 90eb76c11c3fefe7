"""Normalisations that also return their statistics: the operators below torch.nn.functional's.

Source: torch.native_batch_norm, native_layer_norm, native_group_norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.normalization import (
    batch_norm_op,
    batch_options,
    group_options,
    layer_options,
    normalized,
    rule,
    statistics,
)
from reference_engine.tensor import Tensor, wrap


def _through_first(gs: Any, x: Any, weight: Any, mean: Any, inverse: Any, view: tuple, dims: tuple, affine: tuple,
                   eps: float, fixed: Any, needs: tuple, weight_shape: Any, bias_shape: Any) -> tuple:  # fmt: skip
    if gs[0] is None:
        return None, None, None
    return rule(gs[0], x, weight, mean, inverse, view, dims, affine, eps, fixed, needs, weight_shape, bias_shape)


def _through_all(gs: Any, x: Any, weight: Any, mean: Any, inverse: Any, view: tuple, dims: tuple, affine: tuple,
                 eps: float, fixed: Any, needs: tuple, weight_shape: Any, bias_shape: Any) -> tuple:  # fmt: skip
    """The statistics' share too: with n elements, d mean/dx = 1/n, d inverse/dx = -inverse^3 (x - mean)/n."""
    d_x, d_weight, d_bias = _through_first(gs, x, weight, mean, inverse, view, dims, affine, eps, fixed, needs,
                                           weight_shape, bias_shape)  # fmt: skip
    if needs[0] and (gs[1] is not None or gs[2] is not None):
        seen = x.reshape(view)
        if isinstance(x, Tensor):
            mean, inverse = statistics(seen, dims, eps)
        count = math.prod(view[d] for d in dims)
        centred, parts = seen - mean, []
        if gs[1] is not None:
            parts.append(centred * 0 + gs[1] / count)
        if gs[2] is not None:
            parts.append(-gs[2] * inverse * inverse * inverse * centred / count)
        share = (parts[0] if len(parts) == 1 else parts[0] + parts[1]).reshape(x.shape)
        d_x = share if d_x is None else d_x + share
    return d_x, d_weight, d_bias


def _with_statistics(name: str, node: str, *, differentiable: bool = False) -> Any:
    """A normalisation whose mean and 1 / deviation are results too; through them gradients flow where torch says so."""
    return general(name, normalized, joint=_through_all if differentiable else _through_first,
                   outputs=("y", "mean", "inverse"), nondifferentiable=() if differentiable else ("mean", "inverse"),
                   node=node, saved_names=("input", "weight", "bias"))  # fmt: skip


batch_statistics_op = _with_statistics("native_batch_norm", "NativeBatchNormBackward0")
updating_op = _with_statistics("batch_norm_with_update", "BatchNormWithUpdateBackward0")
layer_statistics_op = _with_statistics("native_layer_norm", "NativeLayerNormBackward0")
group_statistics_op = _with_statistics("native_group_norm", "NativeGroupNormBackward0", differentiable=True)


def _without(t: Tensor) -> Tensor:
    """What stands for statistics that were not computed."""
    return t.new_zeros((0,))  # type: ignore[attr-defined]


@registry.function
def native_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                      running_var: Tensor | None, training: bool, momentum: float, eps: float) -> tuple:  # fmt: skip
    """Batch norm, mean and 1 / deviation of the batch (empty in evaluation). Source: torch.native_batch_norm."""
    options = batch_options(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        return batch_norm_op(input, weight, bias, **options), _without(input), _without(input)
    y, mean, inverse = batch_statistics_op(input, weight, bias, **options)
    return y, mean.reshape(-1), inverse.reshape(-1)


@registry.function
def native_layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None,
                      eps: float) -> tuple:  # fmt: skip
    """Layer norm, mean and 1 / deviation of each sample. Source: torch.native_layer_norm."""
    return layer_statistics_op(input, weight, bias, **layer_options(input, normalized_shape, weight, bias, eps))


@registry.function
def native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int,
                      eps: float) -> tuple:  # fmt: skip
    """Group norm, mean and 1 / deviation of each group, (N, group). Source: torch.native_group_norm."""
    if input._array.size != N * C * HxW:
        raise RuntimeError("native_group_norm: N, C and HxW do not match the input's size")
    options = group_options(input, group, weight, bias, eps)
    y, mean, inverse = group_statistics_op(input, weight, bias, **options)
    return y, mean.reshape(N, group), inverse.reshape(N, group)


def _batch_norm_with_update(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor,
                            running_var: Tensor, momentum: float, eps: float) -> tuple:  # fmt: skip
    """Batch norm in training and what it keeps for its backward. Source: torch.ops.aten._batch_norm_with_update."""
    options = batch_options(input, running_mean, running_var, weight, bias, True, momentum, eps)
    y, mean, inverse = updating_op(input, weight, bias, **options)
    return y, mean.reshape(-1), inverse.reshape(-1), wrap(np.zeros(0, np.uint8))


def _native_batch_norm_legit(input: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any) -> tuple:
    """native_batch_norm, with running statistics or without. Source: torch.ops.aten._native_batch_norm_legit."""
    if len(rest) == 3:
        rest = (None, None, *rest)
    return native_batch_norm(input, weight, bias, *rest)


registry.publish("_batch_norm_with_update", _batch_norm_with_update, method=False)
registry.publish("_native_batch_norm_legit", _native_batch_norm_legit, method=False)
