"""Laws of sparse tensors: they compute what the dense ones that they stand for compute."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_engine as torch

COMPRESSIONS = ("to_sparse", "to_sparse_csr", "to_sparse_csc")


@st.composite
def matrices(draw, rows=None, columns=None):
    """A small matrix of small integers, a third of them not 0."""
    m, n = rows or draw(st.integers(1, 4)), columns or draw(st.integers(1, 4))
    values = draw(st.lists(st.sampled_from([0, 0, 0, 0, 1, -2, 3]), min_size=m * n, max_size=m * n))
    return torch.tensor(values, dtype=torch.float64).reshape(m, n)


@given(matrices(), st.sampled_from(COMPRESSIONS))
def test_every_layout_holds_the_elements(x, way):
    """to_sparse...().to_dense() is the identity, and so are transposing twice and changing the layout."""
    s = getattr(x, way)()
    assert torch.equal(s.to_dense(), x)
    assert torch.equal(s.t().to_dense(), x.t())
    assert torch.equal(s.t().t().to_dense(), x)
    assert torch.equal(s.to_sparse().to_dense(), x)
    assert s._nnz() == int((x != 0).sum())


@given(matrices(3, 3), matrices(3, 3))
def test_arithmetic_is_that_of_the_dense_tensors(a, b):
    """Sums, products, quotients by numbers, and matrix products of every mix of layouts."""
    s, t = a.to_sparse(), b.to_sparse()
    pairs = (
        (s + t, a + b), (s - t, a - b), (s * t, a * b), (s * 3, a * 3), (s / 2, a / 2), (-s, -a), (s.abs(), a.abs()),
        (torch.mm(s, t), a @ b), (torch.sparse.mm(a.to_sparse_csr(), b.to_sparse_csr()), a @ b),
    )  # fmt: skip
    for sparse, dense in pairs:
        assert torch.equal(sparse.to_dense(), dense)
    assert torch.equal(s @ b, a @ b)
    assert torch.equal(a @ t, a @ b)
    assert torch.equal(s @ b[0], a @ b[0])
    assert torch.sparse.sum(s).item() == a.sum().item()
    assert torch.equal(torch.sparse.sum(s, 0).to_dense(), a.sum(0))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=6))
def test_coalescing_adds_duplicates_in_order(entries):
    """An uncoalesced tensor stands for the sum over its entries; coalescing keeps that and names each index once."""
    rows, columns, values = zip(*entries, strict=True)
    s = torch.sparse_coo_tensor([rows, columns], torch.tensor(values, dtype=torch.float64), (3, 2))
    expected = np.zeros((3, 2))
    np.add.at(expected, (rows, columns), values)
    once = s.coalesce()
    assert not s.is_coalesced()
    assert once.is_coalesced()
    assert (s.to_dense().numpy() == expected).all()
    assert (once.to_dense().numpy() == expected).all()
    places = list(zip(*once.indices().tolist(), strict=True))
    assert places == sorted(set(zip(rows, columns, strict=True)))


@given(matrices(2, 3), matrices(3, 2))
def test_masked_gradients_are_the_dense_ones_at_the_pattern(a, b):
    """torch.sparse.mm gives the dense gradient where its operand has entries, and exactly there."""
    s, d = a.to_sparse().requires_grad_(), b.clone().requires_grad_()
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    (torch.sparse.mm(s, d) * w).sum().backward()
    x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
    ((x @ y) * w).sum().backward()
    assert torch.equal(s.grad.to_dense(), x.grad * (a != 0).double())
    assert s.grad._nnz() == s._nnz()
    assert torch.equal(d.grad, y.grad)


def test_gradients_of_every_kind_add_up():
    """Sparse and dense gradients in any order give the dense sum; only sparse ones alone stay sparse."""

    def grads(order):
        w = torch.zeros(3, 2, requires_grad=True)
        for kind in order:
            f = torch.nn.functional.embedding(torch.tensor([0, 2, 0]), w, sparse=True) if kind == "s" else w * 1
            f.sum().backward()
        return w.grad

    for order in ("ss", "sd", "ds", "sds"):
        g = grads(order)
        sparse, dense = order.count("s"), order.count("d")
        assert g.is_sparse is (dense == 0)
        assert (g.to_dense() if g.is_sparse else g).tolist() == [
            [2.0 * sparse + dense] * 2, [float(dense)] * 2, [1.0 * sparse + dense] * 2]  # fmt: skip


def test_both_kinds_meet_in_one_pass():
    """A sparse and a dense gradient that arrive at one leaf in one pass are added."""
    w = torch.zeros(3, 2, requires_grad=True)
    F = torch.nn.functional
    (F.embedding(torch.tensor([1]), w, sparse=True).sum() + (w * 2).sum() + w.exp().sum()).backward()
    assert w.grad.tolist() == [[3.0, 3.0], [4.0, 4.0], [3.0, 3.0]]


def test_the_padding_row_receives_nothing():
    """padding_idx is left out of a sparse gradient."""
    w = torch.ones(3, 2, requires_grad=True)
    torch.nn.functional.embedding(torch.tensor([0, 1, 1]), w, padding_idx=1, sparse=True).sum().backward()
    assert w.grad._nnz() == 1
    assert w.grad.to_dense().tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


def test_compressed_indices():
    """crow_indices count the entries before each row, ccol_indices before each column."""
    x = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    r, c = x.to_sparse_csr(), x.to_sparse_csc()
    assert (r.crow_indices().tolist(), r.col_indices().tolist(), r.values().tolist()) == (
        [0, 1, 3],
        [1, 0, 2],
        [2.0, 1.0, 3.0],
    )
    assert (c.ccol_indices().tolist(), c.row_indices().tolist(), c.values().tolist()) == (
        [0, 1, 2, 3],
        [1, 0, 1],
        [1.0, 2.0, 3.0],
    )
    again = torch.sparse_csr_tensor(r.crow_indices(), r.col_indices(), r.values(), (2, 3))
    assert torch.equal(again.to_dense(), x)


def test_what_a_sparse_tensor_is_not():
    """Questions about memory and elements in order are refused, not answered wrongly."""
    s = torch.eye(2).to_sparse()
    for ask in (s.stride, s.data_ptr, s.tolist, s.is_contiguous, s.crow_indices):
        with pytest.raises(RuntimeError):
            ask()
    with pytest.raises(TypeError, match="to_dense"):
        s.numpy()
    with pytest.raises(RuntimeError, match="uncoalesced"):
        torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (1,)).values()
