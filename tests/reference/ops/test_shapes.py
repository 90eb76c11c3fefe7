"""Shapes and joining: derivatives are those of differences, values and derivatives those of torch; what torch refuses."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import same_as_torch
from tests.reference.ops.tables import bent, data, derivatives_hold, transposed

M, V, S, C = (2, 3), (4,), (), (2, 3, 4)

# fmt: off
CALLS = {  # name: (call, shapes)
    "T": (lambda e, x: x.T, [M]), "mT": (lambda e, x: x.mT, [C]), "H": (lambda e, x: x.H, [M]), "mH": (lambda e, x: x.mH, [C]),
    "t": (lambda e, x: e.t(x), [M]), "transpose": (lambda e, x: x.transpose(0, -1), [C]),
    "permute": (lambda e, x: e.permute(x, dims=(2, 0, 1)), [C]), "movedim": (lambda e, x: e.movedim(x, (0, 1), (-1, 0)), [C]),
    "reshape": (lambda e, x: e.reshape(x, shape=(-1, 2)), [M]), "view": (lambda e, x: x.view(3, 2), [M]),
    "flatten": (lambda e, x: e.flatten(x, 1), [C]), "unflatten": (lambda e, x: x.unflatten(2, (2, -1)), [C]),
    "squeeze": (lambda e, x: e.squeeze(x, (0, 2)), [(1, 3, 1)]), "unsqueeze": (lambda e, x: e.unsqueeze(x, -1), [M]),
    "expand": (lambda e, x: x.expand(size=(2, -1, 3)), [(4, 1)]), "broadcast_to": (lambda e, x: e.broadcast_to(x, (2, 4)), [V]),
    "sum_to_size": (lambda e, x: x.sum_to_size(1, 3), [(*C[:1], 3)]), "flip": (lambda e, x: e.flip(x, dims=(0, 1)), [M]),
    "fliplr": (lambda e, x: e.fliplr(x), [M]), "flipud": (lambda e, x: e.flipud(x), [M]),
    "rot90": (lambda e, x: e.rot90(x, 1, (0, 1)), [M]), "rot90 back": (lambda e, x: e.rot90(x, -1, (1, 2)), [C]),
    "rot90 twice": (lambda e, x: e.rot90(x, 2), [M]), "rot90 not": (lambda e, x: e.rot90(x, 4), [M]),
    "roll": (lambda e, x: e.roll(x, (1, -1), (0, 1)), [M]), "roll flat": (lambda e, x: e.roll(x, 2), [M]),
    "repeat": (lambda e, x: x.repeat(2, 1, 2), [M]), "tile": (lambda e, x: e.tile(x, (2,)), [M]),
    "repeat_interleave": (lambda e, x: e.repeat_interleave(x, 2, 1), [M]),
    "repeat_interleave by counts": (lambda e, x: x.repeat_interleave(e.tensor([0, 2, 1]), dim=1), [M]),
    "tril": (lambda e, x: e.tril(x, -1), [(3, 3)]),
    "triu": (lambda e, x: x.triu(1), [(2, 3, 3)]),
    "trace": (lambda e, x: e.trace(x), [M]),
    "diag": (lambda e, x: e.diag(x, 1), [V]), "diag of a matrix": (lambda e, x: e.diag(x, -1), [M]),
    "diag_embed": (lambda e, x: e.diag_embed(x, 1, 0, 2), [M]), "diagflat": (lambda e, x: e.diagflat(x, -1), [M]),
    "diagonal": (lambda e, x: e.diagonal(x, 1, 2, 0), [C]), "unfold": (lambda e, x: x.unfold(1, 2, 1), [M]),
    "as_strided": (lambda e, x: e.as_strided(x, (2, 2), (1, 2), 1), [(6,)]),
    "view_as_real": (lambda e, x: e.view_as_real(x * 1j), [M]), "select": (lambda e, x: e.select(x, 1, -1), [M]),
    "narrow": (lambda e, x: e.narrow(x, 1, -2, 2), [M]), "atleast_1d": (lambda e, x: e.atleast_1d(x), [S]),
    "atleast_2d": (lambda e, x: e.atleast_2d(x), [V]),
    "atleast_3d": (lambda e, x, y, z: e.atleast_3d(x, y, z)[1] * x, [S, V, M]),
    "meshgrid": (lambda e, x, y: e.stack(e.meshgrid(x, y, indexing="xy")), [(3,), (2,)]),
    "broadcast_tensors": (lambda e, x, y: e.broadcast_tensors(x, y)[0] * y, [(3,), (2, 1)]),
    "cat": (lambda e, x, y: e.cat([x, y], dim=1), [M, (2, 1)]),
    "cat with an empty row": (lambda e, x, y: e.cat([x, y]), [(0,), M]),
    "stack": (lambda e, x, y: e.stack((x, y), -1), [M, M]), "hstack": (lambda e, x, y: e.hstack((x, y)), [M, (2, 1)]),
    "hstack of vectors": (lambda e, x, y: e.hstack((x, y)), [V, S]), "vstack": (lambda e, x, y: e.vstack((x, y)), [M, (3,)]),
    "dstack": (lambda e, x, y: e.dstack((x, y)), [M, M]), "column_stack": (lambda e, x, y: e.column_stack((x, y)), [(2,), M]),
    "block_diag": (lambda e, x, y, z: e.block_diag(x, y, z), [M, (2,), S]),
    "cartesian_prod": (lambda e, x, y: e.cartesian_prod(x, y), [(3,), (2,)]),
    "combinations": (lambda e, x: e.combinations(x), [V]),
    "combinations of three": (lambda e, x: e.combinations(x, 3, True), [(3,)]),
    "split": (lambda e, x: x.split(2, 1)[1], [(2, 5)]), "split by sizes": (lambda e, x: e.split(x, [1, 4], 1)[1], [(2, 5)]),
    "chunk": (lambda e, x: e.chunk(x, 2, 1)[0], [M]), "tensor_split": (lambda e, x: e.tensor_split(x, (1, 2), 1)[1], [M]),
    "hsplit": (lambda e, x: e.hsplit(x, 3)[2], [M]), "vsplit": (lambda e, x: e.vsplit(x, 2)[0], [M]),
    "dsplit": (lambda e, x: e.dsplit(x, [1])[1], [C]), "unbind": (lambda e, x: x.unbind(1)[1], [M]),
    "unsafe_split": (lambda e, x: e.unsafe_split(x, 2, 1)[0], [M]),
    "unsafe_chunk": (lambda e, x: e.unsafe_chunk(x, 2, 1)[1], [M]),
}
COPIES = {
    "alias_copy": lambda e, x: e.alias_copy(x), "as_strided_copy": lambda e, x: e.as_strided_copy(x, (3,), (2,)),
    "diagonal_copy": lambda e, x: e.diagonal_copy(x), "expand_copy": lambda e, x: e.expand_copy(x, (2, 2, 3)),
    "narrow_copy": lambda e, x: e.narrow_copy(x, 1, 0, 2), "permute_copy": lambda e, x: e.permute_copy(x, (1, 0)),
    "squeeze_copy": lambda e, x: e.squeeze_copy(x), "unsqueeze_copy": lambda e, x: e.unsqueeze_copy(x, 0),
    "t_copy": lambda e, x: e.t_copy(x), "transpose_copy": lambda e, x: e.transpose_copy(x, 0, 1),
    "unbind_copy": lambda e, x: e.unbind_copy(x)[1], "unfold_copy": lambda e, x: e.unfold_copy(x, 1, 2, 1),
    "view_copy": lambda e, x: e.view_copy(x, (3, 2)), "split_copy": lambda e, x: e.split_copy(x, 2, 1)[1],
    "split_with_sizes_copy": lambda e, x: e.split_with_sizes_copy(x, [1, 2], 1)[1],
    "select_copy": lambda e, x: e.select_copy(x, 0, 1), "slice_copy": lambda e, x: e.slice_copy(x, 1, 0, 3, 2),
}
REFUSED = {
    "flipud": lambda e, m: e.flipud(m[0, 0]), "fliplr": lambda e, m: e.fliplr(m[0]), "rot90": lambda e, m: e.rot90(m[0]),
    "rot90 in no plane": lambda e, m: e.rot90(m, 1, [0, 0]),
    "roll": lambda e, m: e.roll(m, 1, (0, 1)),
    "tril": lambda e, m: m[0].tril(),
    "permute twice": lambda e, m: m.permute(0, 0),
    "expand to fewer": lambda e, m: m.expand(3),
    "repeat fewer": lambda e, m: m.repeat(2),
    "movedim": lambda e, m: e.movedim(m, (0, 1), (0,)), "movedim twice": lambda e, m: e.movedim(m, (0, 0), (0, 1)),
    "unflatten": lambda e, m: m.unflatten(1, (2, 2)), "diag": lambda e, m: e.diag(m[None]), "trace": lambda e, m: e.trace(m[0]),
    "cat nothing": lambda e, m: e.cat([]),
    "cat numbers": lambda e, m: e.cat([m, 3]),
    "cat scalars": lambda e, m: e.cat([m[0, 0]] * 2),
    "cat other sizes": lambda e, m: e.cat([m, m[:, :2]]), "cat other dimensions": lambda e, m: e.cat([m, m[0]]),
    "stack nothing": lambda e, m: e.stack([]), "stack other shapes": lambda e, m: e.stack([m, m[0]]),
    "meshgrid of matrices": lambda e, m: e.meshgrid(m, m, indexing="ij"),
    "combinations of a matrix": lambda e, m: e.combinations(m),
    "repeat_interleave": lambda e, m: m.repeat_interleave(e.tensor([1, 2, 3]), dim=0), "mT of a vector": lambda e, m: m[0].mT,
    "reshape to two unknown": lambda e, m: m.reshape(-1, -1),
    "reshape nothing to unknown": lambda e, m: m[:0].reshape(0, -1),
    "roll a number": lambda e, m: e.roll(m[0, 0], 1, 0),
    "unbind a number": lambda e, m: m[0, 0].unbind(),
    "hsplit into none": lambda e, m: e.hsplit(m, 0),
    "cat a tensor": lambda e, m: e.cat(m),
    "flip twice": lambda e, m: e.flip(m, (0, 0)), "sum_to_size": lambda e, m: m.sum_to_size(2, 2),
}
# fmt: on


@pytest.mark.parametrize("name", CALLS)
def test_derivatives(name):
    """Real numbers, also out of order in memory."""
    call, shapes = CALLS[name]
    derivatives_hold(call, data(shapes))
    if name not in ("view", "as_strided"):
        same_as_torch(bent(transposed(call)), data(shapes))


@pytest.mark.parametrize("name", [n for n in CALLS if n not in ("view_as_real",)])
def test_derivatives_of_complex_numbers(name):
    """The same of complex numbers; the law over the real numbers holds there."""
    call, shapes = CALLS[name]
    derivatives_hold(lambda e, *xs: call(e, *xs).resolve_conj(), data(shapes, complex=True))


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_no_views_and_pass_gradients_as_views_do(name):
    """A *_copy has memory of its own."""
    x = torch.ones(2, 3, requires_grad=True)
    y = COPIES[name](torch, x)
    assert y._base is None
    assert y.requires_grad
    assert y.data_ptr() != x.data_ptr()
    derivatives_hold(COPIES[name], data([M]))


@pytest.mark.parametrize("name", [n for n, (_, shapes) in CALLS.items() if shapes == [M]])
def test_tensors_without_elements(name):
    """Shapes and errors of empty tensors are torch's."""
    call, _ = CALLS[name]
    theirs = pytest.importorskip("torch")
    try:
        expected = tuple(call(theirs, theirs.zeros(0, 3)).shape)
    except (RuntimeError, IndexError):
        with pytest.raises((RuntimeError, IndexError)):
            call(torch, torch.zeros(0, 3))
    else:
        assert call(torch, torch.zeros(0, 3)).shape == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses(name):
    """The error has torch's type and words."""
    theirs = pytest.importorskip("torch")
    with pytest.raises(Exception) as expected:
        REFUSED[name](theirs, theirs.ones(2, 3))
    with pytest.raises(expected.type) as found:
        REFUSED[name](torch, torch.ones(2, 3))
    assert str(found.value).split("\n")[0][:60] == str(expected.value).split("\n")[0][:60]


