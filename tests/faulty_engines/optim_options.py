"""Faults of optimizers' options, groups and state, and of Adam's formula."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from reference_engine.nn.modules.module import clear_grad
from reference_engine.optim import adam, optimizer, sgd
from reference_engine.optim.optimizer import Optimizer, number
from reference_engine.tensor import Tensor, wrap
from tests.faulty_engines.patching import Patch, fault

# --- SGD -------------------------------------------------------------------------------------------------------------


def _descend(p: Patch, change: Any) -> None:
    """SGD whose step for one parameter is `change(original, parameter, gradient, buffer, group)`."""
    original = sgd.descend
    p.set(
        sgd, "descend", lambda parameter, gradient, buffer, group: change(original, parameter, gradient, buffer, group)
    )


@fault("optim")
def velocity_is_the_gradient_tensor(p: Patch) -> None:
    """The first velocity of SGD is the gradient itself, which zero_grad fills with zeros."""

    def change(original: Any, x: Any, g: Any, buffer: Any, group: dict[str, Any]) -> Any:
        first = buffer is None and not (group["weight_decay"] or group["maximize"] or group["differentiable"])
        result = original(x, g, buffer, group)
        return g if first and group["momentum"] else result

    _descend(p, change)


@fault("optim")
def nesterov_looks_ahead_twice(p: Patch) -> None:
    """With nesterov SGD steps along b + mu b instead of g + mu b."""

    def change(original: Any, x: Any, g: Any, buffer: Any, group: dict[str, Any]) -> Any:
        result = original(x, g, buffer, group)
        if group["nesterov"]:
            signed = -g if group["maximize"] else g
            x -= number(group["lr"]) * (result - (signed + group["weight_decay"] * x))
        return result

    _descend(p, change)


@fault("optim")
def velocity_lasts_without_a_gradient(p: Patch) -> None:
    """A parameter whose gradient is None coasts on with its velocity."""

    def make(original: Any) -> Any:
        def update(self: Any, group: dict[str, Any]) -> None:
            original(self, group)
            for x in group["params"]:
                velocity = self.state[x].get("momentum_buffer") if x in self.state else None
                if x._grad is None and velocity is not None:
                    x._array[...] -= number(group["lr"]) * group["momentum"] * velocity._array

        return update

    p.wrap(sgd.SGD, "update", make)


# --- Adam ------------------------------------------------------------------------------------------------------------


def _adapt(p: Patch, change: Any) -> None:
    """Adam whose step for one parameter is `change(original, p, g, moments, step, group)`."""
    original = adam.adapt
    p.set(adam, "adapt", lambda x, g, moments, step, group: change(original, x, g, moments, step, group))


def _formula(x: Any, g: Any, moments: list[Any], step: float, group: dict[str, Any], *, correct_first: bool = True,
             correct_second: bool = True, eps_inside: bool = False, later: int = 0, largest_corrected: bool = False,
             decay_last: bool = False) -> None:  # fmt: skip
    """Adam's step over arrays, with one mistake or another."""
    b1, b2, lr = *(number(b) for b in group["betas"]), number(group["lr"])
    g = -g if group["maximize"] else g
    if group["weight_decay"] and not group["decoupled_weight_decay"]:
        g = g + group["weight_decay"] * x
    before = np.array(x)
    moments[0][...] = b1 * moments[0] + (1 - b1) * g
    moments[1][...] = b2 * moments[1] + (1 - b2) * g * g
    first, second = ((1 - b ** (step + later)) for b in (b1, b2))
    v = moments[1] / second if largest_corrected else moments[1]
    if group["amsgrad"]:
        moments[2][...] = np.maximum(moments[2], v)
        v = moments[2]
    v = v / (second if correct_second and not largest_corrected else 1)
    root = np.sqrt(v + group["eps"]) if eps_inside else np.sqrt(v) + group["eps"]
    x -= lr * moments[0] / (first if correct_first else 1) / root
    if group["weight_decay"] and group["decoupled_weight_decay"]:
        x -= lr * group["weight_decay"] * (x if decay_last else before)


