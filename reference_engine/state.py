"""What holds for a thread rather than for a tensor: grad mode and the switches that make an operator take its long way.

`quiet` and `plain` are flags for the short paths to read. quiet: nothing but recording may be going on (no saved-tensor
hooks, no forward-mode level, no transform, no anomaly detection). plain: nothing else is, and gradients are recorded.
Whoever changes a switch calls `refresh()`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.dtypes import dtype


class State(threading.local):
    """One thread's switches. A new thread starts with the defaults, as torch documents for grad mode."""

    grad_enabled = True
    quiet = True
    plain = True
    saved_tensor_hooks: tuple[tuple[Callable, Callable], ...] = ()
    saved_tensor_hooks_disabled: str | None = None
    inference = False
    anomaly = False
    anomaly_check_nan = True
    before_write: Callable[[Any], None] | None = None  # told of tensors that are about to be changed in place
    autocast: dtype | None = None  # the type that products of matrices are computed in
    backward: Any = None  # the pass that this thread is running, the innermost one
    evaluating: Any = None  # under anomaly detection: the node whose rule is running
    multithreading = True
    grad_layouts_enforced = True
    dispatch_modes: tuple[Any, ...] = ()  # what is told of operators below autograd, the innermost last
    tracing = False  # whether the innermost of these makes a graph of them
    dispatched: Any = None  # the operator that such a mode is being told of
    dual_levels: tuple[Any, ...] = ()  # the levels of forward mode, the innermost last
    forward_grad_enabled = True
    overrides = True  # whether classes with `__torch_function__` are asked
    vmap_levels: tuple[Any, ...] = ()  # the vmaps around, the innermost last
    transforms = 0  # how many reverse-mode transforms are around
    reversing: tuple[Any, ...] = ()  # these, the innermost last
    kept: tuple[Any, ...] = ()  # those that have ended, and of which tensors are left
    depth = 0  # how many transforms of any kind are around
    exec_group: Any = None  # backward passes that share one recomputation of checkpointed regions

    def __init__(self) -> None:
        # IEEE arithmetic is silent in torch; guarding every operator instead costs more than most operators.
        np.seterr(all="ignore")
        if process.anomaly:
            self.anomaly, self.anomaly_check_nan = True, process.anomaly_check_nan
            self.refresh()

    def refresh(self) -> None:
        """Recomputes `quiet` and `plain` after a switch was changed."""
        self.quiet = not (
            self.saved_tensor_hooks
            or self.anomaly
            or self.inference
            or self.dispatch_modes
            or self.dual_levels
            or self.vmap_levels
            or any(transform.leaves for transform in self.kept)
        )
        self.plain = self.quiet and self.grad_enabled

    @property
    def transforming(self) -> bool:
        """Whether a transform of torch.func is around."""
        return bool(self.transforms or self.vmap_levels or any(not level.public for level in self.dual_levels))

    def lets_tensors_flow(self) -> bool:
        """Whether gradients of a pass that is not recorded are tensors all the same: something is told of operators."""
        return bool(self.dual_levels or self.vmap_levels or self.tracing)

    def set_grad_enabled(self, mode: bool) -> bool:
        """Sets grad mode and returns what it was."""
        before = self.grad_enabled
        if before is not mode:
            self.grad_enabled = mode
            self.plain = mode and self.quiet
        return before


class Process:
    """What holds for the whole process."""

    default_dtype: dtype | None = None
    narrow_types: bool = False  # whether an array of a type that NumPy has not was ever made
    warn_always: bool = False
    anomaly: bool = False  # what threads that start now begin with
    anomaly_check_nan: bool = True
    warned: set[str] = set()
    generator: Any = None
    equip: Callable[[type], None] | None = None  # told of new subclasses of Tensor (overrides.py)
    unasked: set[type] = {int, float, complex, bool, str, type(None), slice}  # types without a `__torch_function__`
    one_node: bool = True  # whether compositions that torch records as one node are recorded so


process = Process()
state = State()


def warn_once(key: str, message: str, category: type[Warning] = UserWarning, stacklevel: int = 3) -> None:
    """Warns the first time `key` comes up, or always after `set_warn_always(True)`. Source: torch.set_warn_always."""
    import warnings

    if process.warn_always or key not in process.warned:
        process.warned.add(key)
        warnings.warn(message, category, stacklevel=stacklevel)
