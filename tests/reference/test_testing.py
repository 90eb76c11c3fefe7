"""torch.testing, and tensors that get another size, memory or class."""

from __future__ import annotations

from typing import Any

import pytest

import reference_engine as torch

assert_close = torch.testing.assert_close


@pytest.mark.parametrize(("actual", "expected"), [
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]) * (1 + 1e-7)), (1.0, 1.0 + 1e-9),
    ([1, torch.ones(2)], (1, torch.ones(2))),
    ({"a": torch.zeros(1)}, {"a": torch.zeros(1)}), (torch.tensor([float("inf")]), torch.tensor([float("inf")])), (None, None),
    (torch.tensor([1]), torch.tensor([1])), (torch.tensor([1 + 1j]), torch.tensor([1 + 1j])),
])  # fmt: skip
def test_close_values_pass(actual: Any, expected: Any) -> None:
    """Tensors, numbers, and sequences and mappings of them."""
    assert_close(actual, expected)


@pytest.mark.parametrize(("actual", "expected", "message"), [
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), r"Mismatched elements: 1 / 2 \(50\.0%\)"),
    (torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64), "attribute 'dtype' do not match"),
    (torch.tensor([1.0]), torch.tensor([1.0, 1.0]), "attribute 'shape' do not match"),
    (torch.tensor([1]), torch.tensor([2]), "Tensor-likes are not equal!"),
    (torch.tensor([float("nan")]), torch.tensor([float("nan")]), "Tensor-likes are not close!"),
    (1.0, 1.1, "Scalars are not close!"), ([1.0], [1.0, 1.0], "The length of the sequences mismatch: 1 != 2"),
    ({"a": 1.0}, {"a": 2.0}, r"The failure occurred for item \['a'\]"), ({"a": 1.0}, {}, "The keys of the mappings do not match"),
])  # fmt: skip
def test_what_differs_is_said(actual: Any, expected: Any, message: str) -> None:
    """An AssertionError with the place."""
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, expected)


def test_tolerances_come_together() -> None:
    """Both are given or neither; NaN equals NaN on request; the message can be replaced."""
    x = torch.tensor([1.0])
    assert_close(x, x + 0.1, rtol=0, atol=0.2)
    assert_close(x * float("nan"), x * float("nan"), equal_nan=True)
    assert_close(x, x.double(), check_dtype=False)
    with pytest.raises(ValueError, match="but got no atol"):
        assert_close(x, x, rtol=0.1)
    with pytest.raises(AssertionError, match=r"^mine$"):
        assert_close(x, x + 1, msg="mine")


def test_resizing_keeps_what_fits() -> None:
    """Less of the same memory, or more of it; never of a tensor that requires grad."""
    x = torch.arange(4.0)
    part = x[1:]
    assert part.resize_(2).tolist() == [1.0, 2.0]
    assert x.resize_(2, 3).reshape(-1)[:4].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert torch.ones(2, 2).resize_as_(torch.zeros(4)).tolist() == [1.0] * 4
    assert x._version == 2  # a view's change counts
    with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
        torch.ones(2, requires_grad=True).resize_(3)


def test_other_memory() -> None:
    """set_: a change in place as any."""
    x, y = torch.ones(2), torch.zeros(3)
    assert x.set_(y) is x
    y[0] = 5
    assert x.tolist() == [5.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        torch.ones(2, requires_grad=True).set_(y)


def test_another_class_keeps_the_history() -> None:
    """as_subclass."""

    class Mine(torch.Tensor):
        pass

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    mine = (x * 2).as_subclass(Mine)
    mine.sum().backward()
    assert type(mine) is Mine
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(TypeError, match="does not inherit from Tensor"):
        x.as_subclass(int)


def test_callbacks_run_at_the_end_of_the_pass() -> None:
    """After the leaves; outside of a pass there is none to run at the end of."""
    seen = []
    engine = torch.autograd.Variable._execution_engine
    x = torch.ones(1, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: engine.queue_callback(lambda: seen.append(x.grad.item())))
    y.backward()
    assert seen == [2.0]
    with pytest.raises(RuntimeError, match="Final callbacks can only be installed during backward pass"):
        engine.queue_callback(lambda: None)
