"""Elements chosen by a mask: filled, taken, replaced, numbered."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.tensor import innermost, refuse_dynamic
from reference_engine.ops.also_saved import saves
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.masking import masked
from reference_engine.ops.one_node import one_node
from reference_engine.ops.positions import index_copy_out, put_positions
from reference_engine.ops.registry import both, function
from reference_engine.ops.shapes import mismatch
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap


def _together(input: Tensor, mask: Tensor) -> tuple[Tensor, np.ndarray]:
    """Both in their common shape."""
    try:
        shape = np.broadcast_shapes(input._array.shape, mask._array.shape)
    except ValueError:
        raise mismatch(input._array.shape, mask._array.shape) from None
    x = input if shape == input._array.shape else input.expand(shape)
    if state.tracing:
        return x, (mask if shape == mask._array.shape else mask.expand(shape))._array
    return x, np.array(np.broadcast_to(mask._array, shape))


def _scalar_type(x: Tensor) -> str:
    return {"int64": "long int", "int32": "int", "float32": "float", "float64": "double", "uint8": "unsigned char",
            "int8": "signed char", "int16": "short int"}.get(x.dtype.name, x.dtype.name)  # fmt: skip


def value_of(value: Any, like: Tensor, name: str) -> Tensor:
    """What is filled in, as a 0-d tensor."""
    if not like.is_complex() and (value.is_complex() if isinstance(value, Tensor) else isinstance(value, complex)):
        kind = {"int64": "int64_t", "int32": "int"}.get(like.dtype.name, _scalar_type(like))
        raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
    if not isinstance(value, Tensor):
        return wrap(np.asarray(dtypes.plain_number(value, like.dtype), like._array.dtype))
    if value._array.ndim:
        raise RuntimeError(f"{name} only supports a 0-dimensional value tensor, but got tensor with {value._array.ndim} "
                           "dimension(s).")  # fmt: skip
    return value


fill_op = general("masked_fill", lambda x, v, *, mask: np.where(mask, v.astype(x.dtype, copy=False), x),
                  lambda g, mask: masked(g, ~mask), lambda g, mask: masked(g, mask),
                  inputs=("x", "v"), linear=True, holomorphic=False, saved_names=("self", "value"))  # fmt: skip


@both
@one_node("MaskedFillBackward0", "input", "value", others={2: "MaskedFillBackward1"})
@saves("mask")
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds. Source: torch.masked_fill."""
    if state.vmap_levels and innermost((mask,)) is not None:
        from reference_engine.batching import by_elements

        return by_elements.masked_fill(input, mask, value)
    if mask._array.dtype != bool:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {_scalar_type(mask)}")
    x, where = _together(input, mask)
    return fill_op(x, value_of(value, input, "masked_fill_"), mask=where)


@both
@one_node("MaskedSelectBackward0", "input")
@saves("mask")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one dimension. Source: torch.masked_select."""
    if state.vmap_levels and innermost((mask,)) is not None:
        raise RuntimeError("vmap: Attempted to vmap over `mask` in torch.masked_select(self, mask) We cannot support this "
                           "because for each batch this would return a differently shaped Tensor.")  # fmt: skip
    if mask._array.dtype != bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    x, where = _together(input, mask)
    return index_copy_out(x, key=(where,))


def _scattered(x: np.ndarray, v: np.ndarray, *, mask: np.ndarray) -> np.ndarray:
    result = x.copy()
    result[mask] = v.reshape(-1)[: int(mask.sum())]
    return result


def _consumed(g: Any, mask: np.ndarray, v_shape: tuple) -> Any:
    """The gradient of the source: its first elements get that of the places they went to, the rest 0."""
    taken = index_copy_out(g, key=(mask,))
    return put_positions(taken, positions=np.arange(taken.shape[0]), shape=v_shape)


scatter_op = general("masked_scatter", _scattered, lambda g, mask: masked(g, ~mask), _consumed, inputs=("x", "v"), linear=True, holomorphic=False,
                     saved_names=("self", "source"))  # fmt: skip


@both
@saves("mask")
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The elements where the mask holds replaced, one after another, by those of source. Source: torch.Tensor.masked_scatter."""
    if input.dtype is not source.dtype:
        names = dtypes.type_name(input.dtype), dtypes.type_name(source.dtype)
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got{names[0]} and {names[1]}"
        )
    if mask._array.dtype != bool:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {_scalar_type(mask)}")
    x, where = _together(input, mask)
    if source._array.size < where.sum():
        raise RuntimeError("Number of elements of source < number of ones in mask")
    return scatter_op(x, source, mask=where)


@both
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of the elements that are not 0. Source: torch.nonzero."""
    refuse_dynamic(input)
    x = input._array
    if as_tuple:
        return wrap(np.stack(np.nonzero(np.atleast_1d(x)), -1)).unbind(1)
    return wrap(np.stack(np.nonzero(x), -1) if x.ndim else np.zeros((int(bool(x)), 0), np.int64))


@both
def argwhere(input: Tensor) -> Tensor:
    """Indices of the elements that are not 0, one row for each. Source: torch.argwhere."""
    return nonzero(input)


@function
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates of elements with these numbers in C order. Source: torch.unravel_index."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if indices._array.dtype.kind not in "iu":
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    return tuple(wrap(np.asarray(i)) for i in np.unravel_index(indices._array % max(int(np.prod(sizes)), 1), sizes))


# --- indices that may lie outside where a mask does not hold -----------------------------------------------------


def _within(x: np.ndarray, mask: np.ndarray, indices: Any) -> tuple:
    """A key of indices that are 0 where the mask does not hold."""
    parts = [slice(None) if i is None else i._array for i in indices]
    return tuple(p if isinstance(p, slice) else np.where(mask, p, 0) for p in parts)


def _shaped(mask: np.ndarray, like: Any) -> np.ndarray:
    """A mask over the leading dimensions, ready to broadcast with all of them."""
    return mask.reshape(mask.shape + (1,) * (len(like.shape) - mask.ndim))


@both
def _unsafe_masked_index(input: Tensor, mask: Tensor, indices: Any, fill: Any) -> Tensor:
    """input[indices] where the mask holds, `fill` elsewhere. Source: torch.ops.aten._unsafe_masked_index."""
    taken = index_copy_out(input, key=_within(input._array, mask._array, indices))
    return masked_fill(taken, wrap(_shaped(~mask._array, taken)), fill)


_mask_values = linear("mul", lambda x, *, mask: np.where(mask, x, 0).astype(x.dtype), lambda g, mask: masked(g, mask))


@both
def _unsafe_masked_index_put_accumulate(input: Tensor, mask: Tensor, indices: Any, values: Tensor) -> Tensor:
    """values added at indices where the mask holds. Source: torch.ops.aten._unsafe_masked_index_put_accumulate."""
    from reference_engine.ops.indexing import index_put

    kept = _mask_values(values, mask=_shaped(mask._array, values))
    return index_put(input, kept, key=_within(input._array, mask._array, indices), accumulate=True)
