"""Faults that show where a model, its gradients and an optimizer work together over several steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.nn.modules import normalization
from reference_engine.nn.modules.module import Module
from reference_engine.optim import adam, sgd
from reference_engine.optim.optimizer import Optimizer
from reference_engine.state import state
from reference_engine.tape import accumulate
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault

# --- gradients between steps -----------------------------------------------------------------------------------------


@fault("training")
def steps_are_not_counted(p: Patch) -> None:
    """step() changes parameters without counting a version, so that stale graphs run backward."""
    p.wrap(Tensor, "_bump_version", lambda original: lambda self: None if self._tracked else original(self))


@fault("training")
def zero_grad_resets_the_velocity(p: Patch) -> None:
    """zero_grad forgets the momentum of an optimizer together with the gradients."""

    def make(original: Any) -> Any:
        def zero(self: Any, set_to_none: bool = True) -> None:
            original(self, set_to_none)
            for held in self.state.values():
                held.pop("momentum_buffer", None)

        return zero

    p.wrap(Optimizer, "zero_grad", make)


@fault("training")
def steps_consume_gradients(p: Patch) -> None:
    """step() clears the gradients that it used."""
    for kind in (sgd.SGD, adam.Adam):
        p.wrap(kind, "update", lambda original: lambda self, group: (
            original(self, group), [x._grad._array.fill(0) for x in group["params"] if x._grad is not None])[0])  # fmt: skip


@fault("training")
def gradients_of_batches_are_averaged(p: Patch) -> None:
    """A second backward averages its gradient with the first instead of adding to it."""

    def make(original: Any) -> Any:
        def add(variable: Any, gradient: Any, recorded: bool) -> None:
            second = variable._grad is not None and not recorded
            original(variable, gradient, recorded)
            if second:
                variable._grad._array[...] *= 0.5

        return add

    p.wrap(accumulate, "_add", make)


@fault("training")
def unrecorded_updates_freeze(p: Patch) -> None:
    """A leaf that is changed in place under no_grad no longer requires grad."""

    def make(original: Any) -> Any:
        def update(self: Any, other: Any) -> Any:
            result = original(self, other)
            if not state.grad_enabled and result.requires_grad:
                result._set_tracked(False)
            return result

        return update

    p.wrap(Tensor, "__isub__", make)


# --- parameters ------------------------------------------------------------------------------------------------------


@fault("training")
def steps_rebind_parameters(p: Patch) -> None:
    """step() gives each parameter a new array, so that what shares its memory keeps the old values."""
    for kind in (sgd.SGD, adam.Adam):

        def make(original: Any) -> Any:
            def update(self: Any, group: dict[str, Any]) -> None:
                for x in group["params"]:
                    if not group["differentiable"]:
                        x._array = np.array(x._array)
                original(self, group)

            return update

        p.wrap(kind, "update", make)


@fault("training")
def tied_parameters_step_twice(p: Patch) -> None:
    """A parameter of two layers is listed twice, and an optimizer moves it twice a step."""
    original = Module._named
    p.set(Module, "_named", lambda self, place, prefix, recurse, once: original(self, place, prefix, recurse, False))


# --- saving, validation ----------------------------------------------------------------------------------------------


@fault("training")
def checkpoints_forget_the_count(p: Patch) -> None:
    """An optimizer's state_dict does not hold how many steps Adam made."""

    def make(original: Any) -> Any:
        def state_dict(self: Any) -> dict[str, Any]:
            result = original(self)
            result["state"] = {
                n: {k: v * 0 if k == "step" else v for k, v in held.items()} for n, held in result["state"].items()
            }
            return result

        return state_dict

    p.wrap(Optimizer, "state_dict", make)


@fault("training")
def checkpoints_belong_to_their_parameters(p: Patch) -> None:
    """load_state_dict of an optimizer finds no state for parameters of another model: it starts anew."""
    p.wrap(Optimizer, "load_state_dict", lambda original: lambda self, given: original(self, {**given, "state": {
        n: held for n, held in given["state"].items() if any(
            v is held.get("exp_avg") for s in self.state.values() for v in s.values())}}))  # fmt: skip


@fault("training")
def training_resumes_at_the_root_alone(p: Patch) -> None:
    """train() after eval() leaves submodules in evaluation mode."""

    def make(original: Any) -> Any:
        def train(self: Any, mode: bool = True) -> Any:
            if not mode:
                return original(self, mode)
            self.training = True
            return self

        return train

    p.wrap(Module, "train", make)


@fault("training")
def validation_moves_statistics(p: Patch) -> None:
    """Batch norm takes what it sees in evaluation mode into its running statistics."""

    def make(original: Any) -> Any:
        def forward(self: Any, input: Tensor) -> Any:
            result = original(self, input)
            if not self.training:
                self.train()
                original(self, input)
                self.eval()
            return result

        return forward

    p.wrap(normalization._BatchNorm, "forward", make)
