"""All parameters as one vector, and back. Source: torch.nn.utils.parameters_to_vector, vector_to_parameters."""

from __future__ import annotations

from collections.abc import Iterable

from reference_engine.nn.modules.registered import type_name
from reference_engine.ops.joining import cat
from reference_engine.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """One recorded vector of all elements."""
    return cat([parameter.view(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Makes each parameter's data a slice of the vector."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type_name(vec)}")
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vec[start : start + count].view_as(parameter).data
        start += count
