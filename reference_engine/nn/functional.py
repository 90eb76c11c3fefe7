"""torch.nn.functional: the operators of neural networks without state. Operators with rules of their own live in ops/;
what is written out here is a composition of them.
"""

from __future__ import annotations

from typing import Any

from reference_engine.ops import registry
from reference_engine.ops.activations import (
    elu,
    gelu,
    glu,
    hardtanh,
    leaky_relu,
    log_softmax,
    normalize,
    relu6,
    softmax,
    softplus,
)
from reference_engine.ops.activations import log_sigmoid as logsigmoid
from reference_engine.ops.activations import silu as _silu
from reference_engine.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from reference_engine.ops.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d
from reference_engine.ops.elementwise import where
from reference_engine.ops.embedding import embedding, one_hot
from reference_engine.ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    reduction_of,
    smooth_l1_loss,
)
from reference_engine.ops.matmul import linear
from reference_engine.ops.normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from reference_engine.ops.padding import pad
from reference_engine.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from reference_engine.tensor import Tensor

_f = registry.functions
sigmoid, tanh = _f["sigmoid"], _f["tanh"]


def _result(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    """The result, written into the input where asked."""
    if not inplace:
        return result
    from reference_engine.ops.inplace import overwrite
    from reference_engine.tape.views import check_inplace

    check_inplace(input)
    return overwrite(input, lambda _: result)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); derivative 0 at 0. Source: torch.nn.functional.relu."""
    return input.relu_() if inplace else _f["relu"](input)  # type: ignore[attr-defined]


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x). Source: torch.nn.functional.silu."""
    return _result(input, _silu(input), inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha (exp(x / alpha) - 1) below. Source: torch.nn.functional.celu."""
    positive = input._array > 0
    below = alpha * _f["expm1"](where(positive, 0.0, input) / alpha)
    return _result(input, where(positive, input, below), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha), with the constants that keep mean 0 and variance 1. Source: torch.nn.functional.selu."""
    return _result(input, 1.0507009873554804934193349852946 * elu(input, 1.6732632423543772848170429916717), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x)). Source: torch.nn.functional.mish."""
    return _result(input, input * tanh(softplus(input)), inplace)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|). Source: torch.nn.functional.softsign."""
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x). Source: torch.nn.functional.tanhshrink."""
    return input - tanh(input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 within it. Source: torch.nn.functional.softshrink."""
    x = input._array
    return where(x > lambd, input - lambd, where(x < -lambd, input + lambd, input * 0))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 within lambd, x beyond. Source: torch.nn.functional.hardshrink."""
    return where((input._array >= -lambd) & (input._array <= lambd), input * 0, input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above the threshold, `value` elsewhere. Source: torch.nn.functional.threshold."""
    return _result(input, where(input._array > threshold, input, value), inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """A line clipped to [0, 1]; derivative 0 at the corners. Source: torch.nn.functional.hardsigmoid."""
    return _result(input, hardtanh(input, -3.0, 3.0) / 6 + 0.5, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x). Source: torch.nn.functional.hardswish."""
    return _result(input, input * (hardtanh(input, -3.0, 3.0) + 3) / 6, inplace)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax(-x). Source: torch.nn.functional.softmin."""
    return softmax(-input, dim, dtype=dtype)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above 0, weight * x elsewhere, a weight per channel. Source: torch.nn.functional.prelu."""
    if weight.numel() > 1:
        weight = weight.reshape([-1 if i == 1 else 1 for i in range(max(input.ndim, 2))])
    return where(input._array > 0, input, weight * input)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1 A x2 + b. Source: torch.nn.functional.bilinear."""
    result = _f["einsum"]("...i,kij,...j->...k", input1, weight, input2)
    return result if bias is None else result + bias


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "alpha_dropout", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "conv1d",
    "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cross_entropy", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "elu", "embedding", "gelu", "glu", "group_norm", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "huber_loss", "instance_norm", "kl_div", "l1_loss", "layer_norm",
    "leaky_relu", "linear", "log_softmax", "logsigmoid", "max_pool1d", "max_pool2d", "max_pool3d", "mish",
    "mse_loss", "nll_loss", "normalize", "one_hot", "pad", "prelu", "reduction_of", "relu", "relu6", "rms_norm",
    "selu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softmin", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink", "threshold",
]  # fmt: skip
