"""Views that cannot have the history "these positions of the base": asking for theirs raises once the base was changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import reference_engine as torch

CHANGED = "its base or another view of its base has been modified inplace"


def in_no_grad(base: Any) -> Any:
    with torch.no_grad():
        return base[:1]


def in_function(base: Any) -> Any:
    class First(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x[:1]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return torch.cat([g, g * 0])

    return First.apply(base)


@pytest.mark.parametrize("take", [lambda b: b.split(1)[0], lambda b: b.unbind()[0], in_no_grad, in_function])
def test_the_history_of_such_a_view_is_gone_with_a_change_of_its_base(take: Callable) -> None:
    """Uses that are recorded raise at once; values, detach, and the base itself stay."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    base = x.clone()
    view = take(base)
    base.mul_(3)
    for ask in (lambda: view.grad_fn, lambda: view.is_leaf, lambda: view * 2, view.clone, lambda: view.view(-1)):
        with pytest.raises(RuntimeError, match=CHANGED):
            ask()
    with torch.no_grad():
        assert (view * 2).sum().item() == 6.0
    assert view.detach().sum().item() == 3.0
    assert "grad_fn=<Invalid>" in repr(view)
    assert view.requires_grad
    base.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_plain_view_gets_its_new_history() -> None:
    """The control."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    base = x.clone()
    view = base[:1]
    base.mul_(3)
    view.sum().backward()
    assert x.grad.tolist() == [3.0, 0.0]
    assert view.grad_fn.name() == "AsStridedBackward0"


def test_the_latest_reason_counts() -> None:
    """One of several views that was taken with grad mode off is a view of no_grad; without history it is told apart."""
    base = torch.tensor([1.0, 2.0], requires_grad=True).clone()
    with torch.no_grad():
        part, _ = base.split(1)
    with pytest.raises(
        RuntimeError, match="A view was created in no_grad mode and is being modified inplace with grad mode"
    ):
        part.mul_(2)
    first, _ = torch.tensor([1.0, 2.0]).split(1)
    with pytest.raises(
        RuntimeError, match=r"is being modified inplace with grad mode enabled\. This view is the output of a"
    ):
        first.mul_(torch.ones(1, requires_grad=True))


def test_a_function_may_not_change_a_view_of_no_grad() -> None:
    """mark_dirty on a view taken in no_grad mode raises as an in-place operator does, also where the base is untracked."""

    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(w)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, g

    weight = torch.tensor([3.0], requires_grad=True)
    for change in (Scale.apply, lambda view, w: view.mul_(w)):
        with pytest.raises(RuntimeError, match="A view was created in no_grad mode and is being modified inplace"):
            change(in_no_grad(torch.tensor([1.0, 2.0])), weight)
        assert change(torch.tensor([1.0, 2.0])[:1], weight).requires_grad


def test_expanding_to_the_same_size_gives_a_view_that_can_be_written() -> None:
    """expand shares no element among positions here."""
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    base = x.clone()
    base.expand(2, 1).mul_(3)
    base.sum().backward()
    assert x.grad.tolist() == [[3.0], [3.0]]
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        x.clone().expand(2, 4).mul_(3)


def test_the_same_bytes_as_another_dtype_are_no_view_for_autograd() -> None:
    """view(dtype) is not differentiable: changing the result leaves the history of the tensor, and counts a version."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    bits = y.view(torch.float32)
    assert not bits._is_view()
    assert not bits.requires_grad
    bits.mul_(3)
    assert y.grad_fn.name() == "CloneBackward0"
    assert y._version == 1
    assert y.tolist() == [3.0, 6.0]


def test_changes_in_place_inside_a_batch() -> None:
    """Tensors of a transform keep their history elsewhere: they are changed in place as any."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.vmap(lambda row: row.clone().mul_(row))(x).tolist() == [[1.0, 4.0], [9.0, 16.0]]
    gradients = torch.vmap(torch.func.grad(lambda row: row.clone().mul_(row).sum()))(x)
    assert gradients.tolist() == [[2.0, 4.0], [6.0, 8.0]]
