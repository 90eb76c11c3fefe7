"""Faults of the reentrant variant of checkpointing."""

from __future__ import annotations

import importlib
from typing import Any

from reference_engine.autograd.function_node import FunctionNode
from reference_engine.autograd.grad_mode import enable_grad
from reference_engine.state import state
from reference_engine.tensor import Tensor
from reference_engine.utils.checkpoint import reentrant
from reference_engine.utils.checkpoint.reentrant import CheckpointFunction
from tests.faulty_engines.patching import Patch, fault

# The package's attributes of these names are functions.
package: Any = importlib.import_module("reference_engine.utils.checkpoint")
calls: Any = importlib.import_module("reference_engine.utils.checkpoint.calls")


@fault("checkpoint")
def the_reentrant_forward_is_recorded(p: Patch) -> None:
    """The reentrant variant's first run has grad mode on."""

    def forward(ctx: Any, run_function: Any, *args: Any) -> Any:
        def recorded(*inputs: Any) -> Any:
            with enable_grad():
                return run_function(*inputs)

        made = original(ctx, recorded, *args)
        ctx.run_function = run_function
        return made.detach() if isinstance(made, Tensor) else tuple(m.detach() for m in made)

    original = CheckpointFunction.forward
    p.set(CheckpointFunction, "forward", staticmethod(forward))


@fault("checkpoint")
def reentrant_regions_take_any_backward(p: Patch) -> None:
    """autograd.grad through a reentrant region is not refused, and adds to .grad of what lies inside."""

    def backward(ctx: Any, *grads: Any) -> Any:
        needed, state.backward.needed = state.backward.needed, None
        try:
            return original(ctx, *grads)
        finally:
            state.backward.needed = needed

    original = CheckpointFunction.backward
    p.set(CheckpointFunction, "backward", staticmethod(backward))


@fault("checkpoint")
def reentrant_outputs_may_be_detached(p: Patch) -> None:
    """A reentrant region's detached outputs are passed over in silence, be it all of them."""

    def backward(ctx: Any, *grads: Any) -> Any:
        try:
            return original(ctx, *grads)
        except RuntimeError as error:
            if "detached" not in str(error) and "requires_grad=True, this" not in str(error):
                raise
            return (None,) * len(ctx._node().is_tensor_input)

    original = CheckpointFunction.backward
    p.set(CheckpointFunction, "backward", staticmethod(backward))


@fault("checkpoint")
def inputs_without_grad_go_unnoticed(p: Patch) -> None:
    """The reentrant variant does not warn where no input requires grad."""
    p.set(reentrant, "check_backward_validity", lambda inputs: None)


@fault("checkpoint")
def the_default_is_not_reentrant(p: Patch) -> None:
    """Without use_reentrant the non-reentrant variant is used, in silence."""

    def checkpoint(*args: Any, use_reentrant: bool = False, **kwargs: Any) -> Any:
        return original(*args, use_reentrant=use_reentrant, **kwargs)

    original = calls.checkpoint
    for owner in (package, calls):
        p.set(owner, "checkpoint", checkpoint)


@fault("checkpoint")
def captured_tensors_have_no_gradient(p: Patch) -> None:
    """The reentrant variant's backward is for the inputs alone."""

    def backward(outputs: Any, grads: Any) -> None:
        original(outputs, grads, inputs=[leaf for leaf in made if leaf.requires_grad])

    def leaf_of(tensor: Any) -> Any:
        made.append(first(tensor))
        return made[-1]

    made: list[Any] = []
    original, first = reentrant.run_backward, reentrant._leaf
    p.set(reentrant, "run_backward", backward)
    p.set(reentrant, "_leaf", leaf_of)


@fault("checkpoint")
def reentrant_regions_are_never_freed(p: Patch) -> None:
    """A second backward through a reentrant region needs no retain_graph."""

    def free(self: Any) -> None:
        if self.function is not CheckpointFunction:
            original(self)

    original = FunctionNode.free
    p.set(FunctionNode, "free", free)


@fault("checkpoint")
def the_reentrant_variant_runs_once(p: Patch) -> None:
    """The reentrant variant records the first run, and backward goes through that."""

    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        leaves = reentrant.detach_variable(args)
        with enable_grad():
            made = run_function(*leaves)
        ctx.recorded = leaves, made if isinstance(made, tuple) else (made,)
        return made.detach() if isinstance(made, Tensor) else tuple(m.detach() for m in made)

    def backward(ctx: Any, *grads: Any) -> Any:
        leaves, outputs = ctx.recorded
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                leaf.grad = None
        reentrant.run_backward(list(outputs), list(grads), retain_graph=True)
        return (None, None, *[leaf.grad if isinstance(leaf, Tensor) else None for leaf in leaves])

    p.set(CheckpointFunction, "forward", staticmethod(forward))
    p.set(CheckpointFunction, "backward", staticmethod(backward))
