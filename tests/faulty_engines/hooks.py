"""Faults of tensor hooks."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import Any

import reference_engine as engine
from reference_engine.tape import backward as running
from reference_engine.tape import hooks as module
from reference_engine.tape import views
from reference_engine.tape.backward import Pass
from reference_engine.tape.node import RemovableHandle
from tests.faulty_engines.patching import Patch, fault

Tensor = engine.Tensor


def instead_of_tensor_hooks(p: Patch, run: Any) -> None:
    """Puts `run(hooks, gradient, recorded=)` where tensor hooks are run."""
    p.set(running, "run_tensor_hooks", run)
    p.set(module, "run_tensor_hooks", run)


@fault("hooks")
def tensor_hooks_only_look(p: Patch) -> None:
    """What a tensor hook returns is dropped."""
    original = module.run_tensor_hooks

    def run(hooks: Any, gradient: Any, *, recorded: bool) -> Any:
        original(hooks, gradient, recorded=recorded)
        return gradient

    instead_of_tensor_hooks(p, run)


@fault("hooks")
def tensor_hooks_run_backwards(p: Patch) -> None:
    """The tensor hook registered last runs first."""
    original = module.run_tensor_hooks

    def run(hooks: Any, gradient: Any, *, recorded: bool) -> Any:
        return original(OrderedDict(reversed(list(hooks.items()))), gradient, recorded=recorded)

    instead_of_tensor_hooks(p, run)


@fault("hooks")
def tensor_hooks_all_see_the_same(p: Patch) -> None:
    """Every tensor hook sees the gradient as it arrived; the last replacement counts."""
    original = module.run_tensor_hooks

    def run(hooks: Any, gradient: Any, *, recorded: bool) -> Any:
        result = gradient
        for key, hook in list(hooks.items()):
            found = original(OrderedDict([(key, hook)]), gradient, recorded=recorded)
            result = found if found is not gradient else result
        return result

    instead_of_tensor_hooks(p, run)


@fault("hooks")
def a_none_from_a_hook_is_zero(p: Patch) -> None:
    """A hook that returns None stops the gradient."""

    def run(hooks: Any, gradient: Any, *, recorded: bool) -> Any:
        (value,) = module.as_tensors((gradient,), recorded)
        for hook in list(hooks.values()):
            returned = hook(value)
            if returned is not None:
                module._check(hook, value, returned)
            value = engine.zeros_like(value) if returned is None else returned
        return module.as_values((value,), recorded)[0]

    instead_of_tensor_hooks(p, run)


@fault("hooks")
def hooks_may_return_anything(p: Patch) -> None:
    """Neither type nor size of what a hook returns is checked."""

    def check(hook: Any, before: Any, after: Any) -> None:
        return None

    p.set(module, "_check", check)


@fault("hooks")
def errors_in_hooks_are_swallowed(p: Patch) -> None:
    """An exception in a tensor hook is turned into a warning."""
    original = module.run_tensor_hooks

    def run(hooks: Any, gradient: Any, *, recorded: bool) -> Any:
        try:
            return original(hooks, gradient, recorded=recorded)
        except Exception as error:
            warnings.warn(str(error), stacklevel=1)
            return gradient

    instead_of_tensor_hooks(p, run)


@fault("hooks")
def a_hook_runs_for_each_use(p: Patch) -> None:
    """A leaf's tensor hook runs on every contribution instead of on their sum."""
    p.long_way()

    def deliver(self: Any, edge: Any, gradient: Any) -> None:
        hooks = getattr(getattr(edge[0], "variable", None), "_hooks", None)
        if hooks and gradient is not None:
            gradient = module.run_tensor_hooks(hooks, gradient, recorded=self.recorded)
        original(self, edge, gradient)

    def finish_leaf(self: Any, node: Any, gradient: Any) -> None:
        hooks, node.variable._hooks = node.variable._hooks, None
        try:
            finish(self, node, gradient)
        finally:
            node.variable._hooks = hooks

    original, finish = Pass.deliver, Pass.finish_leaf
    p.set(Pass, "deliver", deliver)
    p.set(Pass, "finish_leaf", finish_leaf)


@fault("hooks")
def untracked_tensors_take_hooks(p: Patch) -> None:
    """register_hook on a tensor that does not require grad is accepted, and nothing ever runs."""

    def register(self: Any, hook: Any) -> Any:
        return original(self, hook) if self.requires_grad else RemovableHandle(OrderedDict())

    original = Tensor.register_hook
    p.set(Tensor, "register_hook", register)


@fault("hooks")
def handles_remove_only_once(p: Patch) -> None:
    """A second remove() raises KeyError."""

    def remove(self: Any) -> None:
        hooks = self._hooks()
        if hooks is not None:
            del hooks[self.id]

    p.set(RemovableHandle, "remove", remove)


@fault("hooks")
def grad_returns_unhooked_gradients(p: Patch) -> None:
    """autograd.grad returns the gradient of a leaf from before its hooks."""

    def finish_leaf(self: Any, node: Any, gradient: Any) -> None:
        original(self, node, gradient)
        if node in self.captured_nodes:
            self.captured[node, 0] = gradient

    original = Pass.finish_leaf
    p.set(Pass, "finish_leaf", finish_leaf)


@fault("hooks")
def captured_gradients_are_unhooked(p: Patch) -> None:
    """autograd.grad returns the gradient of an intermediate from before its hooks."""

    def before(self: Any, node: Any, grads: tuple) -> tuple:
        result = original(self, node, grads)
        for nr, gradient in enumerate(grads):
            if (node, nr) in self.captures:
                self.captured[node, nr] = gradient
        return result

    original = Pass.before
    p.set(Pass, "before", before)


@fault("hooks")
def hooks_run_where_no_gradient_is_needed(p: Patch) -> None:
    """A restricted pass runs the tensor hooks of leaves that it does not need, with None."""

    def finish_leaf(self: Any, node: Any, gradient: Any) -> None:
        wanted = self.needed is None or node in self.needed or node in self.captured_nodes
        if node.variable._hooks and not wanted:
            module.run_tensor_hooks(node.variable._hooks, gradient, recorded=self.recorded)
        original(self, node, gradient)

    original = Pass.finish_leaf
    p.set(Pass, "finish_leaf", finish_leaf)


@fault("hooks")
def leaf_hooks_run_behind_accumulation(p: Patch) -> None:
    """A leaf's tensor hooks run when .grad was added to already."""

    def finish_leaf(self: Any, node: Any, gradient: Any) -> None:
        hooks, node.variable._hooks = node.variable._hooks, None
        try:
            original(self, node, gradient)
        finally:
            node.variable._hooks = hooks
        if hooks:
            module.run_tensor_hooks(hooks, gradient, recorded=self.recorded)

    original = Pass.finish_leaf
    p.set(Pass, "finish_leaf", finish_leaf)


@fault("hooks")
def hooks_follow_the_tensor(p: Patch) -> None:
    """After an in-place operation the tensor's earlier hooks move to its new node."""

    def move(tensor: Any, edge: Any) -> None:
        original(tensor, edge)
        before = tensor._edge
        if before is not None and edge is not None and before[0]._hooks is not None:
            hooks = before[0]._hooks.tensor.pop(before[1], None)
            if hooks:
                edge[0].hooks().tensor[edge[1]] = hooks

    original = views.move_retain
    p.set(views, "move_retain", move)
