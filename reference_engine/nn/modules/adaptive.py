"""Adaptive softmax: frequent classes in a shortlist, rare ones in clusters of smaller rank.

Source: torch.nn.AdaptiveLogSoftmaxWithLoss; Grave et al. 2017, "Efficient softmax approximation for GPUs".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reference_engine.nn import functional as F
from reference_engine.nn.modules.container import ModuleList, Sequential
from reference_engine.nn.modules.linear import Linear
from reference_engine.nn.modules.module import Module
from reference_engine.ops import registry
from reference_engine.tensor import Tensor, wrap


class _ASMoutput(NamedTuple):
    """The log-probability of each target, and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """log_softmax over n_classes in clusters [0, cutoffs[0]), [cutoffs[0], cutoffs[1]), ...; (N, in_features) or (in_features).

    The head tells the classes of the first and the other clusters apart; cluster i has rank in_features / div_value^(i + 1).
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
                 head_bias: bool = False, device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        ends = list(cutoffs)
        if not ends:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if ends != sorted(set(ends)) or ends[0] <= 0 or ends[-1] > n_classes - 1 or any(int(c) != c for c in ends):
            raise ValueError("cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where "
                             "each value is between 1 and n_classes-1")  # fmt: skip
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*ends, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = ends[0], len(ends)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            rank, size = int(in_features // div_value ** (i + 1)), self.cutoffs[i + 1] - self.cutoffs[i]
            parts = [
                Linear(a, b, bias=False, device=device, dtype=dtype) for a, b in ((in_features, rank), (rank, size))
            ]
            self.tail.append(Sequential(*parts))

    def reset_parameters(self) -> None:
        """Draws all parameters anew."""
        self.head.reset_parameters()
        for narrow, wide in self.tail:
            narrow.reset_parameters()
            wide.reset_parameters()

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes, (N, n_classes)."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for i, tail in enumerate(self.tail):
            chosen = head[:, self.shortlist_size + i].unsqueeze(1)
            parts.append(F.log_softmax(tail(input), 1) + chosen)
        return registry.functions["cat"](parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row."""
        return self.log_prob(input).argmax(1)

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        single = target_.ndim == 0
        if single and input_.ndim != 1:
            raise RuntimeError("0D target tensor expects 1D input tensors")
        if not single and (target_.ndim != 1 or input_.ndim != 2):
            raise RuntimeError("1D target tensor expects 2D input tensors, but found inputs with size", input_.size())
        rows, targets = (input_.unsqueeze(0), target_.unsqueeze(0)) if single else (input_, target_)
        if rows.shape[0] != targets.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        classes = targets.detach().numpy()
        if classes.size and not (classes.min() >= 0 and classes.max() < self.n_classes):
            raise RuntimeError(f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                               f"[{classes.min()}, {classes.max()}] were found. ")  # fmt: skip
        output = self._target_log_prob(rows, classes)
        loss = (-output).mean()
        return _ASMoutput(output.squeeze(0) if single else output, loss)

    def _target_log_prob(self, rows: Tensor, classes: np.ndarray) -> Tensor:
        """Of each row: the head's log-probability of the class or of its cluster, plus the cluster's of the class."""
        cluster = np.searchsorted(self.cutoffs, classes, side="right")
        first = np.where(cluster == 0, classes, self.shortlist_size + cluster - 1)
        output = F.log_softmax(self.head(rows), 1).gather(1, wrap(first[:, None].astype(np.int64))).squeeze(1)
        for i, tail in enumerate(self.tail):
            members = np.flatnonzero(cluster == i + 1)
            if members.size:
                inside = wrap((classes[members] - self.cutoffs[i])[:, None].astype(np.int64))
                at = wrap(members)
                within = F.log_softmax(tail(rows.index_select(0, at)), 1).gather(1, inside).squeeze(1)
                output = output.index_add(0, at, within)
        return output