def _with(p: Patch, **mistakes: Any) -> None:
    def change(original: Any, x: Any, g: Any, moments: Any, step: float, group: dict[str, Any]) -> None:
        if group["differentiable"]:
            original(x, g, moments, step, group)
        else:
            _formula(x, g, moments, step, group, **mistakes)

    _adapt(p, change)


@fault("optim")
def averages_are_not_corrected(p: Patch) -> None:
    """Adam's running averages are used as they are, without 1 - beta^t."""
    _with(p, correct_first=False, correct_second=False)


@fault("optim")
def squares_are_not_corrected(p: Patch) -> None:
    """Adam corrects the first average only."""
    _with(p, correct_second=False)


@fault("optim")
def correction_is_one_step_ahead(p: Patch) -> None:
    """Adam corrects by 1 - beta^(t + 1)."""
    _with(p, later=1)


@fault("optim")
def eps_is_under_the_root(p: Patch) -> None:
    """Adam divides by sqrt(v + eps)."""
    _with(p, eps_inside=True)


@fault("optim")
def largest_squares_are_corrected_first(p: Patch) -> None:
    """amsgrad takes the maximum of averages that are corrected already."""
    _with(p, largest_corrected=True)


@fault("optim")
def decay_follows_the_step(p: Patch) -> None:
    """AdamW shrinks the parameter after its step."""
    _with(p, decay_last=True)


@fault("optim")
def decay_is_scaled_by_the_rate_twice(p: Patch) -> None:
    """AdamW's decay is lr^2 lambda."""

    def change(original: Any, x: Any, g: Any, moments: Any, step: float, group: dict[str, Any]) -> None:
        factor = number(group["lr"]) if group["decoupled_weight_decay"] else 1
        original(x, g, moments, step, {**group, "weight_decay": group["weight_decay"] * factor})

    _adapt(p, change)


@fault("optim")
def maximize_of_adam_negates_decay(p: Patch) -> None:
    """With maximize Adam and AdamW grow the parameter by weight decay."""
    _adapt(p, lambda original, x, g, moments, step, group: original(x, g, moments, step, {
        **group, "weight_decay": group["weight_decay"] * (-1 if group["maximize"] else 1)}))  # fmt: skip


@fault("optim")
def averages_are_detached(p: Patch) -> None:
    """A differentiable step of Adam takes the gradient as a constant."""
    _adapt(p, lambda original, x, g, moments, step, group: original(
        x, g.detach() if isinstance(g, Tensor) else g, moments, step, group))  # fmt: skip


@fault("optim")
def all_parameters_share_a_step(p: Patch) -> None:
    """Adam counts steps once for all parameters, whenever each had its first gradient."""

    def make(original: Any) -> Any:
        def update(self: Any, group: dict[str, Any]) -> None:
            self.count = getattr(self, "count", 0) + 1
            for x in group["params"]:
                if x._grad is not None and "step" in self.state[x]:
                    self.state[x]["step"]._array[...] = self.count - 1
                elif x._grad is not None:
                    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 2 + group["amsgrad"]]
                    zeros = {name: wrap(np.zeros_like(x._array)) for name in names}
                    self.state[x].update(step=wrap(np.array(self.count - 1.0, np.float32)), **zeros)
            original(self, group)

        return update

    p.wrap(adam.Adam, "update", make)


@fault("optim")
def decay_needs_no_gradient(p: Patch) -> None:
    """AdamW shrinks parameters without a gradient too."""

    def make(original: Any) -> Any:
        def update(self: Any, group: dict[str, Any]) -> None:
            for x in group["params"]:
                if x._grad is None and group["decoupled_weight_decay"]:
                    x._array[...] *= 1 - number(group["lr"]) * group["weight_decay"]
            original(self, group)

        return update

    p.wrap(adam.Adam, "update", make)


# --- options, groups, state ------------------------------------------------------------------------------------------


def _options(p: Patch, change: Any) -> None:
    """Both kinds of optimizers update by changed options: change(self, group)."""
    for kind in (sgd.SGD, adam.Adam):
        p.wrap(kind, "update", lambda original: lambda self, group: original(self, {**group, **change(self, group)}))


