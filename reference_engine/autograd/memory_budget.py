"""What is for compiled regions only; this engine compiles nothing. Source: torch.autograd.graph."""

from __future__ import annotations

from typing import Any


def region_activation_memory_budget(budget: Any) -> Any:
    """Sets the share of activations that a compiled region keeps; always an error here, as outside of such a region.

    Raises TypeError where `budget` is no float, ValueError where it is not in [0, 1], RuntimeError otherwise.
    """
    if not isinstance(budget, float):
        raise TypeError(f"region_activation_memory_budget expects a float, got {type(budget).__name__}")
    if not 0.0 <= budget <= 1.0:
        raise ValueError(f"region_activation_memory_budget must be in [0, 1], got {budget}")
    raise RuntimeError("region_activation_memory_budget can only be used inside a torch.compile region")
