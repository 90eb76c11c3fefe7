"""Hooks of modules: forward, backward, global ones, and the kinds that do not mix."""

from __future__ import annotations

import warnings

import pytest


def test_forward_hooks(engine):
    """Pre-hooks may replace arguments, forward hooks the result; they run in order until removed."""
    m = engine.nn.Identity()
    seen = []
    handles = [
        m.register_forward_pre_hook(lambda mod, args: (args[0] + 1,)),
        m.register_forward_hook(lambda mod, args, out: out * 10),
        m.register_forward_hook(lambda mod, args, out: seen.append((args[0].item(), out.item()))),
        m.register_forward_hook(lambda mod, args, kwargs, out: seen.append(kwargs), with_kwargs=True, prepend=True),
    ]
    assert m(engine.tensor(1.0)).item() == 20.0
    assert seen == [{}, (2.0, 20.0)]
    for handle in handles:
        handle.remove()
    assert m(engine.tensor(1.0)).item() == 1.0


def test_always_called_hook(engine):
    """always_call hooks run although forward raised, and its error passes."""
    m = engine.nn.Module()
    seen = []
    m.register_forward_hook(lambda *args: seen.append(args[2]), always_call=True)
    with pytest.raises(NotImplementedError):
        m(engine.ones(1))
    assert seen == [None]


def test_full_backward_hooks(engine):
    """The hook sees the gradients of inputs and outputs and may replace those of the inputs; pre-hooks those of outputs."""
    m = engine.nn.Linear(2, 1, bias=False)
    with engine.no_grad():
        m.weight.copy_(engine.tensor([[2.0, 3.0]]))
    seen = []
    m.register_full_backward_pre_hook(lambda mod, grad_out: (grad_out[0] * 10,))
    handle = m.register_full_backward_hook(lambda mod, gi, go: seen.append((gi[0].tolist(), go[0].tolist())))
    m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 2,))
    x = engine.ones(1, 2, requires_grad=True)
    m(x).backward()
    assert seen == [([[20.0, 30.0]], [[10.0]])]
    assert x.grad.tolist() == [[40.0, 60.0]]
    assert m.weight.grad.tolist() == [[10.0, 10.0]]
    handle.remove()
    m(x).backward()
    assert len(seen) == 1


def test_backward_hook_without_tracked_input(engine):
    """Where no input is tracked the hook runs with None, and says that it does."""
    m = engine.nn.Linear(1, 1)
    seen = []
    m.register_full_backward_hook(lambda mod, gi, go: seen.append(gi))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        m(engine.ones(1, 1)).backward()
    assert seen == [(None,)]
    assert any("Full backward hook is firing when gradients are computed" in str(w.message) for w in caught)


def test_backward_hook_kinds_do_not_mix(engine):
    """Full and non-full backward hooks exclude each other; a wrong number of gradients is an error."""
    m = engine.nn.Identity()
    m.register_full_backward_hook(lambda *a: None)
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full backward hooks"):
        m.register_backward_hook(lambda *a: None)
    n = engine.nn.Identity()
    n.register_full_backward_hook(lambda *a: (None, None))
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2, but expected 1"):
        n(engine.ones(1, requires_grad=True)).backward()


def test_non_full_backward_hook_warns(engine):
    """The deprecated hook sees the last node only, and warns of it."""
    m = engine.nn.Sequential(engine.nn.Tanh(), engine.nn.Tanh())
    seen = []
    m.register_backward_hook(lambda mod, gi, go: seen.append(go[0].item()))
    with pytest.warns(FutureWarning, match="when the forward contains multiple autograd Nodes"):
        m(engine.ones((), requires_grad=True)).backward()
    assert seen == [1.0]


def test_global_hooks(engine):
    """A hook for all modules sees every call until it is removed."""
    module = engine.nn.modules.module
    seen = []
    handles = [
        module.register_module_forward_pre_hook(lambda m, args: seen.append(("pre", type(m).__name__))),
        module.register_module_forward_hook(lambda m, args, out: seen.append(("post", type(m).__name__))),
        module.register_module_full_backward_hook(lambda m, gi, go: seen.append(("backward", type(m).__name__))),
    ]
    engine.nn.Sequential(engine.nn.Tanh())(engine.ones(1, requires_grad=True)).backward()
    for handle in handles:
        handle.remove()
    engine.nn.Tanh()(engine.ones(1))
    assert seen == [("pre", "Sequential"), ("pre", "Tanh"), ("post", "Tanh"), ("post", "Sequential"),
                    ("backward", "Tanh"), ("backward", "Sequential")]  # fmt: skip
