"""Faults of SGD, of clearing gradients and of groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.optim import adam, optimizer, sgd
from reference_engine.optim.optimizer import number
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault


def _sgd(p: Patch, change: Any) -> None:
    """SGD whose step is changed: change(p, g, buffer, group) -> (direction, buffer)."""

    def descend(parameter: Any, g: Any, buffer: Any, group: dict[str, Any]) -> Any:
        if group["differentiable"]:
            return original(parameter, g, buffer, group)
        direction, buffer = change(parameter, np.array(g), buffer, group)
        parameter -= number(group["lr"]) * direction
        return buffer

    original = sgd.descend
    p.set(sgd, "descend", descend)


def _momentum(
    g: Any, buffer: Any, group: dict[str, Any], *, dampen_first: bool = False, lr_inside: bool = False
) -> tuple:
    if not group["momentum"]:
        return g, buffer
    scaled = g * number(group["lr"]) if lr_inside else g
    if buffer is None:
        buffer = scaled * (1 - group["dampening"] if dampen_first else 1)
    else:
        buffer = group["momentum"] * buffer + (1 - group["dampening"]) * scaled
    direction = g + group["momentum"] * buffer if group["nesterov"] else buffer
    return (direction / number(group["lr"]) if lr_inside else direction), buffer


def _signed(g: Any, group: dict[str, Any]) -> Any:
    return -g if group["maximize"] else g


@fault("optim")
def momentum_is_applied_before_dampening(p: Patch) -> None:
    """SGD dampens the first gradient too."""
    _sgd(p, lambda x, g, b, o: _momentum(_signed(g, o) + o["weight_decay"] * x, b, o, dampen_first=True))


@fault("optim")
def velocity_holds_the_learning_rate(p: Patch) -> None:
    """SGD's velocity is made of gradients times the learning rate, as in Sutskever's form."""
    _sgd(p, lambda x, g, b, o: _momentum(_signed(g, o) + o["weight_decay"] * x, b, o, lr_inside=True))


@fault("optim")
def weight_decay_on_the_wrong_side(p: Patch) -> None:
    """SGD subtracts weight decay from the gradient."""
    _sgd(p, lambda x, g, b, o: _momentum(_signed(g, o) - o["weight_decay"] * x, b, o))


@fault("optim")
def weight_decay_behind_momentum(p: Patch) -> None:
    """SGD adds weight decay after momentum."""

    def change(x: Any, g: Any, b: Any, o: dict[str, Any]) -> tuple:
        direction, b = _momentum(_signed(g, o), b, o)
        return direction + o["weight_decay"] * x, b

    _sgd(p, change)


@fault("optim")
def maximize_negates_weight_decay_too(p: Patch) -> None:
    """With maximize SGD negates the gradient after weight decay was added."""
    _sgd(p, lambda x, g, b, o: _momentum(_signed(g + o["weight_decay"] * x, o), b, o))


@fault("optim")
def nesterov_is_plain_momentum(p: Patch) -> None:
    """SGD takes no notice of nesterov."""
    _sgd(p, lambda x, g, b, o: _momentum(_signed(g, o) + o["weight_decay"] * x, b, {**o, "nesterov": False}))


@fault("optim")
def adamw_decay_enters_the_moments(p: Patch) -> None:
    """AdamW's decay is Adam's: it enters the moments."""

    def make(original: Any) -> Any:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            for group in self.param_groups:
                group["decoupled_weight_decay"] = False

        return init

    p.wrap(adam.AdamW, "__init__", make)


@fault("optim")
def zero_grad_writes_zeros(p: Patch) -> None:
    """zero_grad fills gradients with zeros unless told otherwise."""
    p.wrap(
        optimizer.Optimizer, "zero_grad", lambda original: lambda self, set_to_none=False: original(self, set_to_none)
    )


@fault("optim")
def groups_share_the_first_learning_rate(p: Patch) -> None:
    """All groups step with the learning rate of the first."""

    def make(original: Any) -> Any:
        def update(self: Any, group: dict[str, Any]) -> None:
            original(self, {**group, "lr": self.param_groups[0]["lr"]})

        return update

    p.wrap(sgd.SGD, "update", make)


@fault("optim")
def none_counts_as_a_zero_gradient(p: Patch) -> None:
    """A parameter without a gradient takes part in the step as if it were zero."""

    def all_of(parameters: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(x, x._grad if x._grad is not None else x.detach() * 0) for x in parameters]

    p.function(optimizer.with_gradients, all_of)


@fault("optim")
def velocities_rest_with_their_rows(p: Patch) -> None:
    """With a sparse gradient SGD moves the rows that it names, and leaves the velocities of the others."""

    def make(original: Any) -> Any:
        def update(self: Any, group: dict[str, Any]) -> None:
            sparse = [(x, x._grad.to_dense(), x._array.copy()) for x in group["params"] if _is_sparse(x._grad)]
            original(self, group)
            for x, gradient, before in sparse:
                still = ~(gradient._array != 0).any(-1)
                x._array[still] = before[still]

        return update

    p.wrap(sgd.SGD, "update", make)


@fault("optim")
def adam_takes_sparse_gradients(p: Patch) -> None:
    """Adam steps with the values of a sparse gradient instead of refusing it."""

    def make(original: Any) -> Any:
        def update(self: Any, group: dict[str, Any]) -> None:
            for x in group["params"]:
                if _is_sparse(x._grad):
                    x._grad = x._grad.to_dense()
            original(self, group)

        return update

    p.wrap(adam.Adam, "update", make)


def _is_sparse(gradient: Any) -> bool:
    return gradient is not None and gradient.is_sparse
