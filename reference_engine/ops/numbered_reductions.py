"""Losses as functions of torch itself: there the reduction is a number, 0 for none, 1 for the mean, 2 for the sum.

They are what torch.nn.functional calls. Source: torch.ctc_loss and its like, by their signatures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from reference_engine.ops import ctc, likelihoods, margins, registry

REDUCTIONS = ("none", "mean", "sum")


def _numbered(function: Callable, *names: str, **defaults: Any) -> Callable:
    """The function with its parameters in torch's order: `names`, then those with defaults."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(n, kind) for n in names]
                                  + [inspect.Parameter(n, kind, default=v) for n, v in defaults.items()])  # fmt: skip

    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        options = dict(given.arguments)
        options["reduction"] = REDUCTIONS[options["reduction"]]
        return function(**options)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = f"torch.nn.functional.{function.__name__} with a number for the reduction."
    return call


# fmt: off
TABLE = (
    _numbered(ctc.ctc_loss, "log_probs", "targets", "input_lengths", "target_lengths", blank=0, reduction=0, zero_infinity=False),
    _numbered(likelihoods.kl_div, "input", "target", reduction=0, log_target=False),
    _numbered(likelihoods.binary_cross_entropy_with_logits, "input", "target", weight=None, pos_weight=None, reduction=0),
    _numbered(likelihoods.poisson_nll_loss, "input", "target", "log_input", "full", "eps", "reduction"),
    _numbered(margins.cosine_embedding_loss, "input1", "input2", "target", margin=0.0, reduction=0),
    _numbered(margins.hinge_embedding_loss, "input", "target", margin=1.0, reduction=0),
    _numbered(margins.margin_ranking_loss, "input1", "input2", "target", margin=0.0, reduction=0),
    _numbered(margins.triplet_margin_loss, "anchor", "positive", "negative", margin=1.0, p=2.0, eps=1e-6, swap=False, reduction=0),
)
# fmt: on
for _function in TABLE:
    registry.publish(_function.__name__, _function, method=False)
