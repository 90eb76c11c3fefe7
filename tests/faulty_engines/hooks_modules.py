"""Faults of hooks on modules."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import reference_engine as engine
from reference_engine.nn.modules import backward_hook
from reference_engine.nn.modules import hooks as module_hooks
from reference_engine.nn.modules.backward_hook import BackwardHook
from reference_engine.tape.node import RemovableHandle
from tests.faulty_engines.patching import Patch, fault

Tensor = engine.Tensor


def fresh_global_hooks(p: Patch) -> None:
    """Global hooks that a fault keeps from being removed go with the fault."""
    for name in ("forward_pre_hooks", "forward_hooks", "backward_hooks", "backward_pre_hooks"):
        p.set(module_hooks, f"global_{name}", OrderedDict())


@fault("hooks")
def full_backward_hooks_only_look(p: Patch) -> None:
    """What a full backward hook returns is dropped, also when it has the wrong length."""

    def at_inputs(self: Any, grad_input: tuple, rest: tuple) -> None:
        hooks = self.hooks
        self.hooks = [lambda *args, hook=hook: hook(*args) and None for hook in hooks]
        original(self, grad_input, rest)

    original = BackwardHook._at_inputs
    p.set(BackwardHook, "_at_inputs", at_inputs)


@fault("hooks")
def full_backward_hooks_miss_untracked_inputs(p: Patch) -> None:
    """Without tracked inputs the hook never runs."""
    p.set(BackwardHook, "_without_inputs", lambda self, grads: None)


@fault("hooks")
def full_backward_hooks_see_tensors_only(p: Patch) -> None:
    """grad_input and grad_output have no entries for arguments and results that are no tensors."""
    p.set(backward_hook, "spread", lambda indices, values, size: tuple(values))


@fault("hooks")
def full_backward_pre_hooks_only_look(p: Patch) -> None:
    """What a full backward pre-hook returns is dropped."""

    def run(self: Any, grads: tuple) -> tuple:
        original(self, grads)
        return grads

    original = BackwardHook._run_pre_hooks
    p.set(BackwardHook, "_run_pre_hooks", run)


@fault("hooks")
def full_backward_pre_hooks_iterate_a_tensor(p: Patch) -> None:
    """A bare tensor from a full backward pre-hook is read as a sequence along its first dimension."""

    def run(self: Any, grads: tuple) -> tuple:
        hooks = self.pre_hooks
        self.pre_hooks = [
            lambda module, g, hook=hook: tuple(r) if isinstance(r := hook(module, g), Tensor) else r for hook in hooks
        ]
        return original(self, grads)

    original = BackwardHook._run_pre_hooks
    p.set(BackwardHook, "_run_pre_hooks", run)


@fault("hooks")
def module_hooks_are_never_prepended(p: Patch) -> None:
    """prepend=True is ignored."""
    original = module_hooks.put
    p.set(module_hooks, "put", lambda hooks, hook, *, first=False: original(hooks, hook))


@fault("hooks")
def dict_outputs_are_silent(p: Patch) -> None:
    """A module whose output is a dict does not warn that its backward hook is not called."""
    p.set(module_hooks.Hooked, "_hook_outputs", lambda self, around, result: around.setup_output_hook(result))


@fault("hooks")
def both_kinds_of_backward_hooks_mix(p: Patch) -> None:
    """Full and old backward hooks may be registered on one module."""

    def register(self: Any, hook: Any, prepend: bool = False) -> Any:
        self._is_full_backward_hook = None
        return original(self, hook, prepend)

    original = module_hooks.Hooked.register_full_backward_hook
    p.set(module_hooks.Hooked, "register_full_backward_hook", register)


@fault("hooks")
def global_backward_hooks_stay_out(p: Patch) -> None:
    """Global full backward hooks are never run."""
    p.set(module_hooks, "global_backward_hooks", OrderedDict())
    keep: OrderedDict = OrderedDict()
    p.function(module_hooks.register_module_full_backward_hook, lambda hook: module_hooks.put(keep, hook))


@fault("hooks")
def hooked_outputs_are_no_views(p: Patch) -> None:
    """Behind a full backward hook inputs and outputs are copies that may be changed in place."""

    class Copying(backward_hook.BackwardHookFunction):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.mark_non_differentiable(*[arg for arg in args if not arg.requires_grad])
            return tuple(arg.clone() for arg in args)

    p.set(backward_hook, "BackwardHookFunction", Copying)


@fault("hooks")
def forward_hooks_only_look(p: Patch) -> None:
    """What forward hooks and pre-hooks return is dropped."""

    def call(self: Any, *args: Any) -> None:
        original(self, *args)

    original = module_hooks.Entry.__call__
    p.set(module_hooks.Entry, "__call__", call)


@fault("hooks")
def forward_hooks_run_once(p: Patch) -> None:
    """A forward hook runs in the first forward pass only."""

    def call(self: Any, *args: Any) -> Any:
        if id(self) in ran:
            return None
        ran.add(id(self))
        kept.append(self)
        return original(self, *args)

    ran: set[int] = set()
    kept: list = []
    original = module_hooks.Entry.__call__
    p.set(module_hooks.Entry, "__call__", call)


@fault("hooks")
def batch_norm_does_not_normalize(p: Patch) -> None:
    """BatchNorm1d passes its input on unchanged."""
    p.set(engine.nn.BatchNorm1d, "forward", lambda self, x: x)


@fault("hooks")
def full_backward_hooks_see_lists(p: Patch) -> None:
    """Full backward hooks are given lists instead of tuples."""

    def start(self: Any, module: Any, hooks: Any, pre_hooks: Any) -> None:
        listed = [lambda m, gi, go, hook=hook: hook(m, list(gi), list(go)) for hook in hooks]
        original(self, module, listed, pre_hooks)

    original = BackwardHook.__init__
    p.set(BackwardHook, "__init__", start)


@fault("hooks")
def full_backward_hooks_run_for_constants(p: Patch) -> None:
    """The hook of a module whose output is not tracked runs at the end of forward."""

    def setup(self: Any, result: Any) -> Any:
        passed = original(self, result)
        if self.outputs is None:
            for hook in self.hooks:
                hook(self.module, (None,) * self.input_count, (None,) * self.output_count)
        return passed

    original = BackwardHook.setup_output_hook
    p.set(BackwardHook, "setup_output_hook", setup)


@fault("hooks")
def module_handles_remove_nothing(p: Patch) -> None:
    """The handle of a module's hook does not remove it."""

    def put(hooks: Any, hook: Any, *, first: bool = False) -> Any:
        original(hooks, hook, first=first)
        return RemovableHandle(OrderedDict())

    original = module_hooks.put
    p.set(module_hooks, "put", put)
    fresh_global_hooks(p)
