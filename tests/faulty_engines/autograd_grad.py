"""Faults of torch.autograd.grad."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import reference_engine as engine
from reference_engine.tape import backward as running
from reference_engine.tape.backward import Pass
from tests.faulty_engines.patching import Patch, asking, fault


def instead_of_grad(p: Patch, change: Any) -> None:
    """Puts `change(original, *args, **kwargs)` where grad was."""
    original = asking.grad

    def grad(*args: Any, **kwargs: Any) -> Any:
        return change(original, *args, **kwargs)

    grad.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    p.function(original, grad)


@fault("autograd_grad")
def grad_accumulates(p: Patch) -> None:
    """autograd.grad adds to the .grad of leaves, as backward does."""

    def grad(original: Any, outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(outputs, inputs, *args, **kwargs)
        if isinstance(result, tuple):
            for x, g in zip([inputs] if hasattr(inputs, "grad_fn") else inputs, result, strict=False):
                if hasattr(x, "_grad") and x.is_leaf and g is not None and not kwargs.get("is_grads_batched"):
                    x._grad = g if x._grad is None else x._grad + g
        return result

    instead_of_grad(p, grad)


@fault("autograd_grad")
def grad_returns_a_list(p: Patch) -> None:
    """The gradients come in a list."""

    def grad(original: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        return list(result) if isinstance(result, tuple) else result

    instead_of_grad(p, grad)


@fault("autograd_grad")
def grad_unwraps_one_gradient(p: Patch) -> None:
    """For one input the gradient comes bare instead of in a tuple of one."""

    def grad(original: Any, outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(outputs, inputs, *args, **kwargs)
        return result[0] if isinstance(inputs, engine.Tensor) else result

    instead_of_grad(p, grad)


@fault("autograd_grad")
def grad_of_a_dict_is_a_tuple(p: Patch) -> None:
    """A dict of inputs gives a tuple."""

    def grad(original: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        return tuple(result.values()) if isinstance(result, dict) else result

    instead_of_grad(p, grad)


@fault("autograd_grad")
def takes_any_mapping(p: Patch) -> None:
    """Every mapping is taken for a dict."""

    def given(inputs: Any, where: str) -> tuple:
        return original(dict(inputs) if hasattr(inputs, "keys") else inputs, where)

    original = asking._given_inputs
    p.set(asking, "_given_inputs", given)


@fault("autograd_grad")
def takes_empty_inputs(p: Patch) -> None:
    """No inputs, no gradients, no error."""

    def given(inputs: Any, where: str) -> tuple:
        return () if isinstance(inputs, (list, tuple, dict)) and not inputs else original(inputs, where)

    original = asking._given_inputs
    p.set(asking, "_given_inputs", given)


@fault("autograd_grad")
def unused_inputs_are_none_unasked(p: Patch) -> None:
    """An unused input gives None without allow_unused."""
    original = asking._result
    p.set(asking, "_result", lambda index, x, g, allow: original(index, x, g, True))


@fault("autograd_grad")
def unused_inputs_are_zeros(p: Patch) -> None:
    """allow_unused=True gives zeros instead of None."""

    def result(index: int, x: Any, g: Any, allow: bool) -> Any:
        return engine.zeros_like(x) if g is None and allow else original(index, x, g, allow)

    original = asking._result
    p.set(asking, "_result", result)


@fault("autograd_grad")
def names_the_first_input_as_unused(p: Patch) -> None:
    """The error about an unused input always names index 0."""
    original = asking._result
    p.set(asking, "_result", lambda index, x, g, allow: original(0, x, g, allow))


@fault("autograd_grad")
def materializes_constants(p: Patch) -> None:
    """Materialized zeros never require grad."""
    original = asking._materialized
    p.set(asking, "_materialized", lambda x, g, recorded: original(x, g, False))


@fault("autograd_grad")
def materializes_scalars(p: Patch) -> None:
    """Materialized zeros are a float32 scalar, whatever the input."""
    p.set(asking, "_materialized", lambda x, g, recorded: engine.zeros(()) if g is None else g)


@fault("autograd_grad")
def materializes_beside_allow_unused_false(p: Patch) -> None:
    """materialize_grads=True overrides allow_unused=False silently."""

    def grad(original: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("materialize_grads"):
            kwargs.pop("allow_unused", None)
        return original(*args, **kwargs)

    instead_of_grad(p, grad)


@fault("autograd_grad")
def only_inputs_is_silent(p: Patch) -> None:
    """only_inputs=False does not warn."""

    def grad(original: Any, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return original(*args, **kwargs)

    instead_of_grad(p, grad)


@fault("autograd_grad")
def only_inputs_is_obeyed(p: Patch) -> None:
    """only_inputs=False accumulates into all leaves, as it did long ago."""

    def grad(original: Any, outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("only_inputs") is False:
            asking.backward(outputs, retain_graph=True)
        return original(outputs, inputs, *args, **kwargs)

    instead_of_grad(p, grad)


@fault("autograd_grad")
def a_repeated_input_is_given_once(p: Patch) -> None:
    """At its second position a repeated input gets nothing."""

    def run_backward(*args: Any, **options: Any) -> Any:
        seen: set = set()
        found = []
        for target, g in zip(options.get("targets") or (), original(*args, **options), strict=True):
            found.append(None if target in seen else g)
            seen.add(target)
        return found

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("autograd_grad")
def only_leaves_are_inputs(p: Patch) -> None:
    """The gradient of an intermediate is not captured."""

    def restrict(self: Any, order: list, targets: Any, *, accumulating: bool) -> None:
        original(self, order, targets, accumulating=accumulating)
        self.captures = {target for target in self.captures if hasattr(target[0], "variable")}

    original = Pass.restrict
    p.set(Pass, "restrict", restrict)


@fault("autograd_grad")
def an_input_stops_the_pass(p: Patch) -> None:
    """What lies below a requested intermediate is not reached."""

    def restrict(self: Any, order: list, targets: Any, *, accumulating: bool) -> None:
        original(self, order, targets, accumulating=accumulating)
        if not accumulating:
            self.needed -= self.captured_nodes

    original = Pass.restrict
    p.set(Pass, "restrict", restrict)


@fault("autograd_grad")
def untracked_outputs_are_errors(p: Patch) -> None:
    """An output that does not require grad is refused beside others, though its gradient is None."""
    p.set(asking, "_without_constants", lambda roots, grads: (roots, grads))


@fault("autograd_grad")
def untracked_inputs_are_unused(p: Patch) -> None:
    """An input that does not require grad gives None instead of an error."""

    def targets(inputs: tuple) -> list:
        return [asking._target(x) or (engine.tape.node.AccumulateGrad(x), 0) for x in inputs]

    p.set(asking, "_grad_targets", targets)
    original = asking._result
    p.set(asking, "_result", lambda index, x, g, allow: original(index, x, g, True))


@fault("autograd_grad")
def grad_needs_grad_mode(p: Patch) -> None:
    """Under no_grad create_graph=True gives a constant."""

    def run_backward(roots: Any, seeds: Any, **options: Any) -> Any:
        found = original(roots, seeds, **options)
        if options["recorded"] and not engine.is_grad_enabled():
            return [g if g is None else g.detach() for g in found]
        return found

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("autograd_grad")
def allow_unused_is_the_default(p: Patch) -> None:
    """allow_unused has the default True in the signature."""

    def grad(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    original = asking.grad
    signature = inspect.signature(original)
    changed = [v.replace(default=True) if k == "allow_unused" else v for k, v in signature.parameters.items()]
    grad.__signature__ = signature.replace(parameters=changed)  # type: ignore[attr-defined]
    p.function(original, grad)


@fault("autograd_grad")
def edges_are_no_outputs(p: Patch) -> None:
    """A GradientEdge as output starts at the first output of its node's inputs: one node too deep."""

    def root_edges(roots: tuple) -> list:
        return [e[0].edges[0] if isinstance(r, engine.autograd.graph.GradientEdge) and e[0].edges else e
                for r, e in zip(roots, original(roots), strict=True)]  # fmt: skip

    original = asking._root_edges
    p.set(asking, "_root_edges", root_edges)


@fault("autograd_grad")
def outputs_are_averaged(p: Patch) -> None:
    """With several outputs the mean of their gradients is returned."""

    def run_backward(roots: Any, seeds: Any, **options: Any) -> Any:
        return original(roots, [seed / len(seeds) for seed in seeds], **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("autograd_grad")
def gradients_come_in_reverse(p: Patch) -> None:
    """Several inputs give their gradients last input first."""

    def run_backward(roots: Any, seeds: Any, **options: Any) -> Any:
        return original(roots, seeds, **options)[::-1]

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)
