"""torch.utils.checkpoint: memory given up in forward, and computed again in backward.

calls.py is what a user calls; region.py is the non-reentrant variant, reentrant.py the other; selective.py says per
operator what is kept.
"""

from reference_engine.utils.checkpoint.calls import checkpoint, checkpoint_sequential, noop_context_fn
from reference_engine.utils.checkpoint.errors import CheckpointError
from reference_engine.utils.checkpoint.reentrant import CheckpointFunction, check_backward_validity, detach_variable
from reference_engine.utils.checkpoint.selective import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    create_selective_checkpoint_contexts,
)
from reference_engine.utils.checkpoint.settings import (
    GraphExecGroup,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)

__all__ = [
    "CheckpointError",
    "CheckpointFunction",
    "CheckpointPolicy",
    "GraphExecGroup",
    "SelectiveCheckpointContext",
    "check_backward_validity",
    "checkpoint",
    "checkpoint_sequential",
    "create_selective_checkpoint_contexts",
    "detach_variable",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]
