"""Faults of torch.func: levels that are confused, history that leaks, blocks in the wrong place."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from reference_engine import printing
from reference_engine.batching import tensor as batching
from reference_engine.func import differentiated, ensembles, forward, functional_call, jacobians, reverse
from reference_engine.func.functionalize import functionalize
from reference_engine.fx import functionalization, tracing
from reference_engine.ops.joining import stack
from reference_engine.state import State, state
from reference_engine.tape import node, tangents, transforms
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, asking, fault

# The module: the package's attribute of that name is the function.
calling: Any = importlib.import_module("reference_engine.func.functional_call")


@fault("func_transforms")
def nested_jvps_share_a_level(p: Patch) -> None:
    """jvp inside jvp pushes its tangents at the outer one's level."""

    def enter(*, public: bool) -> Any:
        return state.dual_levels[-1] if state.dual_levels else tangents.enter(public=public)

    p.set(forward, "enter", enter)


@fault("func_transforms")
def nested_grads_share_inputs(p: Patch) -> None:
    """A transform differentiates with respect to a tracked input itself, where each has one of its own."""

    def new_input(x: Any) -> Tensor:
        return x if isinstance(x, Tensor) and x.requires_grad else original(x)

    original = differentiated._new_input
    p.function(original, new_input)


@fault("func_transforms")
def aux_is_differentiated(p: Patch) -> None:
    """With has_aux the second value is differentiated and the first passed on."""

    def with_aux(result: Any, where: str, has_aux: bool) -> tuple[Any, Any]:
        output, aux = original(result, where, has_aux)
        swapped = has_aux and isinstance(aux, Tensor) and aux.shape == output.shape
        return (aux, output) if swapped else (output, aux)

    original = differentiated.with_aux
    p.function(original, with_aux)


@fault("func_transforms")
def results_keep_the_history_of_inside(p: Patch) -> None:
    """What leaves a transform is still tracked with respect to the transform's own inputs."""
    p.function(differentiated.outside, lambda tree, *, tracked: tree)


@fault("func_transforms")
def inner_no_grad_is_ignored(p: Patch) -> None:
    """no_grad inside a transformed function has no effect."""

    def make(original: Any) -> Any:
        return lambda self, mode: original(self, mode or self.transforms > 0)

    p.wrap(State, "set_grad_enabled", make)


@fault("func_transforms")
def outer_no_grad_is_obeyed(p: Patch) -> None:
    """no_grad around the call of a transformed function stops it from differentiating."""

    @contextlib.contextmanager
    def transforming() -> Iterator[None]:
        mode = state.grad_enabled
        with original():
            state.set_grad_enabled(mode)
            yield

    original = differentiated.transforming
    p.function(original, transforming)


@fault("func_transforms")
def results_are_tracked_under_no_grad(p: Patch) -> None:
    """Results that depend on tracked tensors are tracked though grad mode is off outside."""
    p.set(reverse, "state", SimpleNamespace(grad_enabled=True))


@fault("func_transforms")
def saved_tensor_hooks_are_let_in(p: Patch) -> None:
    """Reverse-mode transforms run under saved_tensors_hooks."""

    @contextlib.contextmanager
    def transforming() -> Iterator[None]:
        hooks, state.saved_tensor_hooks = state.saved_tensor_hooks, ()
        try:
            with original():
                state.saved_tensor_hooks_disabled = None
                yield
        finally:
            state.saved_tensor_hooks = hooks

    original = differentiated.transforming
    p.function(original, transforming)


@fault("func_transforms")
def argnums_are_sorted(p: Patch) -> None:
    """Gradients come in the order of the arguments, not in that of argnums."""

    def chosen(args: tuple, argnums: Any, name: str = "argnums") -> Any:
        return original(args, tuple(sorted(argnums)) if isinstance(argnums, tuple) else argnums, name)

    original = differentiated.chosen
    p.function(original, chosen)


@fault("func_transforms")
def jacobian_blocks_are_swapped(p: Patch) -> None:
    """The blocks of a Jacobian with respect to several inputs come in reverse."""

    def by_output(columns: Any, outputs: Any, inputs: Any) -> Any:
        return [row[::-1] for row in original(columns, outputs, inputs)]

    original = jacobians._by_output
    p.function(original, by_output)


