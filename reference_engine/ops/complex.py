"""Complex numbers. PyTorch's convention: the gradient of a real loss is dL/dz* with the factor that makes it the
direction of steepest ascent. Operators that are not holomorphic say so and write J^H g themselves.
Source: torch notes/autograd, "Autograd for Complex Numbers".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops import registry
from reference_engine.ops.kinds import general
from reference_engine.ops.registry import both, function
from reference_engine.tensor import Tensor


def _imaginary(g: Any) -> Any:
    """i * g for a real g, over arrays and tensors."""
    return complex_op(g * 0, g) if isinstance(g, Tensor) else g * np.asarray(1j, np.result_type(g.dtype, np.complex64))


def _real_part(g: Any) -> Any:
    return real_op(g) if isinstance(g, Tensor) else np.real(g)


def _imag_part(g: Any) -> Any:
    return imag_op(g) if isinstance(g, Tensor) else np.imag(g)


# fmt: off
conj_op    = general("conj",    np.conj,                      lambda g: conj_op(g) if isinstance(g, Tensor) else np.conj(g), inputs=("x",), holomorphic=False, node="ConjBackward0")
real_op    = general("real",    lambda x: x.real,             lambda g: g, view=True, holomorphic=False, node="RealBackward0")
imag_op    = general("imag",    lambda x: x.imag,             lambda g: _imaginary(g), view=True, holomorphic=False, node="ImagBackward0")
complex_op = general("complex", lambda re, im: re + 1j * im,  lambda g: _real_part(g), lambda g: _imag_part(g), holomorphic=False, node="ComplexBackward0")
# fmt: on


@both
def conj(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor itself. Source: torch.conj."""
    return conj_op(input) if input.is_complex() else input


registry.word("conj", np.conj, conj)
registry.publish("conj_physical", conj)
registry.publish("resolve_conj", lambda input: input)


@function
def real(input: Tensor) -> Tensor:
    """The real part, a view. Source: torch.real."""
    return real_op(input) if input.is_complex() else input


@function
def imag(input: Tensor) -> Tensor:
    """The imaginary part, a view. Source: torch.imag."""
    if not input.is_complex():
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return imag_op(input)


@function
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """real + i imag. Source: torch.complex."""
    return complex_op(real, imag)


registry.methods["real"] = property(real)
registry.methods["imag"] = property(imag)
registry.methods["H"] = property(lambda self: conj(self.t()))
registry.methods["mH"] = property(lambda self: conj(self.mT))
