"""What a node shows of its parameters, under torch's names: `_saved_dim`, `_saved_self_sym_sizes`, `_saved_indices`.

The engine keeps parameters as its rules want them (several `dims`, a `key` for NumPy); torch shows the arguments. A name
that is no argument of torch's operator is not shown.
Source: torch notes/autograd, "Saved tensors"; PyTorch's table of derivatives names the arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.tape.saved import FREED, FREED_MESSAGE
from reference_engine.tensor import wrap

Getter = Callable[[Any], Any]
LAST = 2**63 - 1  # where a slice ends that has no end
# What only this engine's rules know of.
HIDDEN = frozenset({
    "above", "affine", "below", "bounds", "count", "equation", "fixed", "geometry", "key", "matrices", "out", "pairs", "part",
    "share", "sources", "spread", "taps", "used", "view", "width", "windows",
})  # fmt: skip


REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}  # by number, as torch shows them


def _parameter(name: str) -> Getter:
    if name == "reduction":
        return lambda node: REDUCTIONS.get(node.params[name], node.params[name])
    return lambda node: node.params[name]


def _sizes(node: Any) -> tuple[int, ...]:
    """Shape of the first input."""
    maker, nr = node.edges[0]
    return tuple(maker.output_shape(nr))


def _count(node: Any) -> int:
    return int(np.prod(_sizes(node)))


def _part(name: str, default: int) -> Getter:
    def get(node: Any) -> int:
        value = getattr(node.params["part"], name)
        return default if value is None else value

    return get


def _array(node: Any, name: str) -> Any:
    """A parameter that holds arrays, gone with the rest of what was saved."""
    if node.saved is FREED or name not in node.params:
        raise RuntimeError(FREED_MESSAGE)
    return node.params[name]


def _tensor(name: str) -> Getter:
    return lambda node: wrap(np.asarray(_array(node, name)))


def _indices(node: Any) -> Any:
    """The positions that a reduction along `dim` chose, in the shape of its result."""
    return wrap(np.asarray(_array(node, "key")[node.params["dim"]]).reshape(node.output_shape(0)))


def _chosen(node: Any) -> Any:
    """Positions along dimensions, None where all are taken."""
    return tuple(wrap(np.asarray(k)) if isinstance(k, np.ndarray) else None for k in _array(node, "key"))


def _one_index(node: Any) -> Any:
    return next(index for index in _chosen(node) if index is not None)


def _indexed_dim(node: Any) -> int:
    return next(d for d, k in enumerate(_array(node, "key")) if isinstance(k, np.ndarray))


def _lengths(node: Any) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in node.params["bounds"])


def _first_dim(node: Any) -> Any:
    return node.params["dims"][0] if len(node.params["dims"]) == 1 else node.params["dims"]


def _geometry(name: str) -> Getter:
    return lambda node: getattr(node.params["geometry"], name)


DIM: dict[str, Getter] = {"dim": _parameter("dims")}
KEPT: dict[str, Getter] = {"keepdim": _parameter("keepdim")}
SIZES: dict[str, Getter] = {"self_sym_sizes": _sizes}
CHOSEN: dict[str, Getter] = {"indices": _indices, "dim": _parameter("dim"), **SIZES}
LIMITS = {"min": _parameter("low"), "max": _parameter("high")}
ALPHA: dict[str, Getter] = {"alpha": lambda node: 1}  # what is added is scaled before

# fmt: off
SHOWN: dict[str, dict[str, Getter]] = {
    "SumBackward0": SIZES, "SumBackward1": {**DIM, **KEPT, **SIZES}, "ProdBackward0": {}, "ProdBackward1": {"dim": _first_dim, **KEPT},
    "MeanBackward0": {"self_sym_numel": _count, **SIZES}, "MeanBackward1": {**DIM, **KEPT, "self_sym_numel": _count, **SIZES},
    "VarBackward0": {**DIM, **KEPT, "correction": _parameter("correction")}, "StdBackward0": {**DIM, **KEPT, "correction": _parameter("correction")},
    "AmaxBackward0": {**DIM, **KEPT}, "AminBackward0": {**DIM, **KEPT}, "LogsumexpBackward0": {**DIM, **KEPT},
    "LinalgVectorNormBackward0": {**DIM, **KEPT, "ord": lambda node: node.params.get("ord", 2)},
    "MaxBackward1": {}, "MinBackward1": {}, "MedianBackward0": {},
    "MaxBackward0": {**CHOSEN, **KEPT}, "MinBackward0": {**CHOSEN, **KEPT}, "MedianBackward1": {**CHOSEN, **KEPT},
    "ModeBackward0": {**CHOSEN, **KEPT}, "KthvalueBackward0": {**CHOSEN, **KEPT}, "SortBackward0": CHOSEN, "TopkBackward0": CHOSEN,
    "CummaxBackward0": {"indices": _indices, "dim": _parameter("dim")}, "CumminBackward0": {"indices": _indices, "dim": _parameter("dim")},
    "ViewBackward0": SIZES, "UnsafeViewBackward0": SIZES, "ExpandBackward0": SIZES, "DiagonalBackward0": {
        **SIZES, "offset": _parameter("offset"), "dim1": _parameter("dim1"), "dim2": _parameter("dim2")},
    "SqueezeBackward0": SIZES, "SqueezeBackward1": {"dim": _first_dim, **SIZES}, "SqueezeBackward2": {**DIM, **SIZES},
    "SelectBackward0": {**SIZES, "dim": _parameter("dim"), "index": _parameter("index")},
    "SliceBackward0": {**SIZES, "dim": _parameter("dim"), "start": _part("start", 0), "end": _part("stop", LAST), "step": _part("step", 1)},
    "SplitBackward0": {**SIZES, "dim": _parameter("dim"), "split_size": lambda node: _lengths(node)[0]},
    "SplitWithSizesBackward0": {**SIZES, "dim": _parameter("dim"), "split_sizes": _lengths},
    "RepeatBackward0": {**SIZES, "repeats": _parameter("sizes")}, "TraceBackward0": SIZES,
    "UnfoldBackward0": {**SIZES, "dimension": _parameter("dim"), "size": _parameter("size"), "step": _parameter("step")},
    "AsStridedBackward0": {"size": _parameter("size"), "stride": _parameter("stride"), "storage_offset": _parameter("offset")},
    "IndexBackward0": {**SIZES, "indices": _chosen}, "IndexPutBackward0": {"indices": _chosen, "accumulate": _parameter("accumulate")},
    "IndexSelectBackward0": {**SIZES, "index": _one_index, "dim": _indexed_dim},
    "MaskedFillBackward0": {"mask": _tensor("mask")}, "MaskedFillBackward1": {"mask": _tensor("mask")}, "WhereBackward0": {"condition": _tensor("condition")},
    "ClampBackward1": LIMITS, "ClampMinBackward0": {"min": _parameter("low")}, "ClampMaxBackward0": {"max": _parameter("high")},
    "HardtanhBackward0": {"min_val": _parameter("low"), "max_val": _parameter("high")}, "ThresholdBackward0": {"threshold": _parameter("threshold")},
    "AddBackward0": ALPHA, "SubBackward0": ALPHA, "RsubBackward1": ALPHA, "FillBackward0": {}, "FillBackward2": {}, "ToCopyBackward0": {},
    "EmbeddingBackward0": {"indices": _tensor("indices")},
    "ConvolutionBackward0": {
        "stride": _geometry("stride"), "padding": lambda node: tuple(before for before, _ in node.params["geometry"].padding),
        "dilation": _geometry("dilation"), "groups": _geometry("groups"), "transposed": lambda node: False},
}
# fmt: on


def shown(node: Any) -> dict[str, Getter]:
    """Name -> how to read it, for the parameters that a node shows."""
    known = SHOWN.get(type(node).__name__)
    names = node.params if known is None else ()
    plain = [name for name in names if name not in HIDDEN and not isinstance(node.params[name], np.ndarray)]
    return {**{name: _parameter(name) for name in plain}, **(known or {})}
