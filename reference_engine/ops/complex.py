"""Complex numbers. PyTorch's convention: the gradient of a real loss is dL/dz* with the factor that makes it the
direction of steepest ascent. Operators that are not holomorphic say so and write J^H g themselves.
Source: torch notes/autograd, "Autograd for Complex Numbers".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.dtypes import get_default_dtype
from reference_engine.ops import registry, values
from reference_engine.ops.kinds import Operator, general
from reference_engine.ops.masking import masked, nil
from reference_engine.ops.one_node import one_node
from reference_engine.ops.registry import both, function
from reference_engine.tape.saved import type_name
from reference_engine.tensor import Tensor, new, wrap


def _imaginary(g: Any) -> Any:
    """i * g for a real g, over arrays and tensors."""
    return complex_op(nil(g), g) if isinstance(g, Tensor) else g * np.asarray(1j, np.result_type(g.dtype, np.complex64))


def _real_part(g: Any) -> Any:
    return real(g) if isinstance(g, Tensor) else np.real(g)


def _imag_part(g: Any) -> Any:
    return imag(g) if isinstance(g, Tensor) else np.imag(g)


def _reals(x: np.ndarray) -> np.ndarray:
    return x[..., None].view(x.real.dtype)


def _complexes(x: np.ndarray) -> np.ndarray:
    return x.view(np.result_type(x.dtype, np.complex64) if x.dtype != np.float64 else np.complex128)[..., 0]


def _joined(re: np.ndarray, im: np.ndarray) -> np.ndarray:
    re, im = np.broadcast_arrays(re, im)
    result = np.empty(re.shape, np.result_type(re, im, np.complex64))
    result.real, result.imag = re, im  # 1j * im would make nan of an infinite part
    return dtypes.converted(result, dtypes.of_numpy(re.dtype).to_complex().numpy) if re.dtype == np.float16 else result


def _angle_rule(g: Any, x: Any) -> Any:
    """i z / |z|^2 for complex z, and 0 at 0; the angle of a real number is constant on either side of 0."""
    if (x._array if isinstance(x, Tensor) else x).dtype.kind != "c":
        return nil(g)
    real, imag = _real_part(x), _imag_part(x)
    size = real * real + imag * imag
    turned = masked(-g * imag / size, size != 0), masked(g * real / size, size != 0)
    return complex_op(*turned) if isinstance(g, Tensor) else _joined(*turned)


# fmt: off
angle_op   = general("angle",   values.angle,                 lambda g, x: _angle_rule(g, x), inputs=("x",), holomorphic=False, saved_names=("self",))
conj_copy  = general("conj_physical", np.conj,                lambda g: conjugated(g), inputs=("x",), linear=True, holomorphic=False)
real_op    = general("real",    lambda x: x.real,             lambda g: g, view=True, holomorphic=False, node="SelectBackward0")
imag_op    = general("imag",    lambda x: x.imag,             lambda g: _imaginary(g), view=True, holomorphic=False, node="SelectBackward0")
pairs_view   = general("view_as_real",    _reals,             lambda g: as_complex(g), view=True, holomorphic=False)
complex_view = general("view_as_complex", _complexes,         lambda g: as_reals(g), view=True, holomorphic=False)
complex_op = general("complex", _joined,                       lambda g: _real_part(g), lambda g: _imag_part(g), holomorphic=False, node="ComplexBackward0")
# fmt: on


class ConjTensor(Tensor):
    """What conj() gives: a view whose memory holds the conjugate. It is conjugated when read and when written."""

    _stored: np.ndarray

    @property  # type: ignore[override]
    def _array(self) -> np.ndarray:
        return np.asarray(np.conj(self._stored))

    @_array.setter
    def _array(self, values: np.ndarray) -> None:
        self._stored = np.asarray(np.conj(values))

    @property
    def _memory(self) -> np.ndarray:
        return self._stored

    def _write(self, values: np.ndarray) -> None:
        self._stored[...] = np.conj(values)

    def is_conj(self) -> bool:
        return True

    def detach(self) -> Tensor:
        self._version_counter()
        result = lazily_conjugated(self._stored)
        result._counter = self._counter
        return result


def lazily_conjugated(stored: np.ndarray) -> ConjTensor:
    """A tensor that reads as the conjugate of `stored`."""
    result = new(ConjTensor)
    result._stored = stored
    result._edge = result._counter = None
    result._tracked = False
    return result


class Conjugation(Operator):
    """conj: no value is computed; the result is a view that reads the memory conjugated. Its own transpose."""

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        (x,) = inputs
        if not isinstance(x, Tensor):
            return np.conj(x)
        out = wrap(x._stored) if isinstance(x, ConjTensor) else lazily_conjugated(x._array)
        self.record(inputs, params, (out,))
        return out


conj_op = Conjugation(
    "conj", lambda x: np.conj(x), (lambda g: conjugated(g),), view=True, holomorphic=False, linear=True
)


def view_of_conjugate(op: Operator, x: ConjTensor, params: dict[str, Any]) -> Any:
    """A view of a lazily conjugated tensor: the same view of its memory, conjugated as lazily. Parts are of its values."""
    if op in (real_op, imag_op, pairs_view):
        return op(resolve_conj(x), **params)
    results = op.forward(x._stored, **params)
    outs = tuple(map(lazily_conjugated, results if isinstance(results, tuple) else (results,)))
    op.record((x,), params, outs)
    return outs if isinstance(results, tuple) else outs[0]


def conjugated(g: Any) -> Any:
    """The conjugate of a gradient, array or tensor; a real one itself."""
    if isinstance(g, Tensor):
        return conj(g)
    return np.conj(g) if g.dtype.kind == "c" else g  # NumPy copies what is real


def as_reals(g: Any) -> Any:
    """A complex array or tensor as pairs of real numbers along a new last dimension."""
    return view_as_real(resolve_conj(g)) if isinstance(g, Tensor) else _reals(np.asarray(g))


def as_complex(g: Any) -> Any:
    """Pairs of real numbers along the last dimension as complex numbers."""
    return view_as_complex(g.contiguous()) if isinstance(g, Tensor) else _complexes(np.ascontiguousarray(g))


@both
def conj(input: Tensor) -> Tensor:
    """The complex conjugate, a view that conjugates when read; a real tensor itself. Source: torch.conj."""
    return conj_op(input) if input.is_complex() else input


registry.word("conj", np.conj, conj)


@both
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate in memory of its own. Source: torch.conj_physical."""
    return conj_copy(input) if input.is_complex() else input


