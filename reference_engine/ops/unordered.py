"""Complex numbers have no order: operators that need one refuse them, and so do real functions without a complex form.

A table of names, with torch's errors. Elementwise operators refuse in their long path, which is the one complex tensors
take; other functions are wrapped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.kinds import NUMBERS
from reference_engine.tensor import Tensor

# Functions whose kernel has no complex form: `name=kernel`, or a name alone for the kernel "name_cpu".
KERNELS = """
    lt less=lt_cpu __lt__=lt_cpu le less_equal=le_cpu __le__=le_cpu gt greater=gt_cpu __gt__=gt_cpu ge greater_equal=ge_cpu
    __ge__=ge_cpu atan2 arctan2=atan2_cpu fmod remainder hypot xlogy frac floor_divide=div_floor_cpu
    __floordiv__=div_floor_cpu copysign nextafter bitwise_and bitwise_or bitwise_xor logaddexp2 round=round_vml_cpu
    erf=erf_vml_cpu erfc=erfc_vml_cpu erfinv=erfinv_vml_cpu lgamma=lgamma_vml_cpu digamma=digamma i0=i0_vml_cpu logit
    amax=max_values_cpu amin=min_values_cpu aminmax cummax cummin kthvalue mode unique=unique
"""
MESSAGES: dict[str, tuple[type[RuntimeError], str]] = {
    **{name: (NotImplementedError, f"{real} is not supported for complex inputs")
       for name, real in {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "fix": "trunc"}.items()},
    **dict.fromkeys(("relu", "clamp", "clamp_", "clip", "clamp_min", "clamp_max"),
                    (NotImplementedError, "clamp is not supported for complex types")),
    **{name: (RuntimeError, f"{name} not implemented for complex tensors.")
       for name in ("maximum", "minimum", "fmax", "fmin")},
    **{name: (RuntimeError, f"{name}(): does not support complex input") for name in ("argmax", "argmin")},
    **dict.fromkeys(("sort", "argsort", "msort"), (RuntimeError, " Sort does not support complex dtypes on CPU")),
    **dict.fromkeys(("abs_", "absolute_"), (RuntimeError, "In-place abs is not supported for complex tensors.")),
    "topk": (RuntimeError, " topk does not support complex dtypes on CPU"),
    "sign": (NotImplementedError, "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use "
                                  "torch.sgn instead."),
    "signbit": (NotImplementedError, "signbit is not implemented for complex tensors."),
    **{name: (RuntimeError, f"{name} is not supported for complex tensors.") for name in ("deg2rad", "rad2deg")},
    "heaviside": (RuntimeError, "heaviside is not yet implemented for complex tensors."),
}  # fmt: skip
# Likewise, of torch and of torch.nn.functional.
ACTIVATIONS = """
    gelu=GeluKernelImpl elu celu=elu_cpu selu=elu_cpu leaky_relu softplus logsigmoid=log_sigmoid_cpu threshold hardshrink
    softshrink=softshrink_check prelu mish hardsigmoid hardswish glu mse_loss=mse_cpu smooth_l1_loss=smooth_l1_cpu
    huber_loss=huber_cpu binary_cross_entropy=binary_cross_entropy softmax=softmax_kernel_impl
    log_softmax=log_softmax_kernel_impl
"""
FLOATS = {word.partition("=")[0] for word in ACTIVATIONS.split()} - {"threshold"}  # they have no integer form either
CLAMPING = ("hardtanh", "relu6")
ACROSS = {"max": "max_all", "min": "min_all", "median": "median_cpu"}  # with a dimension they are other kernels


def _kernels(text: str) -> dict[str, tuple[type[RuntimeError], str]]:
    pairs = [word.partition("=") for word in text.split()]
    return {name: (NotImplementedError, f"\"{kernel or name + '_cpu'}\" not implemented for '{{type}}'")
            for name, _, kernel in pairs}  # fmt: skip


def refuse(error: type[RuntimeError], message: str, arguments: tuple) -> None:
    """Raises where one of the arguments is complex."""
    complexes = [x for x in arguments if x.__class__ is complex or (isinstance(x, Tensor) and x.is_complex())]
    if complexes:
        operands = [dtypes.operand(x) for x in arguments if isinstance(x, (Tensor, *NUMBERS))]
        raise error(message.format(type=dtypes.type_name(dtypes.result_type(operands))))


def refuse_kernel(kernel: str, arguments: tuple) -> None:
    """Raises where one of the arguments is complex: this kernel has no such form."""
    refuse(*_kernels(f"name={kernel}")["name"], arguments)


def _refuse_integers(error: type[RuntimeError], message: str, arguments: tuple) -> None:
    """Raises where all tensors among the arguments are of integers or bools."""
    operands = [dtypes.operand(x) for x in arguments if isinstance(x, Tensor)]
    if operands and (common := dtypes.result_type(operands)).category < dtypes.FLOATING:
        raise error(message.format(type=dtypes.type_name(common)))


def refusing(function: Callable, error: type[RuntimeError], message: str, *, integers: bool = False) -> Callable:
    """The function, refusing complex arguments, and integers where asked; not where it converts them by `dtype=`."""
    operator = getattr(function, "operator", None)
    if operator is not None:
        operator.refuses_complex = functools.partial(refuse, error, message)
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("dtype") is None:
            given = (*args[:2], *kwargs.values())
            refuse(error, message, given)
            if integers:
                _refuse_integers(error, message, given)
        return function(*args, **kwargs)

    return call


def _across(name: str, kernel: str, function: Callable) -> Callable:
    """max, min, median: over all elements one kernel, along a dimension another; of two tensors it is `maximum`."""

    @functools.wraps(function)
    def call(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if input.is_complex() and not any(isinstance(x, Tensor) for x in (*args, *kwargs.values())):
            if (args or "dim" in kwargs) and name != "median":
                raise RuntimeError(f"{name}(): does not support complex input")
            chosen = "median_out" if args or "dim" in kwargs else kernel
            raise NotImplementedError(f"\"{chosen}\" not implemented for '{dtypes.type_name(input.dtype)}'")
        return function(input, *args, **kwargs)

    return call


def declare() -> None:
    """Lets the published functions refuse, once all families have declared them."""
    wrapped: dict[int, Callable] = {}
    for table in (registry.functions, registry.methods):
        for name, (error, message) in {**_kernels(KERNELS + ACTIVATIONS), **MESSAGES}.items():
            if name in table:
                function, integers = table[name], name in FLOATS
                table[name] = wrapped.setdefault(id(function), refusing(function, error, message, integers=integers))
        for name, kernel in ACROSS.items():
            table[name] = wrapped.setdefault(id(table[name]), _across(name, kernel, table[name]))


def activations(namespace: dict[str, Any]) -> None:
    """The same for the functions of torch.nn.functional."""
    messages = _kernels(ACTIVATIONS) | dict.fromkeys(CLAMPING, MESSAGES["clamp"])
    for name, (error, message) in messages.items():
        if name in namespace:
            namespace[name] = refusing(namespace[name], error, message, integers=name in FLOATS)
