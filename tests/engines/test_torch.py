"""torch itself: what cases could leave behind in it, and reading that leaves no trace."""

from __future__ import annotations

import gc
import sys
import warnings

import numpy as np
import pytest

from conformance.engines import load
from conformance.language import execute
from conformance.outcome import Opaque
from tests.language.programs import agreed, case, run

torch = pytest.importorskip("torch")
_C = torch._C


@pytest.fixture(scope="module")
def engine():
    return load("torch")


def state() -> dict:
    """Everything process- or thread-wide in torch that a program could change."""
    module = torch.nn.modules.module
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "anomaly mode": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "warn always": torch.is_warn_always_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "multithreading": _C._is_multithreading_enabled(),
        "view replay": _C._is_view_replay_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "threads": torch.get_num_threads(),
        "saved tensors hooks": _C._autograd._top_saved_tensors_default_hooks(True),
        "hooks enabled": _C._autograd._saved_tensors_hooks_is_enabled(),
        "dual level": torch.autograd.forward_ad._current_level,
        "transforms": _C._functorch.peek_interpreter_stack(),
        "function modes": _C._len_torch_function_stack(),
        "module hooks": {n: repr(v) for n, v in vars(module).items() if n.startswith("_global_")},
        "broadcast warning": torch.utils.backcompat.broadcast_warning.enabled,
        "generator": torch.get_rng_state().numpy().tobytes(),
        "filters": warnings.filters[:],
    }


SUSPENDED = "def g():\n    with {}:\n        yield\nheld = [g()]\nnext(held[0])"
LEAKS = {
    "grad mode": "torch.set_grad_enabled(False)",
    "default dtype": "torch.set_default_dtype(torch.float64)",
    "anomaly mode": "torch.autograd.set_detect_anomaly(True, check_nan=False)",
    "warn always": "torch.set_warn_always(False)",
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "multithreading": "torch.autograd.set_multithreading_enabled(False)",
    "autocast": "torch.set_autocast_enabled('cpu', True)",
    "threads": "torch.set_num_threads(2)",
    "module hook": "torch.nn.modules.module.register_module_full_backward_hook(lambda m, i, o: None)",
    "broadcast warning": "torch.utils.backcompat.broadcast_warning.enabled = True",
    "generator": "torch.manual_seed(5)\ntorch.rand(2)",
    "no_grad never left": SUSPENDED.format("torch.no_grad()"),
    "no_grad left late": "torch.set_grad_enabled(False)\n" + SUSPENDED.format("torch.no_grad()"),
    "inference mode never left": SUSPENDED.format("torch.inference_mode()"),
    "saved tensors hooks never left": SUSPENDED.format(
        "torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)"
    ),
    "hooks disabled for ever": SUSPENDED.format("torch.autograd.graph.disable_saved_tensors_hooks('no')"),
    "dual level never left": SUSPENDED.format("torch.autograd.forward_ad.dual_level()"),
    "saved tensors hooks in a cycle": SUSPENDED.format(
        "torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)"
    )
    + "\nheld.append(held)",
    "dual level in a cycle": SUSPENDED.format("torch.autograd.forward_ad.dual_level()") + "\nheld.append(held)",
    "inference mode in a cycle": SUSPENDED.format("torch.inference_mode()") + "\nheld.append(held)",
    "dual level entered by hand": "torch.autograd.forward_ad.dual_level().__enter__()",
    "saved tensors hooks entered by hand": "graph = torch.autograd.graph\n"
    "graph.saved_tensors_hooks(lambda x: x, lambda x: x).__enter__()",
    "an error inside a transform": "torch.func.grad(lambda x: [][1])(torch.ones(1))",
}


@pytest.mark.parametrize("alone", [False, True], ids=["shared", "alone"])
@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_nothing_that_a_case_changes_outlives_it(engine, leak, alone):
    """Settings, hooks, blocks that were never left: torch is as before, in a shared process and in a worker."""
    outer = engine.capture()
    try:
        engine.restore(engine.defaults())
        before = state()
        execute(case(leak), engine, alone=alone)
        assert state() == before
    finally:
        engine.restore(outer)
        engine.settled = False


