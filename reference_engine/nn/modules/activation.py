"""Activation functions as modules: each holds its options and calls the function of the same name.

A row says: module, function of torch.nn.functional, options with their defaults. Source: torch.nn, "Non-linear
Activations".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from reference_engine import creation
from reference_engine.nn import functional as F
from reference_engine.nn.modules.module import Module
from reference_engine.nn.parameter import Parameter
from reference_engine.tensor import Tensor


class _Activation(Module):
    """A function of torch.nn.functional with its options."""

    function: Callable
    __signature__: inspect.Signature
    shown: tuple[str, ...]  # options that the repr shows

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        given = self.__signature__.bind(*args, **kwargs)
        given.apply_defaults()
        for name, value in given.arguments.items():
            setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, **{name: getattr(self, name) for name in self.__signature__.parameters})

    def extra_repr(self) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in self.shown]
        return ", ".join([*parts, "inplace=True"] if getattr(self, "inplace", False) else parts)


def _module(name: str, function: Callable, shown: tuple[str, ...] | None = None, **options: Any) -> Any:
    """The module class of a function: its options are arguments of the class, with these defaults."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(option, kind, default=value) for option, value in options.items()])
    shown = tuple(option for option in options if option != "inplace") if shown is None else shown
    doc = f"torch.nn.functional.{function.__name__} as a module. Source: torch.nn.{name}."
    return type(name, (_Activation,), {"function": staticmethod(function), "__signature__": signature, "shown": shown,
                                       "__doc__": doc, "__module__": __name__})  # fmt: skip


# fmt: off
ReLU        = _module("ReLU",        F.relu,        inplace=False)
ReLU6       = _module("ReLU6",       F.relu6,       inplace=False)
LeakyReLU   = _module("LeakyReLU",   F.leaky_relu,  negative_slope=0.01, inplace=False)
ELU         = _module("ELU",         F.elu,         alpha=1.0, inplace=False)
CELU        = _module("CELU",        F.celu,        alpha=1.0, inplace=False)
SELU        = _module("SELU",        F.selu,        inplace=False)
GELU        = _module("GELU",        F.gelu,        approximate="none")
SiLU        = _module("SiLU",        F.silu,        inplace=False)
Mish        = _module("Mish",        F.mish,        inplace=False)
Sigmoid     = _module("Sigmoid",     F.sigmoid)
Tanh        = _module("Tanh",        F.tanh)
LogSigmoid  = _module("LogSigmoid",  F.logsigmoid)
Softplus    = _module("Softplus",    F.softplus,    beta=1.0, threshold=20.0)
Softsign    = _module("Softsign",    F.softsign)
Tanhshrink  = _module("Tanhshrink",  F.tanhshrink)
Hardtanh    = _module("Hardtanh",    F.hardtanh,    min_val=-1.0, max_val=1.0, inplace=False)
Hardsigmoid = _module("Hardsigmoid", F.hardsigmoid, (), inplace=False)
Hardswish   = _module("Hardswish",   F.hardswish,   (), inplace=False)
Softmax     = _module("Softmax",     F.softmax,     dim=None)
Softmin     = _module("Softmin",     F.softmin,     dim=None)
LogSoftmax  = _module("LogSoftmax",  F.log_softmax, dim=None)
GLU         = _module("GLU",         F.glu,         dim=-1)
# fmt: on


class Threshold(Module):
    """x above a threshold, a value elsewhere. Source: torch.nn.Threshold."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class _Shrink(Module):
    """0 within lambd."""

    function: Callable

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(_Shrink):
    """x moved towards 0 by lambd, 0 within it. Source: torch.nn.Softshrink."""

    function = staticmethod(F.softshrink)


class Hardshrink(_Shrink):
    """0 within lambd, x beyond. Source: torch.nn.Hardshrink."""

    function = staticmethod(F.hardshrink)


class RReLU(Module):
    """leaky_relu with slopes that are drawn anew in training. Source: torch.nn.RReLU."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class Softmax2d(Module):
    """softmax over channels, the third dimension from the end. Source: torch.nn.Softmax2d."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3)


class PReLU(Module):
    """leaky_relu with learned slopes. Source: torch.nn.PReLU."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(creation.full((num_parameters,), init, dtype=dtype or creation.zeros(0).dtype))

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"
