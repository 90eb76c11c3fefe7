"""torch.autograd.functional: forward mode, and what strict mode says."""

from __future__ import annotations

import pytest

import reference_engine as torch

functional = torch.autograd.functional


def test_jacobian_by_forward_mode_needs_no_backward() -> None:
    """J of (x y, sum x) by columns, for a function that backward cannot go through."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_forward(x)  # type: ignore[attr-defined]
            return x * x

        @staticmethod
        def jvp(ctx: object, tangent: torch.Tensor) -> torch.Tensor:
            return 2 * ctx.saved_tensors[0] * tangent  # type: ignore[attr-defined]

    x = torch.tensor([1.0, 3.0])
    options = {"vectorize": True, "strategy": "forward-mode"}
    assert functional.jacobian(Square.apply, x, **options).tolist() == [[2.0, 0.0], [0.0, 6.0]]
    (a, b), (c, d) = functional.jacobian(lambda x, y: (x * y, x.sum()), (x, 2 * x), **options)
    assert a.tolist() == [[2.0, 0.0], [0.0, 6.0]]
    assert b.tolist() == [[1.0, 0.0], [0.0, 3.0]]
    assert c.tolist() == [1.0, 1.0]
    assert d.tolist() == [0.0, 0.0]
    assert not a.requires_grad


def test_hessian_by_forward_over_reverse() -> None:
    """The Hessian of sum x^2 y."""
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5])
    options = {"vectorize": True, "outer_jacobian_strategy": "forward-mode"}
    (xx, xy), (yx, yy) = functional.hessian(lambda x, y: (x * x * y).sum(), (x, y), **options)
    assert xx.tolist() == [[6.0, 0.0], [0.0, 1.0]]
    assert yy.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert xy.tolist() == yx.tolist() == [[2.0, 0.0], [0.0, 4.0]]


@pytest.mark.parametrize("name", ["hessian", "vhp", "hvp"])
def test_strict_mode_names_the_hessian_of_a_linear_function(name: str) -> None:
    """A linear function has a constant Jacobian."""
    x = torch.tensor([1.0, 2.0])
    arguments = () if name == "hessian" else (x,)
    with pytest.raises(
        RuntimeError, match="While computing the hessian, found that the jacobian of the user-provided function"
    ):
        getattr(functional, name)(lambda x: x.sum(), x, *arguments, strict=True)
    getattr(functional, name)(lambda x: (x * x).sum(), x, *arguments, strict=True)


def test_strict_hessian_of_an_unused_input() -> None:
    """Its gradient is zero, which does not depend on the inputs."""
    x = torch.tensor([1.0, 2.0])
    with pytest.raises(RuntimeError, match="respect to input 1 is independent of the input"):
        functional.hessian(lambda x, y: (x**3).sum(), (x, x), strict=True)


def test_a_vectorized_jacobian_starts_with_an_explicit_one() -> None:
    """Which complex outputs have: by PyTorch's convention the rows of z^2 are the conjugates of its derivative 2 z."""
    z = torch.tensor([1 + 2j, 3 - 1j])
    found = functional.jacobian(lambda t: t * t, z, vectorize=True)
    assert found.tolist() == [[2 - 4j, 0j], [0j, 6 + 2j]]