@both
def resolve_conj(input: Tensor) -> Tensor:
    """A lazily conjugated tensor as one whose memory holds its values; others themselves. Source: torch.resolve_conj."""
    return input.clone() if input.is_conj() else input


registry.publish("is_conj", lambda input: input.is_conj(), method=False)


@function
def real(input: Tensor) -> Tensor:
    """The real part, a view; a real tensor itself. Source: torch.real."""
    if not input.is_complex():
        return input
    return real_op(conj(input) if input.is_conj() else input)


@function
def imag(input: Tensor) -> Tensor:
    """The imaginary part, a view. Source: torch.imag."""
    if not input.is_complex():
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return -imag_op(conj(input)) if input.is_conj() else imag_op(input)


@function
def view_as_real(input: Tensor) -> Tensor:
    """A view of a complex tensor as pairs of real numbers along a new last dimension. Source: torch.view_as_real."""
    if not input.is_complex():
        raise RuntimeError("view_as_real is only supported for complex tensors")
    if input.is_conj():
        raise RuntimeError("view_as_real doesn't work on unresolved conjugated tensors.  To resolve the conjugate tensor so "
                           "you can view it as real, use self.resolve_conj(); however, be warned that the resulting tensor "
                           "will NOT alias the original.")  # fmt: skip
    return pairs_view(input)


@function
def view_as_complex(input: Tensor) -> Tensor:
    """A view of pairs of real numbers along the last dimension as complex ones. Source: torch.view_as_complex."""
    if input._array.dtype.kind != "f":
        raise RuntimeError(f"view_as_complex is only supported for half, float and double tensors, but got a tensor of "
                           f"scalar type: {type_name(input.dtype)[:-6]}")  # fmt: skip
    if input._array.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input._array.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if input.stride(-1) != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    return complex_view(input)


def _two_reals(name: str, second: str, a: Any, b: Any) -> None:
    """Refuses what cannot be the two real tensors of a complex one."""
    if not isinstance(b, Tensor):
        raise TypeError(f"{name}(): argument '{second}' (position 2) must be Tensor, not {type(b).__name__}")
    names = type_name(a.dtype)[:-6], type_name(b.dtype)[:-6]
    if any(x._array.dtype.kind != "f" for x in (a, b)):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {names[0]} and {names[1]}"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {names[0]} but got scalar type {names[1]} for second argument"
        )


@function
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """real + i imag. Source: torch.complex."""
    _two_reals("complex", "imag", real, imag)
    return complex_op(real, imag)


def _part_setter(part: Any) -> Any:
    def put(self: Tensor, value: Any) -> None:
        part(self).copy_(value if isinstance(value, Tensor) else wrap(np.asarray(value)))

    return put


registry.methods["real"] = property(real, _part_setter(real))
registry.methods["imag"] = property(imag, _part_setter(imag))


@both
def adjoint(input: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions, a view. Source: torch.adjoint."""
    return conj(input.transpose(-2, -1))


def _hermitian(self: Tensor) -> Tensor:
    if self._array.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self._array.ndim}-D tensor."
                           + (" For batches of matrices, consider using tensor.mH" if self._array.ndim > 2 else ""))  # fmt: skip
    return conj(self.t())


def _batched_hermitian(self: Tensor) -> Tensor:
    if self._array.ndim == 1:
        raise RuntimeError("tensor.mH is only supported on matrices or batches of matrices. Got 1-D tensor.")
    return adjoint(self) if self._array.ndim else conj(self)


registry.methods["H"] = property(_hermitian)
registry.methods["mH"] = property(_batched_hermitian)


@both
def angle(input: Tensor) -> Tensor:
    """The argument of a complex number; 0 or pi for real ones. Source: torch.angle."""
    if input._array.dtype.kind in "iub":
        input = input.to(get_default_dtype())
    return angle_op(input)


@function
@one_node("PolarBackward0", "abs", "angle")
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs * exp(i angle). Source: torch.polar."""
    _two_reals("polar", "angle", abs, angle)
    f = registry.functions
    return complex_op(abs * f["cos"](angle), abs * f["sin"](angle))
