"""Elementwise operators: value and partial derivatives, one line each.

Conventions at kinks are torch's (documented in docs "Gradients for non-differentiable functions" and
derivatives.yaml): abs and sign-like functions give 0 at 0, relu gives 0 at 0, maximum and minimum (and fmax, fmin) share a
tie evenly, hypot has slope 0 at the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from reference_engine import dtypes
from reference_engine.batching.tensor import innermost
from reference_engine.ops import registry, values
from reference_engine.ops.also_saved import also_save
from reference_engine.ops.elementwise_kind import _into, divisor_checked, elementwise
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import NUMBERS, general
from reference_engine.ops.masking import masked, nil
from reference_engine.ops.one_node import one_node
from reference_engine.ops.registry import both
from reference_engine.ops.unordered import refuse_kernel
from reference_engine.state import state
from reference_engine.tensor import Tensor, wrap

# fmt: off
# --- one input --------------------------- value                  d y/d x
neg        = elementwise("neg",             np.negative,           "-1")
exp        = elementwise("exp",             np.exp,                "y",                        numeric="float")
exp2       = elementwise("exp2",            np.exp2,               "y * 0.6931471805599453",   numeric="float")
expm1      = elementwise("expm1",           np.expm1,              "y + 1",                    numeric="float")
log        = elementwise("log",             np.log,                "1 / x",                    numeric="float")
log2       = elementwise("log2",            np.log2,               "1 / (x * 0.6931471805599453)", numeric="float")
log10      = elementwise("log10",           np.log10,              "1 / (x * 2.302585092994046)", numeric="float")
log1p      = elementwise("log1p",           values.log1p,          "1 / (x + 1)",              numeric="float")
sqrt       = elementwise("sqrt",            np.sqrt,               "0.5 / y",                  numeric="float")
rsqrt      = elementwise("rsqrt",           lambda x: 1 / np.sqrt(x), "-0.5 * y * y * y",      numeric="float")
reciprocal = elementwise("reciprocal",      lambda x: 1 / x,       "-y * y",                   numeric="float")
square_    = elementwise("_square",         np.square,             "2 * x",                    node="PowBackward0", inplace=False)
sin        = elementwise("sin",             np.sin,                "cos(x)",                   numeric="float")
cos        = elementwise("cos",             np.cos,                "-sin(x)",                  numeric="float")
tan        = elementwise("tan",             np.tan,                "1 + y * y",                numeric="float")
asin       = elementwise("asin",            np.arcsin,             "rsqrt(1 - x * x)",         numeric="float")
acos       = elementwise("acos",            np.arccos,             "-rsqrt(1 - x * x)",        numeric="float")
atan       = elementwise("atan",            np.arctan,             "1 / (x * x + 1)",          numeric="float")
sinh       = elementwise("sinh",            np.sinh,               "cosh(x)",                  numeric="float")
cosh       = elementwise("cosh",            np.cosh,               "sinh(x)",                  numeric="float")
tanh       = elementwise("tanh",            np.tanh,               "1 - y * y",                numeric="float", saved_names=("self",))
asinh      = elementwise("asinh",           np.arcsinh,            "rsqrt(x * x + 1)",         numeric="float")
acosh      = elementwise("acosh",           np.arccosh,            "rsqrt(x - 1) * rsqrt(x + 1)",       numeric="float")
atanh      = elementwise("atanh",           np.arctanh,            "1 / (1 - x * x)",          numeric="float")
sigmoid    = elementwise("sigmoid",         values.sigmoid,              "y * (1 - y)",              numeric="float")
erf        = elementwise("erf",             values.like(special.erf),     "1.1283791670955126 * exp(-(x * x))", numeric="float")
erfc       = elementwise("erfc",            values.like(special.erfc),    "-1.1283791670955126 * exp(-(x * x))", numeric="float")
relu       = elementwise("relu",            values.relu,           "gated(g, y, ~(y <= 0))")
floor      = elementwise("floor",           np.floor,              "0")
ceil       = elementwise("ceil",            np.ceil,               "0")
trunc      = elementwise("trunc",           np.trunc,              "0")
round_     = elementwise("_round",          values.rint,         "0", node="RoundBackward0", inplace=False)
frac       = elementwise("frac",            lambda x: x - np.trunc(x), "1")
sign       = elementwise("sign",            values.sign_or_zero,   "0")

# --- two inputs -------------------------- value                  d y/d a                     d y/d b
_add       = elementwise("_add",            np.add,                "1",                        "1",      node="AddBackward0", inplace=False)
_sub       = elementwise("_sub",            np.subtract,           "1",                        "-1",     node="SubBackward0", inplace=False)
_rsub      = elementwise("_rsub",           lambda a, b: b - a,    "-1",                       "1",      node="RsubBackward0", with_number={1: "RsubBackward1"}, inplace=False)
mul        = elementwise("mul",             np.multiply,           "b",                        "a")
_div       = elementwise("_div",            np.true_divide,        "1 / b",                    "-((a / b) / b)", numeric="float", node="DivBackward0", inplace=False)
pow_tensor = elementwise("_pow",            values.power,          "b * pow_safe(a, b)",       "y * log_safe(a, b)", node="PowBackward1", with_number={0: "PowBackward2"}, inplace=False, saved_names=("self", "exponent"))
atan2      = elementwise("atan2",           np.arctan2,            "masked(g * b / (a * a + b * b), (a != 0) | (b != 0))", "masked(-g * a / (a * a + b * b), (a != 0) | (b != 0))", numeric="float")
maximum    = elementwise("maximum",         np.maximum,            "masked(halved(g, a == b), ~(a < b))", "masked(halved(g, a == b), ~(b < a))", inplace=False)
minimum    = elementwise("minimum",         np.minimum,            "masked(halved(g, a == b), ~(b < a))", "masked(halved(g, a == b), ~(a < b))", inplace=False)
fmod       = elementwise("fmod",            divisor_checked(np.fmod),              "1",                        "-trunc(a / b)", node="FmodBackward1", with_number={0: None, 1: "FmodBackward0"})
remainder  = elementwise("remainder",       divisor_checked(np.remainder),          "1",                        "-floor(a / b)", node="RemainderBackward1", with_number={0: None, 1: "RemainderBackward0"})
fmax       = elementwise("fmax",            np.fmax,               "masked(halved(g, a == b), (a >= b) | (b != b))", "masked(halved(g, a == b), (b >= a) | ((a != a) & (b == b)))", inplace=False)
fmin       = elementwise("fmin",            np.fmin,               "masked(halved(g, a == b), (a <= b) | (b != b))", "masked(halved(g, a == b), (b <= a) | ((a != a) & (b == b)))", inplace=False)
hypot      = elementwise("hypot",           np.hypot,              "masked(g * a / y, y != 0)", "masked(g * b / y, y != 0)", numeric="float")
logaddexp  = elementwise("logaddexp",       values.logaddexp,      "sigmoid(a - b)",           "sigmoid(b - a)", numeric="float", inplace=False)
logaddexp2 = elementwise("logaddexp2",      np.logaddexp2,         "sigmoid((a - b) * 0.6931471805599453)", "sigmoid((b - a) * 0.6931471805599453)", numeric="float", inplace=False)
xlogy      = elementwise("xlogy",           values.like(special.xlogy),   "masked(g * ln(b), ~((a == 0) & (b <= 0)))", "a / b", numeric="float", with_number={0: "XlogyBackward1", 1: "XlogyBackward2"})
# fmt: on


def _pow_safe_arrays(a: Any, b: Any) -> Any:
    """a ** (b - 1), and 0 where b is 0: the derivative of a constant."""
    zero = np.equal(b, 0)
    return np.where(zero, np.zeros((), np.result_type(a, b)), np.power(a, np.where(zero, 1, b - 1)))


def _pow_safe_tensors(a: Any, b: Any) -> Any:
    if isinstance(b, NUMBERS):
        return power(a, b - 1) if b != 0 else a * 0
    zero = b == 0
    return where(zero, 0.0, power(a, where(zero, 1.0, b - 1)))


def _log_safe_arrays(a: Any, b: Any) -> Any:
    """log a, and 0 where a is 0 and b is not negative: y * log a tends to 0 there."""
    still = np.equal(a, 0) & np.greater_equal(np.real(b), 0)
    base = np.where(still, 1, a)
    base = base.astype(np.result_type(base, b)) if np.iscomplexobj(b) else base  # of a negative base too
    return np.where(still, np.zeros((), np.result_type(a, np.float32)), np.log(base))


def _log_safe_tensors(a: Any, b: Any) -> Any:
    if isinstance(a, NUMBERS):
        a = wrap(np.asarray(a, np.result_type(b._array, np.complex64) if isinstance(a, complex) else b._array.dtype))
    real = b.real if isinstance(b, complex) or (isinstance(b, Tensor) and b.is_complex()) else b
    still = (a == 0) & (real >= 0)
    return where(still, 0.0, log(where(still, 1.0, a)))


def _log_tensors(b: Any) -> Any:
    return log(b) if isinstance(b, Tensor) else np.log(b)


def scalar_like(value: Any, like: Any) -> Tensor:
    return wrap(np.asarray(value, like._array.dtype if isinstance(like, Tensor) else None))


registry.word("pow_safe", _pow_safe_arrays, _pow_safe_tensors)
registry.word("ln", np.log, _log_tensors)
registry.word("log_safe", _log_safe_arrays, _log_safe_tensors)


INVERT = "is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."


def _no_negative(inputs: tuple) -> None:
    if inputs[0]._array.dtype.kind == "b":
        raise RuntimeError(f"Negation, the `-` operator, on a bool tensor {INVERT}")


def _no_difference(inputs: tuple) -> None:
    bools = [x.dtype is dtypes.bool_ if isinstance(x, Tensor) else isinstance(x, bool) for x in inputs]
    if all(bools):
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                           "`logical_xor()` operator instead.")  # fmt: skip
    if any(bools):
        raise RuntimeError(f"Subtraction, the `-` operator, with a bool tensor {INVERT}")


for _fn, _refuses in ((neg, _no_negative), (_sub, _no_difference), (_rsub, _no_difference)):
    vars(_fn)["operator"].refuses_bool = _refuses


# --- add and sub scale their second argument; pow and div have forms with their own nodes ------------------------


@both
def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Tensor:
    """input + alpha * other. Source: torch.add."""
    return _add(input, other if alpha == 1 else _scaled(input, other, alpha), out=out)


@both
def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Tensor:
    """input - alpha * other. Source: torch.sub."""
    return _sub(input, other if alpha == 1 else _scaled(input, other, alpha), out=out)


def _scaled(input: Any, other: Any, alpha: Any) -> Any:
    """alpha * other, whose type an integer alpha leaves as it is."""
    if isinstance(alpha, (float, complex)) and not (_floating(input) or _floating(other)):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    result = mul(other, alpha)
    return result.to(other.dtype) if isinstance(other, Tensor) and other.dtype is dtypes.bool_ else result


@both
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input. Source: torch.rsub."""
    return _rsub(input if alpha == 1 else mul(input, alpha), other)


