"""Faults that a tutorial's reader would meet first: wrong rules, optimizers and losses."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.ops import elementwise, positions, reductions
from reference_engine.ops.kinds import Rule
from tests.faulty_engines.patching import Patch, fault


def elementwise_rule(p: Patch, function: Any, *partials: Any) -> None:
    """Gives an elementwise operator other partial derivatives, in both readings and on the short path."""
    from reference_engine.ops import registry
    from reference_engine.ops.elementwise_kind import NAMES, ElementwiseNode
    from reference_engine.ops.elementwise_rules import compile_arrays, compile_rule

    node, names = function.operator.node, NAMES[len(partials)]
    for attribute, words in (
        ("rules_over_arrays", registry.ARRAY_WORDS),
        ("rules_over_tensors", registry.TENSOR_WORDS),
    ):
        p.set(node, attribute, tuple(None if t is None else compile_rule(t, names, words) for t in partials))
    p.set(node, "arrays", compile_arrays(partials, names, ElementwiseNode.arrays))


@fault("worked_examples")
def exp_has_slope_x(p: Patch) -> None:
    """The derivative of exp is taken to be its input."""

    def arrays(self: Any, grads: tuple, needed: Any) -> tuple:
        return (grads[0] * np.log(self.saved[1][0]),) if self.saved else (grads[0],)

    p.set(elementwise.exp.operator.node, "arrays", arrays)


@fault("worked_examples")
def mul_forgets_the_second_factor(p: Patch) -> None:
    """Only the first factor of a product receives a gradient of the right value."""
    elementwise_rule(p, elementwise.mul, "b", "b")


@fault("worked_examples")
def sub_adds(p: Patch) -> None:
    """The second operand of a difference receives the gradient with the wrong sign."""
    elementwise_rule(p, elementwise._sub, "1", "1")


@fault("worked_examples")
def pow_keeps_the_exponent(p: Patch) -> None:
    """d x^n / dx is n x^n."""
    p.set(
        elementwise.pow_number, "rules", (Rule(lambda g, x, exponent: g * (exponent * elementwise.power(x, exponent))),)
    )


@fault("worked_examples")
def mean_sums(p: Patch) -> None:
    """The gradient of the mean is not divided by the number of elements."""
    for op in (reductions.mean_all, reductions.mean_dims):
        p.set(op, "rules", (Rule(reductions._sum_rule),))


@fault("worked_examples")
def indexing_spreads_the_gradient(p: Patch) -> None:
    """The gradient of one element goes to every element."""

    def everywhere(g: Any, x_shape: tuple) -> Any:
        if isinstance(g, engine.Tensor):
            return g.reshape(()).expand(x_shape) if g.numel() == 1 else g.sum().expand(x_shape)
        return np.broadcast_to(np.asarray(g).sum(), x_shape)

    p.set(positions.select_dim, "rules", (Rule(everywhere),))


@fault("worked_examples")
def counts_one_path_of_a_diamond(p: Patch) -> None:
    """A node with two consumers receives the gradient of the last only."""
    from reference_engine.tape.backward import Pass

    def deliver(self: Any, edge: Any, gradient: Any) -> None:
        if gradient is not None and edge[0].outputs == 1:
            self.waiting.pop(edge[0], None)
        original(self, edge, gradient)

    original = Pass.deliver
    p.long_way()
    p.set(Pass, "deliver", deliver)


@fault("worked_examples")
def bce_is_not_averaged(p: Patch) -> None:
    """Binary cross entropy with logits sums where it is to average."""
    from reference_engine.ops import likelihoods

    p.set(likelihoods, "seed", lambda g, reduction, x: g)


@fault("worked_examples")
def momentum_is_ignored(p: Patch) -> None:
    """SGD steps along the plain gradient whatever momentum says."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs["momentum"] = 0.0
        original(self, *args, **kwargs)

    original = engine.optim.SGD.__init__
    p.set(engine.optim.SGD, "__init__", init)


@fault("worked_examples")
def zero_grad_does_nothing(p: Patch) -> None:
    """optimizer.zero_grad() leaves the gradients, so they pile up."""
    p.set(engine.optim.Optimizer, "zero_grad", lambda self, set_to_none=True: None)


@fault("worked_examples")
def step_moves_frozen_parameters(p: Patch) -> None:
    """A step moves parameters that have no gradient as well."""

    def step(self: Any, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter._grad is None:
                    parameter._array -= 0.01
        return original(self, closure)

    original = engine.optim.SGD.step
    p.set(engine.optim.SGD, "step", step)


@fault("worked_examples")
def forgets_the_bias_gradient(p: Patch) -> None:
    """The bias of a linear layer is treated as a constant."""
    from reference_engine.ops import affine

    rules = affine.plain_addmm.rules
    p.set(affine.plain_addmm, "rules", (None, *rules[1:]))


@fault("worked_examples")
def grad_keeps_what_none_cleared(p: Patch) -> None:
    """Setting `.grad = None` does not clear it."""
    original = engine.Tensor.grad

    def setter(self: Any, value: Any) -> None:
        if value is not None:
            original.fset(self, value)

    p.set(engine.Tensor, "grad", property(original.fget, setter, original.fdel))
