"""Gradients clipped in place, by their common norm or element by element. Source: torch.nn.utils."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable
from typing import Any

from reference_engine import creation
from reference_engine.autograd.grad_mode import no_grad
from reference_engine.ops.joining import stack
from reference_engine.ops.linalg.norms import vector_norm
from reference_engine.tensor import Tensor


def _listed(tensors: Any) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


@no_grad()
def get_total_norm(tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:  # fmt: skip
    """The norm of all tensors as if they were one vector. Source: torch.nn.utils.get_total_norm."""
    norms = [vector_norm(t, float(norm_type)) for t in _listed(tensors)]
    if not norms:
        return creation.tensor(0.0)
    total = vector_norm(stack(norms), float(norm_type))
    if error_if_nonfinite and not abs(total.item()) < float("inf"):
        raise RuntimeError(f"The total norm of order {float(norm_type)} for gradients from `parameters` is non-finite, so "
                           "it cannot be clipped. To disable this error and scale the gradients by the non-finite norm "
                           "anyway, set `error_if_nonfinite=False`")  # fmt: skip
    return total


@no_grad()
def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scales gradients by max_norm / (total_norm + 1e-6) where that is below 1."""
    factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    for parameter in _listed(parameters):
        if parameter._grad is not None:
            parameter._grad.mul_(factor)


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                    foreach: bool | None = None) -> Tensor:  # fmt: skip
    """Scales gradients so that their common norm is at most max_norm; returns the norm before.

    Source: torch.nn.utils.clip_grad_norm_.
    """
    generated = isinstance(parameters, types.GeneratorType)
    listed = _listed(parameters)
    if generated and not listed:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    grads = [p._grad for p in listed if p._grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(listed, max_norm, total, foreach)
    return total


def clip_grad_norm(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:  # fmt: skip
    """The former name of clip_grad_norm_."""
    warnings.warn("`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
                  FutureWarning, stacklevel=2)  # fmt: skip
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@no_grad()
def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float, foreach: bool | None = None) -> None:
    """Clamps every element of every gradient to [-clip_value, clip_value]."""
    bound = float(clip_value)
    for parameter in _listed(parameters):
        if parameter._grad is not None:
            parameter._grad.clamp_(min=-bound, max=bound)
