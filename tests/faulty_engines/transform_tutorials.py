"""Faults that small programs forgive: of names with dots, of networks with several layers, of filters."""

from __future__ import annotations

import importlib
from typing import Any

from reference_engine.batching import rules
from reference_engine.batching.tensor import Level, exposed, is_batched_at
from reference_engine.func import functional_call
from tests.faulty_engines.patching import Patch, fault

# The module: the package's attribute of that name is the function.
calling: Any = importlib.import_module("reference_engine.func.functional_call")


@fault("transform_tutorials")
def names_are_found_by_their_last_part(p: Patch) -> None:
    """functional_call puts a tensor in the place of the first parameter that has the last part of its name."""

    def place(module: Any, name: str) -> tuple[dict, str]:
        path, _, key = name.rpartition(".")
        if "parametrizations" in path:
            return original(module, name)
        owner = next((m for m in module.modules() if key in m._parameters), None)
        return (owner._parameters, key) if owner is not None else original(module, name)

    original = calling._place
    p.function(original, place)


@fault("transform_tutorials")
def inner_modules_keep_their_tensors(p: Patch) -> None:
    """functional_call replaces the module's own tensors, and not those of its submodules."""
    original = calling._merged
    p.function(original, lambda dicts: {n: t for n, t in original(dicts).items() if "." not in n or ".original" in n})


@fault("transform_tutorials")
def inner_modules_are_not_restored(p: Patch) -> None:
    """After functional_call submodules keep the tensors that they were called with."""
    original = functional_call

    def call(module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        result = original(module, dicts, *args, **options)
        for name, value in calling._merged(dicts).items():
            path, _, key = name.rpartition(".")
            if path and "parametrizations" not in path:
                module.get_submodule(path)._parameters[key] = value
        return result

    p.function(original, call)


@fault("transform_tutorials")
def images_share_the_first_examples_filters(p: Patch) -> None:
    """Filters of images that differ between examples are those of the first: their gradients are all its own."""

    def convolved(op: Any, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
        first = [exposed(x, level).select(0, 0) if is_batched_at(x, level) else x for x in inputs[1:]]
        return rules.folded(op, (inputs[0], *first), params, level)

    p.set(rules.RULES, "convolution", convolved)