@fault("func_transforms")
def the_last_chunk_is_dropped(p: Patch) -> None:
    """Rows that make no whole chunk are computed as if there were fewer: they come out as zeros."""

    def mapped(function: Any, basis: list[Tensor], chunk_size: int | None, randomness: str = "error") -> list[Tensor]:
        results = original(function, basis, chunk_size, randomness)
        whole = len(basis[0]) // (chunk_size or 1) * (chunk_size or 1)
        for result in results:
            result.detach()[whole:] = 0
        return results

    original = jacobians._mapped
    p.function(original, mapped)


@fault("func_transforms")
def chunk_size_is_ignored(p: Patch) -> None:
    """jacrev goes through vmap whatever chunk_size says."""
    original = jacobians._mapped
    p.function(
        original, lambda function, basis, chunk_size, randomness="error": original(function, basis, None, randomness)
    )


@fault("func_transforms")
def hessian_is_reverse_over_reverse(p: Patch) -> None:
    """hessian is jacrev of jacrev."""

    def hessian(func: Any, argnums: Any = 0) -> Any:
        return jacobians.jacrev(jacobians.jacrev(func, argnums), argnums)

    p.function(jacobians.hessian, hessian)


@fault("func_transforms")
def linearize_runs_again(p: Patch) -> None:
    """What linearize returns runs the function each time."""

    def linearize(func: Any, *primals: Any) -> tuple:
        return func(*primals), lambda *given: forward.jvp(func, primals, given)[1]

    p.function(jacobians.linearize, linearize)


@fault("func_transforms")
def pulls_serve_once(p: Patch) -> None:
    """What vjp returns frees the graph when it is called."""

    def make(original: Any) -> Any:
        def grad(*args: Any, **options: Any) -> Any:
            keep = options.get("retain_graph") and not state.transforms
            return original(*args, **{**options, "retain_graph": keep or options.get("create_graph", False)})

        return grad

    p.wrap(asking, "grad", make)


@fault("func_transforms")
def unused_inputs_give_none(p: Patch) -> None:
    """The gradient for an input that the output does not depend on is None."""
    p.set(differentiated, "zeros_like", lambda x: None)


@fault("func_transforms")
def modules_are_not_restored_after_an_error(p: Patch) -> None:
    """Where forward raises, the module keeps the tensors that it was called with."""

    def call(module: Any, dicts: Any, *args: Any, **options: Any) -> Any:
        try:
            return original(module, dicts, *args, **options)
        except ValueError:
            for name, value in calling._merged(dicts).items():
                if name in module._parameters:
                    module._parameters[name] = value
            raise

    original = functional_call
    p.function(original, call)


@fault("func_transforms")
def tied_weights_are_forgotten(p: Patch) -> None:
    """functional_call replaces the names that it was given, and not those tied to them."""
    p.function(calling._tied, lambda wanted, own: wanted)


@fault("func_transforms")
def functional_call_copies(p: Patch) -> None:
    """functional_call works on copies of the tensors, so that changes in place reach nobody."""
    original = calling._merged
    p.function(original, lambda dicts: {name: value.clone() for name, value in original(dicts).items()})


@fault("func_transforms")
def plain_names_go_through_parametrizations(p: Patch) -> None:
    """A value under the plain name of a parametrized tensor is ignored."""
    p.function(calling._is_parametrized, lambda module, name: False)


@fault("func_transforms")
def stacked_state_is_no_leaf(p: Patch) -> None:
    """Stacked parameters are computed from those of the models."""
    p.function(ensembles._stacked, lambda tensors: stack(tensors))


@fault("func_transforms")
def functionalize_works_on_copies(p: Patch) -> None:
    """What a functionalized function changes of its inputs does not reach the caller."""

    def make(func: Any, *, remove: str = "mutations") -> Any:
        return lambda *args: original(func, remove=remove)(*[a.clone() if isinstance(a, Tensor) else a for a in args])

    original = functionalize
    p.function(original, make)


@fault("func_transforms")
def jacfwd_batches_primals(p: Patch) -> None:
    """jacfwd repeats the primals for each column, so that their values cannot be read."""

    def make(original: Any) -> Any:
        def jvp(func: Any, primals: Any, given: Any, **options: Any) -> Any:
            return original(func, tuple(x + t * 0 for x, t in zip(primals, given, strict=True)), given, **options)

        return jvp

    p.wrap(jacobians, "jvp", make)


