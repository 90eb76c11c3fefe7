"""Reductions, order, running results, masked ones: derivatives are those of differences, everything else is torch's."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import plain, same_as_torch
from tests.reference.ops.tables import data, derivatives_hold, spread_out

M, V, C = (2, 3), (4,), (2, 2, 2)
INF = float("inf")

# fmt: off
SMOOTH = {  # of real and of complex numbers
    "sum": lambda e, x: e.sum(x, axis=0),
    "sum of all": lambda e, x: x.sum(),
    "sum keeping": lambda e, x: x.sum((0, 1), keepdims=True),
    "mean": lambda e, x: e.mean(x, 1, True),
    "prod": lambda e, x: e.prod(x, 1),
    "prod of all": lambda e, x: x.prod(),
    "logsumexp": lambda e, x: e.logsumexp(x, (0, 1)),
    "logsumexp along one": lambda e, x: x.logsumexp(1, True),
    "var": lambda e, x: e.var(x, 1),
    "var of all": lambda e, x: x.var(False),
    "std": lambda e, x: e.std(x, (0, 1), correction=0, keepdim=True),
    "var_mean": lambda e, x: e.var_mean(x, 1)[0] * e.var_mean(x, 1)[1],
    "std_mean": lambda e, x: e.std_mean(x, 0)[0] + e.std_mean(x, 0)[1],
    "cumsum": lambda e, x: e.cumsum(x, 1),
    "cumprod": lambda e, x: x.cumprod(-1),
    "logcumsumexp": lambda e, x: e.logcumsumexp(x, 1),
    "diff": lambda e, x: e.diff(x),
    "diff with neighbours": lambda e, x: e.diff(x, 2, 0, prepend=x[:1] * 2, append=x * x),
    "gradient": lambda e, x: e.gradient(x)[1],
    "gradient with steps": lambda e, x: e.gradient(x, spacing=0.5, dim=1, edge_order=2)[0],
    "gradient at points": lambda e, x: e.gradient(
        x, spacing=(e.tensor([0.0, 1.0, 3.0], dtype=e.float64),), dim=1, edge_order=2)[0],
    "trapezoid": lambda e, x: e.trapezoid(x, dx=0.5, dim=0),
    "trapezoid at points": lambda e, x: e.trapz(x, x[0]),
    "cumulative_trapezoid": lambda e, x: e.cumulative_trapezoid(x, x * x),
}
ORDERED = {  # of real numbers
    "amax": lambda e, x: e.amax(x, 1),
    "amin": lambda e, x: x.amin((0, 1), keepdim=True),
    "aminmax": lambda e, x: e.aminmax(x, dim=0)[0] * e.aminmax(x).max,
    "max": lambda e, x: e.max(x),
    "max along": lambda e, x: x.max(1).values,
    "min along": lambda e, x: e.min(x, 0, True)[0],
    "median": lambda e, x: x.median(),
    "median along": lambda e, x: e.median(x, 1).values,
    "nanmedian": lambda e, x: e.nanmedian(x, 0)[0],
    "mode": lambda e, x: e.mode(x, 1).values,
    "kthvalue": lambda e, x: e.kthvalue(x, 2, 1)[0],
    "sort": lambda e, x: e.sort(x, descending=True).values,
    "msort": lambda e, x: e.msort(x),
    "topk": lambda e, x: e.topk(x, 2).values,
    "cummax": lambda e, x: e.cummax(x, 1).values,
    "cummin": lambda e, x: x.cummin(0)[0],
    "nansum": lambda e, x: e.nansum(x, 1),
    "nanmean": lambda e, x: e.nanmean(x),
    "quantile": lambda e, x: e.quantile(x, 0.3, 1, True),
    "quantile of all": lambda e, x: x.quantile(0.6),
    "nanquantile": lambda e, x: e.nanquantile(x, e.tensor([0.2, 0.9], dtype=e.float64), 0),
    "norm": lambda e, x: e.norm(x, 3, 1),
}
MASKED = {
    "sum": lambda e, x, m: e.masked.sum(x, 1, mask=m),
    "prod": lambda e, x, m: e.masked.prod(x, (0, 1), mask=m),
    "mean": lambda e, x, m: e.masked.mean(x, mask=m),
    "amax": lambda e, x, m: e.masked.amax(x, 0, keepdim=True, mask=m),
    "amin": lambda e, x, m: e.masked.amin(x, 0, mask=m),
    "median": lambda e, x, m: e.masked.median(x, 1, mask=m),
    "logsumexp": lambda e, x, m: e.masked.logsumexp(x, 1, mask=m),
    "norm": lambda e, x, m: e.masked.norm(x, 2.0, 1, mask=m),
    "var": lambda e, x, m: e.masked.var(x, 1, True, mask=m),
    "std": lambda e, x, m: e.masked.std(x, (0, 1), correction=0, mask=m),
    "softmax": lambda e, x, m: e.masked.softmax(x, 1, mask=m),
    "log_softmax": lambda e, x, m: e.masked.log_softmax(x, 1, mask=m)[:, 0],
    "softmin": lambda e, x, m: e.masked.softmin(x, 1, mask=m),
    "normalize": lambda e, x, m: e.masked.normalize(x, 2.0, 1, mask=m),
    "cumsum": lambda e, x, m: e.masked.cumsum(x, 1, mask=m),
    "cumprod": lambda e, x, m: e.masked.cumprod(x, 1, mask=m),
    "logaddexp": lambda e, x, m: e.masked.logaddexp(x, x * 2, input_mask=m),
}
REFUSED = {
    "max of nothing": lambda e: e.max(e.zeros(0)),
    "amax of nothing": lambda e: e.amax(e.zeros(0)),
    "amin along nothing": lambda e: e.amin(e.zeros(0, 2), 0),
    "argmax of nothing": lambda e: e.argmax(e.zeros(0)),
    "mode of nothing": lambda e: e.mode(e.zeros(0, 2), 0),
    "sum twice": lambda e: e.sum(e.zeros(2, 2), (0, 0)),
    "mean of integers": lambda e: e.mean(e.arange(3)),
    "var of integers": lambda e: e.var(e.arange(3)),
    "nanmean of integers": lambda e: e.nanmean(e.arange(3)),
    "quantile above 1": lambda e: e.quantile(e.zeros(2), 1.5),
    "quantile of integers": lambda e: e.quantile(e.arange(3), 0.5),
    "quantile of other types": lambda e: e.quantile(e.zeros(2), e.tensor(0.5, dtype=e.float64)),
    "quantile matrix": lambda e: e.quantile(e.zeros(2), e.zeros(1, 1)),
    "quantile between": lambda e: e.quantile(e.zeros(2), 0.5, interpolation="no"),
    "quantile of nothing": lambda e: e.quantile(e.zeros(0), 0.5),
    "diff of a number": lambda e: e.diff(e.tensor(1.0)),
    "diff minus once": lambda e: e.diff(e.zeros(2), -1),
    "diff of other dimensions": lambda e: e.diff(e.zeros(2, 2), prepend=e.zeros(2)),
    "gradient of one": lambda e: e.gradient(e.zeros(1)),
    "gradient of order 3": lambda e: e.gradient(e.zeros(5), edge_order=3),
    "gradient with more": lambda e: e.gradient(e.zeros(2, 2), spacing=[1.0, 2.0, 3.0]),
    "trapezoid at fewer": lambda e: e.trapezoid(e.zeros(3), e.zeros(2)),
    "trapezoid of a number": lambda e: e.trapezoid(e.tensor(1.0)),
    "logcumsumexp of integers": lambda e: e.logcumsumexp(e.arange(3), 0),
    "nansum of complex": lambda e: e.nansum(e.zeros(2, dtype=e.complex64)),
}
# fmt: on


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name):
    """Real and complex numbers."""
    derivatives_hold(SMOOTH[name], data([(3, 3) if "gradient" in name else M]))
    if name not in ("std", "std_mean"):  # the root of a spread of complex numbers: torch keeps it, differences agree
        derivatives_hold(SMOOTH[name], data([(3, 3) if "gradient" in name else M], complex=True))


@pytest.mark.parametrize("name", ORDERED)
def test_derivatives_away_from_ties(name):
    """Real numbers in general position."""
    derivatives_hold(ORDERED[name], spread_out([M]))


@pytest.mark.parametrize("name", MASKED)
def test_derivatives_under_a_mask(name):
    """Elements that are masked out get gradient 0 whatever they are."""
    mask = [[True, False, True], [True, True, True]]
    call = lambda e, x: MASKED[name](e, x, e.tensor(mask))
    derivatives_hold(call, spread_out([M]), second=name != "logaddexp")  # torch: nan at a masked element
    x = torch.tensor([[1.0, INF, 2.0], [0.5, 3.0, 4.0]], requires_grad=True)
    (g,) = torch.autograd.grad(MASKED[name](torch, x, torch.tensor(mask)).sum(), x)
    assert g.isfinite().all() or name == "logaddexp"
    assert name in ("cumsum", "cumprod", "logaddexp") or g[0, 1] == 0


@pytest.mark.parametrize("name", [n for n in MASKED if n not in ("normalize", "median")])
def test_where_nothing_takes_part(name):
    """Results of nothing are torch's."""
    theirs = pytest.importorskip("torch")
    ours, expected = (
        plain(MASKED[name](e, e.tensor([[1.0, 2.0, 3.0]] * 2), e.tensor([[False] * 3, [True] * 3]))) for e in (torch, theirs)
    )  # fmt: skip
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
@pytest.mark.parametrize("q", [0.0, 0.4, 0.5, 1.0])
def test_quantiles(interpolation, q):
    """Each interpolation, nan in a slice, and the derivative by q."""
    x = np.array([[3.0, 1.0, 2.0, 7.0], [1.0, np.nan, 0.0, 2.0]])
    for name in ("quantile", "nanquantile"):
        call = lambda e, x, name=name: getattr(e, name)(x, q, 1, interpolation=interpolation)
        same_as_torch(call, [x], order=1)
    if interpolation == "linear" and 0 < q < 1 and q != 0.5:
        derivatives_hold(lambda e, x, q: e.quantile(x, q, 1), [x[:1], np.array([q])])


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (0, 1, 2)])
def test_products_with_zeros(zeros):
    """Products and running products are exact where factors are 0, to the second order."""
    x = np.array([1.5, -2.0, 0.5])
    x[list(zeros)] = 0
    for call in (lambda e, x: e.prod(x, 0), lambda e, x: e.cumprod(x, 0)):
        derivatives_hold(call, [x])


