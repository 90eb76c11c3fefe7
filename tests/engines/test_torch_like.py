"""What the kit asks of a torch-spelled namespace."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

import reference_engine
from conformance.engines import TorchLike, Unsupported, load

ENGINES = ["reference", "torch"]


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "torch":
        pytest.importorskip("torch")
    return load(request.param)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 2), (100,)])
def test_what_is_made_is_read_back(engine, dtype, shape):
    """Small and large, empty and 0-d, in every dtype: the same bytes, in a leaf that has its own memory."""
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    array.flags.writeable = False
    tensor = engine.make(array, dtype, dtype.startswith(("float", "complex")))
    value = engine.read(tensor)
    assert (value.dtype, value.shape, value.data) == (dtype, shape, array.tobytes())
    assert tensor.is_leaf is True
    assert tensor.requires_grad is dtype.startswith(("float", "complex"))
    tensor.detach().zero_()
    assert array.tobytes() == value.data


def test_reading_follows_views_not_memory(engine):
    """A transposed or strided tensor is read in its own order."""
    x = engine.namespace.arange(200.0).reshape(10, 20).t()
    value = engine.read(x)
    assert np.frombuffer(value.data, np.float32).reshape(value.shape)[3, 4] == 4 * 20 + 3


def test_snapshots_hold_flags_and_gradient(engine):
    """requires_grad, is_leaf and the gradient, which is a value itself."""
    x = engine.namespace.tensor([3.0], requires_grad=True)
    (x * x).sum().backward()
    value = engine.snapshot(x)
    assert (value.requires_grad, value.is_leaf) == (True, True)
    assert np.frombuffer(value.grad.data, np.float32).tolist() == [6.0]


def test_storage_is_compared_by_what_is_shared(engine):
    """Views and detached aliases share; clones do not; what is no tensor cannot be asked."""
    x = engine.namespace.ones(4, requires_grad=True)
    assert engine.same_storage(x, x.detach())
    assert engine.same_storage(x, x[2:])
    assert not engine.same_storage(x, x.clone())
    with pytest.raises(TypeError, match="NoneType"):
        engine.same_storage(x, None)


def test_an_engine_that_does_not_say_is_unsupported():
    """Without data_ptr or storages the question has no answer."""

    class Bare:
        dtype, shape = "float32", (1,)

        def tolist(self):
            return [1.0]

    bare = TorchLike(SimpleNamespace(tensor=lambda values: Bare()), name="bare")
    with pytest.raises(Unsupported):
        bare.same_storage(Bare(), Bare())


def test_modes_are_captured_and_put_back(engine):
    """Grad mode, default dtype and the generator's state."""
    torch = engine.namespace
    before = engine.capture()
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    drawn = torch.rand(1)
    assert engine.restore(before) is True
    assert torch.is_grad_enabled() is True
    assert torch.get_default_dtype() is torch.float32
    assert engine.restore(before) is False
    torch.set_default_dtype(torch.float64)
    assert torch.rand(1).tolist() == drawn.tolist()
    engine.restore(before)


def test_an_engine_whose_set_grad_enabled_is_faulty_is_restored_all_the_same():
    """A fault of its own must not make the cases fail that come later."""

    class Waits(contextlib.nullcontext):
        def __init__(self, mode):
            super().__init__()

    names = {n: getattr(reference_engine, n) for n in dir(reference_engine) if not n.startswith("__")}
    faulty = TorchLike(SimpleNamespace(**{**names, "set_grad_enabled": Waits}))
    before = faulty.capture()
    try:
        reference_engine.set_grad_enabled(False)
        faulty.restore(before)
        assert reference_engine.is_grad_enabled() is True
    finally:
        reference_engine.set_grad_enabled(True)


def test_what_is_spelled_is_known_by_path():
    """Dotted paths below the namespace."""
    engine = TorchLike(reference_engine)
    assert engine.spells("autograd.grad")
    assert not engine.spells("autograd.nothing")


def test_conjugates_and_negatives_that_are_views_are_read_as_what_they_mean():
    """Of a large tensor as well, whose elements are read in bulk through numpy(), which refuses such views."""
    z = reference_engine.full((100,), 1 + 2j, dtype=reference_engine.complex128)
    found = TorchLike(reference_engine).read(z.conj())
    assert set(np.frombuffer(found.data, complex).tolist()) == {1 - 2j}
