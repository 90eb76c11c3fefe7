"""Faults of forward mode."""

from __future__ import annotations

from typing import Any

from reference_engine.autograd import forward_ad
from reference_engine.ops import forward, inplace
from reference_engine.ops.shapes import sum_to_shape
from reference_engine.state import state
from reference_engine.tape import tangents
from reference_engine.tensor import Tensor, wrap
from tests.faulty_engines.patching import Patch, asking, fault


@fault("forward_ad")
def only_the_first_tangent_counts(p: Patch) -> None:
    """An operator on several dual tensors pushes the tangent of the first alone."""

    def first(op: Any, inputs: Any, given: Any, outs: Any) -> list:
        kept = next(i for i, t in enumerate(given) if t is not None)
        alone = [t if i == kept else None for i, t in enumerate(given)]
        return original(op, inputs, alone, outs)

    original = forward.push_elementwise
    p.function(original, first)


@fault("forward_ad")
def tangents_are_not_broadcast(p: Patch) -> None:
    """The tangent of a broadcast result keeps the shape of the input's tangent."""

    def narrow(tangent: Tensor, out: Tensor) -> Tensor:
        given = tangent._array
        same = [n for n in given.shape if n == out._array.shape[-1]]
        return sum_to_shape(tangent, shape=tuple(same[-1:])) if given.ndim > 1 else tangent

    p.function(forward._fitting, narrow)


@fault("forward_ad")
def general_operators_push_the_rule(p: Patch) -> None:
    """Operators with a backward rule apply it to the tangent, instead of its transpose."""

    def rule(op: Any, inputs: Any, given: Any, params: Any, outs: Any) -> list:
        grads = [next(t for t in given if t is not None)] * len(outs)
        try:
            rows = forward.pulled(op, inputs, grads, params, outs, tuple(t is not None for t in given))
        except (RuntimeError, ValueError, IndexError, KeyError, TypeError):
            return original(op, inputs, given, params, outs)
        return [next(r for r in rows if r is not None)] * len(outs)

    original = forward.push_transposed
    p.function(original, rule)


@fault("forward_ad")
def tangents_outlive_their_level(p: Patch) -> None:
    """Leaving a level deletes no tangents, and the next level finds them."""
    kept = [tangents.Level(index, public=True) for index in range(4)]

    def enter(*, public: bool) -> tangents.Level:
        level = kept[len(state.dual_levels)]
        level.public = public
        state.dual_levels = (*state.dual_levels, level)
        state.refresh()
        return level

    p.set(tangents.Level, "end", lambda self: None)
    p.function(tangents.enter, enter)


@fault("forward_ad")
def dual_tensors_are_copies(p: Patch) -> None:
    """make_dual copies the primal."""

    def make(original: Any) -> Any:
        def with_tangent(tensor: Tensor, tangent: Tensor, level: Any) -> Tensor:
            return original(tensor.clone(), tangent, level)

        return with_tangent

    p.wrap(forward_ad, "with_tangent", make)


@fault("forward_ad")
def tangents_are_always_copied(p: Patch) -> None:
    """make_dual copies a tangent that has the layout of the primal."""
    p.set(forward_ad, "laid_out", lambda tangent, like: tangent.clone())


@fault("forward_ad")
def tangents_keep_their_strides(p: Patch) -> None:
    """make_dual stores a tangent of other strides as it is."""
    p.set(forward_ad, "laid_out", lambda tangent, like: tangent)


@fault("forward_ad")
def in_place_keeps_the_old_tangent(p: Patch) -> None:
    """A change in place leaves the tangent as it was."""
    p.set(inplace.tangents, "overwrite", lambda target, result: None)


@fault("forward_ad")
def in_place_rebinds_the_tangent(p: Patch) -> None:
    """A change in place puts a new tangent in the place of the old one, which views go on sharing."""

    def rebind(target: Tensor, result: Tensor) -> None:
        for level in tangents.levels_of((target, result)):
            new = tangents.get(result, level)
            if new is not None:
                tangents.put(target, level, new)

    p.set(inplace.tangents, "overwrite", rebind)


@fault("forward_ad")
def values_overwritten_keep_their_tangent(p: Patch) -> None:
    """A dual tensor overwritten with constants keeps its tangent."""

    def make(original: Any) -> Any:
        def overwrite(target: Tensor, result: Tensor) -> None:
            found = [tangents.get(result, level) for level in tangents.levels_of((result,))]
            if any(t is not None and t._array.any() for t in found):
                original(target, result)

        return overwrite

    p.wrap(inplace.tangents, "overwrite", make)


@fault("forward_ad")
def no_grad_stops_forward_mode(p: Patch) -> None:
    """no_grad disables forward mode too."""

    def make(original: Any) -> Any:
        return lambda inputs, outs: original(inputs, outs) if state.grad_enabled else []

    p.wrap(forward, "prepare", make)


@fault("forward_ad")
def inference_mode_keeps_forward_mode(p: Patch) -> None:
    """inference_mode computes tangents."""

    def make(original: Any) -> Any:
        def prepare(inputs: Any, outs: Any) -> Any:
            before, state.inference = state.inference, False
            try:
                return original(inputs, outs)
            finally:
                state.inference = before

        return prepare

    p.wrap(forward, "prepare", make)


@fault("forward_ad")
def tangents_have_no_history(p: Patch) -> None:
    """Tangents are computed without being recorded."""

    def make(original: Any) -> Any:
        def put(tensor: Tensor, level: Any, tangent: Tensor) -> None:
            original(tensor, level, tangent.detach() if tangent.requires_grad else tangent)

        return put

    p.wrap(forward, "put", make)


@fault("forward_ad")
def gradients_have_no_tangent(p: Patch) -> None:
    """The backward pass lets plain arrays flow inside a level, so that gradients have no tangent."""

    def arrays(seeds: Any, recorded: bool) -> Any:
        return seeds if recorded else [wrap(seed._array) for seed in seeds]

    p.function(asking._flowing, arrays)
    p.wrap(
        tangents, "get", lambda original: lambda t, level: None if state.backward is not None else original(t, level)
    )
    p.function(forward.levels_of, lambda values: [] if state.backward is not None else tangents.levels_of(values))


@fault("forward_ad")
def levels_nest_in_silence(p: Patch) -> None:
    """Entering a level inside another raises no error."""
    p.set(forward_ad, "enter_dual_level", lambda: tangents.enter(public=True).index)


@fault("forward_ad")
def detach_keeps_the_tangent(p: Patch) -> None:
    """detach leaves a tensor its tangent."""

    def make(original: Any) -> Any:
        def detach(self: Tensor) -> Tensor:
            result = original(self)
            result._tangents = self._tangents
            return result

        return detach

    p.wrap(Tensor, "detach", make)


@fault("forward_ad")
def unpacked_primals_stay_dual(p: Patch) -> None:
    """The primal that unpack_dual returns still has its tangent."""
    p.set(forward_ad, "view_below", lambda tensor, level: tensor)


@fault("forward_ad")
def sizes_are_not_checked(p: Patch) -> None:
    """make_dual broadcasts a tangent of another size."""

    def make(original: Any) -> Any:
        return lambda tensor, tangent, level: original(tensor, tangent.expand(tensor.shape), level)

    p.wrap(forward_ad, "with_tangent", make)
