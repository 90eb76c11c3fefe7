"""Values of elementwise functions, over arrays, where NumPy's or SciPy's own do not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special


def like(fn: Callable) -> Callable:
    """A SciPy function whose result keeps the type of its (first) input; SciPy itself has no float16."""
    return lambda x, *others: fn(x, *others).astype(x.dtype, copy=False)


_expit = like(special.expit)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow for real numbers."""
    kind = x.dtype.char
    return special.expit(x) if kind in "fd" else 1 / (1 + np.exp(-x)) if kind in "FD" else _expit(x)


def sign_or_zero(x: Any) -> Any:
    """The sign; torch's of nan is 0, that of a bool itself."""
    if x.dtype.kind == "b":
        return x
    signs = np.sign(x)
    return signs if x.dtype.kind != "f" else np.where(np.isnan(x), np.zeros((), x.dtype), signs)


def angle(x: Any) -> Any:
    """The argument of complex numbers; of real ones 0 or pi, 0 of -0.0 as well."""
    if x.dtype.kind == "c":
        return np.angle(x)
    return np.where(np.isnan(x), x, np.where(x < 0, np.pi, 0)).astype(x.dtype)


def rint(x: Any) -> Any:
    """The nearest integer, the even one of two; integers themselves."""
    return np.rint(x) if x.dtype.kind in "fc" else x


def log1p(x: Any) -> Any:
    """log(1 + x), accurate near 0 also for complex numbers, where |1 + x|^2 = 1 + (2 Re x + |x|^2)."""
    if not np.iscomplexobj(x):
        return np.log1p(x)
    size = np.log1p(x.real * (2 + x.real) + x.imag * x.imag) / 2
    return (size + 1j * np.arctan2(x.imag, 1 + x.real)).astype(np.asarray(x).dtype)


def power(a: Any, b: Any) -> Any:
    """a ** b; of integers with negative exponents the reciprocal rounded towards 0."""
    if not isinstance(a, (np.ndarray, np.generic)) or a.dtype.kind not in "iu" or not np.less(b, 0).any():
        return np.power(a, b)
    inverse = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2, -1, 1), 0))
    return np.where(b < 0, inverse, np.power(a, np.where(b < 0, 0, b))).astype(np.result_type(a, b))


ZEROS = {np.dtype(t): np.zeros((), t) for t in "?bhilBefdFD"}


def relu(x: Any) -> Any:
    """max(x, 0)."""
    # A typed zero: NumPy takes twice as long to place a Python number.
    return np.maximum(x, ZEROS[x.dtype])


def logaddexp(a: Any, b: Any) -> Any:
    """log(exp a + exp b), also of complex numbers, without overflow."""
    if not np.iscomplexobj(a):
        return np.logaddexp(a, b)
    first = np.real(a) >= np.real(b)
    return np.where(first, a, b) + np.log1p(np.exp(np.where(first, b - a, a - b)))
