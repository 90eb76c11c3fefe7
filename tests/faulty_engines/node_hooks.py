"""Faults of hooks on graph nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.tape import backward as running
from reference_engine.tape import hooks as module
from reference_engine.tape.backward import Pass
from reference_engine.tape.node import AccumulateGrad, Node, NodeHooks, RemovableHandle
from tests.faulty_engines.hooks_modules import fresh_global_hooks
from tests.faulty_engines.patching import Patch, fault


@fault("node_hooks")
def ignores_what_node_hooks_return(p: Patch) -> None:
    """Node hooks only look: what they return is dropped."""
    p.set(module, "_replaced", lambda hook, before, returned: before)


@fault("node_hooks")
def takes_any_tuple_from_node_hooks(p: Patch) -> None:
    """Length, type and size of what a node hook returns are not checked."""

    def replaced(hook: Any, before: tuple, returned: Any) -> tuple:
        if returned is None:
            return before
        found = returned if isinstance(returned, tuple) else (returned,)
        return (*found, *before[len(found) :])[: len(before)]

    p.set(module, "_replaced", replaced)


@fault("node_hooks")
def accepts_a_bare_tensor_from_node_hooks(p: Patch) -> None:
    """A bare tensor is taken for a tuple of one."""

    def replaced(hook: Any, before: tuple, returned: Any) -> tuple:
        if returned is not None and not isinstance(returned, tuple):
            returned = (returned, *before[1:])
        return original(hook, before, returned)

    original = module._replaced
    p.set(module, "_replaced", replaced)


@fault("node_hooks")
def checks_no_size_in_hooks(p: Patch) -> None:
    """A hook may change the size and type of a gradient."""
    p.set(module, "_check", lambda hook, before, after: None)


@fault("node_hooks")
def shows_gradients_before_they_are_summed(p: Patch) -> None:
    """Node hooks see gradients in the shape and dtype of the output, before broadcasting is undone."""

    def compute(self: Any, node: Any, grads: tuple, needed: tuple) -> tuple:
        results = node.tensors(grads, needed) if self.recorded else node.arrays(grads, needed)
        if not self.keep_graph:
            node.free()
        if node._hooks is not None and node._hooks.post:
            results = module.run_posthooks(node._hooks, results, grads, recorded=self.recorded)
        return results

    p.set(Pass, "compute", compute)


@fault("node_hooks")
def runs_prehooks_behind_the_node(p: Patch) -> None:
    """Pre-hooks run with the hooks, after the node."""

    def compute(self: Any, node: Any, grads: tuple, needed: tuple) -> tuple:
        results = original(self, node, grads, needed)
        if node._hooks is not None:
            module.run_prehooks(node._hooks, grads, recorded=self.recorded)
        return results

    original = Pass.compute
    p.set(Pass, "compute", compute)
    p.set(running, "run_prehooks", lambda hooks, grads, *, recorded: grads)


@fault("node_hooks")
def shows_hooks_the_gradient_before_prehooks(p: Patch) -> None:
    """A node hook's grad_outputs are those from before the pre-hooks."""
    arrived: dict[Any, tuple] = {}

    def run_prehooks(hooks: Any, grads: tuple, *, recorded: bool) -> tuple:
        arrived[hooks] = grads
        return module.run_prehooks(hooks, grads, recorded=recorded)

    def run_posthooks(hooks: Any, results: tuple, grads: tuple, *, recorded: bool) -> tuple:
        return module.run_posthooks(hooks, results, arrived.pop(hooks, grads), recorded=recorded)

    p.set(running, "run_prehooks", run_prehooks)
    p.set(running, "run_posthooks", run_posthooks)


@fault("node_hooks")
def runs_node_hooks_backwards(p: Patch) -> None:
    """The node hook registered last runs first."""

    def reversed_order(original: Any, place: str) -> Any:
        def run(hooks: Any, *args: Any, recorded: bool) -> tuple:
            turned = NodeHooks()
            turned.pre, turned.post = hooks.pre.copy(), hooks.post.copy()
            for key in list(getattr(turned, place))[::-1]:
                getattr(turned, place).move_to_end(key)
            return original(turned, *args, recorded=recorded)

        return run

    p.set(running, "run_prehooks", reversed_order(module.run_prehooks, "pre"))
    p.set(running, "run_posthooks", reversed_order(module.run_posthooks, "post"))


@fault("node_hooks")
def runs_node_hooks_once(p: Patch) -> None:
    """A node hook is dropped after it ran."""

    def run_posthooks(hooks: Any, *args: Any, recorded: bool) -> tuple:
        result = module.run_posthooks(hooks, *args, recorded=recorded)
        hooks.post.clear()
        return result

    p.set(running, "run_posthooks", run_posthooks)


