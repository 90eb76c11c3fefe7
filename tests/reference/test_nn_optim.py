"""Optimizers beside torch's: formulas for every combination of options, state, and errors."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine as T
from tests.reference.against import arrays


def trajectory(e, name, options, steps=4, complex_=False):
    """Where an optimizer takes two parameters, one of which has no gradient at first; and its state."""
    data = arrays(3, (3, 2), (2,), (3, 2))
    first = data[0] + 1j * data[2] if complex_ else data[0]
    params = [e.nn.Parameter(e.from_numpy(np.array(d))) for d in (first, data[1])]
    optimizer = getattr(e.optim, name)(params, **options)
    path = []
    for i in range(steps):
        optimizer.zero_grad()
        loss = (params[0] * params[0].conj()).real.sum() * (i + 1)
        if i:
            loss = loss + (params[1] ** 3).sum()
        loss.backward()
        optimizer.step()
        path += [p.detach().numpy().copy() for p in params]
    return path, optimizer.state_dict()


def agree(name, options, **settings_):
    """The whole trajectory and the state agree with torch's."""
    torch = pytest.importorskip("torch")
    (ours, state), (theirs, t_state) = (trajectory(e, name, options, **settings_) for e in (T, torch))
    np.testing.assert_equal([a.shape for a in ours], [b.shape for b in theirs])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert state["param_groups"][0].keys() == t_state["param_groups"][0].keys()
    assert {k: v.keys() for k, v in state["state"].items()} == {k: v.keys() for k, v in t_state["state"].items()}
    for number, values in state["state"].items():
        for key, value in values.items():
            other = t_state["state"][number][key]
            if value is not None:
                np.testing.assert_allclose(value.numpy(), other.numpy(), rtol=1e-10, atol=1e-12)


lr = st.sampled_from([0.0, 1e-3, 0.1])
decay = st.sampled_from([0, 0.05])


@given(lr, st.sampled_from([0, 0.9]), st.sampled_from([0, 0.3]), decay, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_sgd_agrees_with_torch(lr, momentum, dampening, weight_decay, nesterov, maximize, complex_):
    """Every combination of momentum, dampening, weight decay, nesterov and maximize takes torch's path."""
    nesterov = nesterov and momentum > 0 and dampening == 0
    agree("SGD", {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
                  "maximize": maximize}, complex_=complex_)  # fmt: skip


@given(st.sampled_from(["Adam", "AdamW"]), lr, decay, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_adam_agrees_with_torch(name, lr, weight_decay, amsgrad, maximize, complex_):
    """Every combination of weight decay (coupled or not), amsgrad and maximize takes torch's path."""
    agree(name, {"lr": lr, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize, "betas": (0.8, 0.95)},
          complex_=complex_)  # fmt: skip


def test_lr_may_be_a_tensor(engine):
    """A learning rate given as a tensor of one element is that number."""
    p = engine.nn.Parameter(engine.ones(1))
    optimizer = engine.optim.SGD([p], lr=engine.tensor(0.5))
    p.sum().backward()
    optimizer.step()
    assert p.item() == 0.5


def test_without_gradient_nothing_moves(engine):
    """A parameter whose grad is None is skipped; one whose grad is zero decays and keeps its momentum."""
    skipped, still = engine.nn.Parameter(engine.ones(1)), engine.nn.Parameter(engine.ones(1))
    optimizer = engine.optim.SGD([skipped, still], lr=0.1, weight_decay=0.5)
    still.grad = engine.zeros(1)
    optimizer.step()
    assert skipped.item() == 1.0
    np.testing.assert_allclose(still.item(), 0.95, rtol=1e-6)


def test_step_is_not_recorded_and_counts_a_version(engine):
    """A step changes parameters in place: same object, still a leaf, a new version."""
    p = engine.nn.Parameter(engine.ones(2))
    before = p._version
    p.sum().backward()
    engine.optim.SGD([p], lr=0.1).step()
    assert p.is_leaf
    assert p.grad_fn is None
    assert p._version > before


def test_closure(engine):
    """step(closure) runs the closure with gradients recorded and returns its loss."""
    p = engine.nn.Parameter(engine.ones(1))
    optimizer = engine.optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with engine.no_grad():
        assert optimizer.step(closure).item() == 1.0
    np.testing.assert_allclose(p.item(), 0.8, rtol=1e-6)


def test_groups(engine):
    """Groups have options of their own; add_param_group adds one; zero_grad reaches all."""
    a, b, c = (engine.nn.Parameter(engine.ones(1)) for _ in range(3))
    optimizer = engine.optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.1)
    optimizer.add_param_group({"params": c, "lr": 0.5})
    (a + b + c).sum().backward()
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.9, 0.0, 0.5], rtol=1e-6)
    optimizer.zero_grad(set_to_none=False)
    assert [p.grad.item() for p in (a, b, c)] == [0.0] * 3
    optimizer.zero_grad()
    assert a.grad is None


