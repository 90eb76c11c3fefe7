"""gradcheck and gradgradcheck: every option, on right derivatives and on wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

import reference_engine as torch

gradcheck, gradgradcheck = torch.autograd.gradcheck, torch.autograd.gradgradcheck
Error = torch.autograd.GradcheckError


def leaf(*values: complex) -> torch.Tensor:
    complex_ = any(isinstance(v, complex) for v in values)
    return torch.tensor(values, dtype=torch.complex128 if complex_ else torch.float64, requires_grad=True)


def times(factor: float, *, jvp: float | None = None) -> Any:
    """x * 2 with a backward (and a jvp) that multiply by something of their own."""

    class Times(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * factor

    if jvp is not None:
        Times.jvp = staticmethod(lambda ctx, tangent: tangent * jvp)  # type: ignore[method-assign]
    return Times.apply


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("x", [leaf(0.5, 2.0), leaf(1 + 2j, 0.5 - 1j)], ids=["real", "complex"])
def test_right_derivatives_pass_in_both_directions(fast: bool, x: torch.Tensor) -> None:
    """Backward and forward mode, first and second order, real and complex."""
    options = {"fast_mode": fast}
    for function in (lambda t: t * t, torch.sin, lambda t: (t * t.conj()).real, lambda t: t * (1 + 2j)):
        assert gradcheck(function, (x,), check_forward_ad=True, check_batched_forward_grad=True, check_batched_grad=True,
                         **options)  # fmt: skip
        assert gradgradcheck(function, (x,), check_fwd_over_rev=True, check_batched_grad=True, **options)


@pytest.mark.parametrize("fast", [False, True])
def test_a_wrong_jvp_is_caught_where_forward_mode_is_checked(fast: bool) -> None:
    """The message says that it was forward mode; without the option nothing is noticed."""
    wrong = times(2, jvp=3)
    assert gradcheck(wrong, leaf(1.0, 2.0), fast_mode=fast)
    with pytest.raises(
        Error, match="Jacobian computed with forward mode mismatch for output 0 with respect to input 0"
    ):
        gradcheck(wrong, leaf(1.0, 2.0), check_forward_ad=True, fast_mode=fast)
    with pytest.raises(NotImplementedError, match="You must implement the jvp function"):
        gradcheck(times(2), leaf(1.0), check_forward_ad=True)


def test_backward_is_left_alone_where_it_is_not_checked() -> None:
    """check_backward_ad=False: a wrong backward passes; one of the two modes has to be checked."""
    assert gradcheck(times(9, jvp=2), leaf(1.0), check_forward_ad=True, check_backward_ad=False)
    for options, message in {
        ("check_backward_ad",): "Expected at least one of check_forward_ad or check_backward_ad to be True",
    }.items():
        with pytest.raises(AssertionError, match=message):
            gradcheck(torch.sin, leaf(1.0), **dict.fromkeys(options, False))
    with pytest.raises(AssertionError, match="requires check_forward_ad to be True"):
        gradcheck(torch.sin, leaf(1.0), check_batched_forward_grad=True)
    with pytest.raises(AssertionError, match="requires check_rev_over_rev to be True"):
        gradgradcheck(torch.sin, leaf(1.0), check_fwd_over_rev=True, check_rev_over_rev=False)
    assert gradgradcheck(torch.sin, leaf(1.0), check_fwd_over_rev=True, check_rev_over_rev=False,
                         check_undefined_grad=False)  # fmt: skip


def test_fast_mode_costs_the_same_for_any_size() -> None:
    """Two evaluations for one random direction; the message of a failure shows the whole matrices."""
    calls = [0]

    def square(x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return x * x

    counts = []
    for size in (2, 9):
        calls[0] = 0
        x = torch.arange(1.0, size + 1, dtype=torch.float64).requires_grad_()
        assert gradcheck(square, x, fast_mode=True, check_undefined_grad=False)
        counts.append(calls[0])
    assert counts == [3, 3]
    with pytest.raises(Error, match="recompute numerical and analytical jacobians in slow mode"):
        gradcheck(times(3), leaf(1.0, 2.0), fast_mode=True)


def test_a_backward_that_ignores_its_gradient_is_caught() -> None:
    """Zeros have to give zeros, even where every unit vector gives the right row."""

    class Offset(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return torch.where(g == 0, 1e-9, g * 2)

    with pytest.raises(Error, match="backward not multiplied by grad_output"):
        gradcheck(Offset.apply, leaf(3.0), check_undefined_grad=False)


def test_the_part_of_a_complex_output_that_is_wrong_is_named() -> None:
    """A backward that forgets the imaginary part."""

    class DropImaginary(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * (1 + 2j)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.real

    with pytest.raises(Error, match="While considering the imaginary part of complex outputs only, Jacobian mismatch"):
        gradcheck(DropImaginary.apply, leaf(1.0))


def test_what_cannot_be_checked_is_refused() -> None:
    """Inputs that share memory with themselves, no tracked input, sparse outputs: also with raise_exception=False."""
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="The 0th input has a dimension with stride 0"):
        gradcheck(torch.sum, leaf(1.0).expand(3), raise_exception=False)
    with pytest.raises(ValueError, match="but none of them have requires_grad=True"):
        gradcheck(torch.sin, x.detach(), raise_exception=False)
    with pytest.raises(ValueError, match="Sparse output is not supported at gradcheck yet"):
        gradcheck(lambda t: t.to_sparse(), x)
    assert gradcheck(lambda t: torch.sum(t.expand(3, 2)), x)


@pytest.mark.parametrize("result", [3.0, None, {"a": 1}])
def test_outputs_that_are_no_tensors_are_refused(result: Any) -> None:
    """They have no derivative to check, and do not pass for right."""
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        with pytest.raises(AttributeError, match="requires_grad"):
            check(lambda x: result, (x,))


def test_masked_leaves_out_what_a_sparse_input_does_not_store() -> None:
    """A gradient for the stored elements only is right with masked=True, and wrong without."""

    def sparse() -> torch.Tensor:
        values = torch.tensor([1.0, 2.0], dtype=torch.float64)
        return torch.sparse_coo_tensor([[0, 2]], values, (3,)).requires_grad_()

    assert gradcheck(lambda s: s.to_dense(masked_grad=True), sparse(), masked=True)
    assert not gradcheck(lambda s: s.to_dense(masked_grad=True), sparse(), raise_exception=False)
    assert gradcheck(lambda s: s.to_dense(masked_grad=False), sparse())


def test_gradients_of_gradgradcheck_may_be_non_contiguous() -> None:
    """gen_non_contig_grad_outputs."""
    seen = []

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            seen.append(g.is_contiguous())
            return 3 * ctx.saved_tensors[0] ** 2 * g

    assert gradgradcheck(Cube.apply, leaf(1.0, 2.0))
    assert seen[0] is True
    seen.clear()
    assert gradgradcheck(Cube.apply, leaf(1.0, 2.0), gen_non_contig_grad_outputs=True)
    assert seen[0] is False


def test_the_former_helpers_give_matrices_and_warn() -> None:
    """get_numerical_jacobian and get_analytical_jacobian of x^2."""
    from reference_engine.autograd.gradcheck import get_analytical_jacobian, get_numerical_jacobian

    x = leaf(1.0, 2.0)
    with pytest.warns(FutureWarning, match="was part of PyTorch's private API"):
        (numerical,) = get_numerical_jacobian(lambda inputs: inputs[0] ** 2, (x,))
    with pytest.warns(FutureWarning, match="was part of PyTorch's private API"):
        (analytical,), *right = get_analytical_jacobian((x,), x**2)
    assert analytical.tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert torch.allclose(numerical, analytical, atol=1e-6)
    assert right == [True, True, True]


def test_a_backward_that_reads_values_fails_on_batches_only() -> None:
    """check_batched_grad runs it under vmap."""

    class Concrete(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            g.tolist()
            return g

    assert gradcheck(Concrete.apply, leaf(1.0))
    with pytest.raises(Error, match="While computing batched gradients"):
        gradcheck(Concrete.apply, leaf(1.0), check_batched_grad=True)


def test_a_backward_that_refuses_to_be_differentiated_shows_as_zeros() -> None:
    """once_differentiable: gradgradcheck compares a Jacobian of zeros; a plain double backward raises."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(1.0, 2.0)
    assert torch.autograd.gradcheck(Square.apply, (x,))
    assert not torch.autograd.gradgradcheck(Square.apply, (x,), raise_exception=False)
    with pytest.raises(Error, match="Jacobian mismatch for output 0 with respect to input 0"):
        torch.autograd.gradgradcheck(lambda t: Square.apply(t * 2), (x,))
    (g,) = torch.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="trying to differentiate twice"):
        g.sum().backward()


