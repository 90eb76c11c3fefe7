"""Faults of forward mode: tangents of the wrong operator, type or level, and what is let in."""

from __future__ import annotations

from typing import Any

from reference_engine.autograd import forward_ad
from reference_engine.nn import parameter
from reference_engine.ops import forward, inplace
from reference_engine.state import state
from reference_engine.tape import tangents
from reference_engine.tensor import Tensor, wrap
from tests.faulty_engines.patching import Patch, fault


@fault("forward_ad")
def tangents_are_conjugated(p: Patch) -> None:
    """A complex tangent is pushed as a gradient is pulled: times the conjugate of the derivative."""

    def push(op: Any, inputs: Any, given: Any, *rest: Any) -> list:
        turned = [t.conj() if t is not None and t.is_complex() else t for t in given]
        return [r.conj() if r is not None and r.is_complex() else r for r in original(op, inputs, turned, *rest)]

    original = forward.push
    p.function(original, push)


@fault("forward_ad")
def real_inputs_have_real_tangents(p: Patch) -> None:
    """For a real input the tangent of a complex result is its real part."""

    def push(op: Any, inputs: Any, given: Any, *rest: Any) -> list:
        real = not any(
            isinstance(x, Tensor) and x.is_complex() and t is not None for x, t in zip(inputs, given, strict=True)
        )
        found = original(op, inputs, given, *rest)
        return [r.real.to(r.dtype) if real and r is not None and r.is_complex() else r for r in found]

    original = forward.push
    p.function(original, push)


@fault("forward_ad")
def all_inputs_have_to_be_dual(p: Patch) -> None:
    """A result has a tangent only where every tensor that it is computed from has one."""

    def make(original: Any) -> Any:
        def prepare(inputs: Any, outs: Any) -> list:
            found = original(inputs, outs)
            floats = [x for x in inputs if isinstance(x, Tensor) and x.is_floating_point()]
            return [level for level in found if all(tangents.get(x, level) is not None for x in floats)]

        return prepare

    p.wrap(forward, "prepare", make)


@fault("forward_ad")
def results_share_the_first_tangent(p: Patch) -> None:
    """Of several results each has the tangent of the first, in its shape."""

    def push(*args: Any) -> list:
        found = original(*args)
        first = next((t for t in found if t is not None), None)
        return [first if t is not None and first is not None and t.shape == first.shape else t for t in found]

    original = forward.push
    p.function(original, push)


@fault("forward_ad")
def what_has_no_derivative_has_a_tangent_of_zero(p: Patch) -> None:
    """Comparisons and indices are dual, with a tangent of zeros."""

    def unpack(tensor: Tensor, *, level: Any = None) -> Any:
        found = original(tensor, level=level)
        plain = isinstance(tensor, Tensor) and not (tensor.is_floating_point() or tensor.is_complex())
        return found._replace(tangent=found.primal * 0) if plain and state.dual_levels else found

    original = forward_ad.unpack_dual
    p.function(original, unpack)


@fault("forward_ad")
def plain_tensors_have_a_tangent_of_zero(p: Patch) -> None:
    """unpack_dual gives zeros where there is no tangent."""

    def unpack(tensor: Tensor, *, level: Any = None) -> Any:
        found = original(tensor, level=level)
        return found._replace(tangent=found.primal * 0) if found.tangent is None and state.dual_levels else found

    original = forward_ad.unpack_dual
    p.function(original, unpack)


@fault("forward_ad")
def tangents_are_cast(p: Patch) -> None:
    """make_dual brings the tangent into the dtype of the primal."""

    def make(original: Any) -> Any:
        return lambda tensor, tangent, level: original(tensor, tangent.to(tensor.dtype), level)

    p.wrap(forward_ad, "with_tangent", make)


@fault("forward_ad")
def duals_are_made_again(p: Patch) -> None:
    """make_dual of a dual tensor replaces its tangent."""

    def with_tangent(tensor: Tensor, tangent: Tensor, level: Any) -> Tensor:
        again = tangents.get(tensor, level) is not None
        return original(tensor.detach() if again else tensor, tangent, level)

    original = forward_ad.with_tangent
    p.set(forward_ad, "with_tangent", with_tangent)


@fault("forward_ad")
def tangents_may_be_dual(p: Patch) -> None:
    """A tangent that is dual itself is taken without its own tangent."""

    def with_tangent(tensor: Tensor, tangent: Tensor, level: Any) -> Tensor:
        dual = tangents.get(tangent, level) is not None
        return original(tensor, tangent.detach() if dual else tangent, level)

    original = forward_ad.with_tangent
    p.set(forward_ad, "with_tangent", with_tangent)


