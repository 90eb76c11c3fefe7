"""The module: parameters, state and children by name, and a forward that is run by calling it. Source: torch.nn.Module."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from reference_engine import dtypes
from reference_engine.memory import device
from reference_engine.narrow_types import bfloat16
from reference_engine.nn.modules.hooks import (
    Hooked,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from reference_engine.nn.modules.registered import Registered
from reference_engine.nn.modules.state_dict import Stateful
from reference_engine.nn.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reference_engine.tensor import Tensor


class Module(Registered, Stateful, Hooked):
    """Base of everything that has parameters or a mode. Subclass it, call super().__init__() and define forward."""

    training: bool

    def __init__(self) -> None:
        self._start_registering()
        self._start_hooks()
        self._start_state_hooks()
        self.__dict__["training"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes; the subclass's."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # --- walking -------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct children with their names, each module once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Direct children."""
        for _, module in self.named_children():
            yield module

    def named_modules(self, memo: set | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:  # fmt: skip
        """This module and all below it, with dotted names, parents first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def _named(self, place: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = self.named_modules(prefix=prefix, remove_duplicate=once) if recurse else [(prefix, self)]
        for owner, module in owners:
            for name, value in getattr(module, place).items():
                if value is None or id(value) in seen:
                    continue
                if once:
                    seen.add(id(value))
                yield (f"{owner}.{name}" if owner else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:  # fmt: skip
        """Parameters with dotted names, a shared one once."""
        yield from self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, in the order of registration."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
        """Buffers with dotted names."""
        yield from self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, in the order of registration."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module with this dotted name."""
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Puts a module at a dotted name; with strict only where there is one. Source: Module.set_submodule."""
        owner, _, name = target.rpartition(".")
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        parent = self.get_submodule(owner)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def _get(self, target: str, kind: str) -> tuple[Module, str, Any]:
        owner, _, name = target.rpartition(".")
        module = self.get_submodule(owner)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        return module, name, getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with this dotted name."""
        _, name, found = self._get(target, "parameter")
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with this dotted name."""
        module, name, found = self._get(target, "buffer")
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    # --- modes, gradients, casts ---------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Training mode here and below: dropout drops, batch norm uses the batch. Source: torch.nn.Module.train."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Module:
        """train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Switches recording for all parameters. Source: torch.nn.Module.requires_grad_."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets gradients: None, or zeros written into them. Source: torch.nn.Module.zero_grad."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """fn on every module, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Module:
        """fn on every parameter, its gradient and every buffer; parameters stay the same objects."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            gradient = parameter._grad
            parameter._grad = None
            parameter.data = fn(parameter.data)
            if gradient is not None:
                gradient.data = fn(gradient.data)
                parameter.grad = gradient
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Casts floating parameters and buffers, in place, or takes their elements away. Source: torch.nn.Module.to."""
        place = next((a for a in args if isinstance(a, (str, device))), kwargs.get("device"))
        if place is not None and device(place).type == "meta":
            self._apply(lambda t: t.to("meta"))
        like = [a.dtype for a in args if hasattr(a, "_array")]
        given = [a for a in args if isinstance(a, dtypes.dtype)]
        dtype = next(iter([*like, *given]), kwargs.get("dtype"))
        if dtype is None:
            return self
        if not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError("nn.Module.to only accepts floating point or complex dtypes, but got desired "
                            f"dtype={dtype}")  # fmt: skip
        if dtype.is_complex:
            warnings.warn("Complex modules are a new feature under active development whose design may change, and some "
                          "modules might not work as expected when using complex tensors as parameters or buffers.",
                          stacklevel=2)  # fmt: skip
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() or t.is_complex() else t)

    def type(self, dst_type: Any) -> Module:
        """Casts all parameters and buffers."""
        return self._apply(lambda t: t.to(dst_type))

    def double(self) -> Module:
        """Casts floating parameters and buffers to float64; complex ones stay as they are."""
        return self._floating_to(dtypes.float64)

    def float(self) -> Module:
        """Casts floating parameters and buffers to float32."""
        return self._floating_to(dtypes.float32)

    def half(self) -> Module:
        """Casts floating parameters and buffers to float16."""
        return self._floating_to(dtypes.float16)

    def bfloat16(self) -> Module:
        """Casts floating parameters and buffers to bfloat16."""
        return self._floating_to(bfloat16)

    def _floating_to(self, dtype: dtypes.dtype) -> Module:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Module:
        """New memory, of any content, for all parameters and buffers. Source: torch.nn.Module.to_empty."""
        from reference_engine.creation import empty_like

        return self._apply(empty_like, recurse)

    def cpu(self) -> Module:
        """Itself: it is on the CPU."""
        return self

    # --- how it looks --------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What the repr shows besides the children."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _described_children(self) -> list[str]:
        return [f"({name}): {module!r}" for name, module in self._modules.items()]

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) == 1 and not self._modules:
            return f"{self._get_name()}({extra})"
        lines += [line.replace("\n", "\n  ") for line in self._described_children()]
        inner = "\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{self._get_name()}({inner})"

    def __deepcopy__(self, memo: dict) -> Module:
        import copy

        result = object.__new__(type(self))
        memo[id(self)] = result
        result.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return result


Registered.module_class = Module


def clear_grad(tensor: Tensor, set_to_none: bool) -> None:
    """Forgets a gradient, or cuts it out of any graph and writes zeros into it."""
    gradient = tensor._grad
    if gradient is None:
        return
    if set_to_none:
        tensor._grad = None
        return
    if gradient.grad_fn is not None:
        gradient.detach_()
    else:
        gradient.requires_grad_(False)
    gradient.zero_()


__all__ = [
    "Module", "clear_grad", "register_module_forward_hook", "register_module_forward_pre_hook",
    "register_module_full_backward_hook", "register_module_full_backward_pre_hook",
]  # fmt: skip
