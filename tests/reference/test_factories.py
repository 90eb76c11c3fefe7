"""What makes tensors: options that all know, and none that nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

import reference_engine as torch

ONE = torch.ones(2)
CALLS: dict[str, tuple] = {
    "arange": (3,), "empty": (2,), "empty_like": (ONE,), "eye": (2,), "full": ((2,), 1.0), "full_like": (ONE, 1.0),
    "linspace": (0, 1, 3), "logspace": (0, 1, 3), "normal": (0.0, 1.0, (2,)), "ones": (2,), "ones_like": (ONE,), "rand": (2,),
    "rand_like": (ONE,), "randint": (3, (2,)), "randint_like": (ONE, 3), "randn": (2,), "randn_like": (ONE,),
    "randperm": (3,), "scalar_tensor": (1.0,), "tril_indices": (2, 2), "triu_indices": (2, 2), "zeros": (2,),
    "zeros_like": (ONE,),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_option_is_refused_by_name(name: str) -> None:
    """A typing error in an option does not pass unseen."""
    make: Any = getattr(torch, name)
    make(*CALLS[name], device="cpu", layout=torch.strided, pin_memory=False)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'require_grad'"):
        make(*CALLS[name], require_grad=True)


def test_out_receives_the_result() -> None:
    """`out=` is written to, and resized where its shape differs."""
    out = torch.empty(3)
    assert torch.ones(3, out=out) is out
    assert out.tolist() == [1.0, 1.0, 1.0]
    empty = torch.empty(0)
    assert torch.arange(3, out=empty) is empty
    assert empty.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("write", [
    lambda x: x.__setitem__(0, 1j), lambda x: x.__setitem__(x > 0, 1j), lambda x: x.fill_(1j), lambda x: x.masked_fill(x > 0, 1j),
    lambda x: torch.full((2,), 1j, dtype=torch.float32),
])  # fmt: skip
def test_a_complex_number_does_not_fit_into_a_real_tensor(write: Any) -> None:
    """Not without overflow; a complex number that is real does."""
    with pytest.raises(RuntimeError, match="value cannot be converted to type float without overflow"):
        write(torch.ones(2))
    x = torch.ones(2)
    x[0] = 3 + 0j
    assert x.tolist() == [3.0, 1.0]


def test_filling_out_of_place_gives_gradient_to_a_tensor_value() -> None:
    """torch.fill: what was there gets zero."""
    x, value = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    (torch.fill(x, value) * torch.tensor([1.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]
    assert value.grad.item() == 6.0
    assert torch.fill(x, 7.0).tolist() == [7.0, 7.0]
