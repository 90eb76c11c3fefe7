"""torch.autograd: gradients asked for, graph seen, recording controlled. Source: torch docs, torch.autograd."""

from __future__ import annotations

from reference_engine.autograd import forward_ad, function, functional, grad_mode, graph
from reference_engine.autograd.anomaly_mode import detect_anomaly, set_detect_anomaly
from reference_engine.autograd.backward import backward, grad
from reference_engine.autograd.function import Function
from reference_engine.autograd.grad_mode import (
    _unsafe_preserve_version_counter,
    enable_grad,
    enforce_grad_layout_policy,
    inference_mode,
    is_multithreading_enabled,
    is_view_replay_enabled,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from reference_engine.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from reference_engine.autograd.variable import Variable, variable
from reference_engine.tape.handle import SavedTensor

__all__ = [
    "Function", "GradcheckError", "SavedTensor", "Variable", "backward", "detect_anomaly", "enable_grad",
    "enforce_grad_layout_policy", "forward_ad", "function", "functional", "grad", "grad_mode", "gradcheck",
    "gradgradcheck", "graph", "inference_mode", "is_multithreading_enabled", "is_view_replay_enabled", "no_grad",
    "set_detect_anomaly", "set_grad_enabled", "set_multithreading_enabled", "variable",
]  # fmt: skip
