"""Automatic mixed precision: products of matrices in a narrower type, everything else in the types it is given.

Law: inside the region an operator of the list takes its float inputs cast to the region's dtype; the casts are recorded,
so that gradients run back in the type that forward used and reach the leaves in theirs. Source: torch.autocast.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from reference_engine import dtypes
from reference_engine.narrow_types import bfloat16
from reference_engine.state import state
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


class autocast:
    """Context manager and decorator that switches autocasting on or off on the CPU. Source: torch.autocast."""

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if device_type != "cpu":
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.device, self.fast_dtype = device_type, dtype or get_autocast_dtype(device_type)
        self._enabled = enabled and self.fast_dtype in (bfloat16, dtypes.float16)
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        self._before.append(state.autocast)
        state.autocast = self.fast_dtype if self._enabled else None
        return self

    def __exit__(self, *exc: object) -> None:
        state.autocast = self._before.pop()

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return call


def lowered(*inputs: Any) -> tuple:
    """The inputs of an operator of the list: float tensors, but float64, cast to the region's dtype."""
    wanted = state.autocast
    return tuple(x.to(wanted) if isinstance(x, Tensor) and _eligible(x.dtype) else x for x in inputs)


def _eligible(d: dtypes.dtype) -> bool:
    return d.is_floating_point and d is not dtypes.float64


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Whether operators are autocast. Source: torch.is_autocast_enabled."""
    return device_type == "cpu" and state.autocast is not None


def get_autocast_dtype(device_type: str) -> dtypes.dtype:
    """The type that autocasting casts to: bfloat16 on the CPU. Source: torch.get_autocast_dtype."""
    return state.autocast or bfloat16


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    """Switches autocasting on or off outside of a region. Source: torch.set_autocast_enabled."""
    state.autocast = get_autocast_dtype(device_type) if enabled else None
