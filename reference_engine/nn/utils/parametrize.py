"""Parameters that are functions of others: a tensor of a module is computed, whenever it is read, from originals.

Law: after register_parametrization(m, "weight", p) the attribute m.weight is p(m.parametrizations.weight.original), of
which the original is learned. Assigning to m.weight assigns p.right_inverse of the value to the original.
Source: torch.nn.utils.parametrize.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reference_engine.autograd.grad_mode import no_grad
from reference_engine.nn.modules.container import ModuleDict, ModuleList
from reference_engine.nn.parameter import Parameter
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reference_engine.nn.modules.module import Module

_cached: list[dict] = []  # values computed in the `cached` blocks around, shared by nested ones


class ParametrizationList(ModuleList):
    """The functions that one tensor goes through, and its originals: `original`, or `original0`, `original1`, ..."""

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            value: Any = original
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    value = module.right_inverse(value)
        self.is_tensor = isinstance(value, Tensor)
        if self.is_tensor:
            if not unsafe:
                _check_same("right_inverse", original, value)
            original.data = value.detach()
            self._keep("original", original, original)
            return
        self.ntensors = len(value)
        for i, part in enumerate(value):
            self._keep(f"original{i}", original, part.detach())

    def _keep(self, name: str, like: Tensor, value: Tensor) -> None:
        """An original: a parameter where the tensor was one."""
        if not isinstance(like, Parameter):
            self.register_buffer(name, value)
        else:
            self.register_parameter(
                name, value if isinstance(value, Parameter) else Parameter(value, like.requires_grad)
            )

    def right_inverse(self, value: Any) -> None:
        """Assigns to the originals what the parametrized tensor becomes `value` of."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            for original, part in zip(self._originals(), [value] if self.is_tensor else value, strict=True):
                original.data = part.detach()

    def _originals(self) -> list[Tensor]:
        return [self.original] if self.is_tensor else [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def forward(self) -> Tensor:
        first, *others = list(self)
        value = first(*self._originals())
        for module in others:
            value = module(value)
        return value


def _check_same(what: str, before: Tensor, after: Any) -> None:
    """Raises where a parametrization is not to another tensor of the same shape and dtype."""
    if not isinstance(after, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(after).__name__}.")
    if after.dtype is not before.dtype:
        raise ValueError("Registering a parametrization may not change the dtype of the tensor, unless the `unsafe` flag is "
                         f"enabled.\nmodule.dtype: {before.dtype}\n{what}.dtype: {after.dtype}")  # fmt: skip
    if after.shape != before.shape:
        raise ValueError("Registering a parametrization may not change the shape of the tensor, unless the `unsafe` flag is "
                         f"enabled.\nmodule.shape: {before.shape}\n{what}.shape: {after.shape}")  # fmt: skip


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Has `parametrization` compute the parameter or buffer of that name; a further one works on what the last gives.
    Source: torch.nn.utils.parametrize.register_parametrization.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            current = getattr(module, tensor_name)
            _check_same("parametrization(module)", current, parametrization(current))
        module.parametrizations[tensor_name].append(parametrization)
        return module
    if tensor_name not in module._parameters and tensor_name not in module._buffers:
        raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
                         f"'{tensor_name}'")  # fmt: skip
    original = getattr(module, tensor_name)
    shape = original.detach()
    listed = ParametrizationList([parametrization], original, unsafe)
    if not unsafe:
        _check_same("parametrization(module)", shape, listed())
    delattr(module, tensor_name)
    if not is_parametrized(module):
        kind = type(module)
        module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), {"__module__": __name__})
        module.parametrizations = ModuleDict()
        module.__dict__["_replaced"] = {}  # what a functional call puts in the place of parametrized tensors
    setattr(type(module), tensor_name, _computed(tensor_name))
    module.parametrizations[tensor_name] = listed
    return module


def _computed(name: str) -> property:
    """The attribute of a parametrized tensor."""

    def read(self: Any) -> Tensor:
        if name in self._replaced:
            return self._replaced[name]
        if not _cached:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cached[-1]:
            _cached[-1][key] = self.parametrizations[name]()
        return _cached[-1][key]

    return property(read, lambda self, value: self.parametrizations[name].right_inverse(value))


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the tensor of that name, or any, is parametrized. Source: torch.nn.utils.parametrize.is_parametrized."""
    listed = module._modules.get("parametrizations")
    if not isinstance(listed, ModuleDict):
        return False
    return len(listed) > 0 if tensor_name is None else tensor_name in listed


def type_before_parametrizations(module: Module) -> type:
    """The module's class as it was without parametrizations. Source: torch.nn.utils.parametrize."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Makes the tensor one of the module's own again: with the value that it has, or with that of its original.
    Source: torch.nn.utils.parametrize.remove_parametrizations.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    listed = module.parametrizations[tensor_name]
    if not listed.is_tensor and not leave_parametrized:
        raise ValueError(
            "You can only set leave_parametrized=False when the parametrization has a single original tensor."
        )
    own = listed._originals()[0]
    if leave_parametrized:
        value = getattr(module, tensor_name).detach()
        if listed.is_tensor:
            own.data = value
        else:
            own = Parameter(value, own.requires_grad) if isinstance(own, Parameter) else value
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if isinstance(own, Parameter):
        module.register_parameter(tensor_name, own)
    else:
        module.register_buffer(tensor_name, own)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


@contextmanager
def cached() -> Iterator[None]:
    """A block in which each parametrized tensor is computed once. Source: torch.nn.utils.parametrize.cached."""
    _cached.append(_cached[-1] if _cached else {})
    try:
        yield
    finally:
        _cached.pop()
