"""Faults of what modules hold in lists and dicts, and of finding it by name."""

from __future__ import annotations

from typing import Any

from reference_engine.nn.modules import parameter_container
from reference_engine.nn.modules.container import ModuleDict, ModuleList
from reference_engine.nn.modules.module import Module
from reference_engine.nn.modules.registered import Registered
from tests.faulty_engines.patching import Patch, fault


@fault("nn")
def lists_of_modules_are_searched(p: Patch) -> None:
    """A plain list of modules that is assigned to a module is registered, as a ModuleList is."""
    original = Registered.__setattr__

    def assign(self: Any, name: str, value: Any) -> None:
        if type(value) is list and "_modules" in self.__dict__:
            for i, held in enumerate(value):
                if isinstance(held, Module):
                    self._modules[f"{name}_{i}"] = held
        original(self, name, value)

    p.set(Registered, "__setattr__", assign)


@fault("nn")
def lists_of_parameters_keep_tensors(p: Patch) -> None:
    """ParameterList and ParameterDict hold tensors as they are."""
    p.set(parameter_container, "_as_parameter", lambda value: value)


@fault("nn")
def modes_stop_at_containers(p: Patch) -> None:
    """train and eval do not reach what a ModuleList or ModuleDict holds."""
    p.set(Module, "train", _train)


def _train(self: Any, mode: bool = True) -> Any:
    self.training = mode
    for child in self.children():
        if isinstance(child, (ModuleList, ModuleDict)):
            child.training = mode
        else:
            child.train(mode)
    return self


@fault("nn")
def parameters_found_may_be_buffers(p: Patch) -> None:
    """get_parameter returns whatever has the name."""
    p.set(Module, "get_parameter", lambda self, target: self._get(target, "parameter")[2])


@fault("nn")
def modules_are_set_beside_the_old(p: Patch) -> None:
    """set_submodule sets an attribute of the module itself, by the dotted name."""
    p.set(Module, "set_submodule", lambda self, target, module, strict=False: self._modules.update({target: module}))
