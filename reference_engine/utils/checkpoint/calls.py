"""`checkpoint` and `checkpoint_sequential`: what a user calls. Source: torch.utils.checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from reference_engine.creation import empty
from reference_engine.state import state
from reference_engine.utils.checkpoint.around import surroundings
from reference_engine.utils.checkpoint.errors import CheckpointError
from reference_engine.utils.checkpoint.reentrant import CheckpointFunction
from reference_engine.utils.checkpoint.region import Region, SaveInputs, metadata_of
from reference_engine.utils.checkpoint.settings import decided, overrides
from reference_engine.utils.checkpoint.trace import traced

UNSET = (
    "torch.utils.checkpoint{which}: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, "
    "calling checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need "
    "to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
    "differences between the two variants."
)
CHECKS: dict[str, Callable | None] = {"default": metadata_of, "none": None}


def noop_context_fn() -> tuple[AbstractContextManager, AbstractContextManager]:
    """The context_fn of a plain checkpoint: nothing around either run."""
    return nullcontext(), nullcontext()


def checkpoint(function: Callable, *args: Any, use_reentrant: bool | None = None,
               context_fn: Callable[[], tuple[AbstractContextManager, AbstractContextManager]] = noop_context_fn,
               determinism_check: str = "default", debug: bool = False, early_stop: bool = True,
               preserve_rng_state: bool = True, **kwargs: Any) -> Any:  # fmt: skip
    """function(*args, **kwargs) without keeping what its operations save: backward runs it again.

    Raises ValueError for arguments that the variant does not have; backward raises CheckpointError where the second run
    is not like the first. Source: torch.utils.checkpoint.checkpoint.
    """
    if use_reentrant is None:
        warnings.warn(UNSET.format(which=""), UserWarning, stacklevel=2)
        use_reentrant = True
    if not use_reentrant:
        return _recorded(function, args, kwargs, context_fn, determinism_check, preserve_rng_state,
                         debug=decided(overrides.debug, debug), early_stop=decided(overrides.early_stop, early_stop))  # fmt: skip
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if context_fn is not noop_context_fn or debug is not False:
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    return CheckpointFunction.apply(function, preserve_rng_state, *args)


def _recorded(function: Callable, args: tuple, kwargs: dict[str, Any], context_fn: Callable, determinism_check: str,
              preserve_rng_state: bool, *, debug: bool, early_stop: bool) -> Any:  # fmt: skip
    """The non-reentrant variant."""
    if determinism_check not in CHECKS:
        raise ValueError(f"determinism_check should be one of {list(CHECKS)}, but got {determinism_check}")
    explained = None
    if debug:
        if context_fn is not noop_context_fn:
            raise ValueError("debug=True is incompatible with non-default context_fn")
        context_fn, explained = traced()
    if state.transforming:
        if state.saved_tensor_hooks_disabled is not None and state.grad_enabled:
            raise RuntimeError(state.saved_tensor_hooks_disabled)
        return function(*args, **kwargs)  # a batch, or tangents: what is recorded outside keeps its tensors
    first, second = context_fn()
    restored = surroundings(preserve_rng_state=preserve_rng_state)

    def rerun(keywords: dict[str, Any], *inputs: Any) -> None:
        with restored(), second:
            function(*inputs, **keywords)

    saver = SaveInputs.apply(empty(0, requires_grad=True), kwargs, *args).grad_fn
    if saver is None:  # nothing is recorded here
        return function(*args, **kwargs)
    kind = Region if explained is None else type("Region", (Explaining,), {"explained": staticmethod(explained)})
    region = kind(rerun, saver, early_stop=early_stop, check=CHECKS[determinism_check])
    with region.recording(), first:
        return function(*args, **kwargs)


class Explaining(Region):
    """A region whose errors tell which operators ran."""

    explained: Callable[[CheckpointError], CheckpointError]

    def unpack(self, mark: Any) -> Any:
        try:
            return super().unpack(mark)
        except CheckpointError as error:
            raise self.explained(error) from error


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
                          preserve_rng_state: bool = True, **kwargs: Any) -> Any:  # fmt: skip
    """Runs functions one after the other in segments of equal length, all but the last of them checkpointed.

    functions: a list of callables, or an nn.Sequential. Source: torch.utils.checkpoint.checkpoint_sequential.
    """
    if use_reentrant is None:
        warnings.warn(UNSET.format(which=".checkpoint_sequential"), UserWarning, stacklevel=2)
        use_reentrant = True
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    length = len(steps) // segments
    last = length * (segments - 1)
    for start in range(0, last, length):
        input = checkpoint(_chain(steps[start : start + length]), input, use_reentrant=use_reentrant,
                           preserve_rng_state=preserve_rng_state)  # fmt: skip
    return _chain(steps[last:])(input)


def _chain(steps: list[Callable]) -> Callable:
    def run(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return run