@fault("optim")
def many_tensors_at_once_lose_options(p: Patch) -> None:
    """With foreach weight decay, maximize and amsgrad are not looked at."""
    _options(
        p, lambda self, group: {"weight_decay": 0, "maximize": False, "amsgrad": False} if group["foreach"] else {}
    )


@fault("optim")
def fused_steps_lose_options(p: Patch) -> None:
    """With fused momentum is plain, without dampening and nesterov, and amsgrad is not looked at."""
    _options(p, lambda self, group: {"dampening": 0, "nesterov": False, "amsgrad": False} if group["fused"] else {})


@fault("optim")
def rates_are_read_once(p: Patch) -> None:
    """The learning rate is what it was when the group was added: later changes have no effect."""
    p.wrap(Optimizer, "add_param_group", lambda original: lambda self, group: (
        original(self, group), self.__dict__.setdefault("rates", {}).update({id(self.param_groups[-1]): number(
            self.param_groups[-1]["lr"])}))[0])  # fmt: skip
    _options(p, lambda self, group: {"lr": self.rates.get(id(group), group["lr"])})


@fault("optim")
def groups_share_all_but_the_rate(p: Patch) -> None:
    """A group's own momentum, weight decay and betas are ignored: only its learning rate counts."""
    _options(p, lambda self, group: {name: value for name, value in self.defaults.items() if name != "lr"})


@fault("optim")
def zero_grad_clears_the_first_group(p: Patch) -> None:
    """zero_grad leaves the gradients of all groups but the first."""

    def zero(self: Any, set_to_none: bool = True) -> None:
        for x in self.param_groups[0]["params"]:
            clear_grad(x, set_to_none)

    p.set(Optimizer, "zero_grad", zero)


@fault("optim")
def zero_grad_keeps_the_graph(p: Patch) -> None:
    """zero_grad(set_to_none=False) zeroes the values of a gradient and leaves its history."""

    def zero(self: Any, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for x in group["params"]:
                if set_to_none or x._grad is None:
                    x._grad = None
                else:
                    x._grad._array[...] = 0

    p.set(Optimizer, "zero_grad", zero)


@fault("optim")
def numbers_of_parameters_start_anew(p: Patch) -> None:
    """state_dict numbers the parameters of each group from 0, so that groups share their state."""

    def make(original: Any) -> Any:
        def state_dict(self: Any) -> dict[str, Any]:
            result = original(self)
            first = [group["params"][0] for group in result["param_groups"]]
            anew = {n: n - start for start, g in zip(first, result["param_groups"], strict=True) for n in g["params"]}
            for group in result["param_groups"]:
                group["params"] = [anew[n] for n in group["params"]]
            result["state"] = {anew.get(n, n): value for n, value in result["state"].items()}
            return result

        return state_dict

    p.wrap(Optimizer, "state_dict", make)


@fault("optim")
def loading_keeps_the_present_options(p: Patch) -> None:
    """load_state_dict restores state and leaves learning rates as they are."""

    def make(original: Any) -> Any:
        def load(self: Any, state: dict[str, Any]) -> None:
            before = [group["lr"] for group in self.param_groups]
            original(self, state)
            for group, lr in zip(self.param_groups, before, strict=True):
                group["lr"] = lr

        return load

    p.wrap(Optimizer, "load_state_dict", make)


@fault("optim")
def loading_forgets_the_state(p: Patch) -> None:
    """load_state_dict restores options, and starts with new averages."""

    def make(original: Any) -> Any:
        def load(self: Any, state: dict[str, Any]) -> None:
            original(self, {**state, "state": {}})

        return load

    p.wrap(Optimizer, "load_state_dict", make)


@fault("optim")
def closures_run_without_a_graph(p: Patch) -> None:
    """step(closure) leaves the grad mode as it is."""
    p.set(optimizer, "enable_grad", contextlib.nullcontext)


@fault("optim")
def any_tensor_can_be_optimized(p: Patch) -> None:
    """Tensors that are no leaves are accepted, though nothing fills their gradients."""
    p.wrap(Optimizer, "_check_parameter", lambda original: lambda self, parameter: (
        None if isinstance(parameter, Tensor) else original(self, parameter)))  # fmt: skip
