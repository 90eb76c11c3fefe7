"""Faults of complex numbers: conjugates that are missing or twice there, parts that are swapped, dtypes that leak."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import complex as complexes
from reference_engine.ops import cumulative, elementwise, matmul, reductions, registry, unordered
from reference_engine.ops.kinds import Operator, _array_at
from reference_engine.ops.linalg import solving, spectral
from reference_engine.ops.rules import Rule
from reference_engine.optim import optimizer
from reference_engine.tape import backward
from reference_engine.tensor import Tensor, wrap
from tests.faulty_engines.patching import Patch, asking, fault

checking: Any = importlib.import_module(
    "reference_engine.autograd.jacobians"
)  # the package's attribute is the function


def _unconjugated(p: Patch, function: Any) -> None:
    """The operator's rule multiplies by the derivative itself."""
    node = function.operator.node

    def arrays(self: Any, grads: tuple, needed: Any) -> tuple:
        return self.apply(grads[0], needed, self.rules_over_arrays, _array_at, lambda g: g)

    p.set(node, "arrays", arrays)


def _rule(p: Patch, operator: Operator, index: int, rule: Callable) -> None:
    """Replaces one rule of an operator."""
    rules = list(operator.rules)
    rules[index] = Rule(rule)
    p.set(operator, "rules", tuple(rules))
    p.set(operator, "uses", operator._uses())


@fault("complex")
def mul_does_not_conjugate(p: Patch) -> None:
    """The gradient of a product is g times the other factor, without its conjugate."""
    _unconjugated(p, elementwise.mul)


@fault("complex")
def div_does_not_conjugate(p: Patch) -> None:
    """The gradient of a quotient is g times the derivative, without its conjugate."""
    _unconjugated(p, elementwise._div)


@fault("complex")
def exp_does_not_conjugate(p: Patch) -> None:
    """The gradient of exp is g times exp(z), without its conjugate."""
    _unconjugated(p, elementwise.exp)


@fault("complex")
def matmul_does_not_conjugate(p: Patch) -> None:
    """Products of matrices transpose the other factor without conjugating it."""
    p.set(matmul.mm_op, "holomorphic", False)


@fault("complex")
def dot_does_not_conjugate(p: Patch) -> None:
    """The gradient of dot is g times the other vector, without its conjugate."""
    p.set(matmul.dot_op, "holomorphic", False)


@fault("complex")
def vdot_is_dot(p: Patch) -> None:
    """vdot conjugates nothing."""
    p.function(registry.functions["vdot"], lambda input, other: registry.functions["dot"](input, other))


@fault("complex")
def vdot_conjugates_the_second(p: Patch) -> None:
    """vdot conjugates its second argument instead of its first."""
    p.function(
        registry.functions["vdot"], lambda input, other: registry.functions["dot"](input, complexes.conjugated(other))
    )


@fault("complex")
def number_powers_do_not_conjugate(p: Patch) -> None:
    """The gradient of a power is g n z^(n-1), without the conjugate."""
    p.set(elementwise.pow_number, "holomorphic", False)


@fault("complex")
def power_zero_divides(p: Patch) -> None:
    """The gradient of z^0 is computed as 0 z^-1, which is NaN at 0."""
    power = elementwise.power
    _rule(p, elementwise.pow_number, 0, lambda g, x, exponent: g * (exponent * power(x, exponent - 1)))


@fault("complex")
def gradient_of_a_real_loss_is_conjugated(p: Patch) -> None:
    """Leaves receive dL/da - i dL/db, the convention of other engines."""
    _rule(p, complexes.real_op, 0, lambda g: g)
    _rule(p, elementwise._abs, 0, lambda g, x: g * complexes.conjugated(elementwise._unit(x)))


@fault("complex")
def gradient_is_half(p: Patch) -> None:
    """abs gives the conjugate Wirtinger derivative itself, without the factor two."""
    _rule(p, elementwise._abs, 0, lambda g, x: g * elementwise._unit(x) * 0.5)


@fault("complex")
def abs_at_zero_is_nan(p: Patch) -> None:
    """The gradient of abs divides by the modulus also at 0."""
    with_nan = lambda g, x: g * x / np.absolute(x) if not isinstance(x, Tensor) else g * (x / x.abs())
    _rule(p, elementwise._abs, 0, with_nan)


@fault("complex")
def angle_turns_the_other_way(p: Patch) -> None:
    """The gradient of angle has the opposite sign."""
    _rule(p, complexes.angle_op, 0, lambda g, x: complexes._angle_rule(-g, x))


