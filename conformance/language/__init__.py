"""The program language at run time: lowering, observing, comparing, and running one case on one engine."""

from .execution import execute

__all__ = ["execute"]
