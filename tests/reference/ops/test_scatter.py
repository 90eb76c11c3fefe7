"""Indexing and scattering: derivatives are those of differences, values and derivatives those of torch; what it refuses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import plain, same_as_torch
from tests.reference.ops.tables import bent, data, derivatives_hold, spread_out

M, V = (3, 2), (3,)


def at(e, *index):
    return e.tensor(index[0] if len(index) == 1 else list(index))


def mask(e):
    return e.tensor([[True, False], [False, True], [True, True]])


# fmt: off
CALLS = {
    "gather": (lambda e, x: e.gather(x, 1, at(e, [0, 0, 1], [1, 1, 1])), [M]),
    "gather a number": (lambda e, x: x.gather(0, at(e, 0)), [()]),
    "gather fewer": (lambda e, x: x.gather(0, at(e, [[2]])), [M]),
    "gather nothing": (lambda e, x: x.gather(0, e.zeros((0, 2), dtype=e.int64)), [M]),
    "index_select": (lambda e, x: e.index_select(x, 1, at(e, [1, 0, 1])), [M]),
    "index_select a number": (lambda e, x: x.index_select(0, at(e, [0])), [()]),
    "take": (lambda e, x: e.take(x, at(e, [[0, -1], [5, 0]])), [M]),
    "take_along_dim": (lambda e, x: e.take_along_dim(x, at(e, [[0], [2]]), 0), [M]),
    "take_along_dim flat": (lambda e, x: x.take_along_dim(at(e, [4, 0])), [M]),
    "masked_select": (lambda e, x: x.masked_select(mask(e)), [M]),
    "masked_select of a row": (lambda e, x: x.masked_select(mask(e)), [(2,)]),
    "repeated rows": (lambda e, x: x[[0, 2, 0]], [M]),
    "masked_fill": (lambda e, x: x.masked_fill(mask(e), 2.0), [M]),
    "masked_fill with a tensor": (lambda e, x, v: x.masked_fill(mask(e), v), [M, ()]),
    "masked_fill of a row": (lambda e, x: e.masked_fill(x, mask(e), 1), [(2,)]),
    "masked_scatter": (lambda e, x, v: x.masked_scatter(mask(e), v), [M, (5,)]),
    "index_fill": (lambda e, x, v: x.index_fill(0, at(e, [1, 1, 2]), v), [M, ()]),
    "index_copy": (lambda e, x, v: x.index_copy(0, at(e, [2, 0]), v), [M, (2, 2)]),
    "index_add": (lambda e, x, v: x.index_add(0, at(e, [1, 1]), v, alpha=-2), [M, (2, 2)]),
    "index_add a number": (lambda e, x, v: x.index_add(0, at(e, [0]), v), [(), ()]),
    "index_put": (lambda e, x, v: x.index_put((at(e, [0, 2]),), v), [M, (2, 2)]),
    "index_put adding": (lambda e, x, v: x.index_put((at(e, [0, 0]),), v, accumulate=True), [M, (2,)]),
    "put": (lambda e, x, v: x.put(at(e, [0, -1]), v), [M, (2,)]),
    "put adding": (lambda e, x, v: x.put(at(e, [1, 1]), v, accumulate=True), [M, (2,)]),
    "scatter": (lambda e, x, v: e.scatter(x, 0, at(e, [[2, 0]]), v), [M, (1, 2)]),
    "scatter a number": (lambda e, x: x.scatter(1, at(e, [[0]]), value=3.0), [M]),
    "scatter into a number": (lambda e, x, v: x.scatter(0, at(e, 0), v), [(), ()]),
    "scatter_add": (lambda e, x, v: x.scatter_add(0, at(e, [0, 0], [1, 1]), v), [M, (2, 2)]),
    "select_scatter": (lambda e, x, v: e.select_scatter(x, v, 1, -1), [M, V]),
    "slice_scatter": (lambda e, x, v: x.slice_scatter(v, 0, 0, 3, 2), [M, (2, 2)]),
    "diagonal_scatter": (lambda e, x, v: x.diagonal_scatter(v, -1), [M, (2,)]),
    "index within": (lambda e, x: e.ops.aten._unsafe_masked_index(
        x, e.tensor([[True, False], [False, False], [True, True]]), (at(e, [[0], [9], [2]]), at(e, [[0, 1]])), 2.0), [M]),
    "add within": (lambda e, x, v: e.ops.aten._unsafe_masked_index_put_accumulate(
        x, e.tensor([[True, False], [False, False], [True, True]]), (at(e, [[0], [9], [2]]), at(e, [[0, 1]])), v), [M, M]),
}
REDUCTIONS = ["sum", "prod", "mean", "amax", "amin"]
REFUSED = {
    "gather other dimensions": lambda e, m: e.gather(m, 0, at(e, [0])),
    "gather beyond": lambda e, m: e.gather(m, 0, at(e, [[5]])),
    "gather before": lambda e, m: e.gather(m, 0, at(e, [[-1]])),
    "gather by numbers": lambda e, m: e.gather(m, 0, e.tensor([[0.0]])),
    "gather more": lambda e, m: e.gather(m, 0, e.zeros((1, 5), dtype=e.int64)),
    "index_select beyond": lambda e, m: e.index_select(m, 0, at(e, [5])),
    "index_select matrix": lambda e, m: e.index_select(m, 0, at(e, [[0]])),
    "index_add beyond": lambda e, m: m.index_add(0, at(e, [5]), m[:1]),
    "index_add other": lambda e, m: m.index_add(0, at(e, [0]), m),
    "index_copy beyond": lambda e, m: m.index_copy(0, at(e, [5]), m[:1]),
    "index_copy other": lambda e, m: m.index_copy(0, at(e, [0]), m),
    "index_fill beyond": lambda e, m: m.index_fill(0, at(e, [5]), 1.0),
    "index_fill row": lambda e, m: m.index_fill(0, at(e, [0]), m[0]),
    "scatter beyond": lambda e, m: m.scatter(0, at(e, [[5]]), m),
    "scatter other dimensions": lambda e, m: m.scatter(0, at(e, [0]), m),
    "scatter more": lambda e, m: m.scatter(0, at(e, [[0, 0, 0]]), m),
    "scatter other types": lambda e, m: m.scatter(0, at(e, [[0]]), m.double()),
    "scatter_reduce": lambda e, m: m.scatter_reduce(0, at(e, [[0]]), m, "no"),
    "index_reduce": lambda e, m: m.index_reduce(0, at(e, [0]), m[:1], "no"),
    "masked_fill by numbers": lambda e, m: m.masked_fill(at(e, [1, 0]), 1.0),
    "masked_fill row": lambda e, m: m.masked_fill(mask(e), m[0]),
    "masked_scatter few": lambda e, m: m.masked_scatter(mask(e), m[0]),
    "masked_select by numbers": lambda e, m: m.masked_select(at(e, [1, 0])), "take beyond": lambda e, m: m.take(at(e, [9])),
    "put beyond": lambda e, m: m.put(at(e, [9]), m[0, :1]), "put few": lambda e, m: m.put(at(e, [1, 2]), m[0, :1]),
    "index_put beyond": lambda e, m: m.index_put((at(e, [9]),), m[0]),
    "take_along_dim": lambda e, m: e.take_along_dim(m, at(e, [0]), 0),
    "select_scatter": lambda e, m: e.select_scatter(m, m[0], 1, 0),
    "diagonal_scatter": lambda e, m: e.diagonal_scatter(m, m[:, 0]),
    "narrow of a number": lambda e, m: m[0, 0].narrow(0, 0, 1),
    "narrow beyond": lambda e, m: m.narrow(0, 9, 0),
    "narrow before": lambda e, m: m.narrow(0, -9, 0),
    "narrow less than nothing": lambda e, m: m.narrow(0, 0, -1),
    "index_add other shapes": lambda e, m: m.index_add(0, at(e, [0, 1]), m[:2, 0]),
    "scatter a source of other dimensions": lambda e, m: m.scatter(0, at(e, [[0]]), m[None]),
    "masked_fill with complex numbers": lambda e, m: m.masked_fill(mask(e), 1j),
}
# fmt: on


@pytest.mark.parametrize("name", CALLS)
def test_derivatives(name):
    """Real and complex numbers."""
    call, shapes = CALLS[name]
    derivatives_hold(call, data(shapes))
    if name not in ("select_scatter", "slice_scatter"):  # not differentiable for complex numbers on torch
        derivatives_hold(call, data(shapes, complex=True))


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("include_self", [True, False])
def test_reductions_at_indices(reduce, include_self):
    """scatter_reduce and index_reduce, to the second order."""
    given = spread_out([M, (4, 2)])
    scatter = lambda e, x, v: x.scatter_reduce(
        0, at(e, [0, 2], [0, 0], [2, 2]), v[:3], reduce, include_self=include_self
    )
    derivatives_hold(scatter, given)
    if reduce == "sum":
        return

    def index(e, x, v):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return x.index_reduce(0, at(e, [2, 0, 2, 2]), v, reduce, include_self=include_self)

    derivatives_hold(index, given, forward=False)


@pytest.mark.parametrize("values", [[0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [2.0, 0.0, 3.0]])
def test_products_are_exact_with_zeros(values):
    """Each factor gets the product of the others, and the derivatives of that."""
    call = lambda e, x, v: x.scatter_reduce(0, at(e, [0, 0]), v, "prod")
    derivatives_hold(call, [np.array(values[:1]), np.array(values[1:])])


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_integers(reduce):
    """Integer results are torch's, means rounded down."""
    theirs = pytest.importorskip("torch")
    results = [
        e.tensor([5, -3, 7]).scatter_reduce(0, at(e, [0, 0, 1]), e.tensor([4, -8, -6]), reduce, include_self=i).tolist()
        for i in (True, False) for e in (torch, theirs)
    ]  # fmt: skip
    assert results[0] == results[1]
    assert results[2] == results[3]