def test_types_are_brought_together():
    """Joining promotes; a type that cannot hold the others' elements is left."""
    joined = torch.cat([torch.ones(2, dtype=torch.int64), torch.ones(1, dtype=torch.float64, requires_grad=True)])
    assert joined.dtype is torch.float64
    assert joined.requires_grad
    assert torch.block_diag(torch.ones(1, dtype=torch.int64), torch.ones(1)).dtype is torch.float32


def test_a_subclass_shares_memory_and_history():
    """as_subclass gives a view of the class asked for."""

    class Own(torch.Tensor):
        pass

    x = torch.ones(2, requires_grad=True)
    y = (x * 2).as_subclass(Own)
    assert type(y) is Own
    assert y.grad_fn is not None
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(TypeError, match="does not inherit from Tensor"):
        x.as_subclass(int)


def test_indices_of_repeats():
    """repeat_interleave of counts alone gives the indices that it takes."""
    assert torch.repeat_interleave(torch.tensor([1, 0, 2])).tolist() == [0, 2, 2]
    with pytest.raises(RuntimeError, match="repeats can not be negative"):
        torch.ones(2).repeat_interleave(torch.tensor([1, -1]))


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "kaiser"])
@pytest.mark.parametrize("length", [0, 1, 2, 5, 8])
@pytest.mark.parametrize("periodic", [True, False])
def test_windows(name, length, periodic):
    """Windows have torch's values."""
    theirs = pytest.importorskip("torch")
    ours = getattr(torch, f"{name}_window")(length, periodic, dtype=torch.float64)
    expected = getattr(theirs, f"{name}_window")(length, periodic, dtype=theirs.float64)
    np.testing.assert_allclose(ours.numpy(), expected.numpy(), atol=1e-6)
