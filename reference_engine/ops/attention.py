"""Attention: softmax(q k^T scale + mask) v, and several heads of it between linear maps.

Compositions: they have every derivative that their parts have. Source: torch.nn.functional.scaled_dot_product_attention,
multi_head_attention_forward.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference_engine.batching.examplewise import examplewise
from reference_engine.ops import registry
from reference_engine.ops.activations import softmax
from reference_engine.ops.affine import linear
from reference_engine.ops.dropout import dropout
from reference_engine.ops.masking import masked
from reference_engine.ops.padding import pad
from reference_engine.tensor import Tensor, wrap

f = registry.functions
C_NAMES = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int", "float16": "c10::Half",
           "bfloat16": "c10::BFloat16"}  # fmt: skip


def _c_name(t: Tensor) -> str:
    return C_NAMES.get(t.dtype.name, t.dtype.name)


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, p: float) -> None:
    if not q.dtype is k.dtype is v.dtype:
        raise RuntimeError("Expected query, key, and value to have the same dtype, but got query.dtype: "
                           f"{_c_name(q)} key.dtype: {_c_name(k)} and value.dtype: {_c_name(v)} instead.")  # fmt: skip
    dims = [t._array.ndim for t in (q, k, v)]
    if min(dims) < 2:
        raise RuntimeError("Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
                           f"{dims[0]} key.dim: {dims[1]} and value.dim: {dims[2]} instead.")  # fmt: skip
    if mask is not None:
        if mask._array.dtype != np.bool_ and mask.dtype.name != "float32" and mask.dtype is not q.dtype:
            raise RuntimeError("Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                               f"{_c_name(mask)} and  query.dtype: {_c_name(q)} instead.")  # fmt: skip
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")


def _softmax_or_nothing(scores: Tensor) -> Tensor:
    """softmax along the last dimension; 0 where everything is masked, and nothing flows back there."""
    empty = np.isneginf(scores._array).all(-1, keepdims=True)
    if not empty.any():
        return softmax(scores, -1)
    everywhere = np.broadcast_to(~empty, scores._array.shape)
    return masked(softmax(masked(scores, everywhere), -1), everywhere)


def _same_heads(q: Tensor, t: Tensor) -> Tensor:
    """Keys or values, each head for as many heads of the query as share it."""
    heads, own = q._array.shape[-3], t._array.shape[-3]
    if heads % own:
        raise RuntimeError("Number of heads in key and value must divide the number of heads in query")
    wide = t.unsqueeze(-3).expand(*t._array.shape[:-2], heads // own, *t._array.shape[-2:])
    return wide.reshape(*t._array.shape[:-3], heads, *t._array.shape[-2:])


@examplewise
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False) -> Tensor:  # fmt: skip
    """query (*, L, E), key (*, S, E), value (*, S, V) -> (*, L, V).

    A boolean mask keeps where it is True, a float mask is added; a row without anything kept gives 0.
    is_causal: position i sees positions up to i. scale: 1 / sqrt(E). Source:
    torch.nn.functional.scaled_dot_product_attention.
    """
    _check(query, key, value, attn_mask, is_causal, dropout_p)
    if enable_gqa:
        key, value = _same_heads(query, key), _same_heads(query, value)
    factor = 1 / math.sqrt(query._array.shape[-1]) if scale is None else scale
    narrow = query.dtype if query.dtype.name in ("float16", "bfloat16") else None
    if narrow is not None:  # half-precision numbers are added up in float32
        query, key, value = query.float(), key.float(), value.float()
    scores = f["matmul"](query, key.transpose(-2, -1)) * factor
    rows, columns = scores._array.shape[-2:]
    if is_causal:
        scores = scores.masked_fill(wrap(~np.tri(rows, columns, dtype=bool)), -math.inf)
    elif attn_mask is not None and attn_mask._array.dtype == np.bool_:
        scores = scores.masked_fill(attn_mask.logical_not(), -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    result = f["matmul"](dropout(_softmax_or_nothing(scores), dropout_p), value)
    return result if narrow is None else result.to(narrow)


registry.publish("scaled_dot_product_attention", scaled_dot_product_attention, method=False)


# --- several heads ---------------------------------------------------------------------------------------------------


def _additive(mask: Tensor | None, name: str, dtype: Any) -> Tensor | None:
    """A mask to be added: True, which excludes, becomes minus infinity."""
    if mask is None:
        return None
    if mask._array.dtype != np.bool_ and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if mask.is_floating_point():
        return mask
    return mask.to(dtype).masked_fill(mask, -math.inf)


def _check_heads(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, heads: int, separate: bool) -> None:
    if embed_dim != query._array.shape[-1]:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim}, but got {query._array.shape[-1]}")
    if embed_dim % heads:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {heads}")
    if separate and key._array.shape[:2] != value._array.shape[:2]:
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
    if not separate and key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")


def _mask_shape(mask: Tensor | None, wanted: tuple, flat: tuple) -> Tensor | None:
    """An attention mask (L, S) or (N heads, L, S), with three dimensions."""
    if mask is None:
        return None
    shape = mask._array.shape
    if len(shape) == 2:
        if shape != flat:
            raise RuntimeError(f"The shape of the 2D attn_mask is {mask.shape}, but should be {flat}.")
        return mask.unsqueeze(0)
    if len(shape) != 3:
        raise RuntimeError(f"attn_mask's dimension {len(shape)} is not supported")
    if shape != wanted:
        raise RuntimeError(f"The shape of the 3D attn_mask is {mask.shape}, but should be {wanted}.")
    return mask


def _projected(inputs: tuple, weights: Any, bias: Tensor | None) -> list[Tensor]:
    """Queries, keys and values from their inputs; `weights` is one matrix of three, or three."""
    three = weights.chunk(3) if isinstance(weights, Tensor) else weights
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return [linear(x, w, b) for x, w, b in zip(inputs, three, biases, strict=True)]


def _longer(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else pad(mask, (0, 1))


def _by_head(t: Tensor, heads: int) -> Tensor:
    """(L, N, E) -> (N heads, L, E / heads)."""
    length, batch, width = t._array.shape
    return t.reshape(length, batch * heads, width // heads).transpose(0, 1)


def multi_head_attention_forward(query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
                                 in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None,
                                 bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
                                 out_proj_bias: Tensor | None, training: bool = True,
                                 key_padding_mask: Tensor | None = None, need_weights: bool = True,
                                 attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False,
                                 q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
                                 v_proj_weight: Tensor | None = None, static_k: Tensor | None = None,
                                 static_v: Tensor | None = None, average_attn_weights: bool = True,
                                 is_causal: bool = False) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Attention (L, N, E) or (L, E), and its weights (N, L, S), if asked for, as their mean over heads.

    Source: torch.nn.functional.multi_head_attention_forward.
    """
    if query._array.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query._array.ndim}-D query tensor"
        )
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
                           "`generate_square_subsequent_mask` to create this mask.")  # fmt: skip
    batched = query._array.ndim == 3
    padding = _additive(key_padding_mask, "key_padding_mask", query.dtype)
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        padding = None if padding is None else padding.unsqueeze(0)
    _check_heads(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight
    q, k, v = _projected((query, key, value), weights, in_proj_bias)
    length, batch, width = q._array.shape
    mask = _mask_shape(_additive(attn_mask, "attn_mask", query.dtype), (batch * num_heads, length, k._array.shape[0]),
                       (length, k._array.shape[0]))  # fmt: skip
    if bias_k is not None and bias_v is not None:
        k, v = f["cat"]([k, bias_k.repeat(1, batch, 1)]), f["cat"]([v, bias_v.repeat(1, batch, 1)])
        mask, padding = _longer(mask), _longer(padding)
    q = _by_head(q, num_heads)
    k, v = (_by_head(t, num_heads) if static is None else static for t, static in ((k, static_k), (v, static_v)))
    if add_zero_attn:
        nothing = k.new_zeros((batch * num_heads, 1, width // num_heads))
        k, v = f["cat"]([k, nothing], 1), f["cat"]([v, nothing], 1)
        mask, padding = _longer(mask), _longer(padding)
    mask = _with_padding(mask, padding, batch, num_heads, k._array.shape[1])
    out, seen = _attend(q, k, v, mask, dropout_p if training else 0.0)
    out = linear(out.transpose(0, 1).reshape(length * batch, width), out_proj_weight, out_proj_bias)
    out = out.view(length, batch, out._array.shape[1])
    if not need_weights:
        return out if batched else out.squeeze(1), None
    by_head = seen.view(batch, num_heads, length, k._array.shape[1])
    shown = by_head.mean(1) if average_attn_weights else by_head
    return (out, shown) if batched else (out.squeeze(1), shown.squeeze(0))


def _with_padding(mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, length: int) -> Tensor | None:
    """The mask of positions and that of padded keys (N, S), together."""
    if padding is None:
        return mask
    shape = padding._array.shape
    if shape[0] != batch:
        raise AssertionError(f"Expected key_padded_mask.shape[0] to be {batch}, but got {shape[0]}")
    if shape[1] != length:
        raise AssertionError(f"Expected key_padded_mask.shape[1] to be {length}, but got {shape[1]}")
    wide = padding.view(batch, 1, 1, length).expand(-1, heads, -1, -1).reshape(batch * heads, 1, length)
    return wide if mask is None else mask + wide


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float) -> tuple[Tensor, Tensor]:
    """Attention by head, and its weights."""
    scores = f["bmm"](q * math.sqrt(1 / q._array.shape[-1]), k.transpose(-2, -1))
    seen = dropout(softmax(scores if mask is None else scores + mask, -1), p)
    return f["bmm"](seen, v), seen
