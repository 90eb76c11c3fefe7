"""Special functions. Source: torch.special.

Those that torch differentiates come first; those without a derivative return results that are never tracked. The gamma
integrals and zeta have a derivative in one argument only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import special as sp

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import _into, elementwise
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import constant, general
from reference_engine.ops.masking import masked
from reference_engine.ops.one_node import one_node
from reference_engine.ops.registry import both
from reference_engine.ops.underivable import declared_missing
from reference_engine.ops.unordered import refuse_kernel
from reference_engine.ops.values import like
from reference_engine.tensor import Tensor, wrap


def _sinc_slope(x: Any) -> Any:
    """d/dx sin(pi x) / (pi x) = (cos(pi x) - sinc(x)) / x, and 0 at 0; over arrays and tensors."""
    zero = (x._array if isinstance(x, Tensor) else x) == 0
    where = registry.functions["where"] if isinstance(x, Tensor) else np.where
    mask = wrap(zero) if isinstance(x, Tensor) else zero
    safe = where(mask, 1.0, x) if isinstance(x, Tensor) else np.where(zero, 1, x).astype(x.dtype)
    cos = registry.functions["cos"] if isinstance(x, Tensor) else np.cos
    slope = (cos(np.pi * safe) - (sinc(safe) if isinstance(x, Tensor) else np.sinc(safe))) / safe
    return (
        where(mask, -(np.pi**2) / 3 * x, slope) if isinstance(x, Tensor) else np.where(zero, 0, slope).astype(x.dtype)
    )


registry.word("sinc_slope", _sinc_slope, _sinc_slope)
registry.word("polygamma_word", lambda n, x: _polygamma(x, order=n), lambda n, x: polygamma_op(x, order=n))


def _polygamma(x: np.ndarray, *, order: int) -> np.ndarray:
    return np.asarray(sp.polygamma(order, x)).astype(x.dtype)


HALF_ROOT_PI = np.sqrt(np.pi) / 2
_HIDDEN: dict[str, Any] = {"inplace": False, "method": False, "module": False}

# fmt: off
# --- one input ------------------------- value                    d y/d x
sinc     = elementwise("sinc",          like(np.sinc),          "sinc_slope(x)",                           numeric="float")
erfinv   = elementwise("erfinv",        like(sp.erfinv),        f"{HALF_ROOT_PI} * exp(y * y)",            numeric="float")
lgamma   = elementwise("lgamma",        like(sp.gammaln),       "polygamma_word(0, x)",                    numeric="float")
digamma  = elementwise("digamma",       like(sp.psi),           "polygamma_word(1, x)",                    numeric="float")
i0       = elementwise("i0",            like(sp.i0),            "_i1(x)",                                  numeric="float")
i1       = elementwise("_i1",           like(sp.i1),            "i0(x) - _i1_over(x)",                     numeric="float", node="SpecialI1Backward0", **_HIDDEN)
i0e      = elementwise("_i0e",          like(sp.i0e),           "_i1e(x) - sign(x) * y",                   numeric="float", node="SpecialI0EBackward0", **_HIDDEN)
i1e      = elementwise("_i1e",          like(sp.i1e),           "_i0e(x) - sign(x) * y - _i1e_over(x)",    numeric="float", node="SpecialI1EBackward0", **_HIDDEN)
ndtr     = elementwise("_ndtr",         like(sp.ndtr),          "0.3989422804014327 * exp(-0.5 * (x * x))", numeric="float", node="SpecialNdtrBackward0", **_HIDDEN)
ndtri    = elementwise("_ndtri",        like(sp.ndtri),         "2.5066282746310002 * exp(0.5 * (y * y))",  numeric="float", node="SpecialNdtriBackward0", **_HIDDEN)
log_ndtr = elementwise("_log_ndtr",     like(sp.log_ndtr),      "0.3989422804014327 * exp(-0.5 * (x * x) - y)", numeric="float", node="SpecialLogNdtrBackward0", **_HIDDEN)
erfcx    = elementwise("_erfcx",        like(sp.erfcx),         "2 * x * y - 1.1283791670955126",           numeric="float", node="SpecialErfcxBackward0", **_HIDDEN)
entr     = elementwise("_entr",         like(sp.entr),          "-log(x) - 1",                              numeric="float", node="SpecialEntrBackward0", **_HIDDEN)
xlog1py  = elementwise("_xlog1py",      like(sp.xlog1py),       "masked(g * ln(b + 1), ~((a == 0) & (b <= -1)))", "a / (b + 1)", numeric="float", node="SpecialXlog1PyBackward0", with_number={0: "SpecialXlog1PyBackward1", 1: "SpecialXlog1PyBackward2"}, **_HIDDEN)
logit_op = general("logit", lambda x, *, eps: like(sp.logit)(x if eps is None else np.clip(x, eps, 1 - eps)), lambda g, x, eps: _logit_rule(g, x, eps), inputs=("x",), saved_names=("self",))

polygamma_op = general("polygamma", _polygamma, lambda g, x, order: g * registry.TENSOR_WORDS["polygamma_word"](order + 1, x) if isinstance(x, Tensor) else g * _polygamma(x, order=order + 1), inputs=("x",))
gammainc_op  = general("igamma",  lambda a, x: sp.gammainc(a, x).astype(x.dtype),  declared_missing("igamma: input"),  lambda g, a, x: g * _gamma_density(a, x),  saved_names=("self", "other"), forward_mode=False)
gammaincc_op = general("igammac", lambda a, x: sp.gammaincc(a, x).astype(x.dtype), declared_missing("igammac: input"), lambda g, a, x: -g * _gamma_density(a, x), saved_names=("self", "other"), forward_mode=False)
zeta_op      = general("special_zeta", lambda a, b: sp.zeta(a, b).astype(b.dtype), declared_missing("zeta"), lambda g, a, b: g * (-a * (zeta_op(a + 1, b) if isinstance(b, Tensor) else sp.zeta(a + 1, b).astype(b.dtype))), saved_names=("self", "other"))
# fmt: on


def _half_at_zero(name: str, function: Callable, over_tensors: Callable) -> None:
    """Makes a word of function(x) / x for a function with slope 1/2 at 0."""

    def over(x: Any) -> Any:
        zero = (x._array if isinstance(x, Tensor) else x) == 0
        if not isinstance(x, Tensor):
            return np.where(zero, 0.5, function(x) / np.where(zero, 1, x)).astype(x.dtype)
        where = registry.functions["where"]
        return where(wrap(zero), 0.5, over_tensors(x) / where(wrap(zero), 1.0, x))

    registry.word(name, over, over)


_half_at_zero("_i1_over", sp.i1, i1)
_half_at_zero("_i1e_over", sp.i1e, i1e)


def _logit_rule(g: Any, x: Any, eps: float | None) -> Any:
    """g / (x (1 - x)) where x lies between the bounds, 0 where it was moved to one; nan beyond [0, 1]."""
    array = x._array if isinstance(x, Tensor) else x
    low = 0 if eps is None else eps
    inside = (array >= low) & (array <= 1 - low)
    slope = g / (x * (1 - x))
    if eps is not None:
        return masked(slope, inside)
    return (
        registry.functions["where"](wrap(inside), slope, np.nan)
        if isinstance(g, Tensor)
        else np.where(inside, slope, np.nan)
    )


def _gamma_density(a: Any, x: Any) -> Any:
    """x^(a-1) exp(-x) / Gamma(a), over arrays and tensors."""
    if not isinstance(x, Tensor) and not isinstance(a, Tensor):
        return np.exp((a - 1) * np.log(x) - x - sp.gammaln(a)).astype(x.dtype)
    f = registry.functions
    return f["exp"]((a - 1) * f["log"](x) - x - f["lgamma"](a))


def _pair(op: Any, name: str) -> Callable:
    """A function of two tensors, one of which may be a number; computed in their common floating type."""

    def call(input: Any, other: Any, *, out: Any = None) -> Tensor:
        common = dtypes.result_type([dtypes.operand(t) for t in (input, other)])
        common = common if common.category >= dtypes.FLOATING else dtypes.get_default_dtype()
        a, b = (t.to(common) if isinstance(t, Tensor) else wrap(np.asarray(t, common.numpy)) for t in (input, other))
        return _into(op(a, b), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Source: torch.special.{name}."
    return call


gammainc, gammaincc, zeta = _pair(gammainc_op, "gammainc"), _pair(gammaincc_op, "gammaincc"), _pair(zeta_op, "zeta")
registry.publish("igamma", gammainc)
registry.publish("igammac", gammaincc)


@both
def polygamma(n: Any, x: Any, *, out: Any = None) -> Tensor:
    """The n-th derivative of digamma. Source: torch.special.polygamma."""
    n, x = (x, n) if isinstance(n, Tensor) else (n, x)  # Tensor.polygamma(n)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return _into(polygamma_op(x if x.is_floating_point() else x.to(dtypes.get_default_dtype()), order=n), out)


@both
def logit(input: Tensor, eps: float | None = None, *, out: Any = None) -> Tensor:
    """log(x / (1 - x)), of x bounded to [eps, 1 - eps] where that is given. Source: torch.logit."""
    x = input if input.dtype.category >= dtypes.FLOATING else input.to(dtypes.get_default_dtype())
    return _into(logit_op(x, eps=eps), out)


@both
@one_node("MvlgammaBackward0", "input")
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """log of the p-dimensional gamma function: p (p - 1) / 4 log pi + sum over i < p of lgamma(x - i / 2).

    Source: torch.mvlgamma.
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = input if input.is_floating_point() else input.to(dtypes.get_default_dtype())
    terms = [lgamma(x - i / 2) for i in range(p)]
    return sum(terms[1:], terms[0]) + p * (p - 1) / 4 * np.log(np.pi).item()


