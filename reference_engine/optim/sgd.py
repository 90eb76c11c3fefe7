"""Stochastic gradient descent. Source: torch.optim.SGD."""

from __future__ import annotations

from typing import Any

from reference_engine.optim.optimizer import Optimizer, check_options, number, rounded, with_gradients
from reference_engine.tensor import Tensor, wrap


class SGD(Optimizer):
    """g += weight_decay p;  b = momentum b + (1 - dampening) g;  p -= lr b  (nesterov: lr (g + momentum b)).

    The first step starts b at g, without dampening.
    """

    def __init__(self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
                 nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None,
                 differentiable: bool = False, fused: bool | None = None) -> None:  # fmt: skip
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_options(
            lr=(not number(lr) < 0.0, f"Invalid learning rate: {lr}"),
            momentum=(not momentum < 0.0, f"Invalid momentum value: {momentum}"),
            weight_decay=(not weight_decay < 0.0, f"Invalid weight_decay value: {weight_decay}"),
            nesterov=(not nesterov or (momentum > 0 and dampening == 0),
                      "Nesterov momentum requires a momentum and zero dampening"),
        )  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def update(self, group: dict[str, Any]) -> None:
        for parameter, gradient in with_gradients(group["params"]):
            if gradient.is_sparse:
                if group["weight_decay"]:
                    raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
                gradient = gradient.to_dense()
            state = self.state[parameter] if group["momentum"] else {}
            buffer = state.get("momentum_buffer")
            if group["differentiable"]:
                buffer = descend(parameter, gradient, buffer, group)
            else:
                started = None if buffer is None else buffer._array
                started = descend(parameter._array, gradient._array, started, group)
                parameter._bump_version()
                buffer = wrap(started) if buffer is None and started is not None else buffer
                rounded(parameter, *([] if buffer is None else [buffer]))
            if group["momentum"]:
                state["momentum_buffer"] = buffer


def descend(p: Any, g: Any, buffer: Any, group: dict[str, Any]) -> Any:
    """One step for one parameter, over arrays or tensors; returns the momentum buffer."""
    momentum, lr = group["momentum"], group["lr"]
    if not group["differentiable"]:
        lr = number(lr)
    if group["maximize"]:
        g = -g
    if group["weight_decay"]:
        g = g + group["weight_decay"] * p
    if momentum:
        if buffer is None:
            buffer = g.detach().clone() if isinstance(g, Tensor) else g.copy()
        else:
            buffer *= momentum
            buffer += g if group["dampening"] == 0 else (1 - group["dampening"]) * g
        g = g + momentum * buffer if group["nesterov"] else buffer
    p -= lr * g
    return buffer