# --- functionalize under make_fx -------------------------------------------------------------------------------------


@fault("func_transforms")
def functionalize_leaves_changes_in_place(p: Patch) -> None:
    """A trace of a functionalized function shows what the function itself calls."""
    p.set(functionalization, "functionalized", lambda func, args, kwargs, *, copies: func(*args, **kwargs))


@fault("func_transforms")
def functionalize_leaves_views(p: Patch) -> None:
    """remove="mutations_and_views" removes changes in place only."""

    def functionalized(func: Any, args: tuple, kwargs: dict, *, copies: bool) -> Any:
        return original(func, args, kwargs, copies=False)

    original = functionalization.functionalized
    p.set(functionalization, "functionalized", functionalized)


@fault("func_transforms")
def functionalize_forgets_inputs(p: Patch) -> None:
    """What a functionalized function leaves in its inputs is not copied into them."""

    def functionalized(func: Any, args: tuple, kwargs: dict, *, copies: bool) -> Any:
        own = [a.clone() if isinstance(a, Tensor) else a for a in args]
        return original(func, tuple(own), kwargs, copies=copies)

    original = functionalization.functionalized
    p.set(functionalization, "functionalized", functionalized)


@fault("func_transforms")
def functionalize_changes_a_view_alone(p: Patch) -> None:
    """What is written through a view does not reach the tensor that it is a view of."""

    def write(self: Any, value: Tensor) -> None:
        if self.views:
            self.value = value
        else:
            original(self, value)

    original = functionalization.Functional.write
    p.set(functionalization.Functional, "write", write)


@fault("func_transforms")
def graphs_know_one_input(p: Patch) -> None:
    """A graph computes with the example, whatever it is called with."""

    def trace(self: Any, f: Any, names: Any, args: tuple, example: Any) -> Any:
        module = original(self, f, names, args, example)
        examples = [a.clone() if isinstance(a, Tensor) else a for a in args]
        run = module.graph.run
        module.graph.run = lambda inputs, evaluate: run(examples if isinstance(inputs[0], Tensor) else inputs, evaluate)
        return module

    original = tracing.Tracer.trace
    p.set(tracing.Tracer, "trace", trace)


# --- tensors that are kept -------------------------------------------------------------------------------------------


@fault("func_transforms")
def kept_tensors_stay_tracked(p: Patch) -> None:
    """Operators on a tensor that was kept longer than its transform are recorded, to an input that is gone."""
    p.function(transforms.outer_edge, node.edge_of)


@fault("func_transforms")
def kept_tensors_lose_all_history(p: Patch) -> None:
    """A tensor that was kept longer than its transform is a constant, also where its value is tracked outside."""

    def outer_edge(tensor: Tensor) -> Any:
        return None if any(t.leaves and t.made(tensor) for t in state.kept) else node.edge_of(tensor)

    p.function(transforms.outer_edge, outer_edge)


@fault("func_transforms")
def transforms_do_not_show(p: Patch) -> None:
    """A tensor's text does not say that a transform tracks it."""
    p.set(printing, "_tracked", lambda tensor: [])


@fault("func_transforms")
def transforms_are_not_numbered(p: Patch) -> None:
    """Each transform's wrapper is numbered as if it was the only one."""

    def init(self: Any) -> None:
        original(self)
        self.number = 1

    original = transforms.Transform.__init__
    p.set(transforms.Transform, "__init__", init)


@fault("func_transforms")
def kept_batched_tensors_show_an_example(p: Patch) -> None:
    """A batched tensor that was kept longer than its vmap stands for its first example."""

    def refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        return np.zeros(self.shape, self.dtype)

    p.wrap(batching.Probe, "__getattr__", lambda original: lambda self, name: (
        getattr(refuse(self), name) if self.level not in state.vmap_levels else original(self, name)))  # fmt: skip
    p.wrap(batching.Probe, "__array_ufunc__", lambda original: lambda self, *a, **k: (
        refuse(self) if self.level not in state.vmap_levels else original(self, *a, **k)))  # fmt: skip
