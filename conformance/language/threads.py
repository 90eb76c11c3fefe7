"""The words about threads: a program has no import, and what a thread shares is documented behaviour of autograd."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def run_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Runs each function in a thread of its own, all at the same time, and waits for them: their results, in order.

    A new thread starts with the engine's default modes. The error of the first function that failed is raised here
    once all have ended.
    """
    results: list[Any] = [None] * len(functions)
    errors: list[BaseException | None] = [None] * len(functions)
    together = threading.Barrier(len(functions)) if functions else None

    def run(index: int, function: Callable[[], Any]) -> None:
        assert together is not None
        together.wait()
        try:
            results[index] = function()
        except BaseException as error:
            errors[index] = error

    # Daemons: a thread that an engine blocks for ever must not keep a worker from ending.
    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if error is not None:
            raise error
    return results


def lock() -> threading.Lock:
    """A new lock, for `with`: one thread at a time is in such a block."""
    return threading.Lock()


def thread_id() -> int:
    """Which of the running threads this is."""
    return threading.get_ident()
