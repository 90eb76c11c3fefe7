"""Faults of vmap: custom functions, random numbers, derivatives, and how often a function runs."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.autograd.function import Function
from reference_engine.batching import functions, hooks, tensor
from reference_engine.batching.tensor import BatchedTensor, Level
from reference_engine.func import differentiated, ensembles, mapping, reverse
from reference_engine.state import process, state
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault


@fault("vmap")
def functions_run_for_each_example(p: Patch) -> None:
    """vmap is a loop over examples."""
    original = mapping._one
    p.function(original, lambda func, name, flat, dims, form, kwargs, size, randomness, out_dims: mapping._looped(
        func, flat, dims, form, kwargs, size, randomness, out_dims))  # fmt: skip


@fault("vmap")
def dropout_masks_are_shared(p: Patch) -> None:
    """With randomness "different" operators that draw for themselves, as dropout does, draw once for all examples."""
    p.function(hooks.check_random, lambda: hooks.randomness(()) and None)


@fault("vmap")
def the_innermost_randomness_holds(p: Patch) -> None:
    """Of nested vmaps the innermost says what random operators do."""

    def randomness(shape: Any) -> Any:
        around, state.vmap_levels = state.vmap_levels, state.vmap_levels[-1:]
        try:
            return original(shape)
        finally:
            state.vmap_levels = around

    original = hooks.randomness
    p.function(original, randomness)


@fault("vmap")
def rules_of_functions_return_in_front(p: Patch) -> None:
    """The out_dims of a custom function's vmap method are taken for 0."""
    original = functions._placed
    p.function(original, lambda function, output, out_dims, level: original(function, output, 0, level))


@fault("vmap")
def functions_need_no_rule(p: Patch) -> None:
    """A custom function is mapped whether it says generate_vmap_rule or not."""

    def apply(function: Any, args: tuple, level: Level) -> Any:
        if function.vmap is Function.vmap:
            return functions._mapped(function, args, level)
        return original(function, args, level)

    original = functions.apply
    p.function(original, apply)


@fault("vmap")
def gradients_of_shared_arguments_are_averaged(p: Patch) -> None:
    """A mapped custom function gives an argument that all examples share the mean of their gradients."""

    def gathered(gradient: Any, was_batched: bool, level: Level) -> Any:
        found = original(gradient, was_batched, level)
        return found if was_batched or found is None else found / level.size

    original = functions._gathered
    p.function(original, gathered)


@fault("vmap")
def the_outermost_norm_alone_is_replaced(p: Patch) -> None:
    """replace_all_batch_norm_modules_ looks at the module itself and its children, no deeper."""

    def replace(root: Any) -> Any:
        for module in (root, *root.children()):
            if "BatchNorm" in type(module).__name__:
                original(module)
        return root

    original = ensembles.replace_all_batch_norm_modules_
    p.function(original, replace)


@fault("vmap")
def a_copy_has_its_norms_replaced(p: Patch) -> None:
    """replace_all_batch_norm_modules_ works on a copy of the model."""
    import copy

    original = ensembles.replace_all_batch_norm_modules_
    p.function(original, lambda root: original(copy.deepcopy(root)))


@fault("vmap")
def torch_has_another_vmap(p: Patch) -> None:
    """torch.vmap is a function of its own, without chunk_size."""
    original = mapping.vmap
    p.set(engine, "vmap", lambda func, in_dims=0, out_dims=0, randomness="error": original(
        func, in_dims, out_dims, randomness))  # fmt: skip


@fault("vmap")
def mapped_results_are_constants(p: Patch) -> None:
    """What a mapped function returns is cut from what is tracked outside."""

    def result(x: Any, place: int | None, level: Level, name: str) -> Any:
        found = original(x, place, level, name)
        return found.detach() if isinstance(found, Tensor) and len(state.vmap_levels) == 1 else found

    original = mapping._result
    p.function(original, result)


@fault("vmap")
def mapped_cotangents_are_added_up(p: Patch) -> None:
    """What vjp returns pulls the sum of a batch of cotangents."""

    def gradients(outputs: Any, inputs: Any, cotangents: Any, **options: Any) -> Any:
        total = [c._value.sum(0) if isinstance(c, BatchedTensor) else c for c in cotangents]
        return original(outputs, inputs, total, **options)

    original = differentiated.gradients
    p.set(reverse, "gradients", gradients)


@fault("vmap")
def every_call_starts_the_same_stream(p: Patch) -> None:
    """Each call of a mapped function seeds the generator anew: it draws the same numbers every time."""

    def one(*args: Any) -> Any:
        process.generator.manual_seed(0)
        return original(*args)

    original = mapping._one
    p.function(original, one)


@fault("vmap")
def the_first_example_is_the_index(p: Patch) -> None:
    """A mapped tensor used as an index of a list stands for its first example."""
    p.set(BatchedTensor, "__index__", lambda self: int(self._value.select(0, 0)))


@fault("vmap")
def dynamic_shapes_are_the_batchs(p: Patch) -> None:
    """An operator whose result's shape depends on elements is run on the whole batch."""
    p.function(tensor.refuse_dynamic, lambda *tensors: None)
    p.set(BatchedTensor, "unique_consecutive", lambda self: self._value.unique_consecutive(dim=0))
