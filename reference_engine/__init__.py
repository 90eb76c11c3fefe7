"""Autograd on NumPy, spelled like torch: `import reference_engine as torch`.

The specification made executable: what PyTorch documents about differentiation, written from the mathematics and the
documents, to be read. It imports NumPy and SciPy only. Start with tape/backward.py (the backward pass), ops/kinds.py
(what an operator is) and any table in ops/.
"""

from __future__ import annotations

import sys as _sys
from typing import Any

from reference_engine import autograd, dtypes, narrow_types, ops, overrides, random, return_types
from reference_engine.autocasting import autocast, get_autocast_dtype, is_autocast_enabled, set_autocast_enabled
from reference_engine.autograd.anomaly_mode import is_anomaly_check_nan_enabled, is_anomaly_enabled
from reference_engine.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from reference_engine.creation import (
    METHODS,
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    empty_strided,
    eye,
    from_numpy,
    full,
    full_like,
    is_tensor,
    linspace,
    logspace,
    ones,
    ones_like,
    scalar_tensor,
    tensor,
    tril_indices,
    triu_indices,
    zeros,
    zeros_like,
)
from reference_engine.dtypes import (
    complex64,
    complex128,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)
from reference_engine.layouts import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
)
from reference_engine.narrow_types import bfloat16, complex32, float8_e4m3fn, float8_e5m2
from reference_engine.ops import registry
from reference_engine.random import (
    Generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from reference_engine.state import process
from reference_engine.tensor import Size, Storage, Tensor, device
from reference_engine.window_functions import (
    bartlett_window,
    blackman_window,
    hamming_window,
    hann_window,
    kaiser_window,
)

__version__ = "2.13.0+reference"

half, double, short, long = float16, float64, int16, int64
cfloat, cdouble, chalf = complex64, complex128, complex32
inf, nan, pi, e = float("inf"), float("nan"), 3.141592653589793, 2.718281828459045
UntypedStorage = Storage

for _name, _method in METHODS.items():
    setattr(Tensor, _name, _method)

globals().update(registry.functions)
# After the operators, so that these names are the types and not the casts.
bool, float, int = dtypes.bool_, float32, int32

from reference_engine import distributions, fft, func, fx, linalg, masked, nn, optim, sparse, special, testing, utils  # noqa: E402
from reference_engine.sparse import (  # noqa: E402
    hspmm,
    smm,
    sparse_coo_tensor,
    sparse_csc_tensor,
    sparse_csr_tensor,
)

vmap = func.vmap
_C = overrides.binary

# Last: from here on functions ask the classes of their arguments.
overrides.publish(globals(), [*registry.functions, *(n for n in globals() if n.endswith("_like"))])
overrides.publish(vars(autograd), ["grad", "backward"])
for _module in (linalg, fft, special):
    overrides.publish(vars(_module), [n for n in vars(_module) if not n.startswith("_")])
_asking = overrides.publish(
    vars(nn.functional), [n for n in vars(nn.functional) if not n.startswith("_")], "torch.nn.functional"
)
_calling = [_m for _n, _m in _sys.modules.items() if _n.startswith(f"{__name__}.nn.modules.")]
overrides.replace([*_calling, ops.affine], _asking)
overrides.finish()


def set_warn_always(b: Any) -> None:
    """Whether warnings that torch gives once per process are given every time. Source: torch.set_warn_always."""
    process.warn_always = b is True


def is_warn_always_enabled() -> Any:
    """Whether warnings are given every time. Source: torch.is_warn_always_enabled."""
    return process.warn_always


def is_floating_point(input: Tensor) -> Any:
    """Whether the dtype is a floating point type. Source: torch.is_floating_point."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> Any:
    """Whether the dtype is complex. Source: torch.is_complex."""
    return input.is_complex()


def is_inference(input: Tensor) -> Any:
    """Whether the tensor was made in inference mode. Source: torch.is_inference."""
    return input.is_inference()


def is_nonzero(input: Tensor) -> Any:
    """Whether the only element is not zero. Source: torch.is_nonzero."""
    return input.is_nonzero()


def numel(input: Tensor) -> Any:
    """The number of elements. Source: torch.numel."""
    return input.numel()


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype an operation on both would give. Source: torch.result_type."""
    return dtypes.result_type([dtypes.operand(x) for x in (tensor1, tensor2)])


def can_cast(from_: dtype, to: dtype) -> Any:
    """Whether promotion lets results of one type go into a tensor of another. Source: torch.can_cast."""
    return from_.category <= to.category


def set_num_threads(n: Any) -> None:
    """Accepted and without effect: one thread computes. Source: torch.set_num_threads."""


def get_num_threads() -> Any:
    """1. Source: torch.get_num_threads."""
    return 1
