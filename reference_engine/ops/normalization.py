"""Normalisation: batch, layer, group and instance norm.

All are one operator: x, seen in the shape `view`, is centred and scaled over `dims`, then multiplied by a weight and
moved by a bias that broadcast from the shape `affine`. With xh the normalised x and gw = g * weight,

    d/dx = (gw - mean(gw) - xh * mean(gw * xh)) / std,   d/dweight = sum of g * xh,   d/dbias = sum of g,

and with fixed statistics (batch norm in evaluation) d/dx = gw / std. Mean and deviation depend on x: the recorded
reading of the rule computes them anew from x, so that second derivatives see that. Source: torch.nn.functional.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.shapes import sum_to_shape
from reference_engine.tensor import Tensor, wrap


def mean_over(x: Any, dims: tuple[int, ...]) -> Any:
    """The mean over dimensions, kept as size 1; over arrays and tensors."""
    if isinstance(x, Tensor):
        return x.mean(dims, True)  # type: ignore[attr-defined]
    count = math.prod(x.shape[d] for d in dims)
    return np.true_divide(np.add.reduce(x, axis=dims, keepdims=True), x.dtype.type(count))


def statistics(x: Any, dims: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    """Mean and 1 / sqrt(variance + eps), biased; over arrays and tensors."""
    mean = mean_over(x, dims)
    centred = x - mean
    variance = mean_over(centred * centred, dims)
    root = registry.functions["sqrt"] if isinstance(x, Tensor) else np.sqrt
    return mean, 1 / root(variance + eps)


def _forward(x: np.ndarray, weight: Any, bias: Any, *, view: tuple, dims: tuple, affine: tuple, eps: float,
             fixed: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    seen = x.reshape(view)
    mean, inverse = fixed if fixed is not None else statistics(seen, dims, eps)
    y = ((seen - mean) * inverse).reshape(x.shape)
    if weight is not None:
        y *= weight.reshape(affine)
    if bias is not None:
        y += bias.reshape(affine)
    return y, mean, inverse


def _as_affine(g: Any, affine: tuple, shape: tuple) -> Any:
    """g summed to what an affine parameter broadcasts from, in the parameter's shape; over arrays and tensors."""
    return sum_to_shape(g, shape=affine).reshape(shape)


def _rule(g: Any, x: Any, weight: Any, mean: Any, inverse: Any, view: tuple, dims: tuple, affine: tuple, eps: float,
          fixed: Any, needs: tuple, weight_shape: Any, bias_shape: Any) -> tuple:  # fmt: skip
    seen = x.reshape(view)
    if isinstance(x, Tensor):
        mean, inverse = statistics(seen, dims, eps) if fixed is None else (wrap(mean), wrap(inverse))
    normal = (seen - mean) * inverse
    d_x = d_weight = d_bias = None
    if needs[1]:
        d_weight = _as_affine(g * normal.reshape(x.shape), affine, weight_shape)
    if needs[2]:
        d_bias = _as_affine(g, affine, bias_shape)
    if needs[0]:
        scaled = (g if weight is None else g * weight.reshape(affine)).reshape(view)
        if fixed is None:
            scaled = scaled - mean_over(scaled, dims) - normal * mean_over(scaled * normal, dims)
        d_x = (scaled * inverse).reshape(x.shape)
    return d_x, d_weight, d_bias


def _operator(name: str, node: str) -> Any:
    return general(
        name, _forward, joint=_rule, aux=("mean", "inverse"), node=node, saved_names=("input", "weight", "bias")
    )


batch_norm_op = _operator("native_batch_norm", "NativeBatchNormBackward0")
layer_norm_op = _operator("native_layer_norm", "NativeLayerNormBackward0")
group_norm_op = _operator("native_group_norm", "NativeGroupNormBackward0")


def _check_length(name: str, t: Tensor | None, channels: int) -> None:
    if t is not None and t._array.size != channels:
        raise RuntimeError(f"{name} should contain {channels} elements not {t._array.size}")


