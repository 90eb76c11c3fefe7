"""What a module knows by name: attributes that are parameters, buffers or modules are registered, all others are plain.

Source: torch.nn.Module: register_parameter, register_buffer, add_module.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from reference_engine.nn.parameter import Buffer, Parameter
from reference_engine.tensor import Tensor


def type_name(value: Any) -> str:
    """torch's name of a value's type: "torch.FloatTensor", "str", "package.module.Class"."""
    if isinstance(value, Tensor):
        return value.type()
    kind = value if isinstance(value, type) else type(value)
    module = kind.__module__.replace("reference_engine.tensor", "torch").replace("reference_engine", "torch")
    return kind.__qualname__ if module in ("builtins", "", None) else f"{module}.{kind.__qualname__}"


def check_name(owner: Any, what: str, name: Any, registered: dict) -> None:
    """Raises where `name` cannot be registered on `owner` as a `what` (parameter, buffer, module)."""
    if not isinstance(name, str):
        raise TypeError(f"{what} name should be a string. Got {type_name(name)}")
    if what == "module" and hasattr(owner, name) and name not in registered:
        raise KeyError(f"attribute '{name}' already exists")
    if "." in name:
        got = f", got: {name}" if what == "module" else ""
        raise KeyError(f'{what} name can\'t contain "."{got}')
    if name == "":
        raise KeyError(f'{what} name can\'t be empty string ""')
    if hasattr(owner, name) and name not in registered:
        raise KeyError(f"attribute '{name}' already exists")


class Registered:
    """The part of Module that registers what is assigned to it."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    module_class: type  # Module itself, set where it is defined

    def _start_registering(self) -> None:
        for name in ("_parameters", "_buffers", "_modules"):
            self.__dict__[name] = OrderedDict()
        self.__dict__["_non_persistent_buffers_set"] = set()

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter, or None in its place. Source: torch.nn.Module.register_parameter."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        check_name(self, "parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"cannot assign '{type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None "
                            "required)")  # fmt: skip
        if param is not None and param.grad_fn is not None:
            raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                             f"explicitly. To express '{name}' as a function of another Tensor, compute the value in the "
                             "forward() method.")  # fmt: skip
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds state that is not learned; part of state_dict where persistent. Source: Module.register_buffer."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        check_name(self, "buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Any) -> None:
        """Adds a child module, or None in its place. Source: torch.nn.Module.add_module."""
        if module is not None and not isinstance(module, self.module_class):
            raise TypeError(f"{type_name(module)} is not a Module subclass")
        check_name(self, "module", name, self._modules)
        self._modules[name] = module

    def register_module(self, name: str, module: Any) -> None:
        """add_module. Source: torch.nn.Module.register_module."""
        self.add_module(name, module)

    def __setattr__(self, name: str, value: Any) -> None:
        registered = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in registered:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, registered, self._buffers, self._modules)
            self.register_parameter(name, value)
        elif name in registered.get("_parameters", ()):
            if value is not None:
                raise TypeError(f"cannot assign '{type_name(value)}' as parameter '{name}' (torch.nn.Parameter or None "
                                "expected)")  # fmt: skip
            self.register_parameter(name, value)
        elif isinstance(value, self.module_class):
            if "_modules" not in registered:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, registered, self._parameters, self._buffers)
            self._modules[name] = value
        elif name in registered.get("_modules", ()):
            if value is not None:
                raise TypeError(f"cannot assign '{type_name(value)}' as child module '{name}' (torch.nn.Module or None "
                                "expected)")  # fmt: skip
            self._modules[name] = value
        elif isinstance(value, Buffer) or name in registered.get("_buffers", ()):
            self._set_buffer(name, value)
        else:
            object.__setattr__(self, name, value)

    def _set_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"cannot assign '{type_name(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None "
                            "expected)")  # fmt: skip
        persistent = value.persistent if isinstance(value, Buffer) else name not in self._non_persistent_buffers_set
        self.register_buffer(name, value, persistent)

    def _forget(self, name: str, *places: Any) -> None:
        """A name has one meaning: removes it from its other places."""
        for place in places:
            place.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __getattr__(self, name: str) -> Any:
        for place in ("_parameters", "_buffers", "_modules"):
            known = self.__dict__.get(place)
            if known is not None and name in known:
                return known[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for place in (self._parameters, self._buffers, self._modules):
            if name in place:
                del place[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._parameters, *self._buffers, *self._modules})
