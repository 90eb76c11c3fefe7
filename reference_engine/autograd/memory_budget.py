"""What is for compiled regions only; this engine compiles nothing. Source: torch.autograd.graph."""

from __future__ import annotations

from typing import Any


def region_activation_memory_budget(budget: Any) -> Any:
    """Sets the share of activations that a compiled region keeps; always an error here, as outside of such a region.

    Raises TypeError where `budget` is no number, ValueError where it is not in [0, 1], RuntimeError otherwise.
    """
    name = "torch.autograd.graph.region_activation_memory_budget"
    if isinstance(budget, bool) or not isinstance(budget, (int, float)):
        raise TypeError(f"{name}: expects a float, got {type(budget).__name__}")
    if not 0.0 <= budget <= 1.0:
        raise ValueError(f"{name}: must be in [0, 1], got {budget}")
    raise RuntimeError(f"{name} can only be used inside a torch.compile region; it has no effect in eager mode.")
