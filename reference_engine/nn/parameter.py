"""Tensors that a module knows by name: parameters, which are learned, and buffers, which are state."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.tensor import Tensor, wrap


def _empty() -> Tensor:
    return wrap(np.empty(0, dtypes.get_default_dtype().numpy))


class Parameter(Tensor):
    """A leaf on `data`'s memory that modules register when it is assigned to them. Source: torch.nn.Parameter."""

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        tensor = data if data is not None else _empty()
        if not isinstance(tensor, Tensor):
            raise TypeError(f"Parameter data must be a Tensor, not {type(tensor).__name__}")
        tensor._version_counter()
        result = cls._adopt(tensor)
        result._set_tracked(bool(requires_grad))
        return result  # type: ignore[return-value]

    def __deepcopy__(self, memo: dict) -> Parameter:
        """A Parameter of its own with the same values, and without a gradient."""
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return memo[id(self)]


class Buffer(Tensor):
    """A tensor that is a module's state and is not learned. Source: torch.nn.Buffer.

    persistent: whether it belongs to the module's state_dict.
    """

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        tensor = data if data is not None else _empty()
        tensor._version_counter()
        result = cls._adopt(tensor)
        result._set_tracked(tensor.requires_grad)
        result.persistent = persistent  # type: ignore[attr-defined]
        return result  # type: ignore[return-value]


__all__ = ["Buffer", "Parameter"]
