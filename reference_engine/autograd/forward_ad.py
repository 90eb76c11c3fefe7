"""Forward-mode differentiation: dual tensors and the levels they live at. Source: torch.autograd.forward_ad.

One level at a time is entered here; transforms (torch.func.jvp) nest levels of their own.
"""

from __future__ import annotations

from typing import NamedTuple

from reference_engine.autograd.grad_mode import _Mode
from reference_engine.state import state
from reference_engine.tape.tangents import Level, below, enter, get, laid_out, leave, put
from reference_engine.tape.views import link_views
from reference_engine.tensor import Tensor

NESTED = "Nested forward mode AD is not supported at the moment"
NO_LEVEL = "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
NOT_LAST = "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
SIZE = (
    "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not supported. "
    "Tensor is of size {size} while the given forward gradient is of size {given}."
)


class UnpackedDualTensor(NamedTuple):
    """A dual tensor in its parts; tangent is None where it has none."""

    primal: Tensor
    tangent: Tensor | None


def enter_dual_level() -> int:
    """Starts a level and returns its number; there is one at a time. Source: forward_ad.enter_dual_level."""
    if state.dual_levels:
        raise RuntimeError(NESTED)
    return enter(public=True).index


def exit_dual_level(*, level: int | None = None) -> None:
    """Ends the latest level and deletes its tangents. Source: forward_ad.exit_dual_level."""
    if level is not None and level != len(state.dual_levels) - 1:
        raise RuntimeError(NOT_LAST)
    if not state.dual_levels:
        raise RuntimeError("Dual level must be a positive number.")
    leave(state.dual_levels[-1])


class dual_level(_Mode):
    """A level for the time of a `with` block, or of a decorated function. Source: forward_ad.dual_level."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: object) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A view of `tensor` that carries `tangent`, of the same shape. The tangent is kept as it is where it is laid out in
    memory as the primal, else copied. Source: forward_ad.make_dual.
    """
    if not state.dual_levels:
        raise RuntimeError(NO_LEVEL)
    return with_tangent(tensor, tangent, _numbered(level))


def _numbered(level: int | None) -> Level:
    """The level of that number; the latest where none is given."""
    if level is None:
        return state.dual_levels[-1]
    if not 0 <= level < len(state.dual_levels):
        raise RuntimeError("Invalid level given to _make_dual")
    return state.dual_levels[level]


def with_tangent(tensor: Tensor, tangent: Tensor, level: Level) -> Tensor:
    """A view of `tensor` with a tangent at `level`."""
    for role, value in (("primal", tensor), ("tangent", tangent)):
        if not (value.is_floating_point() or value.is_complex()):
            raise ValueError(f"Expected {role} to be floating point or complex, but got: {value.dtype}")
    if get(tensor, level) is not None:
        raise RuntimeError(f"Making a dual Tensor based on a Tensor that already has a forward gradient at the same level "
                           f"{level.index} is not supported.")  # fmt: skip
    if get(tangent, level) is not None:
        raise RuntimeError(f"Setting a forward grad that itself has a forward gradient at the same level{level.index} is "
                           "not supported.")  # fmt: skip
    if tangent.shape != tensor.shape:
        raise RuntimeError(SIZE.format(size=list(tensor.shape), given=list(tangent.shape)))
    dual = view_below(tensor, level)
    put(dual, level, laid_out(tangent, dual))
    return dual


def view_below(tensor: Tensor, level: Level) -> Tensor:
    """A view of `tensor` as it is outside of `level`, which has its own tangents there."""
    from reference_engine.ops.strided import view_as

    lower = below(tensor, level)
    view = view_as(lower, lower)
    tangents = view._tangents
    link_views(tensor, (view,))  # of the tensor itself rather than of its stand-in
    view._view.shares_tangent, view._tangents = False, tangents
    return view


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The primal, a view without tangent, and the tangent or None; outside any level the tensor itself and None.
    Source: forward_ad.unpack_dual.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"_unpack_dual(): argument 'dual' (position 1) must be Tensor, not {type(tensor).__name__}")
    if not state.dual_levels or (level is not None and level < 0):
        return UnpackedDualTensor(tensor, None)
    if level is not None and level >= len(state.dual_levels):
        raise RuntimeError("Invalid level given to _fw_primal")
    wanted = _numbered(level)
    tangent = get(tensor, wanted) if state.forward_grad_enabled else None
    return UnpackedDualTensor(view_below(tensor, wanted), tangent)


def _is_fwd_grad_enabled() -> bool:
    return state.forward_grad_enabled


class _set_fwd_grad_enabled(_Mode):
    """Switches the computation of tangents at once; as a context manager restores it."""

    def __init__(self, mode: bool) -> None:
        self.before, self.mode = state.forward_grad_enabled, mode
        state.forward_grad_enabled = mode

    def clone(self) -> _set_fwd_grad_enabled:
        return _set_fwd_grad_enabled(self.mode)

    def __enter__(self) -> None:
        state.forward_grad_enabled = self.mode

    def __exit__(self, *exc: object) -> None:
        state.forward_grad_enabled = self.before


__all__ = [
    "UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual",
]  # fmt: skip
