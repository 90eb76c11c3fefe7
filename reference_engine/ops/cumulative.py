"""Running sums, products and sums of exponentials, and differences and integrals along a dimension.

    cumsum               y_j = sum_{i <= j} x_i            dL/dx_i = sum_{j >= i} g_j
    cumprod              y_j = prod_{i <= j} x_i           dL/dx_i = sum_{j >= i} g_j y_j / x_i, exact also for x_i = 0
    logcumsumexp         y_j = log sum_{i <= j} exp x_i        dL/dx_i = sum_{j >= i} g_j exp(x_i - y_j)

The others are compositions: differences of neighbours, of second order within and one-sided at the ends, and trapezoids
between points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.joining import cat
from reference_engine.ops.kinds import general, linear
from reference_engine.ops.masking import masked
from reference_engine.ops.positions import narrow_to
from reference_engine.ops.reductions import in_dtype
from reference_engine.ops.reductions import sum as total
from reference_engine.ops.registry import both, function
from reference_engine.ops.shapes import axis, flip
from reference_engine.tensor import Tensor, wrap

# --- running sums and products -----------------------------------------------------------------------------------


def _reverse_cumsum(g: Any, dim: int) -> Any:
    if not g.shape or np.prod(g.shape) < 2:
        return g
    if isinstance(g, Tensor):
        return flip(cumsum_dim(flip(g, dim), dim=dim), dim)
    return np.flip(np.cumsum(np.flip(g, dim), dim), dim)


cumsum_dim = linear("cumsum", lambda x, *, dim: np.cumsum(x, dim) if x.ndim else np.array(x), _reverse_cumsum,
                    holomorphic=False)  # fmt: skip


def _summable(x: Tensor, dtype: Any) -> Tensor:
    """x in the dtype asked for; integers add up and multiply in int64."""
    if dtype is not None:
        return in_dtype(x, dtype)
    return x.to(dtypes.int64) if x.dtype.category < dtypes.FLOATING else x


@both
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along a dimension. Source: torch.cumsum."""
    x = _summable(input, dtype)
    return cumsum_dim(x, dim=axis(dim, x._array.ndim))


def _cumprod_rule(g: Any, x: Any, y: Any, dim: int) -> Any:
    """sum over j >= i of g_j times the product of x_k, k <= j, k != i; by division where no factor is 0."""
    if not g.shape or np.prod(g.shape) < 2:
        return g
    if not np.equal(x._array if isinstance(x, Tensor) else x, 0).any():
        return _reverse_cumsum(g * y, dim) / x
    size, tensors = x.shape[dim], isinstance(x, Tensor)
    at = (lambda t, i: t.select(dim, i)) if tensors else (lambda t, i: np.take(t, i, dim))
    factors = [at(x, i) for i in range(size)]
    terms = []
    before: Any = factors[0] * 0 + 1
    for i in range(size):
        running, acc = before, at(g, i) * before
        for j in range(i + 1, size):
            running = running * factors[j]
            acc = acc + at(g, j) * running
        terms.append(acc)
        before = before * factors[i]
    return registry.functions["stack"](terms, dim) if tensors else np.stack(terms, dim)


cumprod_dim = general("cumprod", lambda x, *, dim: np.cumprod(x, dim) if x.ndim else np.array(x), _cumprod_rule,
                      saved_names=("self",))  # fmt: skip


@both
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running products along a dimension. Source: torch.cumprod."""
    x = _summable(input, dtype)
    return cumprod_dim(x, dim=axis(dim, x._array.ndim))


# --- logcumsumexp ------------------------------------------------------------------------------------------------


def _log_add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log(exp a + exp b) of complex numbers: the larger one, and the logarithm of 1 + exp(smaller - larger)."""
    larger, smaller = np.where(a.real >= b.real, (a, b), (b, a))
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(larger.real), larger, larger + np.log1p(np.exp(smaller - larger))).astype(a.dtype)


def _running(x: np.ndarray, *, dim: int) -> np.ndarray:
    if not x.size or not x.ndim:
        return np.array(x)
    if x.dtype.kind != "c":
        return np.logaddexp.accumulate(x, axis=dim)
    rows = list(np.moveaxis(x, dim, 0))
    for i in range(1, len(rows)):
        rows[i] = _log_add(rows[i - 1], rows[i])
    return np.stack(rows, dim)


def _running_rule(g: Any, x: Any, y: Any, dim: int) -> Any:
    if not x.shape or not np.prod(x.shape):
        return g
    exp = registry.TENSOR_WORDS["exp"] if isinstance(x, Tensor) else np.exp
    rows, results, g = (t.swapaxes(dim, -1) for t in (x, y, g))
    with np.errstate(invalid="ignore", over="ignore"):
        shares = masked(exp(rows[..., :, None] - results[..., None, :]), np.triu(np.ones((x.shape[dim],) * 2, bool)))
    return (shares * g[..., None, :]).sum(-1).swapaxes(dim, -1)


logcumsumexp_op = general("logcumsumexp", _running, _running_rule, saved_names=("self",))


@both
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """The logarithm of running sums of exponentials, computed stably. Source: torch.logcumsumexp."""
    if input.dtype.category < dtypes.FLOATING:
        raise NotImplementedError(f"\"logcumsumexp_out_cpu\" not implemented for '{dtypes.type_name(input.dtype)}'")
    return logcumsumexp_op(input, dim=axis(dim, input._array.ndim))


# --- differences -------------------------------------------------------------------------------------------------


def _part(x: Tensor, dim: int, start: int, end: int) -> Tensor:
    return narrow_to(x, dim, start, max(end - start, 0))


