"""Faults of lazy conjugation, of parts that are written, of exponents and logarithms, and of transforms of complex functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.func import jacobians
from reference_engine.ops import complex as complexes
from reference_engine.tensor import Tensor, wrap
from tests.faulty_engines.patching import Patch, Sloped, everywhere, fault


def _holomorphic(p: Patch, name: str, slope: Callable) -> None:
    """The gradient of a holomorphic function is g times its derivative, without its conjugate."""

    def form(original: Any, z: Tensor) -> Tensor:
        if not z.is_complex():
            return original(z)
        fixed = z.detach()
        return Sloped.apply(z, original(fixed), slope(fixed))

    everywhere(p, getattr(engine, name), form)


@fault("complex")
def log_does_not_conjugate(p: Patch) -> None:
    """The gradient of log is g / z instead of g / conj(z)."""
    _holomorphic(p, "log", lambda z: 1 / z)


@fault("complex")
def sqrt_does_not_conjugate(p: Patch) -> None:
    """The gradient of sqrt is g / (2 sqrt(z)), without its conjugate."""
    _holomorphic(p, "sqrt", lambda z: 0.5 / z**0.5)


@fault("complex")
def sin_does_not_conjugate(p: Patch) -> None:
    """The gradient of sin is g cos(z), without its conjugate."""
    _holomorphic(p, "sin", lambda z: z.cos())


@fault("complex")
def reciprocal_does_not_conjugate(p: Patch) -> None:
    """The gradient of reciprocal is -g / z^2, without its conjugate."""
    _holomorphic(p, "reciprocal", lambda z: -1 / (z * z))


@fault("complex")
def products_forget_the_conjugate_bit(p: Patch) -> None:
    """A product of matrices reads the memory of a lazily conjugated operand as it is."""

    def bare(x: Tensor) -> Tensor:
        return wrap(x._stored) if isinstance(x, complexes.ConjTensor) and not x.requires_grad else x

    everywhere(p, engine.matmul, lambda original, a, b, **how: original(bare(a), bare(b), **how))
    p.set(Tensor, "__matmul__", lambda self, other: engine.matmul(self, other))


@fault("complex")
def adjoints_are_transposes(p: Patch) -> None:
    """mH, H and adjoint transpose without conjugating."""
    p.function(complexes.adjoint, lambda x: x.transpose(-2, -1))
    p.set(Tensor, "mH", property(lambda self: self.transpose(-2, -1)))
    p.set(Tensor, "H", property(lambda self: self.t()))


@fault("complex")
def conjugates_are_resolved_in_place(p: Patch) -> None:
    """resolve_conj writes the conjugate into the memory that the original shares."""

    def resolve(x: Tensor) -> Tensor:
        if isinstance(x, complexes.ConjTensor):
            x._stored[...] = np.conj(x._stored)
        return original(x)

    original = complexes.resolve_conj
    p.function(original, resolve)


@fault("complex")
def a_part_replaces_the_number(p: Patch) -> None:
    """An assignment to imag clears the real part."""

    def put(self: Tensor, value: Tensor) -> None:
        self.copy_(engine.complex(engine.zeros_like(value), value))

    p.set(Tensor, "imag", property(lambda self: complexes.imag(self), put))


@fault("complex")
def written_parts_are_constants(p: Patch) -> None:
    """An assignment to imag copies values and not their history."""

    def put(self: Tensor, value: Tensor) -> None:
        complexes.imag(self).copy_(value.detach())

    p.set(Tensor, "imag", property(lambda self: complexes.imag(self), put))


@fault("complex")
def casts_drop_their_gradient(p: Patch) -> None:
    """A cast from complex to real has no gradient."""

    def make(original: Any) -> Any:
        def to(self: Any, *args: Any, **how: Any) -> Any:
            result = original(self, *args, **how)
            return result.detach() if self.is_complex() and not result.is_complex() else result

        return to

    p.wrap(Tensor, "to", make)


@fault("complex")
def moduli_have_no_second_derivative(p: Patch) -> None:
    """The gradient of abs holds the sign as a constant."""

    class Modulus(engine.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            ctx.save_for_backward(z)
            return original(z)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * ctx.saved_tensors[0].detach().sgn()

    original = engine.abs
    everywhere(p, engine.abs, lambda form, z: Modulus.apply(z) if z.is_complex() else form(z))


@fault("complex")
def transforms_take_complex_numbers(p: Patch) -> None:
    """jacrev and jacfwd differentiate complex functions without an error."""
    p.set(jacobians, "check_real", lambda *args, **how: None)
