"""Faults of element types."""

from __future__ import annotations

import functools
from typing import Any

import reference_engine as engine
from reference_engine import autocasting, dtypes
from reference_engine.ops import elementwise, types
from reference_engine.tape import backward, grad_type
from tests.faulty_engines.patching import Patch, fault


@fault("dtype")
def gradients_are_not_cast_back(p: Patch) -> None:
    """A gradient keeps the dtype in which the formula gave it."""
    p.wrap(backward, "fit", lambda original: lambda g, shape, dtype, node: original(g, shape, None, node))


@fault("dtype")
def every_operand_promotes_alike(p: Patch) -> None:
    """0-d tensors and Python numbers promote as tensors with dimensions do."""
    p.function(dtypes.result_type, lambda operands: functools.reduce(dtypes.promote_types, [d for d, _ in operands]))


@fault("dtype")
def integers_may_require_grad(p: Patch) -> None:
    """requires_grad is accepted for every dtype."""
    p.set(engine.Tensor, "_set_tracked", lambda self, value, which="": setattr(self, "_tracked", value))


@fault("dtype")
def bfloat16_is_not_rounded(p: Patch) -> None:
    """Narrow types are float32 under another name."""
    p.set(dtypes.Narrow, "rounded", lambda self, array: array.astype(self.numpy))


@fault("dtype")
def bfloat16_truncates(p: Patch) -> None:
    """bfloat16 cuts bits off instead of rounding to nearest, ties to even."""

    def cut(array: Any) -> Any:
        import numpy as np

        bits = np.ascontiguousarray(array, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        return bits.view(np.float32).reshape(np.shape(array)) * np.float32(1 + 2**-7)

    p.set(engine.bfloat16, "_rounding", cut)


@fault("dtype")
def grad_dtype_has_no_effect(p: Patch) -> None:
    """grad_dtype is stored and not heeded."""
    p.function(grad_type.brought, lambda tensor, gradient: gradient)
    p.function(grad_type.of_edge, lambda tensor: tensor._array.dtype)


@fault("dtype")
def any_grad_may_be_assigned(p: Patch) -> None:
    """Assigning to .grad checks neither dtype nor shape."""
    p.set(engine.Tensor, "_check_grad", lambda self, value: None)


@fault("dtype")
def default_dtype_is_fixed(p: Patch) -> None:
    """Integers become float32 whatever the default dtype is."""
    p.function(dtypes.get_default_dtype, lambda: dtypes.float32)


@fault("dtype")
def autocast_has_no_effect(p: Patch) -> None:
    """Products inside of autocast run in the types of their operands."""
    p.function(autocasting.lowered, lambda *inputs: inputs)


@fault("dtype")
def to_always_copies(p: Patch) -> None:
    """to() with the dtype that the tensor has makes a new tensor."""
    p.wrap(engine.Tensor, "to", lambda original: lambda self, *a, **k: original(self, *a, **{**k, "copy": True}))


@fault("dtype")
def casts_cut_history(p: Patch) -> None:
    """A cast between floating types is not recorded."""
    p.set(types.cast, "rules", (None,))


@fault("dtype")
def remainder_has_no_derivative(p: Patch) -> None:
    """fmod and remainder give their dividend gradient 0."""
    for function in (elementwise.fmod, elementwise.remainder):
        node = function.operator.node
        p.set(node, "arrays", lambda self, grads, needed: (grads[0] * 0, grads[0] * 0))
