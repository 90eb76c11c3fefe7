"""Modules in lists and dicts."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reference_engine.nn.modules.module import Module


def position(index: Any, size: int) -> str:
    """A possibly negative index as the name of a list's item."""
    number = index.__index__()
    if not -size <= number < size:
        raise IndexError(f"index {number} is out of range")
    return str(number % size)


class _Listed(Module):
    """What Sequential and ModuleList share: children named "0", "1", ..."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def _renumber(self, modules: Iterable[Any]) -> None:
        modules = list(modules)
        self._modules.clear()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def append(self, module: Module) -> Any:
        """Adds a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Puts a module in front of the one at `index`."""
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Adds modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, key: Any) -> Module:
        """Removes the module at an index and returns it."""
        module = self[key]
        del self[key]
        return module

    def __add__(self, other: Iterable[Module]) -> Any:
        return self._made([*self, *other])

    def _made(self, modules: list[Any]) -> Any:
        """Another of this kind, of these modules."""
        raise NotImplementedError

    def __iadd__(self, other: Iterable[Module]) -> Any:
        return self.extend(list(other))

    def _name_at(self, index: Any) -> str:
        return list(self._modules)[int(position(index, len(self)))]

    def __getitem__(self, index: Any) -> Any:
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: Any, module: Module) -> None:
        setattr(self, self._name_at(index), module)

    def __delitem__(self, index: Any) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name_at(index)]
        for name in names:
            delattr(self, name)
        if all(name.isdigit() for name in self._modules):
            self._renumber(self._modules.values())


class Sequential(_Listed):
    """Modules run one after another, the result of each the argument of the next. Source: torch.nn.Sequential."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def _made(self, modules: list[Any]) -> Any:
        return type(self)(*modules)

    def __add__(self, other: Iterable[Module]) -> Any:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return super().__add__(other)

    def __mul__(self, other: int) -> Sequential:
        _check_times(other)
        return self._made([*self] * other)

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Any:
        _check_times(other)
        return self.extend([*self] * (other - 1))

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input


class ModuleList(_Listed):
    """A list whose modules are registered. Source: torch.nn.ModuleList."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._made(list(self._modules.values())[index])
        return super().__getitem__(index)

    def _made(self, modules: list[Any]) -> Any:
        return type(self)(modules)

    def _described_children(self) -> list[str]:
        """A run of children that look alike is one line: "(0-2): 3 x ReLU()"."""
        runs = [list(run) for _, run in itertools.groupby(self._modules.items(), key=lambda item: repr(item[1]))]
        return [f"({run[0][0]}): {run[0][1]!r}" if len(run) == 1
                else f"({run[0][0]}-{run[-1][0]}): {len(run)} x {run[0][1]!r}" for run in runs]  # fmt: skip


class ModuleDict(Module):
    """A dict whose modules are registered. Source: torch.nn.ModuleDict."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Removes all."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Removes one and returns it."""
        return self._modules.pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Adds what a mapping, or pairs, hold."""
        for name, module in pairs(modules, "ModuleDict"):
            self[name] = module


def pairs(values: Any, owner: str) -> Iterable[tuple[str, Any]]:
    """What a mapping, or an iterable of pairs, holds."""
    if not isinstance(values, Iterable):
        raise TypeError(f"{owner}.update should be called with an iterable of key/value pairs, but got "
                        f"{type(values).__name__}")  # fmt: skip
    return values.items() if hasattr(values, "items") else values


def _check_times(other: Any) -> None:
    if not isinstance(other, int):
        raise TypeError(f"unsupported operand type(s) for *: {type(other)} and {int}")
    if other <= 0:
        raise ValueError(f"Non-positive multiplication factor {other} for {Sequential}")


__all__ = ["ModuleDict", "ModuleList", "Sequential"]