def _update(running: Tensor | None, value: np.ndarray, momentum: float) -> None:
    """running = (1 - momentum) * running + momentum * value, in place, unrecorded."""
    if running is not None:
        array = running._array
        array *= 1 - momentum
        array += momentum * value.reshape(array.shape)
        running._bump_version()


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalised per channel: by the batch in training, which also moves the running statistics (variance unbiased);
    by the running statistics otherwise. Source: torch.nn.functional.batch_norm.
    """
    x = input._array
    channels, per_channel = x.shape[1], x.size // max(x.shape[1], 1)
    if training and per_channel <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, value in named.items():
        _check_length(name, value, channels)
    affine = (channels, *(1,) * (x.ndim - 2))
    dims = (0, *range(2, x.ndim))
    fixed = None
    if not training:
        for name in ("running_mean", "running_var"):
            if named[name] is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        fixed = _fixed(running_mean, running_var, affine, eps, x.dtype)
    elif running_mean is not None or running_var is not None:
        mean = mean_over(x, dims)
        _update(running_mean, mean, momentum)
        spread = np.add.reduce(np.square(x - mean), axis=dims) / x.dtype.type(per_channel - 1)
        _update(running_var, spread, momentum)
    return batch_norm_op(input, weight, bias, view=x.shape, dims=dims, affine=affine, eps=eps, fixed=fixed)


def _fixed(mean: Any, var: Any, affine: tuple, eps: float, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    inverse = 1 / np.sqrt(var._array.reshape(affine) + eps)
    return np.array(mean._array.reshape(affine), dtype), np.asarray(inverse, dtype)


def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalised over the last dimensions. Source: torch.nn.functional.layer_norm."""
    shape = tuple(normalized_shape)
    n = len(shape)
    if not n or input._array.shape[-n:] != shape:
        wanted = ", ".join(map(str, shape))
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape [*, {wanted}], but got input of "
                           f"size{list(input._array.shape)}")  # fmt: skip
    dims = tuple(range(input._array.ndim - n, input._array.ndim))
    return layer_norm_op(input, weight, bias, view=input._array.shape, dims=dims, affine=shape, eps=eps, fixed=None)


def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalised per sample over groups of channels. Source: torch.nn.functional.group_norm."""
    n, channels, *rest = shape = input._array.shape
    if channels % num_groups:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, but got input of shape "
                           f"{list(shape)} and num_groups={num_groups}")  # fmt: skip
    view = (n, num_groups, channels // num_groups, *rest)
    return group_norm_op(input, weight, bias, view=view, dims=tuple(range(2, len(view))),
                         affine=(channels, *(1,) * len(rest)), eps=eps, fixed=None)  # fmt: skip


def instance_norm(input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
                  weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Batch norm of every sample by itself; running statistics are averaged over samples.

    Source: torch.nn.functional.instance_norm.
    """
    n, channels, *rest = shape = input._array.shape
    if use_input_stats and math.prod(rest) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    running = [None if r is None else wrap(np.tile(r._array, n)) for r in (running_mean, running_var)]
    scale = [None if p is None else p.repeat(n) for p in (weight, bias)]  # type: ignore[attr-defined]
    merged = input.reshape(1, n * channels, *rest)  # type: ignore[attr-defined]
    result = batch_norm(merged, running[0], running[1], scale[0], scale[1], use_input_stats, momentum, eps)
    for own, moved in zip((running_mean, running_var), running, strict=True):
        if use_input_stats and own is not None and moved is not None:
            own._array[...] = moved._array.reshape(n, channels).mean(0)
            own._bump_version()
    return result.view(*shape)  # type: ignore[attr-defined]


def rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
             eps: float | None = None) -> Tensor:  # fmt: skip
    """Divided by the root of the mean square over the last dimensions. Source: torch.nn.functional.rms_norm."""
    dims = tuple(range(input._array.ndim - len(tuple(normalized_shape)), input._array.ndim))
    small = np.finfo(input._array.dtype).eps.item() if eps is None else eps
    scaled = input * registry.functions["rsqrt"](mean_over(input * input, dims) + small)  # type: ignore[operator]
    return scaled if weight is None else scaled * weight


# torch's own functions take the parameters in another order than those of nn.functional.
registry.publish("layer_norm", lambda input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True:
                 layer_norm(input, normalized_shape, weight, bias, eps), method=False)  # fmt: skip
registry.publish("group_norm", lambda input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True:
                 group_norm(input, num_groups, weight, bias, eps), method=False)  # fmt: skip
registry.publish("batch_norm", lambda input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled:
                 batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps), method=False)  # fmt: skip
registry.publish("instance_norm", lambda input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, _:
                 instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps),
                 method=False)  # fmt: skip
registry.publish("rms_norm", rms_norm, method=False)
