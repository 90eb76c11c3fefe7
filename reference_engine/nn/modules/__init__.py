"""Modules, by family."""

from reference_engine.nn.modules import (
    activation,
    adaptive,
    container,
    convolution,
    dropout,
    linear,
    loss,
    module,
    more_losses,
    normalization,
    pooling,
    sparse,
)

__all__ = ["activation", "adaptive", "container", "convolution", "dropout", "linear", "loss", "module", "more_losses",
           "normalization", "pooling", "sparse"]  # fmt: skip
