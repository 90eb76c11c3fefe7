"""Faults of modules, of their training mode, and of what clips gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.autograd.grad_mode import no_grad
from reference_engine.nn import init, utils
from reference_engine.nn.modules import normalization
from reference_engine.nn.modules.dropout import Dropout
from reference_engine.nn.modules.module import Module
from reference_engine.nn.modules.registered import Registered
from reference_engine.nn.modules.state_dict import Stateful
from reference_engine.nn.parameter import Parameter
from reference_engine.nn.utils import clip_grad
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault

# --- parameters ------------------------------------------------------------------------------------------------------


@fault("nn")
def parameters_follow_the_grad_mode(p: Patch) -> None:
    """A Parameter that is created under no_grad does not require grad."""
    original = Parameter.__new__

    def new(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        return original(cls, data, requires_grad and engine.is_grad_enabled())

    p.set(Parameter, "__new__", new)


@fault("nn")
def parameters_copy_their_data(p: Patch) -> None:
    """A Parameter holds a copy of its data."""
    original = Parameter.__new__

    def new(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        return original(cls, data.detach().clone() if data is not None else None, requires_grad)

    p.set(Parameter, "__new__", new)


@fault("nn")
def data_of_a_parameter_requires_grad(p: Patch) -> None:
    """The tensor that a Parameter is made of comes to require grad itself."""
    original = Parameter.__new__

    def new(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        result = original(cls, data, requires_grad)
        if data is not None and data.is_leaf and data.is_floating_point():
            data.requires_grad_(requires_grad)
        return result

    p.set(Parameter, "__new__", new)


# --- what is registered ----------------------------------------------------------------------------------------------


@fault("nn")
def tracked_tensors_are_parameters(p: Patch) -> None:
    """Every leaf that requires grad is registered as a parameter where it is assigned to a module."""
    original = Registered.__setattr__

    def assign(self: Any, name: str, value: Any) -> None:
        if type(value) is Tensor and value.requires_grad and value.is_leaf:
            value = Parameter(value)
        original(self, name, value)

    p.set(Registered, "__setattr__", assign)


@fault("nn")
def tensors_replace_parameters(p: Patch) -> None:
    """A plain tensor that is assigned to the name of a parameter takes its place."""
    original = Registered.__setattr__

    def assign(self: Any, name: str, value: Any) -> None:
        known = self.__dict__.get("_parameters", {})
        original(self, name, Parameter(value) if type(value) is Tensor and name in known else value)

    p.set(Registered, "__setattr__", assign)


@fault("nn")
def every_buffer_is_persistent(p: Patch) -> None:
    """state_dict holds buffers that are not persistent."""
    original = Stateful._own_state
    p.set(Stateful, "_own_state", lambda self: {
        **original(self), **{name: b for name, b in self._buffers.items() if b is not None}})  # fmt: skip


@fault("nn")
def absent_values_are_in_the_state(p: Patch) -> None:
    """state_dict holds parameters and buffers that are None."""
    p.set(Stateful, "_own_state", lambda self: {
        **self._parameters, **{k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set}})  # fmt: skip


@fault("nn")
def integers_become_constant_parameters(p: Patch) -> None:
    """A Parameter of integers is made without an error: it does not require grad."""
    original = Parameter.__new__

    def new(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        return original(cls, data, requires_grad and (data is None or data.is_floating_point() or data.is_complex()))

    p.set(Parameter, "__new__", new)


@fault("nn")
def modules_print_their_name_alone(p: Patch) -> None:
    """The representation of a module takes no notice of extra_repr."""
    original = Module.__repr__

    def show(self: Any) -> str:
        return original(self) if self._modules else f"{self._get_name()}()"

    p.set(Module, "__repr__", show)


@fault("nn")
def shared_parameters_are_listed_twice(p: Patch) -> None:
    """A parameter under two names is yielded under both."""
    original = Module._named
    p.set(Module, "_named", lambda self, place, prefix, recurse, once: original(self, place, prefix, recurse, False))


@fault("nn")
def parameters_of_children_always_count(p: Patch) -> None:
    """parameters takes no notice of recurse."""
    original = Module._named
    p.set(Module, "_named", lambda self, place, prefix, recurse, once: original(self, place, prefix, True, once))


@fault("nn")
def buffers_are_not_converted(p: Patch) -> None:
    """double and its like convert parameters alone."""
    original = Module._apply

    def apply(self: Any, fn: Any, recurse: bool = True) -> Any:
        before = dict(self._buffers)
        original(self, fn, recurse)
        self._buffers.update(before)
        return self

    p.set(Module, "_apply", apply)


@fault("nn")
def all_attributes_are_converted(p: Patch) -> None:
    """double and its like convert plain tensor attributes too."""
    original = Module._apply

    def apply(self: Any, fn: Any, recurse: bool = True) -> Any:
        plain = {name: fn(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        self.__dict__.update(plain)
        return original(self, fn, recurse)

    p.set(Module, "_apply", apply)


# --- gradients of a module -------------------------------------------------------------------------------------------


@fault("nn")
def freezing_stops_at_the_module(p: Patch) -> None:
    """requires_grad_ of a module leaves its submodules as they are."""

    def freeze(self: Any, requires_grad: bool = True) -> Any:
        for parameter in self.parameters(recurse=False):
            parameter.requires_grad_(requires_grad)
        return self

    p.set(Module, "requires_grad_", freeze)


@fault("nn")
def freezing_reaches_buffers(p: Patch) -> None:
    """requires_grad_ of a module sets the flag of its buffers too."""

    def freeze(self: Any, requires_grad: bool = True) -> Any:
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                tensor.requires_grad_(requires_grad)
        return self

    p.set(Module, "requires_grad_", freeze)


@fault("nn")
def freezing_forgets_the_gradient(p: Patch) -> None:
    """requires_grad_(False) sets the gradient to None."""
    original = Tensor.requires_grad_

    def freeze(self: Any, requires_grad: bool = True) -> Any:
        if not requires_grad:
            self._grad = None
        return original(self, requires_grad)

    p.set(Tensor, "requires_grad_", freeze)


@fault("nn")
def modules_zero_their_gradients(p: Patch) -> None:
    """zero_grad of a module writes zeros unless told otherwise."""
    original = Module.zero_grad
    p.set(Module, "zero_grad", lambda self, set_to_none=False: original(self, set_to_none))


@fault("nn")
def zeroed_gradients_are_new(p: Patch) -> None:
    """zero_grad with set_to_none=False puts new zeros in the place of gradients, also where there was none."""

    def zero(self: Any, set_to_none: bool = True) -> None:
        for parameter in self.parameters():
            parameter.grad = None if set_to_none else engine.zeros_like(parameter)

    p.set(Module, "zero_grad", zero)


@fault("nn")
def initial_values_are_new_parameters(p: Patch) -> None:
    """Functions of init return a new tensor instead of the one that they fill."""
    original = init._write
    p.function(original, lambda tensor, values: original(tensor, values).detach())


# --- training and evaluation -----------------------------------------------------------------------------------------


@fault("nn")
def modes_stop_at_children(p: Patch) -> None:
    """train and eval reach the direct children of a module and no further."""

    def train(self: Any, mode: bool = True) -> Any:
        for module in (self, *self.children()):
            module.training = mode
        return self

    p.set(Module, "train", train)


@fault("nn")
def evaluation_is_not_recorded(p: Patch) -> None:
    """A module in evaluation mode runs under no_grad."""
    original = Module.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            return original(self, *args, **kwargs)
        with no_grad():
            return original(self, *args, **kwargs)

    p.set(Module, "__call__", call)


@fault("nn")
def no_grad_means_evaluation(p: Patch) -> None:
    """Where nothing is recorded, dropout does not drop."""
    original = Dropout.forward
    p.set(Dropout, "forward", lambda self, input: original(self, input) if engine.is_grad_enabled() else input)


@fault("nn")
def dropout_is_not_scaled(p: Patch) -> None:
    """Dropout keeps elements as they are, without 1 / (1 - p)."""
    original = Dropout.forward
    p.set(Dropout, "forward", lambda self, input: original(self, input) * (
        1 - self.p if self.training and self.p < 1 else 1))  # fmt: skip


@fault("nn")
def statistics_move_in_evaluation(p: Patch) -> None:
    """Batch norm updates its running statistics in evaluation mode too."""

    def forward(self: Any, input: Tensor) -> Any:
        training, self.training = self.training, True
        try:
            return original(self, input)
        finally:
            self.training = training

    original = normalization._BatchNorm.forward
    p.set(normalization._BatchNorm, "forward", forward)


@fault("nn")
def statistics_need_a_graph(p: Patch) -> None:
    """Batch norm does not update its running statistics under no_grad."""

    def forward(self: Any, input: Tensor) -> Any:
        before = self.running_mean.clone(), self.running_var.clone()
        result = original(self, input)
        if not engine.is_grad_enabled():
            self.running_mean, self.running_var = before
        return result

    original = normalization._BatchNorm.forward
    p.set(normalization._BatchNorm, "forward", forward)


# --- clipping --------------------------------------------------------------------------------------------------------


def _clip_with(p: Patch, factor: Any) -> None:
    """clip_grads_with_norm_ with another factor: factor(max_norm, total_norm, gradient)."""

    @no_grad()
    def scale(parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
        for parameter in clip_grad._listed(parameters):
            if parameter._grad is not None:
                parameter._grad.mul_(factor(max_norm, total_norm, parameter._grad))

    p.function(clip_grad.clip_grads_with_norm_, scale)


@fault("nn")
def small_gradients_are_amplified(p: Patch) -> None:
    """clip_grad_norm_ brings every norm to max_norm, smaller ones too."""
    _clip_with(p, lambda most, total, gradient: most / (total + 1e-6))


@fault("nn")
def clipping_leaves_no_margin(p: Patch) -> None:
    """clip_grad_norm_ divides by the norm itself, without 1e-6."""
    _clip_with(p, lambda most, total, gradient: (most / total).clamp(max=1.0))


@fault("nn")
def gradients_are_clipped_one_by_one(p: Patch) -> None:
    """clip_grad_norm_ scales each gradient by its own norm."""
    _clip_with(p, lambda most, total, gradient: (most / (gradient.norm() + 1e-6)).clamp(max=1.0))


@fault("nn")
def every_norm_is_euclidean(p: Patch) -> None:
    """clip_grad_norm_ takes the 2-norm of the norms of gradients, whatever norm_type is."""
    original = clip_grad.vector_norm
    p.set(clip_grad, "vector_norm", lambda x, order: original(x, order if x.numel() < 2 else 2.0))


@fault("nn")
def nan_is_not_clipped(p: Patch) -> None:
    """clip_grad_norm_ leaves gradients alone where their norm is not finite."""
    _clip_with(p, lambda most, total, gradient: (most / (total + 1e-6)).clamp(max=1.0).nan_to_num(1.0))


@fault("nn")
def the_old_name_does_not_warn(p: Patch) -> None:
    """clip_grad_norm is another name of clip_grad_norm_."""
    p.function(clip_grad.clip_grad_norm, clip_grad.clip_grad_norm_)


@fault("nn")
def clamped_gradients_are_new(p: Patch) -> None:
    """clip_grad_value_ puts clamped copies in the place of gradients."""

    def clip(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
        for parameter in clip_grad._listed(parameters):
            if parameter._grad is not None:
                parameter.grad = parameter._grad.clamp(-clip_value, clip_value)

    p.function(clip_grad.clip_grad_value_, clip)


@fault("nn")
def values_are_clipped_from_above(p: Patch) -> None:
    """clip_grad_value_ has no lower bound."""

    def clip(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
        for parameter in clip_grad._listed(parameters):
            if parameter._grad is not None:
                parameter._grad._array[...] = np.minimum(parameter._grad._array, clip_value)

    p.function(clip_grad.clip_grad_value_, clip)


@fault("nn")
def parameter_vectors_are_constant(p: Patch) -> None:
    """parameters_to_vector is not recorded."""
    original = utils.parameters_to_vector
    p.function(original, lambda parameters: original(parameters).detach())
