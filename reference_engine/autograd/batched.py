"""Batches of vector-Jacobian products: the backward pass runs once for each vector, and the results are stacked.

Law: the batched result is the stack of what single calls give. Source: torch.autograd.grad, is_grads_batched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference_engine.autograd.graph import GradientEdge
from reference_engine.dtypes import of_numpy, same
from reference_engine.state import state
from reference_engine.tensor import Tensor, held

MISMATCH = (
    "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch dimension. The sizes "
    "of the remaining dimensions are expected to match the shape of corresponding output, but a mismatch was detected: "
    "grad_output[{i}] has a shape of {given} and output[{i}] has a shape of {shape}. If you only want some tensors in "
    "`grad_output` to be considered batched, consider using vmap."
)
NO_BATCH = (
    "vmap(vjp, in_dims=0, ...)(<inputs>): Got in_dim=0 for some input, but that input is a Tensor of dimensionality 0 so "
    "expected in_dim to satisfy 0 <= in_dim < 0."
)


def batched_seeds(roots: tuple, grads: tuple) -> list[Tensor]:
    """One batch of vectors per root, shapes checked: the vectors along the first dimension."""
    seeds = [_batch(i, root, g) for i, (root, g) in enumerate(zip(roots, grads, strict=True))]
    sizes = [len(seed._array) for seed in seeds]
    if len(set(sizes)) > 1:
        raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} "
                         "for the mapped dimension")  # fmt: skip
    return seeds


def _batch(i: int, root: Any, g: Any) -> Tensor:
    node, nr = root._recorded if isinstance(root, GradientEdge) else (None, 0)
    shape = node.output_shape(nr) if node is not None else root._array.shape
    if g is None:
        # What stands for None is one vector: it has no batch dimension.
        if not shape:
            raise ValueError(NO_BATCH)
        raise RuntimeError(f"invalid gradient at index {i} - got {list(shape[1:])} but expected shape compatible with "
                           f"{list(shape)}")  # fmt: skip
    if not isinstance(g, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if not g._array.ndim:
        raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
                         "convert a 0-dim tensor to a number")  # fmt: skip
    if g._array.shape[1:] != tuple(shape):
        if node is not None:
            raise RuntimeError("Batched grads are not supported with GradientEdge")
        raise RuntimeError(MISMATCH.format(i=i, given=g.shape, shape=root.shape))
    if not len(g._array):
        raise IndexError("index 0 is out of bounds for dimension 0 with size 0")
    dtype = node.output_dtype(nr) if node is not None else root._array.dtype
    return g if same(g._array.dtype, dtype) else g.to(of_numpy(dtype))


def pull_batched(seeds: list[Tensor], pull: Callable[[list[Tensor], bool], list], *, keep_graph: bool,
                 recorded: bool) -> list:  # fmt: skip
    """`pull(vectors, keep_graph)` for each vector of the batch; per target the stack of the results, or None."""
    count = len(seeds[0]._array)
    before = state.set_grad_enabled(recorded)
    try:
        rows = [pull([seed[k] for seed in seeds], keep_graph or k < count - 1) for k in range(count)]
        return [_stacked(column) for column in zip(*rows, strict=True)]
    finally:
        state.set_grad_enabled(before)


def _stacked(column: tuple) -> Tensor | None:
    from reference_engine.ops.joining import stack

    if any(g is None for g in column):
        return None
    return stack([g if isinstance(g, Tensor) else held(g) for g in column])
