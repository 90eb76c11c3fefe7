"""Batching rules: how an operator on batched tensors is one on what they hold.

    elementwise          inputs aligned behind the batch, then the operator
    along dimensions     `dim`, `dims` count one further; `shape`, `sizes` get the batch in front
    last dimensions      operators of matrices take leading dimensions as they are
    by name              the table RULES, for all others that have a rule
    any other            example by example, and stacked

Which way an operator went is counted in `counts`.
"""

from __future__ import annotations

from string import ascii_letters
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import dtypes
from reference_engine.batching.tensor import batched, exposed, is_batched_at
from reference_engine.ops import registry
from reference_engine.state import process
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reference_engine.batching.tensor import Level
    from reference_engine.ops.kinds import Operator

counts = {"batched": 0, "looped": 0}

# Operators of one tensor that map each element by itself, or take leading dimensions as they come.
TRANSPARENT = frozenset({
    "pow", "abs", "angle", "real", "imag", "conj", "conj_physical", "to_copy", "clone", "alias", "masked_value", "zero", "fill",
    "view_as_real", "view_as_complex", "tril", "triu", "gelu", "elu", "leaky_relu", "softplus", "hardtanh", "threshold",
    "clamp", "logit", "celu", "selu", "silu", "mish", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "log_sigmoid",
    "relu", "polygamma", "nan_to_num",
})  # fmt: skip
# Operators of matrices (and, for tau and pivots, vectors), whose kernels take leading dimensions as they come.
LEADING = {
    **dict.fromkeys((
        "linalg_inv_ex", "_linalg_det", "_linalg_slogdet", "_linalg_svd", "linalg_svdvals", "linalg_cholesky_ex", "linalg_qr",
        "linalg_eigh", "linalg_eig", "linalg_lu_factor_ex", "linalg_ldl_factor_ex", "linalg_matrix_exp", "linalg_pinv",
        "linalg_matrix_exp_along", "linalg_matrix_rank", "linalg_lstsq_rank", "_linalg_solve_ex", "linalg_solve_triangular",
        "geqrf",
    ), (2, 2)),
    "linalg_householder_product": (2, 1), "lu_exchange": (1,),
}  # fmt: skip
# Parameters of operators along dimensions, which `shifted` counts with the batch in front.
ALONG = frozenset({
    "dim", "dims", "dim0", "dim1", "dim2", "keepdim", "index", "part", "bounds", "offset", "step", "size", "shifts", "correction",
    "descending", "count", "largest", "inverse", "scale", "ord", "k",
})  # fmt: skip
MATRICES = {"mm": "matmul", "bmm": "matmul", "mv": "mv", "dot": "dot"}


