"""torch.utils, as far as autograd's documents speak of it."""

from reference_engine.utils import backcompat, hooks

__all__ = ["backcompat", "hooks"]