def test_what_the_user_of_a_process_has_set_is_put_back(engine):
    """In a shared process a case starts from torch's defaults, and the settings around it come back afterwards."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(11)
    before = state()
    try:
        assert agreed("assert torch.get_default_dtype() is torch.float32\ntorch.rand(3)", engine) == [True]
        assert state() == before
    finally:
        torch.set_default_dtype(torch.float32)


def test_nothing_of_a_case_runs_later(engine, monkeypatch):
    """A generator suspended in a cycle is ended within its own case: it does not fail in the middle of another."""
    failures = []
    monkeypatch.setattr(sys, "unraisablehook", failures.append)
    run(LEAKS["dual level in a cycle"], engine)
    gc.collect()
    assert failures == []


def test_a_worker_starts_from_the_defaults_whatever_was_before(engine):
    """Alone in a process the engine is brought to its defaults once, and again after it could not be restored."""
    probe = case("assert torch.is_grad_enabled() is True")
    outer = engine.capture()
    try:
        engine.settled = False
        torch.set_grad_enabled(False)
        assert execute(probe, engine, alone=True).observations[0].agrees
        restore, tries = engine.restore, []

        def failing(modes, now=None):
            tries.append(modes)
            if len(tries) == 1:
                raise OSError("stuck")
            return restore(modes, now)

        engine.restore = failing
        assert execute(case("torch.set_grad_enabled(False)"), engine, alone=True).error.message == "stuck"
        assert execute(probe, engine, alone=True).observations[0].agrees
    finally:
        del engine.restore
        engine.restore(outer)
        engine.settled = False


def test_a_block_that_is_open_while_the_state_is_read_does_not_reach_it(engine):
    """The state is read in the default modes: inference mode or a pack hook would see the reading."""
    end = run("""
        seen = []
        def g():
            with torch.autograd.graph.saved_tensors_hooks(lambda x: seen.append(1.0), lambda x: x):
                with torch.inference_mode():
                    yield torch.ones(1)
        held = g()
        x = next(held)
    """, engine)  # fmt: skip
    assert end.state["seen"].items == ()
    assert end.state["x"].shape == (1,)


def test_the_grad_of_a_plain_non_leaf_is_not_read(engine):
    """Reading it warns; that of a leaf, and of a tensor that retains its gradient, is read."""
    x = torch.ones(1, requires_grad=True)
    y = x * 2
    y.retain_grad()
    z = y * 3
    z.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [engine.snapshot(tensor).grad is not None for tensor in (x, y, z)]
    assert found == [True, True, False]


def test_reading_leaves_storage_resizable(engine):
    """numpy() on a tensor's own storage would make it impossible to resize for ever after; small and large."""
    for size in (3, 1000):
        x = torch.ones(size)
        engine.read(x)
        engine.snapshot(x)
        assert x.resize_(size + 1).shape == (size + 1,)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("size", [2, 500])
@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("bfloat16", np.float32), ("float16", np.float16), ("float8_e5m2", np.float32), ("complex32", np.complex64)],
)
def test_narrow_dtypes_are_read_exactly(engine, dtype, stored, size):
    """What NumPy lacks is widened without rounding, on the short way and in bulk."""
    tensor = torch.full((size,), 0.1).to(getattr(torch, dtype))
    value = engine.read(tensor)
    wide = torch.complex64 if tensor.is_complex() else torch.float32
    expected = tensor.to(wide).numpy().astype(stored)
    assert (value.dtype, value.data) == (dtype, expected.tobytes())


def test_lazy_conjugates_and_negatives_are_read_as_what_they_mean(engine):
    """conj() and imag of a conjugate are flags on the same memory."""
    for size in (2, 200):
        x = torch.full((size,), 1 + 2j).conj()
        assert np.frombuffer(engine.read(x).data, np.complex64)[0] == 1 - 2j
        assert np.frombuffer(engine.read(x.imag).data, np.float32)[0] == -2.0


def test_zeros_without_memory_are_read_as_zeros(engine):
    """The derivative of a constant gradient is a tensor that torch gives no memory."""
    x = torch.ones(2, requires_grad=True)
    [first] = torch.autograd.grad(x.abs(), x, torch.ones(2, requires_grad=True), create_graph=True)
    [second] = torch.autograd.grad(first, x, torch.ones(2))
    assert second._is_zerotensor()
    assert np.frombuffer(engine.read(second).data, np.float32).tolist() == [0.0, 0.0]
    assert engine.bulk(second).tolist() == [0.0, 0.0]


def test_reading_works_in_every_mode_and_inside_transforms(engine):
    """Dual tensors, tensors under grad(), inference tensors, sparse ones: assertions may look at all of them."""
    assert agreed("""
        with torch.autograd.forward_ad.dual_level():
            x = torch.autograd.forward_ad.make_dual(torch.ones(2), torch.ones(2))
            assert x == [1.0, 1.0]
        def f(x):
            assert x == [3.0]
            return (x * x).sum()
        torch.func.grad(f)(torch.tensor([3.0]))
        with torch.inference_mode():
            assert torch.ones(1) == [1.0]
        assert torch.tensor([0.0, 2.0]).to_sparse() == [0.0, 2.0]
    """, engine) == [True] * 4  # fmt: skip


def test_a_tensor_without_data_does_not_end_the_reading_of_the_state(engine):
    """A meta tensor has no values; what is beside it is still compared."""
    end = run("m = torch.empty(2, device='meta')\nx = torch.ones(1)", engine)
    assert isinstance(end.state["m"], Opaque)
    assert end.state["x"].shape == (1,)


def test_warnings_that_torch_gives_once_per_process_are_given_in_every_case(engine):
    """torch counts its warn-once warnings in C++; the engine switches that off before its first operator."""
    program = """
        y = torch.ones(1, requires_grad=True) * 2
        with warns(UserWarning, contains="not a leaf"):
            y.grad
    """
    assert agreed(program, engine) == agreed(program, engine) == [True]
