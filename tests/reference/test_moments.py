"""var_mean and std_mean: two outputs of one node, whose gradients add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_engine as torch

OPTIONS = [{}, {"dim": 0}, {"dim": 1, "correction": 0}, {"dim": (0, 1), "keepdim": True}, {"unbiased": False}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("pair", "alone"), [(torch.var_mean, torch.var), (torch.std_mean, torch.std)])
@given(st.integers(0, 2**32 - 1))
def test_the_pair_is_each_of_them_with_the_gradients_of_both(pair, alone, options, seed):
    """Law: values and first and second derivatives are those of var or std and mean computed apart."""
    x = torch.tensor(np.random.default_rng(seed).standard_normal((3, 4)), requires_grad=True)
    spread, centre = pair(x, **options)
    only = {k: v for k, v in options.items() if k in ("dim", "keepdim")}
    others = alone(x, **options), torch.mean(x, **only)
    assert spread.grad_fn is centre.grad_fn

    def derivatives(a, b):
        (first,) = torch.autograd.grad((a * a).sum() + (b * b * 3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first * first).sum(), x)
        return [t.detach().numpy() for t in (a, b, first, second)]

    for found, expected in zip(derivatives(spread, centre), derivatives(*others), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_one_output_alone_is_differentiated():
    """Using only the mean, or only the variance, gives that one's gradient."""
    x = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    assert torch.autograd.grad(torch.var_mean(x)[1], x)[0].tolist() == pytest.approx([1 / 3] * 3)
    assert torch.autograd.grad(torch.var_mean(x)[0], x)[0].tolist() == pytest.approx([-2.0, -1.0, 3.0])
    torch.set_warn_always(True)
    try:
        with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
            assert torch.var_mean(torch.ones(1))[0].isnan()
    finally:
        torch.set_warn_always(False)
