"""Laws of element types: rounding to the narrow ones, promotion, and what dtype a gradient has."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_engine as torch
from reference_engine import dtypes, narrow_types

ALL = (*dtypes.ALL, narrow_types.bfloat16, narrow_types.complex32)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(FLOATS)
def test_bfloat16_is_the_nearest_of_its_neighbours(x):
    """Rounding gives one of the two numbers with 8 significant bits around x, the nearer one; a tie is even."""
    rounded = float(narrow_types.to_bfloat16(np.float32(x)))
    bits = int(np.float32(x).view(np.uint32)) & 0xFFFF0000
    below, above = (float(np.uint32(b).view(np.float32)) for b in (bits, bits + 0x10000))
    assert rounded in (below, above)
    if np.isfinite(above):
        distance = abs(rounded - x)
        assert distance <= min(abs(below - x), abs(above - x))
        if abs(below - x) == abs(above - x):
            assert int(np.float32(rounded).view(np.uint32)) & 0x10000 == 0


@given(FLOATS, st.sampled_from([narrow_types.bfloat16, narrow_types.float8_e4m3fn, narrow_types.float8_e5m2]))
def test_rounding_is_idempotent_and_odd(x, d):
    """What is rounded stays, and round(-x) = -round(x)."""
    once = d.rounded(np.array([x, -x], np.float32))
    assert np.array_equal(d.rounded(once), once)
    assert np.array_equal(once[:1], -once[1:])


def test_float8_has_the_documented_values():
    """Largest value, smallest subnormal, tie to even, and what lies beyond."""
    e4m3, e5m2 = (torch.tensor([448.0, 1e4, 2.0**-9, 17.0, 19.0]).to(d).float() for d in
                  (torch.float8_e4m3fn, torch.float8_e5m2))  # fmt: skip
    assert e4m3.tolist() == [448.0, 448.0, 2.0**-9, 16.0, 20.0]
    assert e5m2.tolist() == [448.0, 10240.0, 2.0**-9, 16.0, 20.0]
    assert torch.tensor([7e4]).to(torch.float8_e5m2).float().tolist() == [np.inf]


def test_promotion_is_a_join():
    """promote_types is commutative and idempotent, and never goes below either type's category."""
    for a, b in itertools.product(ALL, ALL):
        joined = torch.promote_types(a, b)
        assert joined is torch.promote_types(b, a)
        assert joined.category == max(a.category, b.category)
        assert torch.promote_types(joined, a) is joined
        assert torch.can_cast(a, joined)


def test_operands_of_every_rank_promote_by_category_first():
    """A 0-d operand or number of no higher category does not change the dtype."""
    for a, b in itertools.product(ALL, ALL):
        result = (torch.ones(1, dtype=a) * torch.ones((), dtype=b)).dtype
        assert result is a if b.category <= a.category else result.category == b.category


def test_narrow_types_survive_views_copies_and_operators():
    """The mark of a narrow type stays through whatever keeps a dtype in torch."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16)
    kept = (x[0], x.t(), x[[0, 1]], x.clone(), x.reshape(-1), x + x, x * 2.5, x.sum(), x.mean(0), x @ x, x.softmax(0),
            torch.cat([x, x]), torch.stack([x, x]), torch.where(x > 1, x, x * 2), x.max(), x.exp(), x.contiguous(),
            torch.zeros_like(x), x.new_ones(2), x.detach(), x.expand(2, 2, 2), x.to(torch.float32).bfloat16())  # fmt: skip
    assert {y.dtype for y in kept} == {torch.bfloat16}
    assert {y.dtype for y in (x.float(), x + torch.ones(1), x > 1, x.argmax(), x * 2j)} == {
        torch.float32, torch.bool, torch.int64, torch.complex64}  # fmt: skip


def test_gradients_that_meet_are_rounded():
    """1 + 2^-8 is no bfloat16: two gradients that meet on an edge and at a leaf are rounded after adding."""
    x = torch.ones(1, dtype=torch.bfloat16, requires_grad=True)
    y = x * 1
    (y * 1 + y * 2.0**-8).sum().backward()
    assert x.grad.dtype is torch.bfloat16
    assert x.grad.tolist() == [1.0]
    (x * 2.0**-8).sum().backward()
    assert x.grad.tolist() == [1.0]


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("given_dtype", [torch.float16, torch.bfloat16, torch.float64, None])
def test_grad_dtype_holds_on_every_way_to_a_leaf(given_dtype):
    """Short paths, fan-out, autograd.grad, recorded passes and hooks agree on the dtype of the gradient."""
    x = torch.ones(2, requires_grad=True)
    x.grad_dtype = given_dtype
    wanted = given_dtype or torch.float32
    seen = []
    x.register_hook(lambda g: seen.append(g.dtype))
    (x * 2 + x.exp()).sum().backward()
    assert x.grad.dtype is wanted
    (x * x).sum().backward(create_graph=True)
    assert x.grad.dtype is wanted
    assert torch.autograd.grad((x * 3).sum(), x)[0].dtype is wanted
    assert set(seen) == {wanted}
    x.grad = None


def test_autocast_is_of_the_thread_and_nests():
    """The region's dtype holds for products, an inner region can switch it off, and it ends with the block."""
    a = torch.ones(2, 2)
    product = functools.partial(torch.mm, a, a)
    with torch.autocast("cpu"):
        assert product().dtype is torch.bfloat16
        assert (a + a).dtype is torch.float32
        with torch.autocast("cpu", enabled=False):
            assert product().dtype is torch.float32
        assert torch.nn.functional.linear(a, a, torch.ones(2)).dtype is torch.bfloat16
        assert torch.mm(a.double(), a.double()).dtype is torch.float64
    assert product().dtype is torch.float32
    assert torch.autocast("cpu")(product)().dtype is torch.bfloat16
    with pytest.raises(RuntimeError, match="unsupported autocast device_type"):
        torch.autocast("cuda")


def test_narrow_types_leave_masked_tensors_alone():
    """Results that no NumPy array holds are not rounded as one, once a narrow type is in use."""
    torch.ones(1, dtype=torch.bfloat16)
    y = torch.masked.as_masked_tensor(torch.tensor([1.0, float("nan")]), torch.tensor([True, False]))
    assert y.sum().to_tensor(0.0).item() == 1.0