def test_state_dict_continues(engine):
    """An optimizer that loads another's state goes on as that one would."""
    runs = []
    for reload in (False, True):
        p = engine.nn.Parameter(engine.tensor([1.0, -2.0]))
        optimizer = engine.optim.Adam([p], lr=0.1, amsgrad=True)
        for i in range(6):
            if i == 3 and reload:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = engine.optim.Adam([p], lr=0.7)
                optimizer.load_state_dict(saved)
            optimizer.zero_grad()
            (p**4).sum().backward()
            optimizer.step()
        runs.append(p.tolist())
    assert runs[0] == runs[1]


def test_step_hooks(engine):
    """Hooks run before and after a step, until removed."""
    p = engine.nn.Parameter(engine.ones(1))
    optimizer = engine.optim.SGD([p], lr=0.1)
    seen = []
    handle = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("pre"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("post"))
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert seen == ["pre", "post", "post"]


def test_own_optimizer(engine):
    """A subclass that defines step has groups, state, zero_grad and hooks."""

    class Plain(engine.optim.Optimizer):
        def step(self, closure=None):
            with engine.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.sub_(p.grad * group["lr"])

    p = engine.nn.Parameter(engine.ones(1))
    optimizer = Plain([p], {"lr": 0.25})
    seen = []
    optimizer.register_step_post_hook(lambda *a: seen.append(1))
    (p * 2).sum().backward()
    optimizer.step()
    assert (p.item(), seen) == (0.5, [1])


def test_differentiable_step():
    """With differentiable=True the step is recorded: a loss after it reaches the gradient's own inputs."""
    start = T.tensor([1.0, 2.0], requires_grad=True)
    p = start.clone()
    optimizer = T.optim.SGD([p], lr=0.1, differentiable=True)
    p.grad = 2 * start
    optimizer.step()
    (p * p).sum().backward()
    # p = x - 0.1 * 2 x = 0.8 x;  d/dx (0.8 x)^2 = 1.28 x
    np.testing.assert_allclose(start.grad.numpy(), [1.28, 2.56], rtol=1e-6)


ERRORS = [
    (ValueError, "Invalid learning rate: -1.0", lambda e, p: e.optim.SGD([p], lr=-1.0)),
    (ValueError, "Invalid momentum value: -1", lambda e, p: e.optim.SGD([p], lr=0.1, momentum=-1)),
    (ValueError, "Invalid weight_decay value: -1", lambda e, p: e.optim.SGD([p], lr=0.1, weight_decay=-1)),
    (ValueError, "Nesterov momentum requires a momentum and zero dampening", lambda e, p: e.optim.SGD([p], nesterov=True)),
    (ValueError, "Tensor lr must be 1-element", lambda e, p: e.optim.SGD([p], lr=e.ones(2))),
    (ValueError, "Invalid learning rate: -1.0", lambda e, p: e.optim.Adam([p], lr=-1.0)),
    (ValueError, "Invalid epsilon value: -1", lambda e, p: e.optim.Adam([p], eps=-1)),
    (ValueError, "Invalid beta parameter at index 0: 1.0", lambda e, p: e.optim.Adam([p], betas=(1.0, 0.9))),
    (ValueError, "Invalid beta parameter at index 1: -0.1", lambda e, p: e.optim.AdamW([p], betas=(0.9, -0.1))),
    (TypeError, "should be an iterable of Tensors or dicts, but got torch.FloatTensor", lambda e, p: e.optim.SGD(e.ones(1))),
    (ValueError, "optimizer got an empty parameter list", lambda e, p: e.optim.SGD([])),
    (TypeError, "optimizer can only optimize Tensors, but one of the params is int", lambda e, p: e.optim.SGD([3])),
    (ValueError, "can't optimize a non-leaf Tensor", lambda e, p: e.optim.SGD([p * 2])),
    (ValueError, "some parameters appear in more than one parameter group", lambda e, p: e.optim.SGD(
        [{"params": [p]}, {"params": [p]}])),
    (TypeError, "param_group must be a dict", lambda e, p: e.optim.SGD([p]).add_param_group([p])),
    (TypeError, "the ordering of tensors in sets will change between runs", lambda e, p: e.optim.SGD([{"params": {p}}])),
    (ValueError, "loaded state dict has a different number of parameter groups", lambda e, p: e.optim.SGD(
        [p]).load_state_dict({"state": {}, "param_groups": []})),
    (ValueError, "that doesn't match the size of optimizer's group", lambda e, p: e.optim.SGD(
        [p]).load_state_dict({"state": {}, "param_groups": [{"params": []}]})),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "message", "act"), ERRORS)
def test_wrong_arguments(engine, kind, message, act):
    """Each mistake raises torch's error."""
    with pytest.raises(kind) as error:
        act(engine, engine.nn.Parameter(engine.ones(1)))
    assert message in str(error.value)


def test_repr_is_torch_s():
    """An optimizer prints as torch's does."""
    torch = pytest.importorskip("torch")
    texts = [repr(e.optim.SGD([{"params": [e.nn.Parameter(e.ones(1))]}, {"params": [e.nn.Parameter(e.ones(1))]}], lr=0.1))
             for e in (T, torch)]  # fmt: skip
    assert texts[0] == texts[1]
