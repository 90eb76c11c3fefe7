"""`debug=True`: which operators ran, where from, in the first run and in the second.

Source: torch.utils.checkpoint.checkpoint, debug.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from reference_engine.tape.anomaly import PACKAGE
from reference_engine.tensor import Tensor
from reference_engine.utils._python_dispatch import TorchDispatchMode
from reference_engine.utils.checkpoint.errors import CheckpointError

REPORT = """\
An error happened while unpacking tensors; dumping logs of latest computation
because you passed `debug=True` to `torch.utils.checkpoint.checkpoint()`.

1. Stack traces of the operators that ran in the original forward

{forward_stacks}
2. Stack traces of the operators that ran during recomputation

{again_stacks}
3. Log of operators in the original forward and recomputation

Operations executed during the original forward:

{forward}

Operations executed during recomputation:

{again}

4. ERROR: Detected non-determinism while running activation checkpointing

Tensors to be saved during the original forward differ from those saved during recomputation. This can happen if
different operators ran. Compare the operators above, in the order in which they ran, and the places they come from.

{error}"""


class Trace(TorchDispatchMode):
    """The operators of one run, as they would be written, with the lines of the program that led to them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stacks: list[str] = []

    def __enter__(self) -> Trace:
        self.lines, self.stacks = [], []  # of the latest run
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        shown = ", ".join([*map(_shown, args), *(f"{k}={v!r}" for k, v in (kwargs or {}).items())])
        self.lines.append(f"{_shown(result)} = {func}({shown})")
        frames = [f for f in traceback.extract_stack() if not f.filename.startswith(PACKAGE)]
        self.stacks.append(f"{func}\n{''.join(traceback.format_list(frames))}")
        return result


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return f"({', '.join(map(_shown, value))})" if isinstance(value, tuple) else repr(value)


def traced() -> tuple[Callable[[], tuple[AbstractContextManager, AbstractContextManager]], Callable]:
    """A context_fn that traces both runs, and what turns a CheckpointError into one that tells of them."""
    forward, again = Trace(), Trace()

    def explained(error: CheckpointError) -> CheckpointError:
        return CheckpointError(REPORT.format(
            forward="\n".join(forward.lines), again="\n".join(again.lines), error=error,
            forward_stacks="\n".join(forward.stacks), again_stacks="\n".join(again.stacks)))  # fmt: skip

    return lambda: (forward, again), explained