@both
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """n times the difference of neighbours along a dimension. Source: torch.diff."""
    if not input._array.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = axis(dim, input._array.ndim)
    for piece in (prepend, append):
        if piece is not None and piece._array.ndim != input._array.ndim:
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    if n == 0:
        return input.clone()
    pieces = [p for p in (prepend, input, append) if p is not None]
    x = cat(pieces, d) if len(pieces) > 1 else input
    for _ in range(min(n, x._array.shape[d])):
        size = x._array.shape[d]
        after, before = _part(x, d, 1, size), _part(x, d, 0, size - 1)
        x = registry.functions["logical_xor"](after, before) if x.dtype is dtypes.bool_ else after - before
    return x


def _spacings(input: Tensor, spacing: Any, dims: tuple[int, ...], dim_given: bool) -> list[Any]:
    """Per dimension a step, or the coordinates of the points."""
    if spacing is None:
        spacing = 1
    if isinstance(spacing, (int, float, complex)):
        return [spacing] * len(dims)
    if isinstance(spacing, Tensor) and spacing._array.ndim == 0:
        return [spacing.item()] * len(dims)
    given = list(spacing)
    if len(given) != len(dims):
        where = "'dim'" if dim_given else f"'self.dim() = {input._array.ndim}', since dim argument was not given,"
        raise RuntimeError("torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to "
                           f"{where} but got a list of length {len(given)}")  # fmt: skip
    return given


def _column(values: np.ndarray, dim: int, like: Tensor) -> Tensor:
    shape = [1] * like._array.ndim
    shape[dim] = -1
    return wrap(values.reshape(shape).astype(like._array.dtype))


def _slopes(x: Tensor, spacing: Any, d: int, edge_order: int) -> Tensor:
    """Derivatives along a dimension: the parabola through three points, at the ends the line through two or the parabola."""
    size = x._array.shape[d]
    points = spacing._array if isinstance(spacing, Tensor) else np.arange(size) * spacing
    single = x.dtype in (dtypes.float32, dtypes.complex64)
    steps = np.diff(np.asarray(points, np.result_type(points, np.float32 if single else np.float64)))
    before, after = steps[:-1], steps[1:]
    parts = [_part(x, d, k, size - 2 + k) for k in range(3)]
    weights = (
        -after / (before * (before + after)),
        (after - before) / (before * after),
        before / (after * (before + after)),
    )
    inner: Any = 0
    for part, weight in zip(parts, weights, strict=True):
        inner = inner + part * _column(weight, d, x)
    first = _edge(x, d, list(range(edge_order + 1)), steps[:edge_order])
    last = _edge(x, d, [size - 1 - k for k in range(edge_order + 1)], -steps[::-1][:edge_order])
    return cat([first, inner, last], d)


def _edge(x: Tensor, d: int, places: list[int], steps: np.ndarray) -> Tensor:
    points = [_part(x, d, p, p + 1) for p in places]
    if len(points) == 2:
        return (points[1] - points[0]) / steps[0].item()
    a, b = (s.item() for s in steps)
    return (
        points[0] * (-(2 * a + b) / (a * (a + b))) + points[1] * ((a + b) / (a * b)) - points[2] * (a / (b * (a + b)))
    )


@function
def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Finite differences of samples along each dimension. Source: torch.gradient."""
    n = input._array.ndim
    dims = tuple(range(n)) if dim is None else tuple(axis(d, n) for d in ((dim,) if isinstance(dim, int) else dim))
    if len(set(dims)) < len(dims):
        raise RuntimeError(
            f"dim {next(d for d in dims if dims.count(d) > 1)} appears multiple times in the list of dims"
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if any(input._array.shape[d] < edge_order + 1 for d in dims):
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    x = input if input.dtype.category >= dtypes.FLOATING else input.to(dtypes.get_default_dtype())
    spacings = _spacings(input, spacing, dims, dim is not None)
    return tuple(_slopes(x, s, d, edge_order) for d, s in zip(dims, spacings, strict=True))


# --- integrals ---------------------------------------------------------------------------------------------------


def _trapezoids(name: str, y: Tensor, x: Any, dx: Any, dim: int) -> tuple[Any, int]:
    """The trapezoids between neighbouring points, and the dimension."""
    n = y._array.ndim
    if not n:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = axis(dim, n)
    y = y if y.dtype is not dtypes.bool_ else y.to(dtypes.int64)
    size = y._array.shape[d]
    heights = _part(y, d, 1, size) + _part(y, d, 0, size - 1)
    if x is None:
        return heights * (1 if dx is None else dx) / 2, d
    if x._array.ndim == 1:
        if x._array.shape[0] != size:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        x = x.reshape([-1 if k == d else 1 for k in range(n)])
    elif x._array.ndim < n:
        x = x.reshape((1,) * (n - x._array.ndim) + x._array.shape)
    along = d + x._array.ndim - n
    return heights * diff(x, dim=along) / 2, along if x._array.ndim > n else d


def _integrated(name: str, y: Tensor, x: Any, dx: Any, dim: int, *, running: bool) -> Tensor:
    parts, d = _trapezoids(name, y, x, dx, dim)
    return cumsum(parts, d) if running else total(parts, d)


@function
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral of samples y at points x (or with step dx) by trapezoids. Source: torch.trapezoid."""
    return _integrated("trapezoid", y, x, dx, dim, running=False)


registry.publish("trapz", trapezoid, method=False)


@function
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The running integral by trapezoids, from the first point on. Source: torch.cumulative_trapezoid."""
    return _integrated("cumulative_trapezoid", y, x, dx, dim, running=True)
