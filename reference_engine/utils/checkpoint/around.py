"""What the second run of a checkpointed function finds as the first did: the generator's state, and autocasting.

Source: torch.utils.checkpoint.checkpoint, preserve_rng_state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from reference_engine.random import fork_rng, get_rng_state, set_rng_state
from reference_engine.state import state


def surroundings(*, preserve_rng_state: bool) -> Callable[[], AbstractContextManager[None]]:
    """Notes what holds now; returns a context in which it holds again, whatever holds around that."""
    random: Any = get_rng_state() if preserve_rng_state else None
    autocast = state.autocast

    @contextmanager
    def restored() -> Iterator[None]:
        around, state.autocast = state.autocast, autocast
        try:
            with fork_rng(enabled=preserve_rng_state):
                if preserve_rng_state:
                    set_rng_state(random)
                yield
        finally:
            state.autocast = around

    return restored
