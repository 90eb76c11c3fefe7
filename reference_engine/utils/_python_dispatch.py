"""Modes that are told of every operator below autograd. Source: torch.utils._python_dispatch."""

from __future__ import annotations

from typing import Any

from reference_engine.state import state


class TorchDispatchMode:
    """Context manager: subclasses define `__torch_dispatch__(self, func, types, args=(), kwargs=None)`, which is called in
    place of each operator and usually returns `func(*args, **kwargs)`. It runs outside of its own mode.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        if state.tracing:
            raise RuntimeError("a TorchDispatchMode inside of a function that make_fx traces is not supported")
        state.dispatch_modes = (*state.dispatch_modes, self)
        state.refresh()
        return self

    def __exit__(self, *exc: object) -> None:
        state.dispatch_modes = state.dispatch_modes[:-1]
        state.refresh()


__all__ = ["TorchDispatchMode"]
