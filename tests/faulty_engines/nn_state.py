"""Faults of a module's state, of normalisation and dropout in training and evaluation, and of sums over parameters."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import reference_engine as engine
from reference_engine.nn import functional as F
from reference_engine.nn import utils
from reference_engine.nn.modules import normalization
from reference_engine.nn.modules.dropout import Dropout
from reference_engine.nn.modules.module import Module, clear_grad
from reference_engine.nn.modules.registered import Registered
from reference_engine.nn.modules.state_dict import Stateful
from reference_engine.nn.parameter import Parameter
from reference_engine.nn.utils import clip_grad
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault

# --- state -----------------------------------------------------------------------------------------------------------


@fault("nn")
def states_forget_buffers(p: Patch) -> None:
    """state_dict holds parameters alone."""
    p.set(Stateful, "_own_state", lambda self: {k: v for k, v in self._parameters.items() if v is not None})


@fault("nn")
def states_are_copies(p: Patch) -> None:
    """state_dict holds copies of the values, which no later change reaches."""
    p.wrap(Stateful, "state_dict", lambda original: lambda self, **how: OrderedDict(
        (key, value if how.get("keep_vars") else value.clone()) for key, value in original(self, **how).items()))  # fmt: skip


@fault("nn")
def states_hold_the_parameters(p: Patch) -> None:
    """state_dict holds the parameters themselves, which require grad."""
    p.wrap(
        Stateful,
        "_save_to_state_dict",
        lambda original: lambda self, where, prefix, keep: original(self, where, prefix, True),
    )


@fault("nn")
def loading_replaces_parameters(p: Patch) -> None:
    """load_state_dict puts new parameters in the place of those that an optimizer holds."""
    p.wrap(Stateful, "load_state_dict", lambda original: lambda self, state, strict=True, assign=False: original(
        self, copy.deepcopy(state), strict, True))  # fmt: skip


@fault("nn")
def loading_shares_memory(p: Patch) -> None:
    """load_state_dict makes parameters views of the values that it is given."""

    def load(self: Any, name: str, key: str, present: Tensor, value: Any, *rest: Any) -> None:
        original(self, name, key, present, value, *rest)
        if isinstance(value, Tensor) and value.shape == present.shape:
            present.data = value

    original = Stateful._load_one
    p.set(Stateful, "_load_one", load)


@fault("nn")
def loading_is_lenient(p: Patch) -> None:
    """load_state_dict takes what it finds, whatever is missing or superfluous."""
    p.wrap(Stateful, "load_state_dict", lambda original: lambda self, state, strict=True, assign=False: original(
        self, state, False, assign))  # fmt: skip


@fault("nn")
def loading_broadcasts(p: Patch) -> None:
    """load_state_dict fits values of another shape, as copy_ does."""

    def load(self: Any, name: str, key: str, present: Tensor, value: Any, metadata: dict, errors: list[str]) -> None:
        if isinstance(value, Tensor) and value.shape != present.shape:
            value = value.expand(present.shape)
        original(self, name, key, present, value, metadata, errors)

    original = Stateful._load_one
    p.set(Stateful, "_load_one", load)


@fault("nn")
def assigned_tensors_hide_buffers(p: Patch) -> None:
    """A tensor that is assigned to the name of a buffer becomes a plain attribute, and the buffer stays as it was."""
    original = Registered.__setattr__

    def assign(self: Any, name: str, value: Any) -> None:
        if type(value) is Tensor and name in self.__dict__.get("_buffers", {}):
            object.__setattr__(self, name, value)
            return
        original(self, name, value)

    p.set(Registered, "__setattr__", assign)


@fault("nn")
def copies_of_modules_share_parameters(p: Patch) -> None:
    """A deep copy of a module has the parameters of the original."""
    p.set(Parameter, "__deepcopy__", lambda self, memo: self)


@fault("nn")
def copies_untie_parameters(p: Patch) -> None:
    """A deep copy of a module holds two parameters where the original holds one under two names."""
    original = Module.__deepcopy__

    def duplicate(self: Any, memo: dict) -> Any:
        result = original(self, memo)
        result._parameters.update((name, copy.deepcopy(value)) for name, value in self._parameters.items())
        return result

    p.set(Module, "__deepcopy__", duplicate)


@fault("nn")
def extra_state_is_not_missed(p: Patch) -> None:
    """A state_dict without the extra state of a module is complete."""

    def make(original: Any) -> Any:
        def load(self: Any, state: Any, prefix: str, metadata: Any, strict: bool, missing: list, *rest: Any) -> None:
            original(self, state, prefix, metadata, strict, missing, *rest)
            missing[:] = [key for key in missing if not key.endswith("_extra_state")]

        return load

    p.wrap(Stateful, "_load_from_state_dict", make)


@fault("nn")
def extra_state_is_not_saved(p: Patch) -> None:
    """state_dict holds tensors alone."""

    def save(self: Any, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, value in self._own_state().items():
            destination[prefix + name] = value if keep_vars else value.detach()

    p.set(Stateful, "_save_to_state_dict", save)


@fault("nn")
def state_hooks_see_a_copy(p: Patch) -> None:
    """What a hook changes in the state that is saved has no effect."""
    p.wrap(Stateful, "register_state_dict_post_hook", lambda original: lambda self, hook: original(
        self, lambda module, state, *rest: hook(module, OrderedDict(state), *rest)))  # fmt: skip


@fault("nn")
def missed_keys_are_counted_before_hooks(p: Patch) -> None:
    """What a hook does about missing keys comes too late for the error."""
    p.wrap(Stateful, "register_load_state_dict_post_hook", lambda original: lambda self, hook: original(
        self, lambda module, keys: hook(module, copy.deepcopy(keys))))  # fmt: skip


# --- training and evaluation -----------------------------------------------------------------------------------------


def _norm(p: Patch, change: Any) -> None:
    """Batch norm whose call is changed: change(input, mean, var, weight, bias, by_batch, factor, eps)."""
    original = F.batch_norm
    p.set(normalization.F, "batch_norm", lambda *args: change(original, *args))


@fault("nn")
def evaluation_normalises_by_the_batch(p: Patch) -> None:
    """Batch norm in evaluation mode normalises by the batch, and leaves the running statistics alone."""
    _norm(p, lambda norm, x, mean, var, weight, bias, by_batch, *rest: norm(
        x, mean if by_batch else None, var if by_batch else None, weight, bias, True, *rest))  # fmt: skip


@fault("nn")
def training_normalises_by_running_statistics(p: Patch) -> None:
    """Batch norm in training mode moves its running statistics, and normalises by them."""

    def change(norm: Any, x: Any, mean: Any, var: Any, weight: Any, bias: Any, by_batch: bool, *rest: Any) -> Any:
        result = norm(x, mean, var, weight, bias, by_batch, *rest)
        return norm(x, mean, var, weight, bias, False, *rest) if by_batch and mean is not None else result

    _norm(p, change)


@fault("nn")
def batches_are_normalised_by_the_unbiased_variance(p: Patch) -> None:
    """Batch norm divides by the root of the unbiased variance, which belongs to the running statistics."""

    def change(norm: Any, x: Any, mean: Any, var: Any, weight: Any, bias: Any, by_batch: bool, *rest: Any) -> Any:
        if not by_batch or weight is None:
            return norm(x, mean, var, weight, bias, by_batch, *rest)
        n = x.numel() // x.shape[1]
        return norm(x, mean, var, weight * ((n - 1) / n) ** 0.5, bias, by_batch, *rest)

    _norm(p, change)


@fault("nn")
def running_statistics_keep_a_tenth(p: Patch) -> None:
    """momentum weighs the old running statistics instead of the new ones."""
    _norm(p, lambda norm, *args: norm(*args[:6], 1 - args[6], args[7]))


@fault("nn")
def cumulative_averages_stay_at_zero(p: Patch) -> None:
    """With momentum None batch norm does not move its running statistics."""
    original = normalization._BatchNorm.forward

    def forward(self: Any, input: Tensor) -> Any:
        if self.momentum is not None:
            return original(self, input)
        before = self.running_mean.clone(), self.running_var.clone()
        result = original(self, input)
        self.running_mean, self.running_var = before
        return result

    p.set(normalization._BatchNorm, "forward", forward)


@fault("nn")
def dropout_keeps_with_its_probability(p: Patch) -> None:
    """p is the probability of keeping an element, as in other frameworks."""
    p.set(
        Dropout,
        "function",
        staticmethod(lambda input, p, training, inplace: F.dropout(input, 1 - p, training, inplace)),
    )


# --- gradients and clipping ------------------------------------------------------------------------------------------


@fault("nn")
def modules_zero_their_own_gradients(p: Patch) -> None:
    """zero_grad of a module leaves the gradients of its submodules."""

    def zero(self: Any, set_to_none: bool = True) -> None:
        for parameter in self.parameters(recurse=False):
            clear_grad(parameter, set_to_none)

    p.set(Module, "zero_grad", zero)


@fault("nn")
def frozen_layers_cut_the_graph(p: Patch) -> None:
    """What a layer with frozen parameters returns has no history."""

    def call(self: Any, *args: Any, **how: Any) -> Any:
        result = original(self, *args, **how)
        own = list(self.parameters(recurse=False))
        return result.detach() if own and not any(x.requires_grad for x in own) else result

    original = Module.__call__
    p.set(Module, "__call__", call)


@fault("nn")
def clipping_returns_the_clipped_norm(p: Patch) -> None:
    """clip_grad_norm_ returns the norm that gradients have after it."""

    def clip(parameters: Any, max_norm: float, *args: Any, **how: Any) -> Any:
        parameters = clip_grad._listed(parameters)
        total = original(parameters, max_norm, *args, **how)
        return total.clamp(max=float(max_norm))

    original = clip_grad.clip_grad_norm_
    p.function(original, clip)


@fault("nn")
def norms_of_gradients_add_up(p: Patch) -> None:
    """The total norm is the sum of the norms of all gradients."""

    def total_norm(tensors: Any, norm_type: float = 2.0, *args: Any, **how: Any) -> Tensor:
        norms = [clip_grad.vector_norm(t, float(norm_type)) for t in clip_grad._listed(tensors)]
        return sum(norms, engine.tensor(0.0)).detach()

    p.function(clip_grad.get_total_norm, total_norm)


@fault("nn")
def an_error_comes_after_clipping(p: Patch) -> None:
    """error_if_nonfinite raises after gradients were scaled."""

    def clip(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
             foreach: bool | None = None) -> Any:  # fmt: skip
        parameters = clip_grad._listed(parameters)
        gradients = [x.grad.clone() for x in parameters if x.grad is not None]
        original(parameters, max_norm, norm_type, False, foreach)
        return clip_grad.get_total_norm(gradients, norm_type, error_if_nonfinite)

    original = clip_grad.clip_grad_norm_
    p.function(original, clip)


@fault("nn")
def vectors_go_by_columns(p: Patch) -> None:
    """parameters_to_vector flattens matrices column by column, and vector_to_parameters fills them so."""

    def joined(parameters: Any) -> Tensor:
        return engine.cat([x.t().reshape(-1) if x.dim() == 2 else x.reshape(-1) for x in parameters])

    p.function(utils.parameters_to_vector, joined)
