"""Faults of what is around checkpointed regions: contexts, traces, segments, policies, groups of passes."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from reference_engine.autograd import graph
from reference_engine.state import state
from reference_engine.utils.checkpoint import selective, settings, trace
from reference_engine.utils.checkpoint.region import Region
from reference_engine.utils.checkpoint.selective import CheckpointPolicy, Giving, Keeping
from tests.faulty_engines.patching import Patch, fault

package: Any = importlib.import_module("reference_engine.utils.checkpoint")
calls: Any = importlib.import_module("reference_engine.utils.checkpoint.calls")


@fault("checkpoint")
def the_contexts_are_swapped(p: Patch) -> None:
    """context_fn's second context is around the first run, and the first around the second."""

    def recorded(function: Any, args: tuple, kwargs: dict, context_fn: Any, *rest: Any, **options: Any) -> Any:
        swapped = context_fn if context_fn is calls.noop_context_fn else lambda: context_fn()[::-1]
        return original(function, args, kwargs, swapped, *rest, **options)

    original = calls._recorded
    p.set(calls, "_recorded", recorded)


@fault("checkpoint")
def a_stopped_run_stays_in_its_context(p: Patch) -> None:
    """Where the second run is stopped early its context manager is not left."""

    class Kept:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> Any:
            return self.inner.__enter__()

        def __exit__(self, kind: Any, *exc: Any) -> Any:
            return self.inner.__exit__(kind, *exc) if kind is None else None

    def recorded(function: Any, args: tuple, kwargs: dict, context_fn: Any, *rest: Any, **options: Any) -> Any:
        plain = context_fn is calls.noop_context_fn or isinstance(context_fn()[1], Giving)
        made = context_fn if plain else lambda: (context_fn()[0], Kept(context_fn()[1]))
        return original(function, args, kwargs, made, *rest, **options)

    original = calls._recorded
    p.set(calls, "_recorded", recorded)


@fault("checkpoint")
def the_reentrant_variant_takes_everything(p: Patch) -> None:
    """context_fn, debug and keyword arguments are dropped in silence by the reentrant variant."""

    def checkpoint(*args: Any, use_reentrant: Any = None, **kwargs: Any) -> Any:
        if use_reentrant:
            kwargs = {k: v for k, v in kwargs.items() if k == "preserve_rng_state"}
        return original(*args, use_reentrant=use_reentrant, **kwargs)

    original = calls.checkpoint
    for owner in (package, calls):
        p.set(owner, "checkpoint", checkpoint)


@fault("checkpoint")
def traces_are_of_the_first_run(p: Patch) -> None:
    """debug=True tells the operators of the first run only."""
    p.set(trace, "REPORT", trace.REPORT.replace("{again}", "").replace("{again_stacks}", ""))


@fault("checkpoint")
def debug_says_no_more(p: Patch) -> None:
    """debug=True changes nothing about an error."""
    p.set(calls.Explaining, "unpack", Region.unpack)


@fault("checkpoint")
def the_debug_setting_does_nothing(p: Patch) -> None:
    """set_checkpoint_debug_enabled leaves the argument in force."""
    p.set(settings.Overrides, "debug", property(lambda self: None, lambda self, value: None))


@fault("checkpoint")
def the_last_segment_is_checkpointed(p: Patch) -> None:
    """checkpoint_sequential recomputes every segment."""

    def chain(steps: Any) -> Any:
        run = original(steps)

        def twice(value: Any) -> Any:
            if state.backward is None and value.requires_grad:
                return package.checkpoint(run, value, use_reentrant=False)
            return run(value)

        return twice

    original = calls._chain
    p.set(calls, "_chain", chain)


@fault("checkpoint")
def one_segment_too_few(p: Patch) -> None:
    """checkpoint_sequential checkpoints nothing where there are two segments."""

    def sequential(functions: Any, segments: int, *args: Any, **kwargs: Any) -> Any:
        return original(functions, segments - 1, *args, **kwargs)

    original = calls.checkpoint_sequential
    p.set(package, "checkpoint_sequential", sequential)


@fault("checkpoint")
def sequential_takes_any_keyword(p: Patch) -> None:
    """checkpoint_sequential ignores keyword arguments that it does not know."""

    def sequential(functions: Any, segments: int, input: Any, use_reentrant: Any = None, **kwargs: Any) -> Any:
        return original(functions, segments, input, use_reentrant=use_reentrant)

    original = calls.checkpoint_sequential
    p.set(package, "checkpoint_sequential", sequential)