def test_numbers_count_as_vectors():
    """Reductions of a 0-d tensor along dimension 0 or -1 are defined; others are errors."""
    x = torch.tensor(2.0, requires_grad=True)
    for call in (lambda d: x.sum(d), lambda d: x.amax(d), lambda d: torch.sort(x, d)[0], lambda d: x.cumprod(d),
                 lambda d: x.logsumexp(d), lambda d: torch.mode(x, d)[0], lambda d: torch.quantile(x, 0.5, d)):  # fmt: skip
        for d in (0, -1):
            y = call(d)
            assert y.shape == ()
            assert torch.autograd.grad(y, x)[0].item() == 1.0
        with pytest.raises(IndexError, match="Dimension out of range"):
            call(1)


def test_nan_in_extremes():
    """max shares among the nan, amax gives nan to all: it compares by equality."""
    x = torch.tensor([1.0, float("nan"), float("nan")], requires_grad=True)
    assert torch.autograd.grad(x.max(), x)[0].tolist() == [0.0, 0.5, 0.5]
    assert torch.autograd.grad(x.amax(), x)[0].isnan().all()


@pytest.mark.parametrize("name", ["sum", "cumsum", "sort", "max", "stack", "quantile", "gather"])
def test_results_are_written_where_asked(name):
    """`out=` receives the result, several results each their own."""
    x = torch.tensor([3.0, 1.0])
    call = {
        "sum": lambda o: torch.sum(x, 0, out=o),
        "cumsum": lambda o: torch.cumsum(x, 0, out=o),
        "sort": lambda o: torch.sort(x, out=o),
        "max": lambda o: torch.max(x, 0, out=o),
        "stack": lambda o: torch.stack([x], out=o),
        "quantile": lambda o: torch.quantile(x, 0.5, out=o),
        "gather": lambda o: torch.gather(x, 0, torch.tensor([1]), out=o),
    }[name]  # fmt: skip
    expected = call(None)
    if isinstance(expected, tuple):
        out = torch.empty(0), torch.empty(0, dtype=torch.int64)
        call(out)
        assert [o.tolist() for o in out] == [r.tolist() for r in expected]
    else:
        out = torch.empty(0)
        assert call(out) is out
        assert out.tolist() == expected.tolist()
    x.requires_grad_()
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        call(out)


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses(name):
    """The error has torch's type and words."""
    theirs = pytest.importorskip("torch")
    with pytest.raises(Exception) as expected:
        REFUSED[name](theirs)
    with pytest.raises(expected.type) as found:
        REFUSED[name](torch)
    assert str(found.value)[:50] == str(expected.value)[:50]


@pytest.mark.parametrize("name", ["median", "nanmedian", "std", "prod", "max"])
def test_full_reductions_of_batches(name):
    """Under vmap a reduction of all elements is one for each element of the batch."""
    x = torch.from_numpy(spread_out([(2, 3, 3)])[0])
    each = torch.stack([getattr(row, name)() for row in x])
    np.testing.assert_allclose(plain(torch.func.vmap(lambda row: getattr(row, name)())(x)), plain(each))
