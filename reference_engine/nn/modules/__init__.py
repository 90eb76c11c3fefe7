"""Modules, by family."""

from reference_engine.nn.modules import activation, container, linear, loss, module

__all__ = ["activation", "container", "linear", "loss", "module"]
