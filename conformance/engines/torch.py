"""PyTorch itself: programs run on the module `torch`, with nothing in between. The only module that imports torch."""

from __future__ import annotations

import gc
import sys
from functools import partial
from typing import Any

import numpy as np
import torch

from conformance.arrays import STORED, Array
from conformance.errors import EngineError
from conformance.outcome import TensorValue

from .base import Mode, Modes
from .torch_like import TOLIST_LIMIT, TorchLike

_C = torch._C
_AUTOGRAD = _C._autograd
_FUNCTORCH = _C._functorch


def engine(device: str = "cpu") -> TorchEngine:
    """torch on one device ("cpu", "cuda", "cuda:1"). Raises EngineError if torch does not see that device."""
    kind = device.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise EngineError("torch sees no CUDA device", hint=f"torch {torch.__version__}")
    if kind not in ("cpu", "cuda"):
        raise EngineError(f"the torch engine does not run on {device!r}", hint="cpu or cuda")
    return TorchEngine(device)


class TorchEngine(TorchLike):
    """One thread, warnings always shown (torch shows some once per process, unless told before its first operator)."""

    def __init__(self, device: str = "cpu") -> None:
        torch.set_num_threads(1)
        torch.set_warn_always(True)
        super().__init__(torch, name="torch", version=str(torch.__version__), device=device, drop_in=True)
        self.global_hooks = _global_hooks()

    def find_tensor_types(self) -> tuple[type, ...]:
        return (torch.Tensor,)

    def read(self, tensor: Any) -> TensorValue:
        if tensor.layout is not torch.strided:
            tensor = tensor.to_dense()
        elif tensor._is_zerotensor():  # zeros without memory, as derivatives of constant gradients are
            tensor = tensor.detach().clone()
        name, stored = self._dtypes.get(tensor.dtype) or self._dtype(tensor.dtype)
        shape = tuple(tensor.shape)
        if tensor.numel() > TOLIST_LIMIT:
            return TensorValue(name, shape, self.elements(tensor, shape, stored))
        return TensorValue(name, shape, np.array(tensor.tolist(), stored).tobytes())

    def flags(self, tensor: Any) -> tuple[bool, bool]:
        return tensor.requires_grad, tensor.is_leaf

    def bulk(self, tensor: Any) -> Array:
        # Of a copy: numpy() makes a tensor's own storage impossible to resize for ever after.
        copy = tensor.detach().clone().to("cpu").resolve_conj().resolve_neg()
        if copy.dtype in _NOT_NUMPYS:
            copy = copy.to(torch.complex64 if copy.is_complex() else torch.float32)
        array: Array = copy.numpy()
        return array

    def make(self, array: Array, dtype: str, requires_grad: bool) -> Any:
        tensor = torch.tensor(array, dtype=getattr(torch, dtype), device=self.device)
        return tensor.requires_grad_(requires_grad)

    def module_state(self, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, torch.nn.Module):
            return None
        return {**dict(value.named_parameters()), **dict(value.named_buffers())}

    def find_modes(self) -> tuple[Mode, ...]:
        broadcast = torch.utils.backcompat.broadcast_warning
        device = torch.device(self.device) if self.device != "cpu" else None
        return (
            Mode(torch.is_grad_enabled, _C._set_grad_enabled, True),
            Mode(torch.is_inference_mode_enabled, _leave_inference_mode, False),
            Mode(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
            Mode(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, False),
            Mode(torch.is_anomaly_check_nan_enabled, _set_check_nan, True),
            Mode(_C._get_warnAlways, torch.set_warn_always, True),
            Mode(_C._get_deterministic_algorithms, torch.use_deterministic_algorithms, False),
            Mode(_C._is_multithreading_enabled, _C._set_multithreading_enabled, True),
            Mode(_C._is_view_replay_enabled, _C._set_view_replay_enabled, False),
            Mode(partial(torch.is_autocast_enabled, "cpu"), partial(torch.set_autocast_enabled, "cpu"), False),
            *_layout_policy(),
            Mode(_full_backward_hooks, _set_full_backward_hooks, None),
            Mode(torch.get_num_threads, torch.set_num_threads, 1),
            Mode(_default_device, _set_default_device, device),
            Mode(broadcast.get_enabled, broadcast.set_enabled, False),
        )

    def generator_state(self) -> bytes:
        state: bytes = _cpu_state().numpy().tobytes()
        return state if self.device == "cpu" else state + torch.cuda.get_rng_state(self.device).numpy().tobytes()

    def set_generator_state(self, state: bytes) -> None:
        cpu, rest = bytearray(state[:_CPU_STATE]), bytearray(state[_CPU_STATE:])
        _C.default_generator.set_state(torch.frombuffer(cpu, dtype=torch.uint8))
        if rest:
            torch.cuda.set_rng_state(torch.frombuffer(rest, dtype=torch.uint8), self.device)

    def restore(self, modes: Modes, now: Modes | None = None) -> bool:
        if now is None:
            _unwind()
            if any(self.global_hooks):
                for hooks in self.global_hooks:
                    hooks.clear()
        return super().restore(modes, now)


_NOT_NUMPYS = {
    getattr(torch, name) for name in ("bfloat16", "complex32", *(n for n in STORED if n.startswith("float8")))
}
_cpu_state = _C.default_generator.get_state
_CPU_STATE = _cpu_state().numel()


def _layout_policy() -> tuple[Mode, ...]:
    """Whether gradients take their leaf's strides, where this torch has the switch."""
    names = "_is_grad_layout_enforcement_enabled", "_set_grad_layout_enforcement_enabled"
    get, put = (getattr(_C, name, None) for name in names)
    return () if get is None or put is None else (Mode(get, put, True),)


def _unwind() -> None:
    """Leaves what a program entered and never left: a suspended generator keeps its `with` block open for ever."""
    if torch.autograd.forward_ad._current_level >= 0:
        while torch.autograd.forward_ad._current_level >= 0:
            torch.autograd.forward_ad.exit_dual_level()
    while _AUTOGRAD._top_saved_tensors_default_hooks(True) is not None:
        _AUTOGRAD._pop_saved_tensors_default_hooks()
    if not _AUTOGRAD._saved_tensors_hooks_is_enabled():
        _AUTOGRAD._saved_tensors_hooks_enable()
    if _FUNCTORCH.peek_interpreter_stack() is not None:
        _FUNCTORCH.pop_dynamic_layer_stack_and_undo_to_depth(0)


def _global_hooks() -> tuple[dict[Any, Any], ...]:
    """torch's process-wide tables of module and optimizer hooks."""
    tables: list[dict[Any, Any]] = []
    for module in (torch.nn.modules.module, sys.modules[torch.optim.Optimizer.__module__]):
        named = vars(module).items()
        tables += [value for name, value in named if name.startswith("_global_") and isinstance(value, dict)]
    return tuple(tables)


def _full_backward_hooks() -> bool | None:
    """Whether the global module hooks are full ones; torch refuses to mix the kinds once this is set."""
    return torch.nn.modules.module._global_is_full_backward_hook


def _set_full_backward_hooks(value: bool | None) -> None:
    torch.nn.modules.module._global_is_full_backward_hook = value


_left_inference: list[Any] = []


def _leave_inference_mode(enabled: bool) -> None:
    """Inference mode has no setter. Collecting ends a suspended generator's block; else an inner guard overrides it."""
    gc.collect()
    if torch.is_inference_mode_enabled() != enabled:
        _left_inference.append(_C._InferenceMode(enabled))


def _set_check_nan(enabled: bool) -> None:
    torch.autograd.set_detect_anomaly(torch.is_anomaly_enabled(), check_nan=enabled)


def _default_device() -> Any:
    """None where programs create tensors on the CPU: then torch has no function mode to go through."""
    if not _C._len_torch_function_stack():
        return None
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _set_default_device(device: Any) -> None:
    torch.set_default_device(device)