def _in_place() -> None:
    for name, fn in {"logit_": logit, "mvlgamma_": mvlgamma}.items():
        registry.publish(name, in_place(fn, name), module=name == "logit_")
    registry.publish("polygamma_", in_place(lambda x, n: polygamma(n, x), "polygamma_"), module=False)


_in_place()
for _call in (i0e, i1, i1e, ndtr, ndtri, log_ndtr, erfcx, entr):  # real functions without a complex form
    _operator = vars(_call)["operator"]
    _operator.refuses_complex = partial(refuse_kernel, f"{_operator.name.strip('_')}_cpu")

# --- without a derivative --------------------------------------------------------------------------------------------


def _unary(name: str, fn: Callable) -> Callable:
    """A function of one tensor whose results are never tracked; integers become the default floating type."""
    plain = constant(name, like(fn))

    def call(input: Tensor, *, out: Any = None) -> Tensor:
        refuse_kernel(f"{name}_cpu", (input,))
        return _into(plain(input if input.is_floating_point() else input.to(dtypes.get_default_dtype())), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Never tracked. Source: torch.special.{name}."
    return call


def _polynomial(name: str, evaluate: Callable) -> Callable:
    """Orthogonal polynomials of degree n, never tracked."""

    def call(input: Any, n: Any, *, out: Any = None) -> Tensor:
        refuse_kernel(f"{name}_cpu", (input, n))
        common = dtypes.result_type([dtypes.operand(t) for t in (input, n)])
        kind = (common if common.category >= dtypes.FLOATING else dtypes.get_default_dtype()).numpy
        x, degree = (np.asarray(t._array if isinstance(t, Tensor) else t) for t in (input, n))
        return _into(wrap(np.asarray(evaluate(degree.astype(np.int64), x.astype(kind))).astype(kind)), out)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Never tracked. Source: torch.special.{name}."
    return call


UNTRACKED: dict[str, Callable] = {
    "airy_ai": lambda x: sp.airy(x)[0], "bessel_j0": sp.j0, "bessel_j1": sp.j1, "bessel_y0": sp.y0, "bessel_y1": sp.y1,
    "modified_bessel_i0": sp.i0, "modified_bessel_i1": sp.i1, "modified_bessel_k0": sp.k0, "modified_bessel_k1": sp.k1,
    "scaled_modified_bessel_k0": sp.k0e, "scaled_modified_bessel_k1": sp.k1e,
    "spherical_bessel_j0": lambda x: np.where(np.isinf(x), 0, np.sinc(x / np.pi)),
}  # fmt: skip


def _third(n: np.ndarray, x: Any) -> Any:
    """Chebyshev's polynomials of the third kind: V_n = U_n - U_(n-1)."""
    return sp.eval_chebyu(n, x) - np.where(n > 0, sp.eval_chebyu(np.maximum(n - 1, 0), x), 0)


def _fourth(n: np.ndarray, x: Any) -> Any:
    """Chebyshev's polynomials of the fourth kind: W_n = U_n + U_(n-1)."""
    return sp.eval_chebyu(n, x) + np.where(n > 0, sp.eval_chebyu(np.maximum(n - 1, 0), x), 0)


POLYNOMIALS: dict[str, Callable] = {
    "chebyshev_polynomial_t": sp.eval_chebyt, "chebyshev_polynomial_u": sp.eval_chebyu, "chebyshev_polynomial_v": _third,
    "chebyshev_polynomial_w": _fourth, "hermite_polynomial_h": sp.eval_hermite, "hermite_polynomial_he": sp.eval_hermitenorm,
    "laguerre_polynomial_l": sp.eval_laguerre, "legendre_polynomial_p": sp.eval_legendre,
    "shifted_chebyshev_polynomial_t": lambda n, x: sp.eval_chebyt(n, 2 * x - 1),
    "shifted_chebyshev_polynomial_u": lambda n, x: sp.eval_chebyu(n, 2 * x - 1),
    "shifted_chebyshev_polynomial_v": lambda n, x: _third(n, 2 * x - 1),
    "shifted_chebyshev_polynomial_w": lambda n, x: _fourth(n, 2 * x - 1),
}  # fmt: skip
untracked = {name: _unary(name, fn) for name, fn in UNTRACKED.items()}
untracked.update({name: _polynomial(name, fn) for name, fn in POLYNOMIALS.items()})
