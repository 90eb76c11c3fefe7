"""Operators that are recorded and have no derivative: the forward works, a backward pass that reaches them raises.

Two kinds, told apart by torch's messages: operators without any entry in its table of derivatives, whose node is called
NotImplemented, and operators whose entry says that there is none.
Source: torch notes/autograd, "Gradients for non-differentiable functions" (6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reference_engine import dtypes, return_types
from reference_engine.batching.tensor import refuse_dynamic
from reference_engine.ops import registry
from reference_engine.ops.inplace import overwrite
from reference_engine.ops.kinds import Operator, general
from reference_engine.ops.registry import both
from reference_engine.ops.shapes import axis
from reference_engine.state import state
from reference_engine.tape.views import check_inplace
from reference_engine.tensor import Tensor, wrap


def no_formula(name: str) -> Callable:
    """The rule of an operator that torch's table of derivatives does not have."""

    def rule(gs: tuple) -> Any:
        raise RuntimeError(f"derivative for aten::{name} is not implemented")

    return rule


def _refuse(name: str) -> Any:
    return no_formula(name)(())


registry.word("without_formula", _refuse, _refuse)


def declared_missing(name: str) -> Callable:
    """The rule of an operator (or of one of its arguments) that torch declares to have no derivative."""

    def rule(gs: tuple) -> Any:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")

    return rule


def unrecorded(name: str, forward: Callable, inputs: Sequence[str], **options: Any) -> Operator:
    """An operator without an entry in the table: each tensor input that is tracked leads to the error."""
    return general(name, forward, *[no_formula(name)] * len(inputs), inputs=inputs, node="NotImplemented", **options)


# --- steps -------------------------------------------------------------------------------------------------------


def _step(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), np.zeros((), x.dtype), np.heaviside(x, v)).astype(x.dtype)


heaviside_op = unrecorded("heaviside", _step, ("x", "values"))
heaviside_in_place_op = unrecorded("heaviside_", _step, ("x", "values"))


def _same_types(input: Tensor, values: Tensor) -> None:
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


@both
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below 0, 1 above, `values` at 0. Source: torch.heaviside."""
    _same_types(input, values)
    return heaviside_op(input, values)


@registry.method
def heaviside_(self: Tensor, values: Tensor) -> Tensor:
    """heaviside in place. Source: torch.Tensor.heaviside_."""
    _same_types(self, values)
    check_inplace(self)
    return overwrite(self, lambda alias: heaviside_in_place_op(alias, values))


# --- inverse hyperbolic functions in place, which torch declares to have no derivative --------------------------------


def _inverse_hyperbolic(name: str, ufunc: Callable) -> None:
    op = general(
        name, ufunc, declared_missing(f"inplace version of {name}"), inputs=("x",), node=f"{name.title()}Backward1"
    )
    plain = registry.methods[f"{name}_"]

    def call(self: Tensor) -> Tensor:
        if not (self.requires_grad and state.grad_enabled) or state.dual_levels:
            return plain(self)
        check_inplace(self)
        return overwrite(self, op)

    for spelled in (f"{name}_", f"arc{name[1:]}_"):
        registry.publish(spelled, call)


for _name, _ufunc in {"acosh": np.arccosh, "asinh": np.arcsinh, "atanh": np.arctanh}.items():
    _inverse_hyperbolic(_name, _ufunc)


# --- distinct values -----------------------------------------------------------------------------------------------


def _distinct(x: np.ndarray, *, dim: int | None) -> tuple:
    flat = x if dim is not None else x.reshape(-1)
    values, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True, axis=dim)
    return values, inverse.reshape(-1 if dim is not None else x.shape), counts


def _runs(x: np.ndarray, *, dim: int | None) -> tuple:
    """The first of each run of equal slices, the run of each element, the runs' lengths."""
    flat = np.moveaxis(x, dim, 0) if dim is not None else x.reshape(-1)
    count = flat.shape[0]
    differs = (flat[1:] != flat[:-1]).reshape(max(count - 1, 0), -1).any(1)
    starts = np.concatenate([np.ones(min(count, 1), bool), differs])
    inverse = np.cumsum(starts) - 1
    counts = np.bincount(inverse, minlength=int(starts.sum())) if count else np.zeros(0, np.int64)
    values = np.moveaxis(flat[starts], 0, dim) if dim is not None else flat[starts]
    return np.ascontiguousarray(values), inverse.reshape(-1 if dim is not None else x.shape), counts


