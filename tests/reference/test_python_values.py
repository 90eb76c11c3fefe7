"""Tensors beside Python's and NumPy's values: operators, numbers, deep copies, and what assignments refuse."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


def test_operators_with_numpy(torch):
    """NumPy's scalars are numbers to a tensor; its functions of a plain tensor give tensors; arrays do not mix with history."""
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    product = np.float64(2) * x
    assert (product.tolist(), product.requires_grad) == ([2.0, 4.0], True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own of NumPy's protocol
        assert isinstance(np.sqrt(torch.tensor([4.0])), torch.Tensor)
    assert (x == np.ones(2)).tolist() == [True, False]
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        _ = x * np.ones(2)
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = np.ones(2) * x.detach()


def test_numbers_of_several_elements(torch):
    """float, int and complex take one element, as item does; the kind of error differs."""
    x = torch.ones(2)
    for convert in (float, int, complex):
        with pytest.raises(ValueError, match="only one element tensors can be converted"):
            convert(x)
        assert convert(x[0]) == 1
    with pytest.raises(RuntimeError, match="a Tensor with 2 elements cannot be converted to Scalar"):
        x.item()


def test_deep_copies_share_what_their_originals_share(torch):
    """Tensors in one memory are copied into one; strides and place in it stay."""
    whole = torch.arange(6.0).view(2, 3)
    first, turned = copy.deepcopy([whole, whole.t()[1:]])
    first[0, 1] = 9.0
    assert turned.tolist() == [[9.0, 4.0], [2.0, 5.0]]
    assert (turned.stride(), turned.storage_offset()) == ((1, 3), 1)
    assert whole.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


ASSIGNMENTS = {
    "a row too short": (0, (2,), "The expanded size of the tensor (3) must match the existing size (2)"),
    "a row for an element": ((0, 0), (3,), "the number of sizes provided (0) must be greater or equal"),
    "by a list": ([0, 1], (2, 2), "cannot be broadcast to indexing result of shape [2, 3]"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_assignments_that_do_not_fit(torch, name):
    """The error says which sizes meet; values that broadcast are assigned."""
    key, shape, words = ASSIGNMENTS[name]
    y = torch.zeros(2, 3)
    with pytest.raises(RuntimeError) as error:
        y[key] = torch.ones(shape)
    assert words in str(error.value)
    y[key] = torch.ones(1)
    assert y[key].sum().item() == y[key].numel()


def test_masks_that_do_not_fit(torch):
    """A mask has the shape of the dimensions that it chooses from."""
    x = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(
        IndexError, match=r"The shape of the mask .1. at index 0 does not match the shape of the indexed tensor"
    ):
        _ = x[torch.tensor([True])]
    assert x[torch.tensor([True, False])].tolist() == [[1.0, 1.0, 1.0]]


def test_expanding_says_what_does_not_match(torch):
    """The last dimension that cannot grow is named, with both sizes; that a view is of a leaf counts before its memory."""
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"size of the tensor \(3\) must match the existing size \(2\) at non-singleton dimension 1"
    ):
        x.expand(3, 3)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        x.expand(3, 2).add_(1)
    with pytest.raises(RuntimeError, match=r"more than one element"):
        x.detach().expand(3, 2).add_(1)
    assert torch.ones(1, 2).broadcast_to(3, 2).shape == (3, 2)


@pytest.mark.parametrize("name", ["acosh", "asinh", "atanh"])
def test_inverse_hyperbolic_functions_in_place(torch, name):
    """In place they have no derivative: backward raises; the function that returns a new tensor has one."""
    x = torch.tensor([0.5 if name == "atanh" else 1.5], requires_grad=True)
    for spelled in (name, f"arc{name[1:]}"):
        y = x.clone()
        assert getattr(y, f"{spelled}_")().item() == pytest.approx(getattr(torch, spelled)(x).item())
        with pytest.raises(
            NotImplementedError, match=f"the derivative for 'inplace version of {name}' is not implemented"
        ):
            y.backward()
        getattr(torch, spelled)(x).backward()


def test_sparse_tensors_have_no_such_operator(torch):
    """An operator that sparse tensors do not have says so, by its name."""
    s = torch.eye(2).to_sparse()
    with pytest.raises(
        NotImplementedError, match=r"Could not run 'aten::exp' with arguments from the 'SparseCPU' backend"
    ):
        s.exp()
    with pytest.raises(RuntimeError, match="reshape is not implemented for sparse tensors"):
        s.reshape(4)
    assert s.sin().to_dense()[0, 0].item() == pytest.approx(0.8414709)


def test_named_results(torch):
    """A function's named tuple is of a class of its own, which torch.return_types has, and shows its fields."""
    x = torch.tensor([1.0, 2.0])
    result = x.max(0)
    assert (type(result).__name__, type(result) is torch.return_types.max) == ("max", True)
    assert repr(result) == "torch.return_types.max(\nvalues=tensor(2.),\nindices=tensor(1))"
    assert (result.values is result[0], result.indices is result[1]) == (True, True)
    assert type(torch.linalg.eigh(torch.eye(2))).__name__ == "linalg_eigh"
    assert isinstance(x.sort(), tuple)
