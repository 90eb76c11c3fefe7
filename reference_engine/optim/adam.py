"""Adam and AdamW. Source: torch.optim.Adam, torch.optim.AdamW."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import creation
from reference_engine.ops import registry
from reference_engine.optim.optimizer import Optimizer, check_options, number, real, rounded, with_gradients
from reference_engine.tensor import Tensor


class Adam(Optimizer):
    """m = m + (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2;  p -= lr/(1 - b1^t) m / (sqrt(v)/sqrt(1 - b2^t) + eps)."""

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
                 decoupled_weight_decay: bool = False) -> None:  # fmt: skip
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_options(
            lr=(number(lr) >= 0.0, f"Invalid learning rate: {lr}"),
            eps=(eps >= 0.0, f"Invalid epsilon value: {eps}"),
            beta1=(0.0 <= number(betas[0]) < 1.0, f"Invalid beta parameter at index 0: {betas[0]}"),
            beta2=(0.0 <= number(betas[1]) < 1.0, f"Invalid beta parameter at index 1: {betas[1]}"),
            weight_decay=(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}"),
            betas=(any(all(isinstance(b, kind) for b in betas) for kind in (float, Tensor)),
                   "betas must be either both floats or both Tensors"),
            loop=(not (isinstance(lr, Tensor) and foreach and not capturable),
                  "lr as a Tensor is not supported for capturable=False and foreach=True"),
        )  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def update(self, group: dict[str, Any]) -> None:
        names = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if group["amsgrad"] else [])
        for parameter, gradient in with_gradients(group["params"]):
            if gradient.is_sparse:
                raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")
            state = self.state[parameter]
            if not state:
                state["step"] = creation.tensor(0.0)
                state.update({name: creation.zeros_like(parameter) for name in names})
            state["step"]._array[...] += 1
            moments = [state[name] for name in names]
            step = state["step"].item()
            if group["differentiable"]:
                adapt(parameter, gradient, moments, step, group)
            else:
                arrays = [real(t._array) for t in (parameter, gradient, *moments)]
                adapt(arrays[0], arrays[1], arrays[2:], step, group)
                rounded(parameter, *moments)
                parameter._bump_version()


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, apart from the gradient."""

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
                 capturable: bool = False, differentiable: bool = False, fused: bool | None = None) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused,
                         decoupled_weight_decay=True)  # fmt: skip


def root(x: Any) -> Any:
    """The square root, over arrays and tensors."""
    return registry.functions["sqrt"](x) if isinstance(x, Tensor) else np.sqrt(x)


def adapt(p: Any, g: Any, moments: list[Any], step: float, group: dict[str, Any]) -> None:
    """One step for one parameter, over arrays or tensors; the moments change in place."""
    beta1, beta2 = (number(b) for b in group["betas"])
    lr = group["lr"] if group["differentiable"] else number(group["lr"])
    mean, square = moments[:2]
    if group["maximize"]:
        g = -g
    if group["weight_decay"]:
        if group["decoupled_weight_decay"]:
            p *= 1 - lr * group["weight_decay"]
        else:
            g = g + group["weight_decay"] * p
    mean += (g - mean) * (1 - beta1)
    square *= beta2
    square += (1 - beta2) * g * g
    largest = square
    if group["amsgrad"]:
        largest = moments[2]
        _keep_larger(largest, square)
    denominator = root(largest) / (1 - beta2**step) ** 0.5 + group["eps"]
    p -= lr / (1 - beta1**step) * (mean / denominator)


def _keep_larger(largest: Any, square: Any) -> None:
    if isinstance(largest, Tensor):  # the copy is what backward reads: largest itself changes at every step
        largest.copy_(registry.functions["maximum"](largest.clone(), square))
    else:
        np.maximum(largest, square, out=largest)