def test_a_source_larger_than_its_index_has_no_gradient():
    """The forward takes what it needs; the backward is documented for equal shapes only."""
    for reduce in (None, *REDUCTIONS):
        s = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        x = torch.zeros(2)
        y = x.scatter(0, at(torch, [0, 1]), s) if reduce is None else x.scatter_reduce(0, at(torch, [0, 1]), s, reduce)
        with pytest.raises(RuntimeError, match=r"invalid gradient|must match the size of tensor"):
            y.sum().backward()


def test_sparse_gradients_of_gather():
    """With sparse_grad the gradient is a sparse tensor, equal to the dense one."""
    found = []
    for sparse in (True, False):
        x = torch.ones(3, 2, requires_grad=True)
        x.gather(0, at(torch, [0, 0], [0, 2]), sparse_grad=sparse).sum().backward()
        found.append(x.grad)
    assert found[0].layout is torch.sparse_coo
    assert found[0].to_dense().tolist() == found[1].tolist() == [[2.0, 1.0], [0.0, 0.0], [0.0, 1.0]]


def test_scattered_strides_have_the_derivative_of_what_is_written():
    """as_strided_scatter: the replaced elements get 0. (torch 2.13 gives them the gradient instead of the others.)"""
    from tests.reference.ops.directions import slopes_are_those_of_differences

    call = lambda e, x, v: e.as_strided_scatter(x, v, (2, 2), (2, 1), 1)
    slopes_are_those_of_differences(bent(call), data([(3, 3), (2, 2)]))
    theirs = pytest.importorskip("torch")
    x, v = data([(3, 3), (2, 2)])
    ours = torch.as_strided_scatter(torch.from_numpy(x), torch.from_numpy(v), (2, 2), (2, 1), 1)
    expected = theirs.as_strided_scatter(theirs.from_numpy(x), theirs.from_numpy(v), (2, 2), (2, 1), 1)
    np.testing.assert_array_equal(plain(ours), plain(expected))


