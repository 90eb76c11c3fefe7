"""Faults of activation checkpointing."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from reference_engine.autograd.grad_mode import enable_grad, no_grad
from reference_engine.state import state
from reference_engine.tensor import Tensor
from reference_engine.utils.checkpoint import around, errors, reentrant, region, settings
from reference_engine.utils.checkpoint.region import Recomputation, Region
from tests.faulty_engines.patching import Patch, fault

# The package's attributes of these names are functions.
package: Any = importlib.import_module("reference_engine.utils.checkpoint")
calls: Any = importlib.import_module("reference_engine.utils.checkpoint.calls")


@fault("checkpoint")
def nothing_stops_early(p: Patch) -> None:
    """The second run always goes to the end of the function."""

    def init(self: Any, *args: Any, early_stop: bool, **kwargs: Any) -> None:
        original(self, *args, early_stop=False, **kwargs)

    original = Region.__init__
    p.set(Region, "__init__", init)


@fault("checkpoint")
def early_stop_is_always_on(p: Patch) -> None:
    """The second run stops as soon as it can, whatever early_stop says."""

    def init(self: Any, *args: Any, early_stop: bool, **kwargs: Any) -> None:
        original(self, *args, early_stop=True, **kwargs)

    original = Region.__init__
    p.set(Region, "__init__", init)


@fault("checkpoint")
def the_early_stop_setting_does_nothing(p: Patch) -> None:
    """set_checkpoint_early_stop leaves the argument in force."""
    p.set(settings.Overrides, "early_stop", property(lambda self: None, lambda self, value: None))


@fault("checkpoint")
def one_recomputation_for_all_passes(p: Patch) -> None:
    """What was recomputed once is kept and serves every later backward pass."""

    def unpack(self: Any, mark: Any) -> Any:
        found = self.recomputations.get(Recomputation)
        return (found or self.recompute(Recomputation)).values[mark]

    p.set(Region, "unpack", unpack)


@fault("checkpoint")
def every_reading_recomputes(p: Patch) -> None:
    """The function runs again for each saved tensor that is read."""

    def unpack(self: Any, mark: Any) -> Any:
        return self.recompute(region.Once()).values[mark]

    p.set(Region, "unpack", unpack)


@fault("checkpoint")
def marks_hold_what_they_stand_for(p: Patch) -> None:
    """A checkpointed region keeps the tensors that its operations save, as plain execution does."""

    def pack(self: Any, tensor: Any) -> Any:
        mark = original(self, tensor)
        kept.append(tensor)
        return mark

    kept: list[Any] = []
    original = Region.pack
    p.set(Region, "pack", pack)
    p._undo.append(kept.clear)


@fault("checkpoint")
def what_is_recomputed_stays(p: Patch) -> None:
    """Recomputed tensors are kept after backward has used them."""

    def keep(self: Any, made: Any, tensor: Any) -> Any:
        kept.append(tensor)
        return original(self, made, tensor)

    kept: list[Any] = []
    original = Region.keep
    p.set(Region, "keep", keep)
    p._undo.append(kept.clear)


@fault("checkpoint")
def runs_are_not_compared(p: Patch) -> None:
    """What the second run saves is used unseen."""

    def keep(self: Any, made: Any, tensor: Any) -> Any:
        return tensor if made.count >= len(self.marks) else original(self, made, tensor)

    original = Region.keep
    p.set(Region, "keep", keep)
    p.set(Region, "compare", lambda self, made: None)


@fault("checkpoint")
def metadata_are_always_compared(p: Patch) -> None:
    """determinism_check="none" checks as "default" does."""
    p.set(calls.CHECKS, "none", region.metadata_of)


@fault("checkpoint")
def values_have_to_agree(p: Patch) -> None:
    """The second run has to compute the numbers that the first did."""

    def check(tensor: Any) -> Any:
        return {**region.metadata_of(tensor), "values": tensor._array.tolist()}

    p.set(calls.CHECKS, "default", check)


@fault("checkpoint")
def any_determinism_check_goes(p: Patch) -> None:
    """An unknown determinism_check is taken for "default"."""

    class Lenient(dict):
        def __contains__(self, key: object) -> bool:
            return True

        def __missing__(self, key: str) -> Any:
            return self["default"]

    p.set(calls, "CHECKS", Lenient(calls.CHECKS))


@fault("checkpoint")
def checkpoint_errors_are_value_errors(p: Patch) -> None:
    """CheckpointError is no RuntimeError."""
    other = type("CheckpointError", (ValueError,), {})
    for owner in (package, errors, region, calls):
        p.set(owner, "CheckpointError", other)


@fault("checkpoint")
def the_mask_is_drawn_again(p: Patch) -> None:
    """The generator is not set back for the second run."""
    p.set(around, "set_rng_state", lambda state: None)


@fault("checkpoint")
def backward_moves_the_generator(p: Patch) -> None:
    """The generator is left where the second run left it."""
    p.set(around, "fork_rng", lambda enabled: contextlib.nullcontext())


@fault("checkpoint")
def the_random_state_is_always_preserved(p: Patch) -> None:
    """preserve_rng_state=False is ignored."""
    original = around.surroundings
    for owner in (calls, reentrant):
        p.set(owner, "surroundings", lambda preserve_rng_state: original(preserve_rng_state=True))


@fault("checkpoint")
def inputs_are_looked_for_in_lists(p: Patch) -> None:
    """The non-reentrant variant looks at the arguments alone: where none requires grad nothing is recorded."""

    def recorded(function: Any, args: tuple, *rest: Any, **options: Any) -> Any:
        if any(isinstance(a, Tensor) and a.requires_grad for a in args):
            return original(function, args, *rest, **options)
        result = function(*args)
        return result.detach() if isinstance(result, Tensor) else result

    original = calls._recorded
    p.set(calls, "_recorded", recorded)


@fault("checkpoint")
def all_outputs_require_grad(p: Patch) -> None:
    """The non-reentrant variant's results require grad whenever an input does."""

    def recorded(*args: Any, **options: Any) -> Any:
        results = original(*args, **options)
        for result in results if isinstance(results, tuple) else (results,):
            if state.grad_enabled and result._edge is None:
                result._tracked = True
        return results

    original = calls._recorded
    p.set(calls, "_recorded", recorded)


