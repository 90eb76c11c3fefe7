"""torch.utils, as far as autograd's documents speak of it."""

from reference_engine.utils import _python_dispatch, backcompat, checkpoint, hooks

__all__ = ["_python_dispatch", "backcompat", "checkpoint", "hooks"]
