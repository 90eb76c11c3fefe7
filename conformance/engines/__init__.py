"""Engines: what stands in for `torch` in a program. One module per adapter; `load` finds one by name."""

from .base import Engine, Unsupported
from .loading import available, load
from .torch_like import TorchLike

__all__ = ["Engine", "TorchLike", "Unsupported", "available", "load"]