@fault("checkpoint")
def keyword_arguments_are_for_the_first_run(p: Patch) -> None:
    """The second run is without keyword arguments."""
    original = Region.__init__

    def init(self: Any, rerun: Any, *args: Any, **kwargs: Any) -> None:
        original(self, lambda keywords, *inputs: rerun({}, *inputs), *args, **kwargs)

    p.set(Region, "__init__", init)


@fault("checkpoint")
def no_grad_is_not_respected(p: Patch) -> None:
    """A checkpointed call records its operations under no_grad too."""

    def checkpoint(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            return original(*args, **kwargs)

    original = calls.checkpoint
    for owner in (package, calls):
        p.set(owner, "checkpoint", checkpoint)


@fault("checkpoint")
def gradients_lose_their_graph(p: Patch) -> None:
    """What a region saved comes back as a constant in a recorded backward pass."""
    from reference_engine.tape import saved

    def restored(tensor: Any, edge: Any) -> Any:
        return tensor if not state.saved_tensor_hooks else original(tensor, edge)

    original = saved._restored
    p.set(saved, "_restored", restored)


@fault("checkpoint")
def the_function_runs_once_more(p: Patch) -> None:
    """The forward pass runs the function twice, as if to see what it returns."""

    def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
        with no_grad():
            function(*args, **{k: v for k, v in kwargs.items() if k not in defaults})
        return original(function, *args, **kwargs)

    original = calls.checkpoint
    defaults = {*original.__kwdefaults__}
    for owner in (package, calls):
        p.set(owner, "checkpoint", checkpoint)


@fault("checkpoint")
def recomputed_tensors_are_mixed_up(p: Patch) -> None:
    """The tensors of the second run stand for those of the first in reverse order."""

    def compare(self: Any, made: Any) -> None:
        original(self, made)
        marks = [m for m in (reference() for reference in self.marks) if m in made.values]
        for mark, value in zip(marks, [made.values[m] for m in reversed(marks)], strict=True):
            made.values[mark] = value

    original = Region.compare
    p.set(Region, "compare", compare)
