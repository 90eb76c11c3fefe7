"""Sums, means and maxima of bags of rows of a table. Source: torch.nn.functional.embedding_bag.

y[b] = sum over t in bag b of share[t] W[index[t]], share being 1, a weight per sample, or 1 / the bag's size. With g the
gradient of y: dW[index[t]] += share[t] g[bag[t]], and the weight of sample t receives g[bag[t]] . W[index[t]].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.also_saved import saves
from reference_engine.ops.embedding import check_indices, frequencies, refuse_sparse_frequencies, shorten
from reference_engine.ops.kinds import general
from reference_engine.ops.positions import put_positions
from reference_engine.ops.underivable import declared_missing, no_formula
from reference_engine.tensor import Tensor, wrap


class Bags(NamedTuple):
    """The samples that count: their bag and their row; and how many samples each bag has."""

    bag: np.ndarray
    row: np.ndarray
    size: np.ndarray
    kept: np.ndarray  # which of all samples these are

    def share(self, sample: Any, mean: bool, dtype: Any) -> np.ndarray:
        """What each sample counts, as a column."""
        if sample is not None:
            return sample.reshape(-1)[self.kept][:, None]
        return (1 / self.size[self.bag] if mean else np.ones(len(self.bag))).astype(dtype)[:, None]


def _sums(w: np.ndarray, sample: Any, *, bags: Bags, mean: bool, by_frequency: bool, sparse: bool) -> np.ndarray:
    y = np.zeros((len(bags.size), w.shape[1]), w.dtype)
    np.add.at(y, bags.bag, w[bags.row] * bags.share(sample, mean, w.dtype))
    return y


def _table_rule(g: Any, sample: Any, w_shape: tuple, bags: Bags, mean: bool, by_frequency: bool, sparse: bool) -> Any:
    options = {"bags": bags, "mean": mean, "by_frequency": by_frequency, "shape": w_shape}
    if not sparse:
        return _backward(g, sample, **options)
    from reference_engine.sparse.operators import make_coo

    refuse_sparse_frequencies(by_frequency)
    gs, of_sample = (x._array if isinstance(x, Tensor) else x for x in (g, sample))
    rows = gs[bags.bag] * bags.share(of_sample, mean, gs.dtype)
    return make_coo(
        wrap(rows) if isinstance(g, Tensor) else rows, indices=bags.row[None], shape=w_shape, coalesced=False
    )


def _to_table(g: np.ndarray, sample: Any, *, bags: Bags, mean: bool, by_frequency: bool, shape: tuple) -> np.ndarray:
    rows = g[bags.bag] * bags.share(sample, mean, g.dtype)
    if by_frequency:
        rows = rows / frequencies(bags.row, shape[0])[:, None].astype(g.dtype)
    total = np.zeros(shape, g.dtype)
    np.add.at(total, bags.row, rows)
    return total


def _to_samples(g: np.ndarray, w: np.ndarray, *, bags: Bags, shape: tuple) -> np.ndarray:
    total = np.zeros(len(bags.kept), g.dtype)
    total[bags.kept] = (g[bags.bag] * w[bags.row]).sum(1)
    return total.reshape(shape)


_missing = declared_missing("_embedding_bag_backward")
_backward = general("embedding_bag_backward", _to_table, _missing, _missing, node="NotImplemented")
_of_samples = general("embedding_bag_per_sample_weights_backward", _to_samples,
                      *[no_formula("_embedding_bag_per_sample_weights_backward")] * 2, node="NotImplemented")  # fmt: skip
bag_sums = general("embedding_bag", _sums, _table_rule,
                   lambda g, w, sample_shape, bags: _of_samples(g, w, bags=bags, shape=sample_shape),
                   node="EmbeddingBagBackward0", saved_names=("weight", "per_sample_weights"), forward_mode=False)  # fmt: skip


def _maxima(w: np.ndarray, *, bags: Bags) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each bag, column by column, and where in the table it was found; 0 for an empty bag."""
    count, width = len(bags.size), w.shape[1]
    y, positions = np.zeros((count, width), w.dtype), np.full((count, width), -1)
    for b in range(count):
        rows = bags.row[bags.bag == b]
        if len(rows):
            found = rows[np.argmax(w[rows], 0)]
            positions[b] = found * width + np.arange(width)
            y[b] = w[found, np.arange(width)]
    return y, positions


_to_maxima = general("embedding_bag_max_backward", lambda g, *, positions, shape: put_positions(
    g, positions=positions, shape=shape), _missing, node="NotImplemented")  # fmt: skip
bag_maxima = general("embedding_bag", _maxima,
                     lambda g, w_shape, positions: _to_maxima(g, positions=positions, shape=w_shape), aux=("positions",),
                     node="EmbeddingBagBackward0", saved_names=("weight",), forward_mode=False)  # fmt: skip


