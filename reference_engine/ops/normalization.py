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

from reference_engine import dtypes
from reference_engine.batching.hooks import refuse_statistics
from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.padding import pad
from reference_engine.ops.pooling.functions import avg_pool2d
from reference_engine.ops.shapes import sum_to_shape
from reference_engine.state import state
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


def normalized(x: np.ndarray, weight: Any, bias: Any, *, view: tuple, dims: tuple, affine: tuple, eps: float,
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


def rule(g: Any, x: Any, weight: Any, mean: Any, inverse: Any, view: tuple, dims: tuple, affine: tuple, eps: float,
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
        name, normalized, joint=rule, aux=("mean", "inverse"), node=node, saved_names=("input", "weight", "bias")
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


def batch_options(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
                   bias: Tensor | None, training: bool, momentum: float, eps: float) -> dict[str, Any]:  # fmt: skip
    """The checked options of batch norm's operator; in training the running statistics are moved."""
    x = input._array
    _check_real("batch_norm", input)
    channels = x.shape[1] if x.ndim > 1 else x.size
    per_channel = x.size // max(channels, 1)
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, value in named.items():
        _check_length(name, value, channels)
        if value is not None and value._array.dtype != x.dtype and input.dtype.name in ("float32", "float64"):
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
    affine = (channels, *(1,) * (x.ndim - 2))
    dims = (0, *range(2, x.ndim))
    fixed = None
    if not training:
        for name in ("running_mean", "running_var"):
            if named[name] is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        fixed = _fixed(running_mean, running_var, affine, eps, x.dtype)
    elif per_channel and (running_mean is not None or running_var is not None):
        if state.vmap_levels:
            refuse_statistics(input, running_mean)
        mean = mean_over(x, dims)
        _update(running_mean, mean, momentum)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.add.reduce(np.square(x - mean), axis=dims) / x.dtype.type(per_channel - 1)
        _update(running_var, spread, momentum)
    return {"view": x.shape, "dims": dims, "affine": affine, "eps": eps, "fixed": fixed}


def _check_real(name: str, input: Tensor) -> None:
    if input._array.dtype.kind != "f":
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtypes.type_name(input.dtype)}'")


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalised per channel: by the batch in training, which also moves the running statistics (variance unbiased);
    by the running statistics otherwise. Source: torch.nn.functional.batch_norm.
    """
    shape = input._array.shape
    if training and 0 not in shape and input._array.size == shape[1 if len(shape) > 1 else 0]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    if training and eps <= 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    options = batch_options(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return batch_norm_op(input, weight, bias, **options)


def _fixed(mean: Any, var: Any, affine: tuple, eps: float, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    inverse = 1 / np.sqrt(var._array.reshape(affine) + eps)
    return np.array(mean._array.reshape(affine), dtype), np.asarray(inverse, dtype)


def _last_dims(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None = None,
               comma: str = ", ") -> tuple[int, ...]:  # fmt: skip
    """The last dimensions that `normalized_shape` names, checked."""
    shape = tuple(int(s) for s in normalized_shape)
    n = len(shape)
    if not n:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but "
                           f"got normalized_shape = {list(shape)}")  # fmt: skip
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value._array.shape != shape:
            raise RuntimeError(f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                               f"{list(value._array.shape)} and normalized_shape = {list(shape)}")  # fmt: skip
    if input._array.shape[-n:] != shape:
        wanted = ", ".join(map(str, shape))
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape [*{comma}{wanted}], but got input "
                           f"of size{list(input._array.shape)}")  # fmt: skip
    return tuple(range(input._array.ndim - n, input._array.ndim))


def layer_options(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None,
                   eps: float) -> dict[str, Any]:  # fmt: skip
    dims = _last_dims(input, normalized_shape, weight, bias)
    _check_real("LayerNormKernelImpl", input)
    for value in (weight, bias):
        if value is not None and value.dtype is not input.dtype and input.dtype.name in ("float32", "float64"):
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
    shape = input._array.shape
    return {"view": shape, "dims": dims, "affine": shape[dims[0] :], "eps": eps, "fixed": None}


def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalised over the last dimensions. Source: torch.nn.functional.layer_norm."""
    return layer_norm_op(input, weight, bias, **layer_options(input, normalized_shape, weight, bias, eps))


def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalised per sample over groups of channels. Source: torch.nn.functional.group_norm."""
    shape = input._array.shape
    if (
        len(shape) >= 2
        and num_groups
        and 0 not in shape
        and shape[0] * shape[1] // num_groups * math.prod(shape[2:]) == shape[0]
    ):
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")
    return group_norm_op(input, weight, bias, **group_options(input, num_groups, weight, bias, eps))


def group_options(input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None,
                   eps: float) -> dict[str, Any]:  # fmt: skip
    shape = input._array.shape
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    n, channels, *rest = shape
    if channels % num_groups:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, but got input of shape "
                           f"{list(shape)} and num_groups={num_groups}")  # fmt: skip
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value._array.shape != (channels,):
            raise RuntimeError(f"Expected {name} to be a vector of size equal to the number of channels in input, but got "
                               f"{name} of shape {list(value._array.shape)} and input of shape {list(shape)}")  # fmt: skip
    view = (n, num_groups, channels // num_groups, *rest)
    return {
        "view": view,
        "dims": tuple(range(2, len(view))),
        "affine": (channels, *(1,) * len(rest)),
        "eps": eps,
        "fixed": None,
    }


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
    dims = _last_dims(input, normalized_shape, weight, comma="")
    if input._array.dtype.kind not in "fc":
        raise NotImplementedError(f"\"rms_norm\" not implemented for '{dtypes.type_name(input.dtype)}'")
    narrow = input.dtype.name in ("float16", "bfloat16")  # squares are taken in float32, whose eps it is
    x = input.float() if narrow else input  # type: ignore[attr-defined]
    small = np.finfo(x._array.dtype).eps.item() if eps is None else eps
    scaled = x * registry.functions["rsqrt"](mean_over(x * x, dims) + small)
    scaled = scaled.to(input.dtype) if narrow else scaled
    return scaled if weight is None else scaled * weight


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha times the mean of squares of `size` neighbouring channels)^beta; beyond the borders are zeros.

    Source: torch.nn.functional.local_response_norm.
    """
    x = input._array
    if x.ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {x.ndim} dimensions)"
        )
    if not x.size:
        return input
    planes = (input * input).reshape(x.shape[0], 1, x.shape[1], -1)  # type: ignore[operator]
    padded = pad(planes, (0, 0, size // 2, (size - 1) // 2))
    around = avg_pool2d(padded, (size, 1), stride=1).reshape(x.shape)
    return input / (around * alpha + k).pow(beta)  # type: ignore[operator]


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
