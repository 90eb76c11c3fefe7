"""Rules of the core at their edges: what is refused, in which order, in whose words."""

from __future__ import annotations

from typing import Any

import pytest

import reference_engine as torch

graph = torch.autograd.graph


def test_a_gradient_that_does_not_fit_is_named_by_its_index() -> None:
    """Also where the node is an operator's whose hook broke it."""
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    product = x * y
    product.grad_fn.register_prehook(lambda grads: (torch.ones(2),))
    assert torch.autograd.grad(product.sum(), y)[0].tolist() == [1.0, 1.0]

    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            return a * b

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, torch.ones(3)

    with pytest.raises(RuntimeError, match=r"returned an invalid gradient at index 1 - got \[3\] but expected shape"):
        Two.apply(x, y).sum().backward()


def test_a_leaf_that_takes_any_dtype_takes_that_of_a_seed() -> None:
    """grad_dtype None: nothing is cast on the way, also where the leaf itself is the root."""
    x = torch.ones(2, requires_grad=True)
    x.grad_dtype = None
    x.backward(torch.ones(2, dtype=torch.float64))
    assert x.grad.dtype is torch.float64
    y = torch.ones(2, requires_grad=True)
    y.backward(torch.ones(2, dtype=torch.float64))
    assert y.grad.dtype is torch.float32


def test_budgets_are_numbers() -> None:
    """An int is as good as a float; either is for compiled regions only."""
    for budget in (1, 0.5):
        with pytest.raises(RuntimeError, match=r"can only be used inside a torch\.compile region"):
            graph.region_activation_memory_budget(budget)
    with pytest.raises(TypeError, match="expects a float, got bool"):
        graph.region_activation_memory_budget(True)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 2"):
        graph.region_activation_memory_budget(2)


def test_an_inference_leaf_is_a_leaf_first() -> None:
    """In-place changes: that it requires grad is said before that it is an inference tensor."""
    with torch.inference_mode():
        leaf, plain = torch.ones(2, requires_grad=True), torch.ones(2)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        leaf.add_(1)
    for change in (lambda: plain.add_(1), lambda: leaf[0].add_(1), lambda: torch.add(torch.ones(2), 1, out=plain)):
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode"):
            change()
    assert plain.data.is_inference()
    assert not torch.ones(2).data.is_inference()


def test_data_is_checked() -> None:
    """A tensor, of a type that can require grad where it does."""
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match="Variable data has to be a tensor, but got int"):
        x.data = 3
    with pytest.raises(RuntimeError, match="must be floating point or complex dtype"):
        x.data = torch.tensor([1, 2])
    with pytest.raises(RuntimeError, match="Deleting tensor data is not allowed"):
        del x.data
    x.data = torch.zeros(3)
    assert x.tolist() == [0.0, 0.0, 0.0]
    assert x.requires_grad


def test_versions_can_be_set_back() -> None:
    """_unsafe_preserve_version_counter: backward does not notice the change, and uses the new values."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    z = y * y
    with torch.autograd._unsafe_preserve_version_counter(y):
        y.detach().mul_(2)
    z.sum().backward()
    assert y._version == 0
    assert x.grad.tolist() == [4.0, 8.0]
    with pytest.raises(RuntimeError, match=r"increment_version expect a Iterable\[Tensor\] as input"):
        graph.increment_version(3)


def test_hooks_stay_with_a_tensor_that_leaves_its_graph() -> None:
    """detach_: what was registered on the tensor runs on the leaf that it is from then on."""
    x = torch.tensor([1.0], requires_grad=True)
    y, seen = x * 2, []
    y.register_hook(lambda g: seen.append(g.item()))
    assert len(y._backward_hooks) == 1
    y.detach_().requires_grad_()
    (y * 3).backward()
    assert seen == [3.0]
    assert y.grad.item() == 3.0


def test_hooks_stay_with_the_value_that_an_in_place_change_replaces() -> None:
    """Those registered before see the gradient of the old value, those after that of the new one."""
    x = torch.tensor([1.0], requires_grad=True)
    y, seen = x * 2, []
    y.register_hook(lambda g: seen.append(("old", g.item())))
    y.mul_(5)
    y.register_hook(lambda g: seen.append(("new", g.item())))
    y.backward()
    assert seen == [("new", 1.0), ("old", 5.0)]


def test_names_of_nodes_that_overwrite() -> None:
    """copy_ and the forms of fill."""
    x = torch.ones(2, requires_grad=True)
    names = [x.clone().copy_(x), x.clone().fill_(2.0), x.clone().fill_(torch.tensor(2.0)), torch.fill(x, 2.0)]
    assert [y.grad_fn.name() for y in names] == [
        "torch::autograd::CopyBackwards", "FillBackward2", "FillBackward3", "FillBackward0",
    ]  # fmt: skip


def test_an_edge_has_only_the_outputs_of_its_node() -> None:
    """A gradient edge beyond them is an IndexError."""
    x = torch.ones(2, requires_grad=True)
    node = (x * 2).grad_fn
    with pytest.raises(IndexError):
        torch.autograd.grad(graph.GradientEdge(node, 1), x, torch.ones(2))
    assert torch.autograd.grad(graph.GradientEdge(node, 0), x, torch.ones(2))[0].tolist() == [2.0, 2.0]


def test_names_of_nodes_of_operators_with_digits() -> None:
    """torch writes the letter behind a digit large; what has no derivative is named by that."""
    x = torch.ones(2, requires_grad=True)
    assert x.log1p().grad_fn.name() == "Log1PBackward0"
    assert x.expm1().grad_fn.name() == "Expm1Backward0"
    assert (x // 2).grad_fn.name() == "torch::autograd::NotImplemented"


def test_parts_of_a_complex_tensor_share_its_tangent() -> None:
    """Writing a dual number into the real part gives the whole a tangent there."""
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        z = torch.tensor([1 + 2j, 3 - 1j])
        z.real.copy_(forward_ad.make_dual(torch.tensor([5.0, 6.0]), torch.tensor([1.0, 2.0])))
        assert forward_ad.unpack_dual(z).tangent.tolist() == [1, 2]
        z.imag[0] = 7.0
        z.imag.mul_(forward_ad.make_dual(torch.tensor(1.0), torch.tensor(3.0)))
        assert forward_ad.unpack_dual(z).tangent.tolist() == [1 + 21j, 2 - 3j]


def test_a_jvp_gives_differentiable_tangents() -> None:
    """Integers are none, and one is due per output."""

    def function(jvp: Any) -> Any:
        members = {"forward": staticmethod(lambda ctx, x: x * 2), "jvp": staticmethod(jvp)}
        return type("Double", (torch.autograd.Function,), members).apply

    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(2), torch.ones(2))
        assert forward_ad.unpack_dual(function(lambda ctx, t: t * 2)(dual)).tangent.tolist() == [2.0, 2.0]
        with pytest.raises(RuntimeError, match="floating point or complex"):
            function(lambda ctx, t: t.long())(dual)
        with pytest.raises(RuntimeError, match="Function's jvp returned an invalid number of forward gradients"):
            function(lambda ctx, t: (t, t))(dual)
