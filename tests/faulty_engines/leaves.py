"""Faults of leaves, requires_grad and who receives `.grad`."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.state import State, state
from reference_engine.tape import accumulate as accumulation
from reference_engine.tensor import wrap
from tests.faulty_engines.patching import Patch, fault

Tensor = engine.Tensor


@fault("leaves")
def fills_non_leaf_grad(p: Patch) -> None:
    """Intermediate results keep their gradients without being asked."""

    def finish(self: Any, inputs: Any, params: Any, results: Any) -> Any:
        outs = original(self, inputs, params, results)
        for out in outs if isinstance(outs, tuple) else (outs,):
            if isinstance(out, Tensor) and out._edge is not None:
                out.retain_grad()
        return outs

    original = engine.ops.kinds.Operator.finish
    p.set(engine.ops.kinds.Operator, "finish", finish)
    p.set(State, "plain", False)
    p.set(State, "refresh", lambda self: setattr(self, "plain", False))
    p.set(state.__dict__, "plain", False)


@fault("leaves")
def ignores_retain_grad(p: Patch) -> None:
    """retain_grad() has no effect."""
    p.set(Tensor, "retain_grad", lambda self: None)


@fault("leaves")
def retains_twice(p: Patch) -> None:
    """A second retain_grad() makes the gradient count twice."""

    def retain(self: Any, gradient: Any, *, recorded: bool) -> None:
        original(self, gradient, recorded=recorded)
        for _ in range(self.__dict__.get("retained", 1) - 1):
            original(self, gradient, recorded=recorded)

    def retain_grad(self: Any) -> None:
        keep(self)
        self.__dict__["retained"] = self.__dict__.get("retained", 0) + 1

    original, keep = Tensor._retain, Tensor.retain_grad
    p.set(Tensor, "_retain", retain)
    p.set(Tensor, "retain_grad", retain_grad)


@fault("leaves")
def reading_non_leaf_grad_is_silent(p: Patch) -> None:
    """Reading `.grad` of a non-leaf gives None without a warning."""
    original = Tensor.grad
    p.set(Tensor, "grad", property(lambda self: self._grad, original.fset, original.fdel))


@fault("leaves")
def flag_is_read_when_recording_only(p: Patch) -> None:
    """A leaf whose requires_grad was switched off before backward still receives a gradient."""

    def accumulate(variable: Any, gradient: Any, *, recorded: bool) -> None:
        before, variable._tracked = variable._tracked, True
        original(variable, gradient, recorded=recorded)
        variable._tracked = before

    original = accumulation.accumulate
    p.function(original, accumulate)


@fault("leaves")
def gradient_in_double(p: Patch) -> None:
    """Gradients are stored in float64 whatever the leaf's dtype is."""

    def fresh(variable: Any, array: Any) -> Any:
        return wrap(np.array(array, np.complex128 if np.iscomplexobj(array) else np.float64))

    p.set(accumulation, "_fresh", fresh)


@fault("leaves")
def forgets_to_sum_broadcast_dimensions(p: Patch) -> None:
    """The gradient of a broadcast operand is its first slice, not the sum."""
    from reference_engine.ops import shapes

    def sum_to_shape(x: Any, *, shape: tuple) -> Any:
        array = x._array if isinstance(x, Tensor) else np.asarray(x)
        array = array.reshape(-1)[: int(np.prod(shape))].reshape(shape)
        return wrap(np.array(array)) if isinstance(x, Tensor) else array

    p.function(shapes.sum_to_shape, sum_to_shape)


@fault("leaves")
def tracks_the_first_input_only(p: Patch) -> None:
    """A result requires grad only where its first input does."""

    def edges(self: Any, inputs: tuple) -> tuple:
        found = original(self, inputs)
        return found if not found or found[0] is not None else (None,) * len(found)

    original = engine.ops.kinds.Operator.edges
    p.set(engine.ops.kinds.Operator, "edges", edges)
    p.set(State, "refresh", lambda self: setattr(self, "plain", False))
    p.set(state.__dict__, "plain", False)


@fault("leaves")
def non_leaf_flag_can_be_cleared(p: Patch) -> None:
    """requires_grad_(False) on a non-leaf cuts its graph."""

    def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
        if not requires_grad:
            self._edge = None
        self._tracked = bool(requires_grad) and self._edge is None
        return self

    p.set(Tensor, "requires_grad_", requires_grad_)


@fault("leaves")
def requires_grad_returns_a_copy(p: Patch) -> None:
    """requires_grad_() returns a new tensor."""

    def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
        result = self.detach()
        result._tracked = bool(requires_grad)
        return result

    p.set(Tensor, "requires_grad_", requires_grad_)


@fault("leaves")
def tensor_of_tensor_keeps_history(p: Patch) -> None:
    """torch.tensor(t) is differentiable."""

    def tensor(data: Any, **options: Any) -> Any:
        return data.clone() if isinstance(data, Tensor) else original(data, **options)

    original = engine.tensor
    p.function(original, tensor)


@fault("leaves")
def deepcopy_of_non_leaves(p: Patch) -> None:
    """deepcopy of a non-leaf gives a detached copy."""

    def deepcopy(self: Any, memo: dict) -> Any:
        return original(self, memo) if self._edge is None else wrap(self._array.copy())

    original = Tensor.__deepcopy__
    p.set(Tensor, "__deepcopy__", deepcopy)


@fault("leaves")
def deepcopy_forgets_grad(p: Patch) -> None:
    """A deep copy of a leaf has no `.grad`."""

    def deepcopy(self: Any, memo: dict) -> Any:
        result = original(self, memo)
        result._grad = None
        return result

    original = Tensor.__deepcopy__
    p.set(Tensor, "__deepcopy__", deepcopy)


@fault("leaves")
def from_numpy_copies(p: Patch) -> None:
    """from_numpy copies the array."""
    p.function(engine.from_numpy, lambda array: wrap(np.array(array)))


@fault("leaves")
def leaf_hook_result_is_ignored(p: Patch) -> None:
    """What a tensor hook returns is dropped."""
    from reference_engine.tape import hooks

    def run_tensor_hooks(registered: Any, gradient: Any, *, recorded: bool) -> Any:
        original(registered, gradient, recorded=recorded)
        return gradient

    original = hooks.run_tensor_hooks
    p.function(original, run_tensor_hooks)


@fault("leaves")
def no_grad_is_ignored(p: Patch) -> None:
    """Operations inside no_grad are recorded."""
    p.set(engine.no_grad, "__enter__", lambda self: setattr(self, "before", state.grad_enabled))


@fault("leaves")
def no_grad_is_never_left(p: Patch) -> None:
    """Leaving a no_grad block leaves recording off."""
    p.set(engine.no_grad, "__exit__", lambda self, *exc: None)


@fault("leaves")
def parameters_do_not_require_grad(p: Patch) -> None:
    """nn.Parameter(t) is a plain tensor."""
    from reference_engine.nn.parameter import Parameter

    def new(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        return original(cls, data, False)

    original = Parameter.__new__
    p.set(Parameter, "__new__", staticmethod(new))
