"""torch.ops.aten: operators by their internal names, to be named to modes and policies. Source: torch.ops."""

from __future__ import annotations

from typing import Any

from reference_engine.ops import registry
from reference_engine.ops.dispatch import PRODUCTS, OpOverload, OpOverloadPacket, packet


def __getattr__(name: str) -> Any:
    if name in registry.functions:
        return packet(name)
    if name.strip("_") not in registry.functions and name.strip("_") not in (*registry.methods, *PRODUCTS.values()):
        raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")
    return packet(name)


__all__ = ["OpOverload", "OpOverloadPacket"]
