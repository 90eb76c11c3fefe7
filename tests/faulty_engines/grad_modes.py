"""Faults of grad modes and inference mode."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.autograd import grad_mode
from reference_engine.state import State, state
from reference_engine.tape import saved, views
from reference_engine.tensor import mark_inference
from tests.faulty_engines.patching import Patch, fault


@fault("grad_modes")
def no_grad_always_ends_in_grad_mode(p: Patch) -> None:
    """Leaving no_grad turns recording on, whatever the mode was before."""
    p.set(grad_mode.no_grad, "__exit__", lambda self, *exc: state.set_grad_enabled(True) and None)


@fault("grad_modes")
def exceptions_leave_the_mode(p: Patch) -> None:
    """An exception that leaves the block does not restore the mode."""
    original = grad_mode.no_grad.__exit__
    p.set(grad_mode.no_grad, "__exit__", lambda self, *exc: original(self, *exc) if exc[0] is None else None)


@fault("grad_modes")
def decorators_set_the_mode_once(p: Patch) -> None:
    """Decorating switches the mode at decoration, and calls run in the caller's."""
    p.set(grad_mode._Mode, "__call__", lambda self, function: self.__enter__() or function)


@fault("grad_modes")
def generators_keep_the_mode(p: Patch) -> None:
    """A decorated generator holds its mode while it is suspended."""

    def hold(self: Any, function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                yield from function(*args, **kwargs)

        return wrapped

    p.set(grad_mode._Mode, "_generator", hold)


@fault("grad_modes")
def set_grad_enabled_waits_for_its_block(p: Patch) -> None:
    """set_grad_enabled(False) called as a function changes nothing."""

    def init(self: Any, mode: bool) -> None:
        self.mode, self.before = mode, state.grad_enabled

    p.set(grad_mode.set_grad_enabled, "__init__", init)


@fault("grad_modes")
def modes_are_shared_by_threads(p: Patch) -> None:
    """A new thread starts in the mode of the process."""
    shared = {"grad_enabled": True}

    def set_grad_enabled(self: Any, mode: bool) -> bool:
        before = shared["grad_enabled"]
        shared["grad_enabled"] = mode
        self.refresh()
        return before

    p.set(State, "grad_enabled", property(lambda self: shared["grad_enabled"]))
    p.set(State, "set_grad_enabled", set_grad_enabled)
    p.set(State, "plain", property(lambda self: shared["grad_enabled"], lambda self, value: None))


@fault("grad_modes")
def inference_mode_is_no_grad(p: Patch) -> None:
    """What is made in inference mode is a normal tensor."""
    p.function(mark_inference, lambda tensor: None)


@fault("grad_modes")
def inference_tensors_are_saved(p: Patch) -> None:
    """A recorded operation saves inference tensors without complaint."""

    def save_input(tensor: Any) -> Any:
        return saved.Saved(tensor) if isinstance(tensor, engine.Tensor) and tensor.is_inference() else original(tensor)

    original = saved.save_input
    p.function(original, save_input)


@fault("grad_modes")
def inference_tensors_are_mutable(p: Patch) -> None:
    """Inference tensors are changed in place outside their mode."""

    def check_inplace(tensor: Any) -> None:
        if not tensor.is_inference():
            original(tensor)

    original = views.check_inplace
    p.function(original, check_inplace)


@fault("grad_modes")
def enable_grad_records_in_inference_mode(p: Patch) -> None:
    """enable_grad inside inference mode leaves inference mode."""

    def enter(self: Any) -> None:
        if self.mode:
            state.inference = False
        original(self)

    original = grad_mode.no_grad.__enter__
    p.set(grad_mode.no_grad, "__enter__", enter)


@fault("grad_modes")
def no_grad_disables_requires_grad(p: Patch) -> None:
    """Under no_grad requires_grad_() has no effect."""

    def set_tracked(self: Any, value: bool) -> None:
        original(self, value and state.grad_enabled)

    original = engine.Tensor._set_tracked
    p.set(engine.Tensor, "_set_tracked", set_tracked)


@fault("grad_modes")
def modes_answer_with_numbers(p: Patch) -> None:
    """is_grad_enabled() and is_inference_mode_enabled() give 1 and 0."""
    for name in ("is_grad_enabled", "is_inference_mode_enabled"):
        p.wrap(engine, name, lambda original: lambda: int(original()))


@fault("grad_modes")
def set_grad_enabled_always_ends_in_grad_mode(p: Patch) -> None:
    """Leaving a set_grad_enabled block turns recording on, whatever the mode was before."""
    p.set(grad_mode.set_grad_enabled, "__exit__", lambda self, *exc: state.set_grad_enabled(True) and None)
