"""Products of vectors and matrices: values and derivatives, what they refuse, integers, weights that are left out."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import arrays, same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

NAN = float("nan")


def weights(e):
    """Weights of four observations."""
    return e.tensor([1.0, 2.0, 0.5, 1.0], dtype=e.float64)


# fmt: off
PRODUCTS = {  # of a (2, 3, 4), b (2, 4, 3), c (3, 3)
    "matmul": lambda e, a, b, c: a @ b @ c,
    "matmul of one with a batch": lambda e, a, b, c: e.matmul(c, a),
    "matmul of vectors": lambda e, a, b, c: e.matmul(a[0, 0], b[0, :, 0]) * c,
    "matmul of a vector with a batch": lambda e, a, b, c: e.matmul(c[0], a),
    "mm": lambda e, a, b, c: a[0].mm(b[1]),
    "bmm": lambda e, a, b, c: a.bmm(b),
    "mv": lambda e, a, b, c: e.mv(c, c[1]),
    "dot": lambda e, a, b, c: e.dot(c[0], c[1]),
    "vdot": lambda e, a, b, c: e.vdot(c[0], c[1]),
    "inner": lambda e, a, b, c: e.inner(a, b[0].mT),
    "inner with a number": lambda e, a, b, c: e.inner(a, c[0, 0]),
    "outer": lambda e, a, b, c: e.outer(a[0, 0], b[1, :, 2]),
    "ger": lambda e, a, b, c: a[0, 0].ger(c[0]),
    "addmm": lambda e, a, b, c: e.addmm(c, a[0], b[1], beta=2, alpha=-0.5),
    "addmm of a row": lambda e, a, b, c: e.addmm(c[0], a[0], b[1]),
    "addmm without input": lambda e, a, b, c: e.addmm(c, a[0], b[1], beta=0, alpha=2),
    "addmv": lambda e, a, b, c: e.addmv(c[0], c, c[1], beta=0.5, alpha=2),
    "addmv of a number": lambda e, a, b, c: e.addmv(c[0, 0], c, c[1]),
    "addr": lambda e, a, b, c: e.addr(c, c[0], c[1], beta=3, alpha=0.5),
    "addr of a number": lambda e, a, b, c: e.addr(c[1, 1], a[0, 0], c[1]),
    "addbmm": lambda e, a, b, c: e.addbmm(c, a, b, beta=2, alpha=3),
    "baddbmm": lambda e, a, b, c: e.baddbmm(c, a, b, beta=2, alpha=3),
    "baddbmm in place": lambda e, a, b, c: e.bmm(a, b).baddbmm_(a, b, beta=2),
    "addr in place": lambda e, a, b, c: (c * c).addr_(c[0], c[1], alpha=2),
    "addbmm in place": lambda e, a, b, c: (c * c).addbmm_(a, b, beta=2),
    "linear": lambda e, a, b, c: e.nn.functional.linear(a, b.mT[0]),
    "linear with bias": lambda e, a, b, c: e.nn.functional.linear(a[0], b.mT[0], c[0]),
    "bilinear": lambda e, a, b, c: e.nn.functional.bilinear(a[..., :3], a, a[:, :3], b[:, 0, 0]),
    "kron": lambda e, a, b, c: e.kron(c, a),
    "kron of vectors": lambda e, a, b, c: e.kron(c[0], c[1]),
    "trace": lambda e, a, b, c: a[0].trace() * c.trace(),
    "cross": lambda e, a, b, c: e.cross(a, b.mT, dim=1),
    "cross along the first of 3": lambda e, a, b, c: e.cross(c, c + 1),
    "tensordot": lambda e, a, b, c: e.tensordot(a, b, dims=([0, 2], [0, 1])),
    "tensordot of one": lambda e, a, b, c: e.tensordot(b, c, dims=1),
    "tensordot of none": lambda e, a, b, c: e.tensordot(a[0], c, dims=0),
    "tensordot of a broadcast dimension": lambda e, a, b, c: e.tensordot(a[:1], b, dims=([0], [0])),
    "chain_matmul": lambda e, a, b, c: e.chain_matmul(c, a[0], b[1]),
    "multi_dot": lambda e, a, b, c: e.linalg.multi_dot([a[0, 0], b[0], c]),
    "einsum": lambda e, a, b, c: e.einsum("bij,bjk,kl->il", a, b, c),
    "einsum of a diagonal": lambda e, a, b, c: e.einsum("ii,bij->bj", c, a),
    "einsum of a sum": lambda e, a, b, c: e.einsum("bij->j", a) * e.einsum("ij->", c),
    "einsum with an ellipsis": lambda e, a, b, c: e.einsum("...ij,...jk->...ki", a, b),
    "einsum of a shared ellipsis": lambda e, a, b, c: e.einsum("...i,ki->...k", b, c),
    "einsum without output": lambda e, a, b, c: e.einsum("ib,jb", c, c),
    "einsum of numbers": lambda e, a, b, c: e.einsum(a, [0, 1, 2], b, [0, 2, 3], [3, 0]),
    "einsum that broadcasts": lambda e, a, b, c: e.einsum("bij,bjk->ik", a[:1], b),
    "einsum of a list": lambda e, a, b, c: e.einsum("ij,jk", [c, c]),
    "cov": lambda e, a, b, c: a[0].cov(),
    "cov with weights": lambda e, a, b, c: e.cov(a[0], correction=0, fweights=e.tensor([1, 2, 1, 3]), aweights=weights(e)),
    "cov with weights, corrected": lambda e, a, b, c: e.cov(a[0], aweights=weights(e)),
    "cov of a vector": lambda e, a, b, c: e.cov(c[0]),
    "corrcoef": lambda e, a, b, c: e.corrcoef(a[0])[0, 1:],
    "grouped_mm": lambda e, a, b, c: e.nn.functional.grouped_mm(a[:, 0], b, offs=e.tensor([1, 2], dtype=e.int32)),
}
# fmt: on
OURS_ALONE = {("grouped_mm", float), ("grouped_mm", complex), ("bilinear", complex)}  # torch has no such kernels


def _data(dtype):
    shapes = (2, 3, 4), (2, 4, 3), (3, 3)
    real, imag = arrays(1, *shapes), arrays(2, *shapes)
    return [r + 1j * i for r, i in zip(real, imag, strict=True)] if dtype is complex else real


def _connected(function):
    return lambda e, a, b, c: function(e, a, b, c) + 0 * (a.sum() + b.sum() + c.sum())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in PRODUCTS for d in (float, complex) if (n, d) not in OURS_ALONE]
)
def test_values_and_derivatives_are_those_of_torch(name, dtype):
    """Value, first and second derivatives agree with torch's, for real and complex factors."""
    same_as_torch(_connected(PRODUCTS[name]), _data(dtype))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("name", PRODUCTS)
