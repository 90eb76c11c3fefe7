"""Backward passes that start inside one another, as custom functions and hooks may.

Each pass inside another takes some thirty frames of the Python stack, of which a thread has a limited number. So every
few levels the pass goes on in a new thread, with the modes of the one that waits for it. Source: torch notes/autograd,
"Multithreaded Autograd": a reentrant backward may run in another thread than the one that called it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from reference_engine.state import state

LEVELS = 20  # per thread


def run_nested(level: int, work: Callable[[], None]) -> None:
    """Runs `work`, a pass with `level` passes around it."""
    if level % LEVELS:
        work()
    else:
        _in_new_thread(work)


def _in_new_thread(work: Callable[[], None]) -> None:
    modes = dict(vars(state))
    errors: list[BaseException] = []

    def go() -> None:
        vars(state).update(modes)
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=go)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
