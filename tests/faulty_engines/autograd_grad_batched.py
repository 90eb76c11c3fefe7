"""Faults of torch.autograd.grad with batches of vectors."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.autograd import batched
from tests.faulty_engines.autograd_grad import instead_of_grad
from tests.faulty_engines.patching import Patch, fault


@fault("autograd_grad")
def batches_are_summed(p: Patch) -> None:
    """Batched gradients are added up instead of stacked."""

    def stacked(column: tuple) -> Any:
        result = original(column)
        return result if result is None else result.sum(0)

    original = batched._stacked
    p.set(batched, "_stacked", stacked)


@fault("autograd_grad")
def batches_are_transposed(p: Patch) -> None:
    """The batch dimension of the results is the last one."""

    def stacked(column: tuple) -> Any:
        result = original(column)
        return result if result is None else result.movedim(0, -1)

    original = batched._stacked
    p.set(batched, "_stacked", stacked)


@fault("autograd_grad")
def batches_are_constants(p: Patch) -> None:
    """Batched gradients are cut from the graph, also with create_graph."""

    def stacked(column: tuple) -> Any:
        result = original(column)
        return result if result is None else result.detach()

    original = batched._stacked
    p.set(batched, "_stacked", stacked)


@fault("autograd_grad")
def batches_broadcast(p: Patch) -> None:
    """A batch whose vectors have another shape is broadcast."""

    def batch(i: int, root: Any, g: Any) -> Any:
        if isinstance(root, engine.Tensor) and g is not None and g.shape[1:] != root.shape:
            g = g.reshape(len(g), -1)[:, :1].expand(len(g), *root.shape) if g.ndim > 1 else g.expand(1, *root.shape)
        return original(i, root, g)

    original = batched._batch
    p.set(batched, "_batch", batch)


@fault("autograd_grad")
def a_batch_of_one_stands_for_none(p: Patch) -> None:
    """is_grads_batched without grad_outputs takes a batch of one."""

    def batch(i: int, root: Any, g: Any) -> Any:
        return original(i, root, engine.ones(1, *root.shape) if g is None else g)

    original = batched._batch
    p.set(batched, "_batch", batch)


@fault("autograd_grad")
def extra_dimensions_are_a_batch(p: Patch) -> None:
    """A grad_outputs tensor with one more dimension is taken for a batch unasked."""

    def grad(original: Any, outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(grad_outputs, engine.Tensor) and isinstance(outputs, engine.Tensor):
            kwargs.setdefault("is_grads_batched", grad_outputs.ndim == outputs.ndim + 1)
            kwargs["is_grads_batched"] |= grad_outputs.ndim == outputs.ndim + 1
        return original(outputs, inputs, grad_outputs, *args, **kwargs)

    instead_of_grad(p, grad)