@both
def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Tensor:
    """input / other, optionally rounded ("trunc", "floor"), which makes it piecewise constant. Source: torch.div."""
    if rounding_mode is None:
        return _div(input, other, out=out)
    if rounding_mode in ("floor", "trunc"):
        refuse_kernel(f"div_{rounding_mode}_cpu", (input, other))
    if rounding_mode == "floor":
        return _div_floor(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
                           f"'{rounding_mode}'")  # fmt: skip
    result = _div_trunc(input, other)
    if _floating(input) or _floating(other):
        return result
    return result.to(dtypes.result_type([dtypes.operand(x) for x in (input, other)]))


def _floating(x: Any) -> bool:
    return x.dtype.category >= dtypes.FLOATING if isinstance(x, Tensor) else isinstance(x, (float, complex))


# fmt: off
_div_floor = elementwise("_div_floor", divisor_checked(np.floor_divide), "0", "0", node="DivBackward2", inplace=False, method=False, module=False)
_div_trunc = elementwise("_div_trunc", lambda a, b: np.trunc(np.true_divide(a, b)), "0", "0", numeric="float", node="DivBackward2", inplace=False, method=False, module=False)
floor_divide = elementwise("floor_divide", divisor_checked(np.floor_divide), "without_formula('floor_divide')", "without_formula('floor_divide')", node="NotImplemented", inplace=False)
_floor_divide_in_place = elementwise("_floor_divide_", divisor_checked(np.floor_divide), "without_formula('floor_divide_')", "without_formula('floor_divide_')", node="NotImplemented", inplace=False, method=False, module=False)
# fmt: on
registry.publish("floor_divide_", in_place(_floor_divide_in_place, "floor_divide_"), module=False)

