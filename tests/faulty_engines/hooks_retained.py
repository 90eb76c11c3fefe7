"""Faults of retain_grad and of post-accumulate-grad hooks."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.tape import accumulate, views
from reference_engine.tape import backward as running
from reference_engine.tape import hooks as module
from reference_engine.tape.backward import Pass
from tests.faulty_engines.patching import Patch, fault

Tensor = engine.Tensor


@fault("hooks")
def retain_grad_stays_behind(p: Patch) -> None:
    """After an in-place operation the retained gradient is that of the old value."""
    p.set(views, "move_retain", lambda tensor, edge: None)


@fault("hooks")
def every_intermediate_keeps_its_gradient(p: Patch) -> None:
    """Registering a hook on a non-leaf makes it retain its gradient."""

    def register(self: Any, hook: Any) -> Any:
        handle = original(self, hook)
        self.retain_grad()
        return handle

    original = Tensor.register_hook
    p.set(Tensor, "register_hook", register)


@fault("hooks")
def retained_gradients_are_replaced(p: Patch) -> None:
    """A second backward replaces the retained .grad."""

    def retain(self: Any, gradient: Any, *, recorded: bool) -> None:
        self._grad = None
        original(self, gradient, recorded=recorded)

    original = Tensor._retain
    p.set(Tensor, "_retain", retain)


@fault("hooks")
def retained_gradients_are_unhooked(p: Patch) -> None:
    """A retained .grad is the gradient from before the tensor hooks."""

    def before(self: Any, node: Any, grads: tuple) -> tuple:
        if node._hooks is not None:
            module.keep_retained(node._hooks, grads, recorded=self.recorded)
        return original(self, node, grads)

    original = Pass.before
    p.set(Pass, "before", before)
    p.set(running, "keep_retained", lambda hooks, grads, *, recorded: None)


@fault("hooks")
def retained_gradients_come_before_prehooks(p: Patch) -> None:
    """A node pre-hook sees the .grad of the node's output set already."""

    def run_prehooks(hooks: Any, grads: tuple, *, recorded: bool) -> tuple:
        module.keep_retained(hooks, grads, recorded=recorded)
        result = module.run_prehooks(hooks, grads, recorded=recorded)
        for reference in hooks.retain.values():
            reference()._grad = None
        return result

    p.set(running, "run_prehooks", run_prehooks)


@fault("hooks")
def retained_gradients_see_prehooks(p: Patch) -> None:
    """A retained .grad is what the node's pre-hooks left."""

    def before(self: Any, node: Any, grads: tuple) -> tuple:
        result = original(self, node, grads)
        if node._hooks is not None:
            module.keep_retained(node._hooks, result, recorded=self.recorded)
        return result

    original = Pass.before
    p.set(Pass, "before", before)
    p.set(running, "keep_retained", lambda hooks, grads, *, recorded: None)


@fault("hooks")
def grad_fills_no_retained_gradient(p: Patch) -> None:
    """autograd.grad leaves the .grad of intermediates that retain it alone."""

    def before(self: Any, node: Any, grads: tuple) -> tuple:
        if self.captures and node._hooks is not None:
            kept, node._hooks.retain = node._hooks.retain, {}
            try:
                return original(self, node, grads)
            finally:
                node._hooks.retain = kept
        return original(self, node, grads)

    original = Pass.before
    p.set(Pass, "before", before)


@fault("hooks")
def leaves_say_they_retain(p: Patch) -> None:
    """retain_grad() on a leaf sets retains_grad, and on a constant does nothing."""

    def retain_grad(self: Any) -> None:
        if self._edge is None:
            self._retains = True
        else:
            original(self)

    original = Tensor.retain_grad
    p.set(Tensor, "retain_grad", retain_grad)


@fault("hooks")
def post_accumulate_hooks_come_early(p: Patch) -> None:
    """Post-accumulate-grad hooks run before .grad is added to."""

    def add(variable: Any, gradient: Any, *, recorded: bool) -> None:
        hooks, variable._post_accumulate_hooks = variable._post_accumulate_hooks, None
        if hooks:
            for hook in list(hooks.values()):
                hook(variable)
        original(variable, gradient, recorded=recorded)
        variable._post_accumulate_hooks = hooks

    original = accumulate.accumulate
    p.set(running, "accumulate", add)


@fault("hooks")
def post_accumulate_hooks_see_the_gradient(p: Patch) -> None:
    """Post-accumulate-grad hooks are given a copy of the leaf."""

    def run(variable: Any) -> None:
        copy = engine.tensor(variable._array, requires_grad=True)
        copy._grad = variable._grad
        for hook in list(variable._post_accumulate_hooks.values()):
            hook(copy)

    p.set(accumulate, "run_post_accumulate_hooks", run)


@fault("hooks")
def post_accumulate_hooks_are_recorded(p: Patch) -> None:
    """Post-accumulate-grad hooks run with grad mode on."""

    def run(variable: Any) -> None:
        with engine.enable_grad():
            original(variable)

    original = accumulate.run_post_accumulate_hooks
    p.set(accumulate, "run_post_accumulate_hooks", run)


@fault("hooks")
def post_accumulate_hooks_run_backwards(p: Patch) -> None:
    """The post-accumulate-grad hook registered last runs first."""

    def run(variable: Any) -> None:
        hooks = variable._post_accumulate_hooks
        for key in list(hooks)[::-1]:
            hooks.move_to_end(key)
        original(variable)

    original = accumulate.run_post_accumulate_hooks
    p.set(accumulate, "run_post_accumulate_hooks", run)


@fault("hooks")
def post_accumulate_hooks_on_anything(p: Patch) -> None:
    """A non-leaf takes a post-accumulate-grad hook, as a tensor hook."""

    def register(self: Any, hook: Any) -> Any:
        if self._edge is not None:
            return self.register_hook(lambda g: hook(self))
        return original(self, hook)

    original = Tensor.register_post_accumulate_grad_hook
    p.set(Tensor, "register_post_accumulate_grad_hook", register)


@fault("hooks")
def grad_runs_post_accumulate_hooks(p: Patch) -> None:
    """autograd.grad runs the post-accumulate-grad hooks of its leaves."""

    def finish_leaf(self: Any, node: Any, gradient: Any) -> None:
        original(self, node, gradient)
        if node in self.captured_nodes and node.variable._post_accumulate_hooks:
            module.run_post_accumulate_hooks(node.variable)

    original = Pass.finish_leaf
    p.set(Pass, "finish_leaf", finish_leaf)


@fault("hooks")
def retain_grad_chains(p: Patch) -> None:
    """retain_grad() returns the tensor."""

    def retain_grad(self: Any) -> Any:
        original(self)
        return self

    original = Tensor.retain_grad
    p.set(Tensor, "retain_grad", retain_grad)
