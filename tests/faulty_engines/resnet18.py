"""Faults that show in a whole network: in its layers together, in two steps of training, in fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.nn import functional as F
from reference_engine.nn.modules import activation, normalization, pooling
from reference_engine.nn.modules.module import Module
from reference_engine.ops import convolution, elementwise, im2col
from reference_engine.ops.pooling import maxima
from reference_engine.ops.rules import Rule
from reference_engine.optim import sgd
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault
from tests.faulty_engines.worked_examples import elementwise_rule


@fault("resnet18")
def convolutions_compute_in_single_precision(p: Patch) -> None:
    """Convolutions of float64 are computed in float32."""

    def convolve(x: np.ndarray, w: np.ndarray, b: Any, **options: Any) -> np.ndarray:
        single = [None if t is None else t.astype(np.float32) for t in (x, w, b)]
        return im2col.convolve(*single, **options).astype(x.dtype)  # type: ignore[arg-type]

    p.set(convolution.convolve, "forward", convolve)


@fault("resnet18")
def kernels_are_learnt_upside_down(p: Patch) -> None:
    """The gradient of a convolution's weight is that of the true convolution, whose kernel is flipped."""

    def weight(g: Any, x: Any, w_shape: Any, geometry: Any) -> Any:
        found = convolution.correlate(g, x, geometry=geometry, kernel=w_shape[2:])
        return found.flip(-2, -1) if isinstance(found, Tensor) else found[..., ::-1, ::-1]

    rules = list(convolution.convolve.rules)
    rules[1] = Rule(weight)
    p.set(convolution.convolve, "rules", tuple(rules))
    p.set(convolution.convolve, "uses", convolution.convolve._uses())


@fault("resnet18")
def weights_learn_from_the_first_image(p: Patch) -> None:
    """The gradient of a convolution's weight is not summed over the batch."""
    p.wrap(convolution.correlate, "forward", lambda original: lambda a, x, **how: original(a[:1], x[:1], **how))


@fault("resnet18")
def overlapping_windows_overwrite(p: Patch) -> None:
    """Where an element is the largest of two pooling windows, the gradient of one replaces the other's."""

    def backward(g: np.ndarray, x: np.ndarray, *, positions: np.ndarray) -> np.ndarray:
        result = np.zeros(x.shape, g.dtype)
        result.reshape(-1)[positions] = g
        return result

    p.set(maxima.backward, "forward", backward)


@fault("resnet18")
def shortcuts_are_constants(p: Patch) -> None:
    """The second operand of a sum receives no gradient: blocks learn by their first branch alone."""
    elementwise_rule(p, elementwise._add, "1", "0")


@fault("resnet18")
def averages_spread_undivided(p: Patch) -> None:
    """The gradient of average pooling goes to every element without being divided by their number."""
    p.set(pooling.AdaptiveAvgPool2d, "function", staticmethod(
        lambda x, size: _undivided(F.adaptive_avg_pool2d(x, size), x)))  # fmt: skip


def _undivided(y: Tensor, x: Tensor) -> Tensor:
    """y, through which the gradient comes multiplied by the number of elements of a window."""
    factor = x.numel() // y.numel()
    return y * factor - (y * (factor - 1)).detach()


@fault("resnet18")
def rectifying_in_place_is_not_recorded(p: Patch) -> None:
    """relu in place writes zeros and leaves the history as it is, so that every gradient passes."""

    def forward(self: Any, input: Tensor) -> Tensor:
        if not self.inplace:
            return F.relu(input)
        np.maximum(input._array, 0, out=input._array)
        return input

    p.set(activation.ReLU, "forward", forward)


@fault("resnet18")
def velocity_is_not_kept(p: Patch) -> None:
    """SGD starts its velocity anew at each step."""
    p.wrap(sgd.SGD, "update", lambda original: lambda self, group: (self.state.clear(), original(self, group))[1])


@fault("resnet18")
def frozen_layers_keep_their_statistics(p: Patch) -> None:
    """Batch norm whose weight is frozen does not update its running statistics in training mode."""

    def forward(self: Any, input: Tensor) -> Any:
        if self.weight.requires_grad:
            return original(self, input)
        before = self.running_mean.clone(), self.running_var.clone()
        result = original(self, input)
        self.running_mean, self.running_var = before
        return result

    original = normalization._BatchNorm.forward
    p.set(normalization._BatchNorm, "forward", forward)


@fault("resnet18")
def replaced_layers_stay_parameters(p: Patch) -> None:
    """A module that is assigned to the name of another does not take the old one out of parameters()."""
    original = Module.__setattr__

    def assign(self: Any, name: str, value: Any) -> None:
        old = self.__dict__.get("_modules", {}).get(name)
        original(self, name, value)
        if isinstance(value, Module) and old is not None:
            self._modules[f"_{name}"] = old

    p.set(Module, "__setattr__", assign)


@fault("resnet18")
def losses_add_up(p: Patch) -> None:
    """cross_entropy sums over the batch unless told otherwise."""
    p.wrap(F, "cross_entropy", lambda original: lambda *args, reduction="sum", **how: original(
        *args, reduction=reduction, **how))  # fmt: skip