@pytest.mark.parametrize("options", [{"grad_out": 2.0}, {}])
def test_deprecated_jacobians_are_of_real_functions(options: dict) -> None:
    """Complex outputs and factors of the gradient are refused."""
    from reference_engine.autograd.gradcheck import get_analytical_jacobian, get_numerical_jacobian

    x = leaf(1.0) if options else leaf(1.0 + 1.0j)
    with pytest.warns(FutureWarning), pytest.raises(ValueError, match="get_numerical_jacobian no longer supports"):
        get_numerical_jacobian(lambda inputs: inputs[0] ** 2, (x,), **options)
    with pytest.warns(FutureWarning), pytest.raises(ValueError, match="get_analytical_jacobian no longer supports"):
        get_analytical_jacobian((x,), x**2, **options)


@pytest.mark.parametrize(("fast", "place"), [(False, r"on index \(0, 0\) by"), (True, "perturbed by")])
def test_outputs_that_change_shape_or_type_are_named(fast: bool, place: str) -> None:
    """The message says which element was moved, and what the outputs were."""

    def alternating(first: Any, second: Any) -> Any:
        calls = []

        def function(t: torch.Tensor) -> torch.Tensor:
            calls.append(t)
            return first(t) if len(calls) % 2 else second(t)

        return function

    x = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(AssertionError, match=place + r".*shapes torch.Size\(\[4\]\) and torch.Size\(\[2, 2\]\)"):
        gradcheck(alternating(lambda t: t, lambda t: t.reshape(-1)), x, fast_mode=fast)
    with pytest.raises(AssertionError, match=place + ".*dtypes torch.float32 and torch.float64"):
        gradcheck(alternating(lambda t: t, lambda t: t.float()), x, fast_mode=fast)


def test_edges_of_the_comparison() -> None:
    """Empty inputs pass, nan agrees with nothing, messages show the input's precision, a sparse input too."""
    assert gradcheck(lambda t: t * 2, torch.ones(0, 3, dtype=torch.float64, requires_grad=True))
    assert not gradcheck(lambda t: t * float("nan"), leaf(1.0), raise_exception=False)
    with (
        pytest.warns(UserWarning, match="double precision"),
        pytest.raises(Error, match=r"analytical:tensor\(\[\[3.\]\]\)\n"),
    ):
        gradcheck(times(3), torch.ones(1, requires_grad=True))
    with pytest.raises(Error, match=r"numerical:[12]\.[0-9]*\nanalytical:3\.0\n"):
        gradcheck(times(3), leaf(1.0), fast_mode=True)
    stored = torch.eye(2, dtype=torch.float64).to_sparse().requires_grad_()
    with pytest.raises(Error, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(lambda s: s.to_dense(masked_grad=True), stored)
