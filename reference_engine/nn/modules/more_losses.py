"""Losses and distances whose module holds options and nothing else: a row says module, function, options with defaults.

Source: torch.nn, "Loss Functions" and "Distance Functions".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from reference_engine.nn import functional as F
from reference_engine.nn.modules.linear import Linear
from reference_engine.nn.modules.loss import NLLLoss
from reference_engine.nn.modules.module import Module
from reference_engine.tensor import Tensor

DEPRECATED = {"size_average": None, "reduce": None}  # what `reduction` says today


class _Function(Module):
    """A function of torch.nn.functional with its options; a weight among them is a buffer."""

    function: Callable
    __signature__: inspect.Signature

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        given = self.__signature__.bind(*args, **kwargs)
        given.apply_defaults()
        options = dict(given.arguments)
        old = {name: options.pop(name) for name in DEPRECATED if name in options}
        if any(value is not None for value in old.values()):
            options["reduction"] = F.reduction_of(options["reduction"], **old)
        if "weight" in options:
            self.register_buffer("weight", options["weight"])
        self.options = [name for name in options if name != "weight"]
        for name in self.options:
            setattr(self, name, options[name])

    def forward(self, *inputs: Tensor) -> Tensor:
        options = {name: getattr(self, name) for name in self.options}
        if "weight" in self._buffers:
            options["weight"] = self.weight
        return type(self).function(*inputs, **options)


def _module(name: str, function: Callable, *, keyword_only: bool = False, **options: Any) -> Any:
    """The module class of a function: its options are arguments of the class, with these defaults."""
    kind = inspect.Parameter.KEYWORD_ONLY if keyword_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(option, kind, default=value) for option, value in options.items()])
    doc = f"torch.nn.functional.{function.__name__} as a module. Source: torch.nn.{name}."
    return type(name, (_Function,), {"function": staticmethod(function), "__signature__": signature, "__doc__": doc,
                                     "__module__": __name__})  # fmt: skip


# fmt: off
MEAN: dict[str, Any] = {**DEPRECATED, "reduction": "mean"}
CTCLoss              = _module("CTCLoss",              F.ctc_loss, blank=0, reduction="mean", zero_infinity=False)
CosineEmbeddingLoss  = _module("CosineEmbeddingLoss",  F.cosine_embedding_loss, margin=0.0, **MEAN)
GaussianNLLLoss      = _module("GaussianNLLLoss",      F.gaussian_nll_loss, keyword_only=True, full=False, eps=1e-6,
                               reduction="mean")
HingeEmbeddingLoss   = _module("HingeEmbeddingLoss",   F.hinge_embedding_loss, margin=1.0, **MEAN)
MarginRankingLoss    = _module("MarginRankingLoss",    F.margin_ranking_loss, margin=0.0, **MEAN)
MultiLabelMarginLoss = _module("MultiLabelMarginLoss", F.multilabel_margin_loss, **MEAN)
MultiLabelSoftMarginLoss = _module("MultiLabelSoftMarginLoss", F.multilabel_soft_margin_loss, weight=None, **MEAN)
MultiMarginLoss      = _module("MultiMarginLoss",      F.multi_margin_loss, p=1, margin=1.0, weight=None, **MEAN)
PoissonNLLLoss       = _module("PoissonNLLLoss",       F.poisson_nll_loss, log_input=True, full=False, size_average=None,
                               eps=1e-8, reduce=None, reduction="mean")
SoftMarginLoss       = _module("SoftMarginLoss",       F.soft_margin_loss, **MEAN)
TripletMarginLoss    = _module("TripletMarginLoss",    F.triplet_margin_loss, margin=1.0, p=2.0, eps=1e-6, swap=False, **MEAN)
TripletMarginWithDistanceLoss = _module("TripletMarginWithDistanceLoss", F.triplet_margin_with_distance_loss,
                               keyword_only=True, distance_function=None, margin=1.0, swap=False, reduction="mean")
CosineSimilarity     = _module("CosineSimilarity",     F.cosine_similarity, dim=1, eps=1e-8)
PairwiseDistance     = _module("PairwiseDistance",     F.pairwise_distance, p=2.0, eps=1e-6, keepdim=False)
# fmt: on


class NLLLoss2d(NLLLoss):
    """NLLLoss under its old name."""


class LinearCrossEntropyLoss(Module):
    """CrossEntropyLoss of a linear layer's result. Source: torch.nn.LinearCrossEntropyLoss."""

    def __init__(self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (), bias: bool = False,
                 device: Any = None, dtype: Any = None, reduction: str = "mean", weight: Tensor | None = None,
                 ignore_index: int | None = None, label_smoothing: float = 0.0, options: Any = None) -> None:  # fmt: skip
        super().__init__()
        self.in_features, self.num_classes, self.out_features = in_features, num_classes, tuple(out_features)
        self.reduction, self.ignore_index = reduction, ignore_index
        self.label_smoothing, self.options = label_smoothing, options
        self.register_buffer("weight", weight)
        rows = num_classes
        for size in self.out_features:
            rows *= size
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input, self.linear.weight.reshape(*shape, self.in_features), target,
            linear_bias=None if bias is None else bias.reshape(*shape), weight=self.weight, reduction=self.reduction,
            ignore_index=self.ignore_index, label_smoothing=self.label_smoothing, options=self.options,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
                f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
                f"label_smoothing={self.label_smoothing}, options={self.options}")  # fmt: skip