@fault("forward_ad")
def integers_may_be_dual(p: Patch) -> None:
    """Integer primals and tangents become floating point."""

    def make_dual(tensor: Tensor, tangent: Tensor, *, level: Any = None) -> Tensor:
        given = [x if x.is_floating_point() or x.is_complex() else x.float() for x in (tensor, tangent)]
        return original(*given, level=level)

    original = forward_ad.make_dual
    p.function(original, make_dual)


@fault("forward_ad")
def make_dual_enters_a_level(p: Patch) -> None:
    """make_dual outside of any level starts one."""

    def make_dual(tensor: Tensor, tangent: Tensor, *, level: Any = None) -> Tensor:
        if not state.dual_levels:
            entered = tangents.enter(public=True)
            try:
                return original(tensor, tangent, level=level)
            finally:
                tangents.leave(entered)
        return original(tensor, tangent, level=level)

    original = forward_ad.make_dual
    p.function(original, make_dual)


@fault("forward_ad")
def levels_are_numbered_from_one(p: Patch) -> None:
    """enter_dual_level returns 1 for the first level."""
    original = forward_ad.enter_dual_level
    p.set(forward_ad, "enter_dual_level", lambda: original() + 1)


@fault("forward_ad")
def any_level_ends_the_latest(p: Patch) -> None:
    """exit_dual_level ends the latest level whatever number it is given."""
    original = forward_ad.exit_dual_level
    p.set(forward_ad, "exit_dual_level", lambda *, level=None: original())


@fault("forward_ad")
def leaving_no_level_is_nothing(p: Patch) -> None:
    """exit_dual_level without a level does nothing."""
    original = forward_ad.exit_dual_level
    p.set(forward_ad, "exit_dual_level", lambda *, level=None: original(level=level) if state.dual_levels else None)


@fault("forward_ad")
def errors_leave_the_level_open(p: Patch) -> None:
    """A block that raises does not end its level."""

    def leave(self: Any, kind: Any = None, *exc: object) -> None:
        if kind is None:
            forward_ad.exit_dual_level()

    p.set(forward_ad.dual_level, "__exit__", leave)


@fault("forward_ad")
def views_have_no_tangent(p: Patch) -> None:
    """A view taken before its base was written to sees no tangent."""

    def make(original: Any) -> Any:
        def get(tensor: Tensor, level: Any) -> Any:
            own = tensor._tangents
            return (own and own.get(level)) if tensor._base is not None else original(tensor, level)

        return get

    p.wrap(tangents, "get", make)
    p.set(inplace.tangents, "get", tangents.get)
    p.set(forward_ad, "get", tangents.get)


@fault("forward_ad")
def copies_in_place_lose_the_source(p: Patch) -> None:
    """A plain tensor that a dual one is copied into stays plain."""

    def make(original: Any) -> Any:
        def overwrite(target: Tensor, result: Tensor) -> None:
            if any(tangents.get(target, level) is not None for level in tangents.levels_of((target, result))):
                original(target, result)

        return overwrite

    p.wrap(inplace.tangents, "overwrite", make)


@fault("forward_ad")
def out_forgets_the_tangent(p: Patch) -> None:
    """An operator with out= takes a dual tensor and leaves no tangent."""
    p.function(inplace.refuse_out, lambda *tensors, name="an operator": None)


@fault("forward_ad")
def operators_without_forward_mode_drop_tangents(p: Patch) -> None:
    """An operator without a forward-mode derivative gives results without a tangent."""

    def propagate(op: Any, *rest: Any) -> None:
        if not op.no_forward_mode:
            original(op, *rest)

    original = forward.propagate
    p.set(forward, "propagate", propagate)


@fault("forward_ad")
def parameters_keep_their_tangent(p: Patch) -> None:
    """A Parameter made of a dual tensor is dual."""

    def make(original: Any) -> Any:
        def new(cls: Any, data: Any = None, *args: Any, **kwargs: Any) -> Any:
            result = original(cls, data, *args, **kwargs)
            if isinstance(data, Tensor):
                result._tangents = data._tangents
            return result

        return staticmethod(new)

    p.set(parameter.Parameter, "__new__", make(parameter.Parameter.__new__))


@fault("forward_ad")
def gradients_by_tangents_are_lost(p: Patch) -> None:
    """Reverse mode reaches the primal through a tangent, and not the tangent that was given."""

    def make(original: Any) -> Any:
        return lambda tensor, tangent, level: original(tensor, wrap(tangent._array), level)

    p.wrap(forward_ad, "with_tangent", make)