# An exponent that is a number is a parameter, as it is in torch: PowBackward0 saves the base alone.
pow_number = general(
    "pow",
    lambda x, *, exponent: np.power(x, exponent),
    lambda g, x, exponent: g * (exponent * power(x, exponent - 1)) if exponent != 0 else nil(g),
    node="PowBackward0", inputs=("x",), saved_names=("self",),
)  # fmt: skip


@both
def pow(input: Any, exponent: Any, *, out: Any = None) -> Tensor:
    """input ** exponent. Source: torch.pow."""
    return _into(power(input, exponent), out)


def power(x: Any, exponent: Any) -> Any:
    """x ** exponent, over arrays and tensors."""
    if not isinstance(x, Tensor) and not isinstance(exponent, Tensor):
        return np.power(x, exponent)
    if not isinstance(exponent, NUMBERS):
        return pow_tensor(x, exponent)
    array = x._array
    if isinstance(exponent, (float, complex)) and array.dtype.kind in "iub":
        return pow_tensor(x, exponent)
    if isinstance(exponent, complex) and array.dtype.kind != "c":
        return pow_tensor(x, exponent)
    if array.dtype.kind in "iub" and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return pow_number(x, exponent=exponent)


@both
def positive(input: Tensor) -> Tensor:
    """The tensor itself. Source: torch.positive."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@both
def square(input: Tensor) -> Tensor:
    """input ** 2. Source: torch.square."""
    return power(input, 2)


# --- where, abs, rounding -------------------------------------------------------------------------------


def _where_forward(a: Any, b: Any, *, condition: np.ndarray) -> np.ndarray:
    return np.where(condition, a, b)


select_where = general(
    "where", _where_forward,
    lambda g, condition: masked(g, condition), lambda g, condition: masked(g, ~condition),
    inputs=("a", "b"), saved_names=("self", "other"),
)  # fmt: skip


def _constant(array: np.ndarray) -> Tensor:
    return wrap(array)


def where(condition: Any, a: Any = None, b: Any = None) -> Any:
    """a where the condition holds, else b; over arrays and tensors. Source: torch.where."""
    if state.vmap_levels and innermost((condition, a, b)) is not None:
        from reference_engine.batching import by_elements

        return by_elements.where(condition, a, b)
    mask = condition._array if isinstance(condition, Tensor) else np.asarray(condition)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor) and not isinstance(condition, Tensor):
        return np.where(mask, a, b)
    operands = [
        (x.dtype, 2 if x._array.ndim else 1) if isinstance(x, Tensor) else (dtypes.of_number(x), 0) for x in (a, b)
    ]
    common = dtypes.result_type(operands)
    a, b = (x.to(common) if isinstance(x, Tensor) else _constant(np.asarray(x, common.numpy)) for x in (a, b))
    return select_where(a, b, condition=mask.astype(bool, copy=False))


def _where_function(condition: Any, input: Any = None, other: Any = None) -> Any:
    """Elements of `input` where `condition` holds, else of `other`; alone, the indices that hold. Source: torch.where."""
    if input is None:
        return condition.nonzero(as_tuple=True)
    return also_save(where(condition, input, other), (condition,))


_where_function.__name__ = "where"
registry.publish("where", _where_function, method=False)
registry.publish("where", lambda self, condition, other: _where_function(condition, self, other), module=False)
registry.word("where", where, where)


_abs = general(
    "abs", np.absolute,
    lambda g, x: g * sign(x) if not _complex(x) else g * _unit(x),
    inputs=("x",), saved_names=("self",), holomorphic=False,
)  # fmt: skip


def _complex(x: Any) -> bool:
    return (x._array if isinstance(x, Tensor) else x).dtype.kind == "c"


def _unit(x: Any) -> Any:
    """x / |x|, and 0 at 0."""
    array = x._array if isinstance(x, Tensor) else x
    size = np.absolute(array)
    unit = np.where(size == 0, 0, array / np.where(size == 0, 1, size))
    return sgn(x) if isinstance(x, Tensor) else unit


@both
def abs(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The absolute value; its gradient at 0 is 0. Source: torch.abs."""
    if input.dtype is dtypes.bool_:
        raise NotImplementedError("\"abs_cpu\" not implemented for 'Bool'")
    return _into(_abs(input), out, "abs")


