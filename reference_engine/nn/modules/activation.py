"""Activation functions as modules: each holds its options and calls the function of the same name.

A row says: module, function of torch.nn.functional, options with their defaults. Source: torch.nn, "Non-linear
Activations".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine import creation
from reference_engine.nn import functional as F
from reference_engine.nn.modules.module import Module
from reference_engine.nn.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.tensor import Tensor


def _module(name: str, function: Callable, shown: tuple[str, ...] | None = None, **defaults: Any) -> Any:
    """A module class that calls function(input, **options)."""
    names = list(defaults)
    shown = tuple(n for n in names if n != "inplace") if shown is None else shown

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        if len(args) > len(names):
            raise TypeError(f"{name}() takes at most {len(names)} arguments, {len(args)} given")
        given = {**dict(zip(names, args)), **kwargs}  # noqa: B905 - fewer arguments than names is fine
        for unknown in given.keys() - set(names):
            raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{unknown}'")
        for option, default in defaults.items():
            setattr(self, option, given.get(option, default))

    def forward(self: Any, input: Tensor) -> Tensor:
        return function(input, **{n: getattr(self, n) for n in names})

    def extra_repr(self: Any) -> str:
        parts = [f"{n}={getattr(self, n)!r}" for n in shown]
        return ", ".join(parts + (["inplace=True"] if getattr(self, "inplace", False) else []))

    doc = f"torch.nn.functional.{function.__name__} as a module. Source: torch.nn.{name}."
    return type(name, (Module,), {"__init__": __init__, "forward": forward, "extra_repr": extra_repr, "__doc__": doc,
                                  "__module__": __name__})  # fmt: skip


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
Softshrink  = _module("Softshrink",  F.softshrink,  lambd=0.5)
Hardshrink  = _module("Hardshrink",  F.hardshrink,  lambd=0.5)
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
