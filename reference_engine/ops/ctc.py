"""Connectionist temporal classification: the probability of all alignments of a sequence of labels.

With the labels l extended by blanks, l' = (blank, l1, blank, l2, ..., blank), alpha[t, s] is the log-probability of all
prefixes of t + 1 steps that end in l'[s], beta that of all suffixes that start there. The loss is
-log(alpha[T-1, S-1] + alpha[T-1, S-2]). Source: Graves et al. 2006; torch.nn.functional.ctc_loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops.kinds import general
from reference_engine.ops.losses import reduced
from reference_engine.ops.underivable import no_formula
from reference_engine.tensor import Tensor, wrap


def _extended(labels: np.ndarray, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """l', and where a blank may be skipped: at a label that differs from the one before it."""
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    skips = np.zeros(len(states), bool)
    skips[3::2] = labels[1:] != labels[:-1]
    return states, skips


def _prefixes(steps: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """alpha, of log-probabilities (T, S) of the extended labels."""
    alpha = np.full(steps.shape, -np.inf)
    alpha[0, :2] = steps[0, :2]
    for t in range(1, len(steps)):
        before = alpha[t - 1]
        stay = np.logaddexp(before, np.concatenate([[-np.inf], before[:-1]]))
        skip = np.where(skips, np.concatenate([[-np.inf, -np.inf], before])[: len(before)], -np.inf)
        alpha[t] = steps[t] + np.logaddexp(stay, skip)
    return alpha


def _sequence(x: np.ndarray, labels: np.ndarray, blank: int) -> tuple[float, np.ndarray]:
    """Of one sequence (T, C) of log-probabilities: the loss, and how probable each label is at each step."""
    states, skips = _extended(labels, blank)
    if not len(x):
        return (0.0 if not len(labels) else np.inf), np.zeros(x.shape)
    steps = x[:, states].astype(np.float64)
    alpha = _prefixes(steps, skips)
    backwards = np.zeros_like(skips)
    backwards[:-2] = skips[2:]
    beta = _prefixes(steps[::-1, ::-1], backwards[::-1])[::-1, ::-1]
    likelihood = np.logaddexp.reduce(alpha[-1, -2:])
    occupied = np.exp(alpha + beta - steps - likelihood)
    share = np.zeros(x.shape)
    np.add.at(share.T, states, occupied.T)
    return -likelihood, share


def _forward(x: np.ndarray, *, labels: list, lengths: tuple[int, ...], blank: int, infinite: bool) -> tuple:
    """(T, N, C) -> losses (N,), and the slope exp(x) - share of each log-probability."""
    losses = np.zeros(x.shape[1], x.dtype)
    slope = np.zeros_like(x)
    with np.errstate(invalid="ignore"):
        for n, (own, length) in enumerate(zip(labels, lengths, strict=True)):
            losses[n], share = _sequence(x[:length, n], own, blank)
            slope[:length, n] = np.exp(x[:length, n]) - share
    if not infinite:
        slope[:, np.isinf(losses)] = 0
        losses[np.isinf(losses)] = 0
    return losses, slope


def _rule(g: Any, x: Any, slope: Any) -> Any:
    """As if x were the result of log_softmax: exp(x) stands for the derivative of its normalisation."""
    return _backward_op(g, x, slope=slope) if isinstance(g, Tensor) else g[:, None] * slope


_backward_op = general("_ctc_loss_backward", lambda g, x, *, slope: g[:, None] * slope,
                       no_formula("_ctc_loss_backward"), no_formula("_ctc_loss_backward"))  # fmt: skip
ctc_op = general("_ctc_loss", _forward, _rule, inputs=("x",), aux=("slope",), node="CtcLossBackward0",
                 saved_names=("log_probs",), forward_mode=False)  # fmt: skip


def _numbers(lengths: Any, name: str, count: int) -> tuple[int, ...]:
    given = np.asarray(lengths._array if isinstance(lengths, Tensor) else lengths).reshape(-1)
    if len(given) != count:
        raise RuntimeError(f"{name} must be of size batch_size")
    return tuple(int(n) for n in given)


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """-log of the probability of all alignments of the targets; the mean is of losses divided by target lengths.

    log_probs (T, N, C) or (T, C); targets (N, S), or all in one dimension. Without an alignment the loss is infinite and
    its gradient nan; with zero_infinity both are 0. Source: torch.nn.functional.ctc_loss.
    """
    if log_probs.dtype not in (dtypes.float32, dtypes.float64):
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{dtypes.type_name(log_probs.dtype)}'")
    batched = log_probs._array.ndim == 3
    x = log_probs if batched else log_probs.unsqueeze(1)
    steps, count, classes = x._array.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    lengths, sizes = _numbers(input_lengths, "input_lengths", count), _numbers(target_lengths, "target_lengths", count)
    if max(lengths, default=0) > steps:
        raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {max(lengths)} (while "
                           "checking arguments for ctc_loss_allocate_outputs)")  # fmt: skip
    losses = ctc_op(x, labels=_labels(targets._array, sizes), lengths=lengths, blank=blank, infinite=not zero_infinity)
    if reduction == "mean":
        return (losses / wrap(np.maximum(sizes, 1).astype(losses._array.dtype))).mean()
    return reduced(losses if batched else losses.squeeze(0), reduction)


def _labels(targets: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """The labels of each sequence."""
    if targets.ndim == 1:
        ends = np.cumsum(sizes)
        return [np.array(targets[end - size : end], np.int64) for end, size in zip(ends, sizes, strict=True)]
    if max(sizes, default=0) > targets.shape[1]:
        raise RuntimeError(f"Expected tensor to have size at least {max(sizes)} at dimension 1, but got size "
                           f"{targets.shape[1]} for argument #2 'targets' (while checking arguments for "
                           "ctc_loss_allocate_outputs)")  # fmt: skip
    return [np.array(row[:size], np.int64) for row, size in zip(targets, sizes, strict=True)]