@one_node("SgnBackward0", "input")
def sgn(input: Tensor) -> Tensor:
    """x / |x| for complex, the sign for real input. Source: torch.sgn."""
    if not input.is_complex():
        return sign(input)
    size = _abs(input)
    zero = size._array == 0
    return where(zero, 0.0, input / where(zero, 1.0, size))


registry.publish("sgn", sgn)
registry.publish("absolute", abs)
registry.publish("abs_", in_place(abs, "abs_"))
registry.publish("absolute_", in_place(abs, "absolute_"), module=False)


@both
def round(input: Tensor, *, decimals: int = 0, out: Any = None) -> Tensor:
    """Rounds half to even; piecewise constant. Source: torch.round."""
    if decimals == 0:
        return round_(input, out=out)
    return _div(round_(input * 10.0**decimals), 10.0**decimals, out=out)


def _scaling_in_place(plain: Callable) -> Callable:
    """add_ or sub_ of `plain`, which does not scale its second argument."""

    def call(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
        return plain(self, other if alpha == 1 else _scaled(self, other, alpha))

    call.__name__ = call.__qualname__ = plain.__name__
    return call


for _name, _fn in {"add_": _add, "sub_": _sub}.items():
    registry.publish(_name, _scaling_in_place(in_place(_fn, _name)), module=False)
for _name, _fn in {"div_": div, "pow_": pow, "round_": round, "square_": square}.items():
    registry.publish(_name, in_place(_fn, _name), module=_name in ("round_", "square_"))

for _name, _alias in {"subtract": sub, "multiply": mul, "divide": div, "true_divide": div, "negative": neg, "arcsin": asin,
                      "arccos": acos, "arctan": atan, "arctan2": atan2, "arcsinh": asinh, "arccosh": acosh,
                      "arctanh": atanh, "fix": trunc}.items():  # fmt: skip
    registry.publish(_name, _alias)
