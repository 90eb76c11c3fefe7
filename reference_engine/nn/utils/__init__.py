"""torch.nn.utils: gradients clipped, parameters as one vector, parameters computed from others."""

from reference_engine.nn.utils import parametrize
from reference_engine.nn.utils.clip_grad import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from reference_engine.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm",
           "parameters_to_vector", "parametrize", "vector_to_parameters"]  # fmt: skip
