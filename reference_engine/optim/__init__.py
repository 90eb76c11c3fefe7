"""torch.optim: optimizers, which change parameters by what is in their `.grad`."""

from reference_engine.optim.adam import Adam, AdamW
from reference_engine.optim.optimizer import Optimizer
from reference_engine.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