def test_derivatives_are_those_of_differences(name, dtype):
    """First and second derivatives agree with differences of values along random directions."""
    slopes_are_those_of_differences(_connected(PRODUCTS[name]), _data(dtype))


@pytest.mark.parametrize("name", ["addmm", "addmv", "addr", "addbmm", "baddbmm"])
def test_beta_zero_leaves_the_input_out(name):
    """With beta 0 nan in the input stays out of the result, and the input's gradient is 0."""
    shapes = {"addmm": [(2, 2)] * 3, "addmv": [(2,), (2, 2), (2,)], "addr": [(2, 2), (2,), (2,)],
              "addbmm": [(2, 2), (1, 2, 2), (1, 2, 2)], "baddbmm": [(1, 2, 2)] * 3}[name]  # fmt: skip
    added = torch.full(shapes[0], NAN, requires_grad=True)
    factors = [torch.ones(s, requires_grad=True) for s in shapes[1:]]
    y = getattr(torch, name)(added, *factors, beta=0)
    y.sum().backward()
    assert not y.isnan().any()
    assert not added.grad.any()
    assert all(f.grad.isfinite().all() and f.grad.any() for f in factors)


ONE, TWO, THREE = torch.ones(2), torch.ones(2, 2), torch.ones(2, 2, 2)
ERRORS = {
    "mm of a vector": (lambda: torch.mm(ONE, TWO), "self must be a matrix"),
    "mm of other sizes": (lambda: torch.mm(torch.ones(2, 3), torch.ones(2, 3)), "cannot be multiplied"),
    "mm of other types": (lambda: torch.mm(TWO, TWO.double()), "same dtype, but got: float != double"),
    "bmm of a matrix": (lambda: torch.bmm(TWO, TWO), "batch1 must be a 3D tensor"),
    "dot of matrices": (lambda: torch.dot(TWO, TWO), "1D tensors expected"),
    "addmm of a vector": (lambda: torch.addmm(TWO, ONE, TWO), "mat1 must be a matrix, got 1-D tensor"),
    "addmm onto other sizes": (lambda: torch.addmm(torch.ones(3), TWO, TWO), r"existing size \(3\) at non-singleton dimension 1"),
    "addmv of matrices": (lambda: torch.addmv(ONE, TWO, TWO), "vector [+] matrix @ vector expected, got 1, 2, 2"),
    "addmv of other sizes": (lambda: torch.addmv(torch.ones(3), TWO, ONE), "size mismatch"),
    "addr of a matrix": (lambda: torch.addr(TWO, TWO, ONE), "Expected 1-D argument vec1, but got 2-D"),
    "addbmm of other sizes": (lambda: torch.addbmm(TWO, THREE, torch.ones(2, 3, 2)), "Incompatible matrix sizes for bmm"),
    "baddbmm of other types": (lambda: torch.baddbmm(THREE.double(), THREE, THREE), "Input dtypes must be the same"),
    "inner of other sizes": (lambda: torch.inner(TWO, torch.ones(3)), "the last dimension must match"),
    "outer of a matrix": (lambda: torch.outer(TWO, ONE), "Expected 1-D argument self, but got 2-D"),
    "trace of a vector": (lambda: torch.trace(ONE), "expected a matrix, but got tensor with dim 1"),
    "cross of 2": (lambda: torch.linalg.cross(TWO, TWO), "must have length 3. Got 2 and 2"),
    "cross of none": (lambda: torch.cross(TWO, TWO), "no dimension of size 3 in input"),
    "cross of other dims": (lambda: torch.linalg.cross(torch.ones(3), torch.ones(2, 3)), "same number of dimensions"),
    "tensordot of other sizes": (lambda: torch.tensordot(TWO, torch.ones(3, 2), dims=1), "contracted dimensions need to match"),
    "tensordot of other counts": (lambda: torch.tensordot(TWO, TWO, dims=([0], [0, 1])), "should have same length"),
    "tensordot of too many": (lambda: torch.tensordot(TWO, TWO, dims=3), "dims < ndim_a or ndim_b, but got dims=3"),
    "multi_dot of one": (lambda: torch.linalg.multi_dot([TWO]), "at least 2 tensors but got 1"),
    "multi_dot of a batch": (lambda: torch.linalg.multi_dot([TWO, THREE, TWO]), "tensor 1 must be 2D but got 3D"),
    "einsum of too few": (lambda: torch.einsum("ij,jk", TWO), "fewer operands were provided"),
    "einsum of other dims": (lambda: torch.einsum("ij,jk", TWO, ONE), "does not match the number of dimensions"),
    "einsum of no letter": (lambda: torch.einsum("i1", TWO), "invalid subscript given at index 1"),
    "einsum of an unknown output": (lambda: torch.einsum("ij->k", TWO), "output subscript k does not appear"),
    "einsum of a double output": (lambda: torch.einsum("ij->ii", TWO), "appears more than once in the output"),
    "einsum of other sizes": (lambda: torch.einsum("ij,jk->ik", TWO, torch.ones(3, 2)), "does not broadcast with"),
    "einsum of an oblong diagonal": (lambda: torch.einsum("ii", torch.ones(3, 2)), "repeated for operand 0 but the sizes"),
    "bilinear of other sizes": (lambda: torch.nn.functional.bilinear(TWO, TWO, torch.ones(3, 3, 2)), "got 2 but expected 3"),
    "cov of three dimensions": (lambda: torch.cov(THREE), "two or fewer dimensions"),
    "cov of fractions of counts": (lambda: torch.cov(TWO, fweights=ONE), "expected fweights to have integral dtype"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ERRORS)
def test_what_is_refused(name):
    """Factors that do not fit raise RuntimeError with torch's sense."""
    call, message = ERRORS[name]
    with pytest.raises(RuntimeError, match=message):
        call()


def test_integers_multiply_exactly():
    """Products, traces and Kronecker products of integers stay integers."""
    a = torch.tensor([[1, 2], [3, 4]])
    assert (a @ a).tolist() == [[7, 10], [15, 22]]
    assert torch.addmm(a, a, a, beta=2).tolist() == [[9, 14], [21, 30]]
    assert a.trace().item() == 5
    assert torch.kron(a[0], a[1]).tolist() == [3, 4, 6, 8]
    assert torch.einsum("ii", a).item() == 5
    assert torch.linalg.vander(a[0]).tolist() == [[1, 1], [1, 2]]


def test_nothing_is_multiplied():
    """Empty factors give zeros, or nothing, with gradients of their shapes."""
    x = torch.zeros(2, 0, requires_grad=True)
    y = torch.zeros(0, 3, requires_grad=True)
    for z in (x @ y, torch.tensordot(x, y, 1), torch.einsum("ij,jk", x, y), torch.addmm(torch.ones(3), x, y) - 1):
        assert z.tolist() == [[0.0] * 3] * 2
        assert [g.shape for g in torch.autograd.grad(z.sum(), (x, y))] == [(2, 0), (0, 3)]


def test_strides_do_not_matter():
    """Transposed, flipped and expanded factors multiply as their values do."""
    (a,) = arrays(3, (3, 4))
    x = torch.from_numpy(a)
    expected = a @ a.T
    np.testing.assert_allclose((x @ x.T).numpy(), expected)
    np.testing.assert_allclose(torch.einsum("ij,kj", x.T.contiguous().T, x).numpy(), expected)
    np.testing.assert_allclose(torch.tensordot(x.flip(1), x.flip(1), dims=([1], [1])).numpy(), expected)
    np.testing.assert_allclose((x[:1].expand(3, 4) @ x.T).numpy(), np.broadcast_to(expected[:1], (3, 3)))


def test_the_factor_of_a_number_is_a_gradient_in_place():
    """The in-place forms record the same derivative: addmv_ and addr_ keep their input's graph."""
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    y = a.clone().addmv_(torch.eye(2), a, beta=3, alpha=2)
    assert torch.autograd.grad(y.sum(), a)[0].tolist() == [5.0, 5.0]


def test_weights_hold_in_batches():
    """vmap over addmm keeps beta and alpha; with beta 0 the input is not read."""
    a, b = (torch.from_numpy(x) for x in arrays(4, (3, 2, 2), (3, 2, 2)))
    for c in (torch.ones(3, 2, 2), torch.ones(3, 2)):
        mapped = torch.func.vmap(lambda c, a, b: torch.addmm(c, a, b, beta=2, alpha=-3))(c.double(), a, b)
        np.testing.assert_allclose(mapped.numpy(), 2 - 3 * (a @ b).numpy())
    unread = torch.full((3, 2, 2), NAN, dtype=torch.float64)
    mapped = torch.func.vmap(lambda c, a, b: torch.addmm(c, a, b, beta=0))(unread, a, b)
    np.testing.assert_allclose(mapped.numpy(), (a @ b).numpy())


@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(2, 3, 4), (1, 3, 4), (2, 1, 4), (0, 3, 4), (2, 0, 4), (2, 3, 0)]
)
def test_a_matrix_that_repeats_is_one(batch, rows, inner, columns):
    """A product with one matrix expanded over a batch is that with its copies."""
    draw = np.random.default_rng(0)
    a, b = torch.from_numpy(draw.standard_normal((batch, rows, inner))), draw.standard_normal((inner, columns))
    one = torch.from_numpy(b).expand(batch, inner, columns)
    np.testing.assert_allclose((a @ one).numpy(), (a @ one.clone()).numpy(), atol=1e-14)
    np.testing.assert_allclose((a @ one).numpy(), np.einsum("bij,jk->bik", a.numpy(), b), atol=1e-14)


LAYERS = {
    "transposed": lambda e, x, w, b: x @ w.t(),
    "layer": lambda e, x, w, b: e.nn.functional.linear(x, w, b),
    "scaled": lambda e, x, w, b: e.addmm(b, x, w.t(), alpha=2, beta=3),
    "by rows": lambda e, x, w, b: x @ w.reshape(4, 3),
    "on the left": lambda e, x, w, b: w @ x.t(),
    "transposed on the left": lambda e, x, w, b: (w.reshape(4, 3).t() @ x.t()).t(),
    "in a batch": lambda e, x, w, b: e.bmm(x[None], w.t()[None]),
    "of rows in a batch": lambda e, x, w, b: e.nn.functional.linear(x[None], w, b),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_the_gradient_of_a_matrix_lies_as_the_matrix_does(layer):
    """The gradient of a transposed matrix is transposed in memory, so that the weight's own is not."""
    other = pytest.importorskip("torch")

    def strides(e):
        x, w, b = (e.from_numpy(a).requires_grad_() for a in arrays(0, (5, 4), (3, 4), (3,)))
        return [g.stride() for g in e.autograd.grad(layer(e, x, w, b).sum(), (x, w))]

    assert strides(torch) == strides(other)
