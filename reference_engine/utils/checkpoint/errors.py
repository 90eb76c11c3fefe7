"""What goes wrong with a checkpointed region, and what is said then. Source: torch.utils.checkpoint."""

from __future__ import annotations

TIP = (
    "\n\nTip: To see a more detailed error message, either pass `debug=True` to\n"
    "`torch.utils.checkpoint.checkpoint(...)` or wrap the code block\n"
    "with `with torch.utils.checkpoint.set_checkpoint_debug_enabled(True):` to\n"
    "enable checkpoint-debug mode globally.\n"
)
MORE_SAVED = (
    "torch.utils.checkpoint: trying to save more tensors during recomputation than during the original forward pass."
    + TIP
)
OTHER_NUMBER = (
    "torch.utils.checkpoint: A different number of tensors was saved during the original forward and recomputation.\n"
    "Number of tensors saved during forward: {forward}\nNumber of tensors saved during recomputation: {again}." + TIP
)
OTHER_METADATA = (
    "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than during the forward "
    "pass.\n{tensors}" + TIP
)
USED_UP = (
    "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once. {extra}If you are "
    "calling ctx.saved_tensors in backward, make sure to do so only once."
)
OVERLAP = (
    "Performing two backward calls that overlap (i.e. require the same saved activation in order to compute gradients) is "
    "not allowed while under the torch.utils.checkpoint.GraphExecGroup context. "
)


class CheckpointError(RuntimeError):
    """The function did something else when it was run again. Source: torch.utils.checkpoint.CheckpointError."""