@fault("complex")
def angle_at_zero_is_nan(p: Patch) -> None:
    """The gradient of angle divides by |z|^2 also at 0."""
    _rule(p, complexes.angle_op, 0, lambda g, x: g * 1j * x / (x * np.conj(x)))


@fault("complex")
def sgn_is_divided_by_a_constant(p: Patch) -> None:
    """The gradient of sgn is g/|z|, as if the modulus did not change."""

    def sgn(input: Tensor) -> Tensor:
        return input / registry.functions["abs"](input).detach() if input.is_complex() else elementwise.sign(input)

    p.function(registry.functions["sgn"], sgn)


@fault("complex")
def imag_is_negated(p: Patch) -> None:
    """The gradient of the imaginary part is -i g."""
    _rule(p, complexes.imag_op, 0, lambda g: -complexes._imaginary(g))


@fault("complex")
def conj_passes_its_gradient(p: Patch) -> None:
    """conj hands the incoming gradient on unchanged."""
    _rule(p, complexes.conj_op, 0, lambda g: g)


@fault("complex")
def conj_is_a_copy(p: Patch) -> None:
    """conj computes the conjugate into memory of its own."""
    p.function(complexes.conj, lambda input: complexes.conj_copy(input) if input.is_complex() else input)


@fault("complex")
def conj_copies_real_tensors(p: Patch) -> None:
    """conj of a real tensor is a new tensor."""
    original = complexes.conj
    p.function(complexes.conj, lambda input: original(input) if input.is_complex() else input.clone())


@fault("complex")
def pairs_are_swapped(p: Patch) -> None:
    """The gradient of view_as_real takes the parts in the other order."""
    swapped = lambda g: complexes.as_complex(np.flip(g, -1)) if isinstance(g, np.ndarray) else complexes.as_complex(g)
    _rule(p, complexes.pairs_view, 0, swapped)


@fault("complex")
def pairs_are_conjugated(p: Patch) -> None:
    """The gradient of view_as_complex negates the imaginary part."""
    _rule(p, complexes.complex_view, 0, lambda g: complexes.as_reals(complexes.conjugated(g)))


@fault("complex")
def complex_swaps_its_parts(p: Patch) -> None:
    """torch.complex sends the real part of the gradient to the imaginary input."""
    _rule(p, complexes.complex_op, 0, lambda g: complexes._imag_part(g))
    _rule(p, complexes.complex_op, 1, lambda g: complexes._real_part(g))


@fault("complex")
def polar_ignores_its_angle(p: Patch) -> None:
    """The gradient of polar with respect to the angle is not scaled by the modulus."""

    def polar(abs: Tensor, angle: Tensor) -> Tensor:
        f = registry.functions
        return complexes.complex_op(abs * f["cos"](angle) / abs.detach() * abs, abs * f["sin"](angle).detach())

    p.function(complexes.polar, polar)


@fault("complex")
def real_leaves_receive_complex_gradients(p: Patch) -> None:
    """A gradient keeps the domain of the operation: a real operand of a complex product gets a complex gradient."""
    original = backward.fit

    def fit(g: Any, shape: Any, dtype: Any, node: Any) -> Any:
        complexes_only = dtype is not None and dtype.kind == "f" and g is not None and g.dtype.kind == "c"
        return original(g, shape, None if complexes_only else dtype, node)

    p.set(backward, "fit", fit)


@fault("complex")
def real_leaves_receive_the_modulus(p: Patch) -> None:
    """A real operand gets the modulus of its complex gradient instead of the real part."""
    original = backward.fit

    def fit(g: Any, shape: Any, dtype: Any, node: Any) -> Any:
        if dtype is not None and dtype.kind == "f" and isinstance(g, np.ndarray) and g.dtype.kind == "c":
            g = np.absolute(g)
        return original(g, shape, dtype, node)

    p.set(backward, "fit", fit)


@fault("complex")
def prod_divides_without_conjugate(p: Patch) -> None:
    """The gradient of prod is the product of the others, without its conjugate."""
    for op in (reductions.prod_all, reductions.prod_dims):
        p.set(op, "holomorphic", False)


@fault("complex")
def cumprod_does_not_conjugate(p: Patch) -> None:
    """The gradient of cumprod is a sum of products of the others, without their conjugates."""
    p.set(cumulative.cumprod_dim, "holomorphic", False)


@fault("complex")
def var_squares_without_modulus(p: Patch) -> None:
    """var of complex numbers averages the squares of the deviations instead of their squared moduli."""
    original = registry.functions["var"]

    def squares(input: Tensor, *args: Any, **options: Any) -> Tensor:
        if not input.is_complex():
            return original(input, *args, **options)
        centred = input - input.mean()
        return (centred * centred).sum() / (input.numel() - 1)

    p.function(original, squares)


