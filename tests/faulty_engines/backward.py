"""Faults of the backward pass and of what it is asked."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.ops import matmul
from reference_engine.tape import backward as running
from reference_engine.tape.backward import Pass
from reference_engine.tape.node import edge_of
from tests.faulty_engines.patching import Patch, asking, fault


def every_seed(p: Patch, change: Any) -> None:
    """Changes what the roots start with: change(root, given gradient, seed) -> seed."""

    def seeds(roots: tuple, grads: tuple) -> list:
        return [change(root, g, seed) for root, g, seed in zip(roots, grads, original(roots, grads), strict=True)]

    original = asking._seeds
    p.set(asking, "_seeds", seeds)


@fault("backward")
def ignores_the_gradient_argument(p: Patch) -> None:
    """backward(gradient) starts from ones, whatever gradient is."""
    every_seed(p, lambda root, g, seed: engine.ones_like(seed))


@fault("backward")
def ignores_the_gradient_of_scalars(p: Patch) -> None:
    """A gradient given for a one-element root is not multiplied in."""
    every_seed(p, lambda root, g, seed: engine.ones_like(seed) if seed.numel() == 1 else seed)


@fault("backward")
def broadcasts_the_gradient_argument(p: Patch) -> None:
    """A gradient of another shape is broadcast instead of refused."""

    def seeds(roots: tuple, grads: tuple) -> list:
        shaped = [g if g is None or not isinstance(g, engine.Tensor) else _stretched(g, root)
                  for root, g in zip(roots, grads, strict=True)]  # fmt: skip
        return original(roots, tuple(shaped))

    def _stretched(g: Any, root: Any) -> Any:
        try:
            return engine.tensor(np.broadcast_to(g._array, root.shape).copy(), dtype=g.dtype)
        except (ValueError, AttributeError):
            return g

    original = asking._seeds
    p.set(asking, "_seeds", seeds)


@fault("backward")
def seeds_vectors_with_ones(p: Patch) -> None:
    """A root with many elements needs no gradient: it is summed silently."""
    p.set(asking, "_implicit", lambda root, shape, dtype: engine.tensor(np.ones(shape, dtype)))


@fault("backward")
def accepts_untracked_roots(p: Patch) -> None:
    """backward() on something that does not require grad does nothing, silently."""

    def root_edges(roots: tuple) -> list:
        edges = [(r.node, r.output_nr) if hasattr(r, "node") else edge_of(r) for r in roots]
        return [edge if edge is not None else nowhere for edge in edges]

    nowhere = (engine.tape.node.AccumulateGrad(engine.zeros(())), 0)
    p.set(asking, "_root_edges", root_edges)


@fault("backward")
def sums_only_the_first_root(p: Patch) -> None:
    """Of several roots only the first is differentiated."""

    def make(original: Any) -> Any:
        def run_backward(roots: Any, seeds: Any, **options: Any) -> Any:
            return original(roots[:1], seeds[:1], **options)

        return run_backward

    p.set(asking, "run_backward", make(running.run_backward))


@fault("backward")
def counts_a_root_once(p: Patch) -> None:
    """A root listed twice counts once."""

    def run_backward(roots: Any, seeds: Any, **options: Any) -> Any:
        unique = dict(zip(roots, seeds, strict=True))
        return original(list(unique), list(unique.values()), **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("backward")
def ignores_inputs(p: Patch) -> None:
    """backward(inputs=...) fills every leaf."""
    p.set(asking, "_backward_inputs", lambda inputs: None)


@fault("backward")
def inputs_fill_their_neighbours(p: Patch) -> None:
    """With inputs= every leaf on the way receives a gradient as well."""

    def restrict(self: Any, order: list, targets: Any, *, accumulating: bool) -> None:
        original(self, order, targets, accumulating=accumulating)
        if accumulating:
            self.needed = None

    original = Pass.restrict
    p.set(Pass, "restrict", restrict)


@fault("backward")
def inputs_zero_where_unreached(p: Patch) -> None:
    """An input that the root does not depend on gets a gradient of zeros instead of None."""

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
        original(tensors, *args, **kwargs)
        inputs = kwargs.get("inputs")
        for x in inputs if isinstance(inputs, (list, tuple)) else ():
            if isinstance(x, engine.Tensor) and x._grad is None:
                x._grad = engine.zeros_like(x)

    original = asking.backward
    p.function(original, backward)


@fault("backward")
def does_nothing_under_no_grad(p: Patch) -> None:
    """backward() inside no_grad computes nothing."""

    def run_backward(roots: Any, seeds: Any, **options: Any) -> Any:
        if not engine.is_grad_enabled():
            return [None] * len(options.get("targets") or ())
        return original(roots, seeds, **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("backward")
def fills_untracked_leaves(p: Patch) -> None:
    """Tensors that do not require grad receive gradients of zeros when they were used."""

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
        roots = tensors if isinstance(tensors, (list, tuple)) else [tensors]
        used = [entry for root in roots for entry in _constants(getattr(root, "grad_fn", None))]
        original(tensors, *args, **kwargs)
        for entry in used:
            entry._grad = engine.zeros_like(entry)

    def _constants(node: Any) -> list:
        saved = getattr(node, "saved", None)
        own = [e for e in (saved if isinstance(saved, tuple) else ()) if isinstance(e, engine.Tensor)]
        below = [c for edge in getattr(node, "edges", ()) if edge for c in _constants(edge[0])]
        return [e for e in own if not e.requires_grad] + below

    original = asking.backward
    p.function(original, backward)


@fault("backward")
def transposes_no_matrix(p: Patch) -> None:
    """The gradient of A @ x with respect to x is A g instead of A^T g."""
    p.set(matmul, "mT", lambda x: x)


@fault("backward")
def transposes_no_square_matrix(p: Patch) -> None:
    """The transpose is forgotten where no shape tells: for a square A the gradient of A @ x is A g."""
    original = matmul.mT
    p.set(matmul, "mT", lambda x: x if x.shape[-1] == x.shape[-2] else original(x))


@fault("backward")
def returns_what_it_computed(p: Patch) -> None:
    """backward() returns the root instead of None."""

    def backward(self: Any, *args: Any, **kwargs: Any) -> Any:
        original(self, *args, **kwargs)
        return self

    original = engine.Tensor.backward
    p.set(engine.Tensor, "backward", backward)