def _checked(indices: np.ndarray, offsets: np.ndarray, rows: int, padding_idx: int | None, last: bool) -> Bags:
    """Bags from where each begins."""
    if offsets.size and offsets[0] != 0:
        raise RuntimeError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                           f"However, got {offsets[0]}")  # fmt: skip
    if offsets.size and offsets[-1] > len(indices):
        raise RuntimeError(f"offsets[-1] can not be greater than input's length {len(indices)} but got offsets[-1] of "
                           f"{offsets[-1]}")  # fmt: skip
    for place, index in enumerate(indices):
        if not 0 <= index < rows:
            raise RuntimeError(
                f"Index {place} of input takes value {index} which is not in the valid range [0, {rows})"
            )
    count = max(len(offsets) - last, 0)
    bag = np.searchsorted(offsets[:count], np.arange(len(indices)), side="right") - 1
    kept = np.ones(len(indices), bool) if padding_idx is None else indices != padding_idx
    return Bags(bag[kept], indices[kept], np.bincount(bag[kept], minlength=count), kept)


def _padding_row(padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise RuntimeError(f"padding_idx must be within the number of embeddings, {-rows} through {rows - 1}, but got "
                           f"{padding_idx}")  # fmt: skip
    return padding_idx % rows


MODES = ("sum", "mean", "max")


def _bag(weight: Tensor, indices: Tensor, offsets: Tensor, by_frequency: bool, mode: str, sparse: bool,
         sample: Tensor | None, last: bool, padding_idx: int | None) -> tuple[Tensor, Bags]:  # fmt: skip
    check_indices(indices, "embedding_bag")
    if sample is not None and sample.dtype is not weight.dtype:
        names = [f"torch.{dtypes.type_name(t.dtype)}Tensor" for t in (weight, sample)]
        raise RuntimeError("Expected tensor for argument #1 'weight' to have the same type as tensor for argument #1 "
                           f"'per_sample_weights'; but type {names[0]} does not equal {names[1]} (while checking arguments "
                           "for embedding_bag)")  # fmt: skip
    rows = weight._array.shape[0]
    bags = _checked(np.array(indices._array), np.array(offsets._array), rows, _padding_row(padding_idx, rows), last)
    if mode == "max":
        return bag_maxima(weight, bags=bags), bags
    return bag_sums(weight, sample, bags=bags, mean=mode == "mean", by_frequency=by_frequency, sparse=sparse), bags


def _batch(input: Tensor, offsets: Tensor | None, sample: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Indices, where bags begin, weights, all of one dimension."""
    ndim = input._array.ndim
    if sample is not None and sample.shape != input.shape:
        raise ValueError(f"embedding_bag: If per_sample_weights ({sample.shape}) is not None, then it must have the same "
                         f"shape as the input ({input.shape})")  # fmt: skip
    if ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                             f"sequences. However, found offsets of type {type(offsets)}")  # fmt: skip
        count, length = input._array.shape
        offsets = wrap(np.arange(count) * length)
        return input.reshape(-1), offsets, None if sample is None else sample.reshape(-1)  # type: ignore[attr-defined]
    if ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {ndim}")
    if not isinstance(offsets, Tensor):
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets._array.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    return input, offsets, sample


@saves("input", "offsets")
def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
                  norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Tensor:  # fmt: skip
    """The sum, mean or maximum of the rows of each bag of indices: (bags, columns).

    Bags are the rows of a two-dimensional input, or begin at `offsets`. Source: torch.nn.functional.embedding_bag.
    """
    indices, begins, sample = _batch(input, offsets, per_sample_weights)
    if mode not in MODES:
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and (scale_grad_by_freq or sparse):
        what = "scaling the gradient by the frequency" if scale_grad_by_freq else "sparse weights"
        raise ValueError(f"max mode does not support {what}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError("embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for "
                                  f"mode='sum' (got mode='{mode}'). Please open a feature request on GitHub.")  # fmt: skip
    if max_norm is not None:
        shorten(weight, indices._array, max_norm, norm_type)
    return _bag(weight, indices, begins, scale_grad_by_freq, mode, sparse, sample, include_last_offset, padding_idx)[0]


def _with_bags(weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0,
               sparse: bool = False, per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
               padding_idx: int | None = None) -> tuple:  # fmt: skip
    """embedding_bag with its mode as a number; also the bag of each sample, and the sizes. Source: torch.embedding_bag."""
    result, bags = _bag(weight, indices, offsets, scale_grad_by_freq, MODES[mode], sparse, per_sample_weights,
                        include_last_offset, padding_idx)  # fmt: skip
    return result, wrap(bags.bag.astype(np.int64)), wrap(bags.size.astype(np.int64)), wrap(bags.size.astype(np.int64))


registry.publish("embedding_bag", _with_bags, method=False)