def _values(name: str, torch_name: str, forward: Callable) -> Operator:
    return general(name, forward, declared_missing(torch_name), inputs=("x",), outputs=("values", "inverse", "counts"),
                   nondifferentiable=("inverse", "counts"))  # fmt: skip


_unique = _values("unique2", "_unique2", _distinct)
_unique_dim = _values("unique_dim", "unique_dim", _distinct)
_unique_consecutive = _values("unique_consecutive", "unique_consecutive", _runs)


def _asked(results: tuple, return_inverse: bool, return_counts: bool) -> Any:
    found = (results[0], *results[1:2] * return_inverse, *results[2:] * return_counts)
    return found[0] if len(found) == 1 else found


@both
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None) -> Any:  # fmt: skip
    """The distinct elements (or slices along `dim`), in order; without a derivative. Source: torch.unique."""
    refuse_dynamic(input)
    where = None if dim is None else axis(dim, input._array.ndim)
    op = _unique if where is None else _unique_dim
    return _asked(op(input, dim=where), return_inverse, return_counts)


@both
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:  # fmt: skip
    """The first of each run of equal elements; without a derivative. Source: torch.unique_consecutive."""
    refuse_dynamic(input)
    where = None if dim is None else axis(dim, input._array.ndim)
    return _asked(_unique_consecutive(input, dim=where), return_inverse, return_counts)


# --- histograms ----------------------------------------------------------------------------------------------------


def _histogram(x: np.ndarray, weight: Any, *, bins: Any, range: Any, density: bool) -> tuple:
    hist, edges = np.histogram(x, bins, range, weights=weight, density=density)
    return hist.astype(x.dtype), edges.astype(x.dtype)


_histogram_op = unrecorded("histogram", _histogram, ("x", "weight"), outputs=("hist", "edges"))


@both
def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
              density: bool = False) -> Any:  # fmt: skip
    """How many elements (or how much weight) lie in each bin; without a derivative. Source: torch.histogram."""
    if input.dtype.category < dtypes.FLOATING:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{dtypes.type_name(input.dtype)}'")
    edges = np.array(bins._array) if isinstance(bins, Tensor) else bins
    return return_types.histogram(*_histogram_op(input, weight, bins=edges, range=range, density=density))


@both
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts in bins of equal width, in the input's type; never tracked. Source: torch.histc."""
    array = input._array
    low, high = (array.min(), array.max()) if min == max == 0 and array.size else (min, max)
    return wrap(np.histogram(array, bins, (low, high))[0].astype(array.dtype))


_bincount = unrecorded("bincount", lambda weights, *, index, minlength: np.bincount(index, weights, minlength).astype(
    weights.dtype if weights.dtype == np.float32 else np.float64),
                       ("weights",))  # fmt: skip


@both
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often (or with how much weight) each integer occurs. Source: torch.bincount."""
    index = input._array
    if index.dtype.kind not in "iu":
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{dtypes.type_name(input.dtype)}'")
    if index.ndim != 1 or (index.size and index.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return wrap(np.bincount(index, minlength=minlength))
    return _bincount(weights, index=np.array(index), minlength=minlength)


# --- positions in a sorted sequence --------------------------------------------------------------------------------


@registry.function
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False,
                 side: str | None = None) -> Tensor:  # fmt: skip
    """Where elements belong in a sorted sequence, row by row; never tracked. Source: torch.searchsorted."""
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    place = "right" if right or side == "right" else "left"
    ordered = sorted_sequence._array
    wanted = np.asarray(input._array if isinstance(input, Tensor) else input)
    if ordered.ndim == 1:
        found = np.searchsorted(ordered, wanted, place)
    else:
        rows = zip(ordered.reshape(-1, ordered.shape[-1]), wanted.reshape(-1, wanted.shape[-1]), strict=True)
        found = np.stack([np.searchsorted(o, w, place) for o, w in rows]).reshape(wanted.shape)
    return wrap(np.asarray(found, np.int32 if out_int32 else np.int64))


@registry.function
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket between boundaries that each element falls into; never tracked. Source: torch.bucketize."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
