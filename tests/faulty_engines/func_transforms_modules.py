"""Faults of functional_call and stack_module_state: modules that are written into, state that is shared."""

from __future__ import annotations

import importlib
from typing import Any

import reference_engine as engine
from reference_engine.batching.tensor import BatchedTensor
from reference_engine.func import ensembles, functional_call
from tests.faulty_engines.patching import Patch, fault

# The modules: the package's attributes of these names are the functions.
calling: Any = importlib.import_module("reference_engine.func.functional_call")
functionalizing: Any = importlib.import_module("reference_engine.func.functionalize")


def _called(p: Patch, call: Any) -> None:
    """functional_call as call(original, module, dicts, *args, **options)."""
    original = functional_call
    p.function(original, lambda module, dicts, *args, **options: call(original, module, dicts, *args, **options))


@fault("func_transforms")
def modules_keep_what_they_were_called_with(p: Patch) -> None:
    """After functional_call the module has the tensors that it was called with."""

    def call(original: Any, module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        result = original(module, dicts, *args, **options)
        for name, value in calling._merged(dicts).items():
            if module._parameters.get(name) is not None:
                module._parameters[name] = value
        return result

    _called(p, call)


@fault("func_transforms")
def values_are_copied_into_the_module(p: Patch) -> None:
    """functional_call copies the values given into the module's own parameters."""

    def call(original: Any, module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        result = original(module, dicts, *args, **options)
        own = dict(module.named_parameters())
        with engine.no_grad():
            for name, value in calling._merged(dicts).items():
                if name in own and not isinstance(value, BatchedTensor) and not own[name].is_meta:
                    own[name].copy_(value.detach())
        return result

    _called(p, call)


@fault("func_transforms")
def parameters_given_are_constants(p: Patch) -> None:
    """functional_call runs on detached tensors, so that no gradient reaches those given."""
    original = calling._merged
    p.function(original, lambda dicts: {name: value.detach() for name, value in original(dicts).items()})


@fault("func_transforms")
def a_strict_call_forgives_missing_names(p: Patch) -> None:
    """strict refuses names that the module has not, and none that it lacks."""
    original = calling._check_names
    p.function(original, lambda owner, given, own: original(owner, given, {n: t for n, t in own.items() if n in given}))


@fault("func_transforms")
def a_strict_call_forgives_unknown_names(p: Patch) -> None:
    """strict refuses names that are missing, and none that the module has not."""
    original = calling._check_names
    p.function(original, lambda owner, given, own: original(owner, {n: t for n, t in given.items() if n in own}, own))


@fault("func_transforms")
def a_strict_call_asks_for_tied_names(p: Patch) -> None:
    """strict asks for every name of a tied tensor, where one is enough."""

    def call(original: Any, module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        if options.get("strict"):
            calling._check_names(type(module).__name__, calling._merged(dicts), calling._named(module))
        return original(module, dicts, *args, **options)

    _called(p, call)


@fault("func_transforms")
def every_call_is_strict(p: Patch) -> None:
    """functional_call refuses a dict that lacks a parameter."""

    def call(original: Any, module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        return original(module, dicts, *args, **{**options, "strict": True})

    _called(p, call)


@fault("func_transforms")
def later_dicts_win(p: Patch) -> None:
    """Of several dicts with one key the last counts."""

    def merged(dicts: Any) -> dict:
        if isinstance(dicts, (tuple, list)) and all(isinstance(d, dict) for d in dicts):
            return {name: value for d in dicts for name, value in d.items()}
        return original(dicts)

    original = calling._merged
    p.function(original, merged)


@fault("func_transforms")
def the_first_dict_counts(p: Patch) -> None:
    """Of several dicts all but the first are ignored."""
    original = calling._merged
    p.function(original, lambda dicts: original(dicts[0] if isinstance(dicts, (tuple, list)) and dicts else dicts))


@fault("func_transforms")
def lists_are_unpacked(p: Patch) -> None:
    """A list of args is taken for several arguments."""

    def call(original: Any, module: Any, dicts: Any, args: Any = None, *rest: Any, **options: Any) -> Any:
        return original(module, dicts, tuple(args) if isinstance(args, list) else args, *rest, **options)

    _called(p, call)


@fault("func_transforms")
def rebound_buffers_stay_in_the_module(p: Patch) -> None:
    """A buffer that the call rebinds is the module's afterwards, and not in the dict."""

    def call(original: Any, module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        given = dict(dicts) if isinstance(dicts, dict) else dicts
        result = original(module, given, *args, **options)
        if isinstance(dicts, dict):
            for name, value in given.items():
                if value is not dicts[name] and name in module._buffers:
                    module._buffers[name] = value
        return result

    _called(p, call)


@fault("func_transforms")
def ties_are_followed_always(p: Patch) -> None:
    """tie_weights=False changes nothing."""

    def call(original: Any, module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        return original(module, dicts, *args, **{**options, "tie_weights": True})

    _called(p, call)


@fault("func_transforms")
def stacked_state_is_shared_with_the_models(p: Patch) -> None:
    """After stack_module_state the models' parameters are rows of the stack."""

    def stacked(tensors: Any) -> Any:
        result = original(tensors)
        for k, tensor in enumerate(tensors):
            tensor.data = result.detach()[k]
        return result

    original = ensembles._stacked
    p.function(original, stacked)


@fault("func_transforms")
def state_is_stacked_along_the_last_dimension(p: Patch) -> None:
    """Stacked state has the models in its last dimension."""
    original = ensembles._stacked
    p.function(original, lambda tensors: original(tensors).detach().movedim(0, -1).requires_grad_())


@fault("func_transforms")
def every_stacked_parameter_is_trained(p: Patch) -> None:
    """Stacked parameters require grad, also those of frozen models."""

    def stacked(tensors: Any) -> Any:
        result = original(tensors)
        return result.requires_grad_() if isinstance(tensors[0], engine.nn.Parameter) else result

    original = ensembles._stacked
    p.function(original, stacked)


@fault("func_transforms")
def models_are_not_compared(p: Patch) -> None:
    """stack_module_state takes models of several classes and modes."""

    def stack_module_state(models: Any) -> Any:
        same = [m for m in models if type(m) is type(models[0]) and m.training == models[0].training]
        return original(same)

    original = ensembles.stack_module_state
    p.function(original, stack_module_state)


@fault("func_transforms")
def originals_of_parametrizations_are_ignored(p: Patch) -> None:
    """A value for parametrizations.NAME.original has no effect."""
    original = calling._merged
    p.function(original, lambda dicts: {n: t for n, t in original(dicts).items() if not n.endswith(".original")})


@fault("func_transforms")
def parametrizations_run_once(p: Patch) -> None:
    """A tensor with several parametrizations is computed by the first of them."""
    p.set(engine.nn.utils.parametrize.ParametrizationList, "forward", lambda self: self[0](self.original))


@fault("func_transforms")
def any_word_removes_mutations(p: Patch) -> None:
    """functionalize takes any word for remove."""
    p.set(functionalizing, "REMOVE", (*functionalizing.REMOVE, "views"))