@fault("checkpoint")
def containers_have_no_segments(p: Patch) -> None:
    """checkpoint_sequential runs the modules of an nn.Sequential without gradients for their parameters."""

    def chain(steps: Any) -> Any:
        def run(value: Any) -> Any:
            for step in steps:
                held = [q for q in getattr(step, "parameters", list)() if q.requires_grad]
                for q in held:
                    q.requires_grad_(False)
                value = step(value)
                for q in held:
                    q.requires_grad_(True)
            return value

        return run

    p.set(calls, "_chain", chain)


@fault("checkpoint")
def kept_results_are_computed_again(p: Patch) -> None:
    """Selective checkpointing keeps results and then does not use them."""

    def dispatch(self: Any, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        original(self, func, types, args, kwargs)
        return func(*args, **(kwargs or {}))

    original = Giving.__torch_dispatch__
    p.set(Giving, "__torch_dispatch__", dispatch)


@fault("checkpoint")
def everything_is_kept(p: Patch) -> None:
    """Selective checkpointing keeps the results of all operators, whatever the policy says."""
    p.set(selective, "SAVING", frozenset(CheckpointPolicy))


@fault("checkpoint")
def preferences_are_not_followed(p: Patch) -> None:
    """A policy of PREFER_SAVE keeps nothing."""
    p.set(selective, "SAVING", frozenset({CheckpointPolicy.MUST_SAVE}))


@fault("checkpoint")
def the_policy_is_asked_twice(p: Patch) -> None:
    """The policy function is asked in the second run too."""

    def dispatch(self: Any, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if self.entries:
            Keeping.last.policy(selective.SelectiveCheckpointContext(is_recompute=True), func, *args, **(kwargs or {}))
        return original(self, func, types, args, kwargs)

    def init(self: Any, policy: Any) -> None:
        first(self, policy)
        Keeping.last = self  # type: ignore[attr-defined]

    original, first = Giving.__torch_dispatch__, Keeping.__init__
    p.set(Giving, "__torch_dispatch__", dispatch)
    p.set(Keeping, "__init__", init)


@fault("checkpoint")
def kept_results_serve_again(p: Patch) -> None:
    """What selective checkpointing kept is given in every backward pass."""
    p.set(selective, "CONSUMED", None)

    def dispatch(self: Any, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        before = list(self.entries.get(func, ()))
        result = original(self, func, types, args, kwargs)
        if func in self.entries:
            self.entries[func][:] = before
        return result

    original = Giving.__torch_dispatch__
    p.set(Giving, "__torch_dispatch__", dispatch)


@fault("checkpoint")
def kept_results_may_change(p: Patch) -> None:
    """A kept result that was modified in place is used without an error."""
    p.wrap(selective.Kept, "value", lambda original: lambda self, mutable: original(self, mutable=True))


@fault("checkpoint")
def kept_results_may_never_change(p: Patch) -> None:
    """allow_cache_entry_mutation=True is ignored."""
    p.wrap(selective.Kept, "value", lambda original: lambda self, mutable: original(self, mutable=False))


@fault("checkpoint")
def any_policy_goes(p: Patch) -> None:
    """A policy that is neither function nor list of operators keeps nothing, and says nothing."""

    def contexts(policy: Any, allow_cache_entry_mutation: bool = False) -> Any:
        try:
            return original(policy, allow_cache_entry_mutation)
        except (TypeError, ValueError):
            return original([], allow_cache_entry_mutation)

    original = selective.create_selective_checkpoint_contexts
    p.function(original, contexts)


@fault("checkpoint")
def groups_do_not_share(p: Patch) -> None:
    """Each backward call under a GraphExecGroup recomputes for itself."""
    p.set(settings.GraphExecGroup, "__enter__", lambda self: self)


@fault("checkpoint")
def groups_may_be_nested(p: Patch) -> None:
    """A GraphExecGroup inside another takes its place."""

    def enter(self: Any) -> Any:
        state.exec_group = self
        return self

    p.set(settings.GraphExecGroup, "__enter__", enter)


@fault("checkpoint")
def memory_budgets_are_for_everyone(p: Patch) -> None:
    """region_activation_memory_budget does nothing outside of compiled regions."""
    p.set(graph, "region_activation_memory_budget", lambda budget: contextlib.nullcontext())
