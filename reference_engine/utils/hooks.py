"""The handle that registrations of hooks return. Source: torch.utils.hooks."""

from __future__ import annotations

from reference_engine.tape.node import RemovableHandle

__all__ = ["RemovableHandle"]