@fault("node_hooks")
def keeps_removed_hooks(p: Patch) -> None:
    """remove() does nothing."""
    p.set(RemovableHandle, "remove", lambda self: None)
    fresh_global_hooks(p)


@fault("node_hooks")
def accumulates_past_prehooks(p: Patch) -> None:
    """What a pre-hook on AccumulateGrad returns is not what is accumulated."""

    def finish_leaf(self: Any, node: Any, gradient: Any) -> None:
        hooks, node._hooks = node._hooks, None
        try:
            if hooks is not None:
                module.run_prehooks(hooks, (gradient,), recorded=self.recorded)
            original(self, node, gradient)
            if hooks is not None:
                module.run_posthooks(hooks, (), (gradient,), recorded=self.recorded)
        finally:
            node._hooks = hooks

    original = Pass.finish_leaf
    p.set(Pass, "finish_leaf", finish_leaf)


@fault("node_hooks")
def runs_hooks_of_captured_nodes(p: Patch) -> None:
    """autograd.grad runs the node behind a requested input, with its hooks."""

    def before(self: Any, node: Any, grads: tuple) -> tuple:
        result = original(self, node, grads)
        if self.needed is not None and node not in self.needed and node._hooks is not None:
            module.run_prehooks(node._hooks, result, recorded=self.recorded)
            module.run_posthooks(node._hooks, (None,) * len(node.edges), result, recorded=self.recorded)
        return result

    original = Pass.before
    p.set(Pass, "before", before)


@fault("node_hooks")
def runs_every_node(p: Patch) -> None:
    """Restricting a pass to some inputs does not keep other branches from running."""

    def restrict(self: Any, order: list, targets: Any, *, accumulating: bool) -> None:
        original(self, order, targets, accumulating=accumulating)
        self.needed.update(node for node in order if node not in self.captured_nodes)

    original = Pass.restrict
    p.set(Pass, "restrict", restrict)


@fault("node_hooks")
def hides_outputs_without_gradient(p: Patch) -> None:
    """At a node with several outputs hooks see zeros where no gradient arrived."""

    def before(self: Any, node: Any, grads: tuple) -> tuple:
        if node.outputs > 1 and not self.recorded:
            grads = tuple(
                np.zeros(node.output_shape(nr), node.output_dtype(nr)) if g is None else g for nr, g in enumerate(grads)
            )
        return original(self, node, grads)

    original = Pass.before
    p.set(Pass, "before", before)


@fault("node_hooks")
def accumulate_grad_has_no_hooks(p: Patch) -> None:
    """Hooks on a leaf's AccumulateGrad node never run."""

    def hooks(self: Any) -> Any:
        return NodeHooks() if isinstance(self, AccumulateGrad) else original(self)

    original = Node.hooks
    p.set(Node, "hooks", hooks)


@fault("node_hooks")
def shows_hooks_lists(p: Patch) -> None:
    """Node hooks are given lists instead of tuples."""

    def run_posthooks(hooks: Any, results: tuple, grads: tuple, *, recorded: bool) -> tuple:
        outgoing, incoming = module.as_tensors(results, recorded), module.as_tensors(grads, recorded)
        for hook in list(hooks.post.values()):
            outgoing = module._replaced(hook, outgoing, hook(list(outgoing), list(incoming)))
        return module.as_values(outgoing, recorded)

    p.set(running, "run_posthooks", run_posthooks)


@fault("node_hooks")
def shows_zeros_for_untracked_inputs(p: Patch) -> None:
    """A node hook sees zeros for an input that is not tracked."""

    def run_posthooks(hooks: Any, results: tuple, grads: tuple, *, recorded: bool) -> tuple:
        filled = tuple(np.zeros(1, np.float32) if r is None and not recorded else r for r in results)
        return module.run_posthooks(hooks, filled, grads, recorded=recorded)

    p.set(running, "run_posthooks", run_posthooks)


@fault("node_hooks")
def runs_prehooks_before_tensor_hooks(p: Patch) -> None:
    """Node pre-hooks run before the tensor hooks of the node's output."""

    def before(self: Any, node: Any, grads: tuple) -> tuple:
        if node._hooks is not None:
            grads = module.run_prehooks(node._hooks, grads, recorded=self.recorded)
        return original(self, node, grads)

    original = Pass.before
    p.set(Pass, "before", before)
    p.set(running, "run_prehooks", lambda hooks, grads, *, recorded: grads)
