"""Many models at once, and models that vmap can map. Source: torch.func.stack_module_state, replace_all_batch_norm_modules_."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_engine.nn import Module


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of models of one class, each stacked along a new first dimension; new leaves.
    Source: torch.func.stack_module_state.
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    return ({name: _stacked([p[name] for p in parameters]) for name in parameters[0]},
            {name: _stacked([b[name] for b in buffers]) for name in buffers[0]})  # fmt: skip


def _stacked(tensors: list[Tensor]) -> Tensor:
    from reference_engine.ops.joining import stack

    flags = {t.requires_grad for t in tensors}
    if len(flags) > 1:
        raise RuntimeError(f"Expected {tensors[0].shape} tensors of a state to have the same .requires_grad, got both.")
    return stack([t.detach() for t in tensors]).requires_grad_(flags.pop())


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Makes every batch normalisation in `root` go without running statistics, which vmap could not update; returns it.
    Source: torch.func.replace_all_batch_norm_modules_.
    """
    for module in root.modules():
        if "BatchNorm" in type(module).__name__:
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """What a transform's wrapper holds; recurse: through all of them. Source: torch.func.debug_unwrap."""
    from reference_engine.batching.tensor import BatchedTensor

    while isinstance(tensor, BatchedTensor):
        tensor = tensor._value
        if not recurse:
            break
    return tensor