@pytest.mark.parametrize(
    "form", ["scatter_", "scatter_add_", "index_add_", "index_copy_", "index_fill_", "put_", "masked_scatter_"]
)
def test_forms_in_place(form):
    """The form in place leaves the values and the gradients of the other one."""
    arguments = {
        "scatter_": lambda e, v: (0, at(e, [[1, 0]]), v[None]), "scatter_add_": lambda e, v: (0, at(e, [[1, 1]]), v[None]),
        "index_add_": lambda e, v: (0, at(e, [1]), v[None]), "index_copy_": lambda e, v: (0, at(e, [1]), v[None]),
        "index_fill_": lambda e, v: (0, at(e, [1]), v[0]), "put_": lambda e, v: (at(e, [0, 3]), v),
        "masked_scatter_": lambda e, v: (e.tensor([[True, False], [False, False], [True, False]]), v),
    }[form]  # fmt: skip

    def call(e, x, v):
        changed = x.clone()
        getattr(changed, form)(*arguments(e, v))
        return changed

    given = data([M, (2,)])
    same_as_torch(bent(call), given)
    other = lambda e, x, v: getattr(x, form[:-1])(*arguments(e, v))
    np.testing.assert_array_equal(*[plain(f(torch, *map(torch.from_numpy, given))) for f in (call, other)])


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "max", "min"])
@pytest.mark.parametrize("initial", [None, 0.5])
def test_segments(reduce, initial):
    """Consecutive segments, an empty one among them, by lengths and by offsets."""
    theirs = pytest.importorskip("torch")
    call = lambda e, x: e.segment_reduce(x, reduce, lengths=at(e, [2, 0, 1]), initial=initial)
    value = lambda e, x: plain(call(e, e.from_numpy(x)))
    given = spread_out([M])
    np.testing.assert_allclose(value(torch, *given), value(theirs, *given))
    by_offsets = torch.segment_reduce(
        torch.from_numpy(given[0]), reduce, offsets=at(torch, [0, 2, 2, 3]), initial=initial
    )
    np.testing.assert_array_equal(plain(by_offsets), value(torch, *given))
    without_empty = lambda e, x: e.segment_reduce(x, reduce, lengths=at(e, [2, 1]), initial=initial)
    same_as_torch(without_empty, given, order=1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses(name):
    """The error has torch's type and words."""
    theirs = pytest.importorskip("torch")
    with pytest.raises(Exception) as expected:
        REFUSED[name](theirs, theirs.ones(3, 2))
    with pytest.raises(expected.type) as found:
        REFUSED[name](torch, torch.ones(3, 2))
    assert str(found.value)[:40] == str(expected.value)[:40]
