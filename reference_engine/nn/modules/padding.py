"""Borders as modules, for one, two and three dimensions. Source: torch.nn, "Padding Layers"."""

from __future__ import annotations

from typing import Any

from reference_engine.nn import functional as F
from reference_engine.nn.modules.module import Module
from reference_engine.tensor import Tensor


class _Pad(Module):
    """A border of the last n dimensions, given once or as (before, after) from the last dimension on."""

    mode: str
    n: int

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * 2 * self.n if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        """The input with its border."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """The input with its border."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


def _each(kind: str, base: type, **fixed: Any) -> list[Any]:
    """The modules of one kind for one, two and three dimensions."""
    return [type(f"{kind}{n}d", (base,), {"n": n, "__doc__": f"Source: torch.nn.{kind}{n}d.", "__module__": __name__, **fixed})
            for n in (1, 2, 3)]  # fmt: skip


# fmt: off
ZeroPad1d,        ZeroPad2d,        ZeroPad3d        = _each("ZeroPad",        _ZeroPad)
ConstantPad1d,    ConstantPad2d,    ConstantPad3d    = _each("ConstantPad",    _ConstantPad)
ReflectionPad1d,  ReflectionPad2d,  ReflectionPad3d  = _each("ReflectionPad",  _Pad, mode="reflect")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _each("ReplicationPad", _Pad, mode="replicate")
CircularPad1d,    CircularPad2d,    CircularPad3d    = _each("CircularPad",    _Pad, mode="circular")
# fmt: on