@fault("complex")
def determinant_does_not_conjugate(p: Patch) -> None:
    """The gradient of det is the matrix of cofactors, without its conjugate."""
    p.set(solving.det_op, "holomorphic", False)


@fault("complex")
def singular_values_ignore_phases(p: Patch) -> None:
    """The gradient of singular values drops the imaginary parts of the singular vectors."""
    original = spectral._svd_rule

    def rule(gs: tuple, U: Any, S: Any, Vh: Any, x_shape: tuple) -> tuple:
        return (original(gs, U, S, Vh, x_shape)[0].real + 0j,)

    p.joint(spectral.svd_op, rule)


@fault("complex")
def complex_numbers_are_ordered(p: Patch) -> None:
    """Comparisons, maxima and rounding of complex tensors go by NumPy's order, or fail as NumPy does."""
    p.function(unordered.refuse, lambda error, message, arguments: None)
    for function in (elementwise.maximum, elementwise.minimum, elementwise.sign, elementwise.relu):
        p.set(function.operator, "refuses_complex", None)


@fault("complex")
def complex_scalars_imply_a_gradient(p: Patch) -> None:
    """backward() of a complex scalar starts from 1, as that of a real one does."""
    p.function(asking._implicit, lambda root, shape, dtype: wrap(np.ones(shape, dtype)))


@fault("complex")
def gradients_of_any_domain_are_cast(p: Patch) -> None:
    """A real gradient for a complex output, or the other way round, is cast instead of refused."""
    original = asking._seeds

    def seeds(roots: tuple, grads: tuple) -> list:
        cast = [g.to(r.dtype) if isinstance(g, Tensor) and isinstance(r, Tensor) else g
                for r, g in zip(roots, grads, strict=True)]  # fmt: skip
        return original(roots, tuple(cast))

    p.function(original, seeds)


@fault("complex")
def python_complex_numbers_have_one_type(p: Patch) -> None:
    """A Python complex number becomes complex64 whatever the default dtype is."""
    original = dtypes.dtype.to_complex
    at_default = lambda self: dtypes.complex64 if self is dtypes.get_default_dtype() else original(self)
    p.set(dtypes.dtype, "to_complex", at_default)


@fault("complex")
def real_tensors_have_an_imaginary_part(p: Patch) -> None:
    """imag of a real tensor is zeros, and view_as_real of it has them beside the values."""
    imag, pairs = complexes.imag, complexes.view_as_real
    p.function(imag, lambda input: imag(input) if input.is_complex() else input * 0)
    p.function(pairs, lambda input: pairs(input if input.is_complex() else complexes.complex(input, input * 0)))


@fault("complex")
def slopes_at_the_origin_are_zero(p: Patch) -> None:
    """sqrt, log and reciprocal give gradient 0 where their derivative does not exist."""
    for function in (elementwise.sqrt, elementwise.log, elementwise.reciprocal):
        arrays = function.operator.node.arrays

        def finite(self: Any, grads: tuple, needed: Any, arrays: Callable = arrays) -> tuple:
            return tuple(None if g is None else np.where(np.isfinite(g), g, 0) for g in arrays(self, grads, needed))

        p.set(function.operator.node, "arrays", finite)


@fault("complex")
def real_factors_are_squared_moduli(p: Patch) -> None:
    """The gradient of a complex number times a real constant carries the constant twice."""
    node = elementwise.mul.operator.node
    arrays = node.arrays

    def doubled(self: Any, grads: tuple, needed: Any) -> tuple:
        results = arrays(self, grads, needed)
        return results if needed[0] and needed[1] else tuple(None if r is None else r * r / grads[0] for r in results)

    p.set(node, "arrays", doubled)


@fault("complex")
def parts_are_copies(p: Patch) -> None:
    """real and imag copy, so that a change of them does not reach the complex tensor."""
    p.set(complexes.real_op, "forward", lambda x: x.real.copy())
    p.set(complexes.imag_op, "forward", lambda x: x.imag.copy())


@fault("complex")
def checks_of_derivatives_vary_the_real_part(p: Patch) -> None:
    """gradcheck looks at the derivative along the real part of a complex input alone."""
    p.set(checking, "parts", lambda array: [1.0])


@fault("complex")
def optimizers_square_complex_gradients(p: Patch) -> None:
    """Optimizers compute with complex gradients as they are, so that Adam averages g^2 instead of the parts' squares."""
    p.function(optimizer.real, lambda array: array)
