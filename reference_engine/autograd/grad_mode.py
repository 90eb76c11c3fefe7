"""Grad modes: as context managers, decorators and function calls. Source: torch notes/autograd, "Locally disabling
gradient computation".
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

from reference_engine.state import state


class _Mode:
    """A context manager that also decorates functions and generators; the mode holds while their code runs."""

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError

    def clone(self) -> _Mode:
        """A fresh one for each call of a decorated function."""
        return type(self)()

    def __call__(self, function: Callable) -> Callable:
        if inspect.isclass(function):
            warnings.warn("Decorating classes is deprecated and will be disabled in future versions. You should only decorate "
                          "functions or methods. To preserve the current behavior of class decoration, you can directly "
                          "decorate the `__init__` method and nothing else.", FutureWarning, stacklevel=2)  # fmt: skip
            function.__init__ = self(function.__init__)  # type: ignore[method-assign]
            return function
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return wrapped

    def _generator(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            try:
                with self.clone():
                    value = generator.send(None)
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        with self.clone():
                            generator.close()
                        raise
                    except BaseException as error:
                        with self.clone():
                            value = generator.throw(error)
                    else:
                        with self.clone():
                            value = generator.send(sent)
            except StopIteration as stop:
                return stop.value

        return wrapped


class no_grad(_Mode):
    """Nothing is recorded. Source: torch.no_grad."""

    def __new__(cls, function: Callable | None = None) -> Any:
        mode = super().__new__(cls)
        return mode if function is None else mode(function)

    mode = False

    def __enter__(self) -> None:
        self.before = state.set_grad_enabled(self.mode)

    def __exit__(self, *exc: object) -> None:
        state.set_grad_enabled(self.before)


class enable_grad(no_grad):
    """Recorded, also inside no_grad. Source: torch.enable_grad."""

    mode = True


class set_grad_enabled(_Mode):
    """Sets grad mode at once; as a context manager restores it. Source: torch.set_grad_enabled."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(
                f"set_grad_enabled(): argument 'enabled' (position 1) must be bool, not {type(mode).__name__}"
            )
        self.mode = mode
        self.before = state.set_grad_enabled(mode)

    def __repr__(self) -> str:
        return f"torch.autograd.grad_mode.{type(self).__name__}(mode={self.mode})"

    def __call__(self, function: Callable) -> Callable:
        state.set_grad_enabled(self.before)  # decorating must not change the mode around it
        return super().__call__(function)

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self.mode)

    def __enter__(self) -> None:
        state.set_grad_enabled(self.mode)

    def __exit__(self, *exc: object) -> None:
        state.set_grad_enabled(self.before)


class set_multithreading_enabled(set_grad_enabled):
    """Whether backward may use threads of its own; this thread's setting. This engine's backward always runs in the
    thread that calls it. Source: torch.autograd.grad_mode.set_multithreading_enabled.
    """

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self.before = self._set(self.mode)

    @staticmethod
    def _set(mode: bool) -> bool:
        before, state.multithreading = state.multithreading, mode
        return before

    def __call__(self, function: Callable) -> Callable:
        self._set(self.before)
        return _Mode.__call__(self, function)

    def clone(self) -> set_multithreading_enabled:
        return set_multithreading_enabled(self.mode)

    def __enter__(self) -> None:
        self._set(self.mode)

    def __exit__(self, *exc: object) -> None:
        self._set(self.before)


class enforce_grad_layout_policy(set_multithreading_enabled):
    """Whether a new `.grad` takes its leaf's strides even where a gradient could be kept as it comes; this thread's
    setting. Source: torch.autograd.grad_mode.enforce_grad_layout_policy.
    """

    def __init__(self, mode: bool = True) -> None:
        super().__init__(mode)

    @staticmethod
    def _set(mode: bool) -> bool:
        before, state.grad_layouts_enforced = state.grad_layouts_enforced, mode
        return before

    def clone(self) -> enforce_grad_layout_policy:
        return enforce_grad_layout_policy(self.mode)


def is_multithreading_enabled() -> bool:
    """Whether backward may use threads. Source: torch.autograd.is_multithreading_enabled."""
    return state.multithreading


def is_view_replay_enabled() -> bool:
    """Whether views are replayed rather than strided anew; this engine never does. Source: function of this name."""
    return False


class _unsafe_preserve_version_counter(_Mode):
    """The tensor's version after the block is that of before it, whatever was changed. Source: function of this name."""

    def __init__(self, tensors: Any) -> None:
        self.tensors = tensors if isinstance(tensors, tuple) else (tensors,)
        self.versions = tuple(t._version for t in self.tensors)

    def clone(self) -> _unsafe_preserve_version_counter:
        return _unsafe_preserve_version_counter(self.tensors)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        for tensor, version in zip(self.tensors, self.versions, strict=True):
            tensor._version_counter().version = version


class inference_mode(_Mode):
    """Nothing is recorded, and what is made here can never take part in a graph. Source: torch.inference_mode."""

    def __new__(cls, mode: Any = True) -> Any:
        instance = super().__new__(cls)
        if isinstance(mode, bool):
            return instance
        instance.mode = True
        return instance(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode

    def clone(self) -> inference_mode:
        return inference_mode(self.mode)

    def __enter__(self) -> None:
        self.before = state.inference, state.grad_enabled
        state.inference = self.mode
        state.set_grad_enabled(not self.mode)
        state.refresh()

    def __exit__(self, *exc: object) -> None:
        state.inference = self.before[0]
        state.set_grad_enabled(self.before[1])
        state.refresh()


def is_grad_enabled() -> bool:
    """Whether operations are recorded. Source: torch.is_grad_enabled."""
    return state.grad_enabled


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on. Source: torch.is_inference_mode_enabled."""
    return state.inference
