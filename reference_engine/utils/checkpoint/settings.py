"""Settings that override an argument of the checkpoints made inside a block. Source: torch.utils.checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reference_engine.state import state


class Overrides:
    """For the process, as torch has it; None leaves the decision to the argument."""

    early_stop: bool | None = None
    debug: bool | None = None


overrides = Overrides()


def decided(override: bool | None, argument: bool) -> bool:
    """What holds for one call."""
    return argument if override is None else override


@contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Overrides `early_stop` of the checkpoints made inside; backward may lie outside.

    Source: torch.utils.checkpoint.set_checkpoint_early_stop.
    """
    before, overrides.early_stop = overrides.early_stop, enable
    try:
        yield
    finally:
        overrides.early_stop = before


@contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Overrides `debug` of the checkpoints made inside. Source: torch.utils.checkpoint.set_checkpoint_debug_enabled."""
    before, overrides.debug = overrides.debug, enabled
    try:
        yield
    finally:
        overrides.debug = before


class GraphExecGroup:
    """Context manager: backward calls inside share one recomputation of each region, and must not need the same saved
    tensor twice. This thread's. Source: torch.utils.checkpoint.GraphExecGroup.
    """

    def __enter__(self) -> GraphExecGroup:
        if state.exec_group is not None:
            raise RuntimeError("GraphExecGroup contexts cannot be nested.")
        state.exec_group = self
        return self

    def __exit__(self, *exc: object) -> None:
        state.exec_group = None