def run(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """The operator on what batched tensors of `level` hold."""
    rule = _rule(op, inputs, params)
    if rule is None:
        counts["looped"] += 1
        return looped(op, inputs, params, level)
    counts["batched"] += 1
    result = rule(op, inputs, params, level)
    return tuple(batched(r, level) for r in result) if isinstance(result, tuple) else batched(result, level)


def _rule(op: Operator, inputs: tuple, params: dict[str, Any]) -> Callable | None:
    if hasattr(op, "partials"):
        return elementwise
    name = op.name
    if name in RULES:
        return RULES[name]
    if name in MATRICES:
        return matrices
    if name in LEADING:
        return leading
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if len(tensors) != 1 or len(inputs) != 1:
        return None
    if any(isinstance(value, np.ndarray) for value in params.values()):
        return None  # lined up with one example, and not with the batch
    if name in TRANSPARENT and not set(params) & {"dim", "dims", "shape"}:
        return along
    if params and set(params) <= ALONG:
        return along
    return None


def looped(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """The operator example by example; results stacked."""
    rows, shared = [], _shared_generator(params, level)
    start = shared.get_state() if shared is not None else None
    for k in range(level.size):
        if shared is not None:
            shared.set_state(start)
        own = [exposed(x, level).select(0, k) if is_batched_at(x, level) else x for x in inputs]
        rows.append(op(*own, **params))
    if isinstance(rows[0], tuple):
        return tuple(batched(registry.functions["stack"](list(column)), level) for column in zip(*rows, strict=True))
    return batched(registry.functions["stack"](rows), level)


def _shared_generator(params: dict[str, Any], level: Level) -> Any:
    """Where examples draw the same random numbers: the generator that an operator draws from."""
    if "generator" not in params or level.randomness != "same":
        return None
    return params["generator"] or process.generator


def aligned(x: Any, level: Level, ndim: int) -> Any:
    """What a batched tensor holds with as many dimensions of an example as `ndim`, new ones behind the batch."""
    if not isinstance(x, Tensor) or not is_batched_at(x, level):
        return x
    value = exposed(x, level)
    missing = ndim - (value._array.ndim - 1)
    return value if missing <= 0 else value.reshape(value.shape[0], *(1,) * missing, *value.shape[1:])


def dimensions(inputs: Sequence[Any]) -> int:
    """The most dimensions that an example of any input has."""
    return max((x._array.ndim for x in inputs if isinstance(x, Tensor)), default=0)


def elementwise(op: Any, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """Broadcasting lines up the last dimensions; types are promoted as those of one example are."""
    if len(inputs) == 1:
        return op(exposed(inputs[0], level), **params)
    common = dtypes.of_numpy(op.common_dtype(inputs))
    ndim = dimensions(inputs)
    values = [aligned(x, level, ndim) for x in inputs]
    mixed = len({x.dtype for x in inputs if isinstance(x, Tensor)}) > 1
    values = [v.to(common) if mixed and isinstance(v, Tensor) and v.dtype is not common else v for v in values]
    return op(*values, **params)


def run_elementwise(call: Callable, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """A comparison or the like: inputs aligned behind the batch."""
    counts["batched"] += 1
    ndim = dimensions(inputs)
    return batched(call(*[aligned(x, level, ndim) for x in inputs], **params), level)


def along(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """An operator along dimensions of one tensor; an example without dimensions counts as one of length 1."""
    value = exposed(inputs[0], level)
    if value._array.ndim > 1:
        return op(value, **shifted(params))
    results = op(value.unsqueeze(1), **shifted(params))
    if isinstance(results, tuple):
        return tuple(r.squeeze(1) if r._array.ndim > 1 else r for r in results)
    return results.squeeze(1) if results._array.ndim > 1 else results


def leading(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """An operator of matrices: the batch is one more leading dimension, of all inputs."""
    core = LEADING[op.name]
    extra = max(x._array.ndim - n for x, n in zip(inputs, core, strict=False))
    whole = []
    for x, n in zip(inputs, core, strict=False):
        sizes = (level.size, *(1,) * (extra + n - x._array.ndim), *x._array.shape)
        whole.append(aligned(x, level, extra + n) if is_batched_at(x, level) else x.expand(sizes))
    return op(*whole, **params)


def shifted(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters that name dimensions, counted with the batch in front."""
    result = dict(params)
    for name in ("dim", "dim0", "dim1", "dim2"):
        if isinstance(result.get(name), int):
            result[name] = result[name] + 1 if result[name] >= 0 else result[name]
    if result.get("dims") is not None:
        result["dims"] = tuple(d + 1 if d >= 0 else d for d in result["dims"])
    return result


def in_front(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """An operator to a shape: the batch is in front of that too."""
    shape = tuple(params["shape"])
    value = aligned(inputs[0], level, len(shape)) if op.name == "expand" else exposed(inputs[0], level)
    return op(value, **{**params, "shape": (level.size, *shape)})


def sum_to(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """Leading dimensions are summed away, then those of length 1."""
    value, shape = exposed(inputs[0], level), tuple(params["shape"])
    extra = value._array.ndim - 1 - len(shape)
    if extra:
        value = value.sum(tuple(range(1, extra + 1)))
    return op(value, shape=(level.size, *shape))


def permuted(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    return op(exposed(inputs[0], level), dims=(0, *(d + 1 for d in params["dims"])))


def matrix_transposed(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    value = exposed(inputs[0], level)
    return value.transpose(1, 2) if value._array.ndim == 3 else value


def repeated(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    return op(aligned(inputs[0], level, len(params["sizes"])), sizes=(1, *params["sizes"]))


def keyed(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """Basic keys get the batch's whole dimension in front; with keys of arrays only where these stand together."""
    key = params["key"] if isinstance(params["key"], tuple) else (params["key"],)
    if not _stand_together(key):
        return _values(looped(op, inputs, params, level))
    whole = {**params, "key": (slice(None), *key)}
    if "shape" in params:
        whole["shape"] = (level.size, *params["shape"])
    return op(exposed(inputs[0], level), **whole)


def _stand_together(key: tuple) -> bool:
    arrays = [i for i, k in enumerate(key) if not isinstance(k, (slice, int, type(None), type(Ellipsis)))]
    return not arrays or (arrays[-1] - arrays[0] + 1 == len(arrays) and not any(k is Ellipsis for k in key))


def _values(result: Any) -> Any:
    return tuple(r._value for r in result) if isinstance(result, tuple) else result._value


def joined(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """Each part needs the batch."""
    return op(*[exposed(x, level) for x in inputs], **shifted(params))


def matrices(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """Products of matrices and vectors with a batch on either side."""
    a, b = (exposed(x, level) if is_batched_at(x, level) else x for x in inputs)
    kind = MATRICES[op.name]
    matmul = registry.functions["matmul"]
    if kind == "matmul":
        return matmul(*_with_batches(a, b, inputs, level))
    if kind == "dot":
        return (a * b).sum(-1)
    if not is_batched_at(inputs[0], level):
        return matmul(b, a.transpose(0, 1))  # (B, k) (k, n)
    return matmul(a, b.unsqueeze(-1)).squeeze(-1) if is_batched_at(inputs[1], level) else matmul(a, b)


def _with_batches(a: Tensor, b: Tensor, inputs: tuple, level: Level) -> tuple[Tensor, Tensor]:
    """Of batches of matrices both have the batch; a matrix without one serves all."""
    if inputs[0]._array.ndim == inputs[1]._array.ndim == 2:
        return a, b
    ndim = dimensions(inputs)
    return aligned(inputs[0], level, ndim), aligned(inputs[1], level, ndim)


def product_added(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """beta * c + alpha * a @ b; with beta 0 c is not read."""
    c, a, b = inputs
    beta, alpha = params.get("beta", 1), params.get("alpha", 1)
    product = registry.functions["matmul"](*(exposed(x, level) if is_batched_at(x, level) else x for x in (a, b)))
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    c = aligned(c, level, 2)
    return (c if beta == 1 else c * beta) + product


def copied(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """What is overwritten needs the batch, what is written need not have it."""
    whole = exposed(inputs[0], level)
    return op(whole, aligned(inputs[1], level, whole._array.ndim - 1), **params)


def folded(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """Operators that treat what stands in the first dimension each for itself: the batch goes there too."""
    value = exposed(inputs[0], level)
    batch, first = value.shape[0], value.shape[1]
    results = op(value.reshape(batch * first, *value.shape[2:]), *inputs[1:], **params)
    several = results if isinstance(results, tuple) else (results,)
    parts = tuple(r.reshape(batch, first, *r.shape[1:]) for r in several)
    return parts if isinstance(results, tuple) else parts[0]


def convolved(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """Images that differ, and one filter for all examples: more images."""
    if any(is_batched_at(x, level) for x in inputs[1:]):
        return _values(looped(op, inputs, params, level))
    return folded(op, inputs, params, level)


def selected(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """where with a condition that is the same for all examples."""
    ndim = max(dimensions(inputs), params["condition"].ndim)
    return op(*[aligned(x, level, ndim) for x in inputs], **params)


def restrided(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """Each example's storage begins where the batch's stride puts it."""
    value = exposed(inputs[0], level)
    size, stride = (level.size, *params["size"]), (value.stride(0), *params["stride"])
    return registry.functions["as_strided"](value, size, stride, params["offset"])


def masked(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    return op(aligned(inputs[0], level, params["mask"].ndim), **params)


def sum_added(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """beta * c + alpha * a @ b of vectors or batches, from operators that have rules; with beta 0 c is not read."""
    c, a, b = inputs
    beta, alpha = params.get("beta", 1), params.get("alpha", 1)
    product = registry.functions["matmul"](a, b) * alpha
    return exposed(product if beta == 0 else c * beta + product, level)


def contracted(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """einsum: the batch is one more letter, of the operands that have it and of the result."""
    sources, target = params["equation"].split("->")
    letter = next(c for c in ascii_letters if c not in sources)
    where = [is_batched_at(x, level) for x in inputs]
    parts = [letter + part if b else part for part, b in zip(sources.split(","), where, strict=True)]
    whole = [exposed(x, level) if b else x for x, b in zip(inputs, where, strict=True)]
    return op(*whole, equation=f"{','.join(parts)}->{letter}{target}")


def traced(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    return exposed(inputs[0], level).diagonal(0, 1, 2).sum(-1)


def padded(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    return op(exposed(inputs[0], level), **{**params, "pairs": ((0, 0), *params["pairs"])})


def crossed(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    ndim = dimensions(inputs)
    return op(
        *(aligned(x, level, ndim) if is_batched_at(x, level) else x.unsqueeze(0) for x in inputs), **shifted(params)
    )


def normalized(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Any:
    """Statistics are those of an example, weights are shared by all."""
    if any(is_batched_at(x, level) for x in inputs[1:]):
        return _values(looped(op, inputs, params, level))
    view = {"view": (level.size, *params["view"]), "dims": tuple(d + 1 for d in params["dims"])}
    return op(exposed(inputs[0], level), *inputs[1:], **{**params, **view})


def averaged(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """A loss: element by element, and reduced over an example's elements."""
    reduction = params["reduction"]
    losses = elementwise_parts(op, inputs, {**params, "reduction": "none"}, level)
    if reduction == "none":
        return losses
    whole = losses.reshape(level.size, -1)
    return whole.mean(1) if reduction == "mean" else whole.sum(1)


def elementwise_parts(op: Operator, inputs: tuple, params: dict[str, Any], level: Level) -> Tensor:
    """Tensors brought to one shape, then the operator."""
    ndim = dimensions(inputs)
    return op(*registry.functions["broadcast_tensors"](*(aligned(x, level, ndim) for x in inputs)), **params)


RULES: dict[str, Callable] = {
    "view": in_front, "unsafe_view": in_front, "expand": in_front, "sum_to_size": sum_to, "permute": permuted,
    "t": matrix_transposed, "repeat": repeated, "take_key": keyed, "index": keyed, "place": keyed, "index_put_zeros": keyed,
    "as_strided": restrided, "cat": joined, "stack": joined, "where": selected, "masked": masked,
    "addmm": product_added, "addmv": sum_added, "baddbmm": sum_added, "einsum": contracted, "complex": elementwise_parts,
    "trace": traced, "constant_pad_nd": padded, "linalg_cross": crossed,
    **dict.fromkeys(("mse_loss", "smooth_l1_loss", "huber_loss"), averaged),
    **dict.fromkeys(("native_layer_norm", "native_group_norm", "native_batch_norm"), normalized),
    "index_select": keyed, "copy": copied, "convolution": convolved,
    **dict.fromkeys((
        "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_avg_pool2d",
        "adaptive_avg_pool3d", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
        "replication_pad2d", "replication_pad3d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
        "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d", "im2col",
    ), folded),
}  # fmt: skip
