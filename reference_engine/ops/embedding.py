"""Embedding: rows of a table at indices; linear in the table. Source: torch.nn.functional.embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.batching.examplewise import examplewise
from reference_engine.ops import registry
from reference_engine.ops.also_saved import saves
from reference_engine.ops.kinds import linear
from reference_engine.ops.positions import add_at
from reference_engine.tape.saved import type_name
from reference_engine.tensor import Tensor, wrap


def _rule(g: Any, indices: np.ndarray, share: Any, x_shape: tuple) -> Any:
    """Adds each gradient to its row, times what the row receives of it (0 for the padding row)."""
    if share is not None:
        g = g * (wrap(share.astype(g._array.dtype)) if isinstance(g, Tensor) else share.astype(g.dtype))
    return add_at(g, key=(indices,), shape=x_shape)


rows = linear(
    "embedding", lambda x, *, indices, share: x[indices], _rule, node="EmbeddingBackward0", saved_names=("weight",)
)


def refuse_sparse_frequencies(by_frequency: bool) -> None:
    """Sparse gradients are not scaled."""
    if by_frequency:
        raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")


def _sparse_rule(g: Any, indices: np.ndarray, share: Any, by_frequency: bool, x_shape: tuple) -> Any:
    """The gradients as rows of a sparse table, one for each index, the padding row's left out."""
    from reference_engine.sparse.operators import make_coo

    refuse_sparse_frequencies(by_frequency)
    kept = np.ones(indices.size, bool) if share is None else (share != 0).reshape(-1)
    taken = g.reshape(-1, x_shape[1])[kept if not isinstance(g, Tensor) else wrap(kept)]
    return make_coo(taken, indices=indices.reshape(1, -1)[:, kept], shape=x_shape, coalesced=False)


sparse_rows = linear("embedding", lambda x, *, indices, share, by_frequency: x[indices], _sparse_rule, node="EmbeddingBackward0",
                     saved_names=("weight",))  # fmt: skip


def frequencies(indices: np.ndarray, count: int) -> np.ndarray:
    """How often each index occurs among all of them."""
    return np.bincount(indices.ravel(), minlength=count)[indices]


def _share(indices: np.ndarray, count: int, padding_idx: int | None, by_frequency: bool) -> np.ndarray | None:
    """What each index passes on of its gradient, or None where that is all of it."""
    if padding_idx is None and not by_frequency:
        return None
    share = np.ones(indices.shape)
    if by_frequency:
        share /= frequencies(indices, count)
    if padding_idx is not None:
        share[indices == padding_idx] = 0
    return share[..., None]


def shorten(weight: Tensor, indices: np.ndarray, max_norm: float, norm_type: float) -> None:
    """Scales the rows that are used to at most max_norm, in place, unrecorded."""
    used = np.unique(indices)
    norms = np.linalg.norm(weight._array[used].astype(np.float64), ord=norm_type, axis=1)
    scale = np.where(norms > max_norm, max_norm / (norms + 1e-7), 1.0)
    weight._array[used] = weight._array[used] * scale[:, None]
    weight._bump_version()


def check_indices(indices: Tensor, name: str) -> None:
    """Indices are int64 or int32."""
    if indices._array.dtype.kind != "i" or indices._array.dtype.itemsize < 4:
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
                           f"but got torch.{type_name(indices.dtype)} instead (while checking arguments for {name})")  # fmt: skip


@saves("input")
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:  # fmt: skip
    """weight[input]; the row `padding_idx` receives no gradient. Source: torch.nn.functional.embedding."""
    check_indices(input, "embedding")
    if weight._array.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    count = weight._array.shape[0]
    if padding_idx is not None:
        if not -count <= padding_idx < count:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= count
    indices = np.array(input._array)
    if indices.size and not (indices.min() >= 0 and indices.max() < count):
        raise IndexError("index out of range in self")
    if max_norm is not None:
        shorten(weight, indices, max_norm, norm_type)
    share = _share(indices, count, padding_idx, scale_grad_by_freq)
    if sparse:
        return sparse_rows(weight, indices=indices, share=share, by_frequency=scale_grad_by_freq)
    return rows(weight, indices=indices, share=share)


@examplewise
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the index given, 0 elsewhere, along a new last dimension. Source: torch.nn.functional.one_hot."""
    indices = tensor._array
    if indices.dtype != np.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if indices.size and indices.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if not indices.size and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    count = int(indices.max()) + 1 if num_classes == -1 else num_classes
    if indices.size and indices.max() >= count:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return wrap((indices[..., None] == np.arange(count)).astype(np.int64))


registry.publish("embedding", lambda weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False: embedding(
    indices, weight, None if padding_idx < 0 else padding_idx, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse),
    method=False)  # fmt: skip
