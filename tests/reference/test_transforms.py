"""torch.func: vmap is the loop, transforms agree with each other and with the tape, at any depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine as torch
from reference_engine.batching.rules import counts
from reference_engine.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)  # fmt: skip
from reference_engine.state import state

F = torch.nn.functional

# Functions of one (2, 3) example.
FUNCTIONS = {
    "exp": lambda x: x.exp(),
    "broadcast": lambda x: x * x[0] + x.sum(1, keepdim=True),
    "matmul": lambda x: x @ x.t(),
    "mv": lambda x: x @ x[0],
    "dot": lambda x: torch.dot(x[0], x[1]),
    "reshape": lambda x: x.reshape(3, 2) @ x,
    "permute": lambda x: x.permute(1, 0).flatten(),
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(0),
    "prod": lambda x: x.prod(1),
    "amax": lambda x: x.amax(1),
    "max": lambda x: x.max(1).values,
    "sort": lambda x: x.sort(1)[0],
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(0),
    "logsumexp": lambda x: x.logsumexp(1),
    "norm": lambda x: x.norm(),
    "var": lambda x: x.var(1),
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(0),
    "cat": lambda x: torch.cat([x, torch.ones(1, 3).double()]),
    "stack": lambda x: torch.stack([x, x * 2], 1),
    "split": lambda x: x.split(1, 1)[1] * x,
    "unbind": lambda x: x.unbind(0)[1],
    "index": lambda x: x[:, [2, 0]],
    "index_both": lambda x: x[[0, 1], [2, 0]],
    "slice": lambda x: x[:, 1:] * x[:, :2],
    "newaxis": lambda x: x[:, None] * x[..., None, :],
    "expand": lambda x: x[0].expand(4, 3),
    "where": lambda x: torch.where(x > 0, x, x * x),
    "where_shared": lambda x: torch.where(torch.tensor([True, False, True]), x, 0.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, 2.0),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "pow": lambda x: x**3,
    "gather": lambda x: x.gather(1, x.argsort(1)),
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(1, 1),
    "tril": lambda x: x.tril(),
    "diagonal": lambda x: x.diagonal(),
    "linear": lambda x: F.linear(x, x, x[:, 0]),
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
    "gelu": lambda x: F.gelu(x),
    "mse": lambda x: F.mse_loss(x, x.flip(1)),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "repeat": lambda x: x.repeat(2, 1),
    "inplace": lambda x: x.clone().mul_(x).add_(1),
    "view_inplace": lambda x: _zeroed(x.clone()),
    "complex": lambda x: torch.complex(x, x * x).abs(),
    "to": lambda x: x.to(torch.complex128).real,
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "nll": lambda x: F.cross_entropy(x, x.argmax(1)),
    "inverse": lambda x: torch.linalg.inv(x[:, :2]),
    "compare": lambda x: (x > 0).double() * x,
    "argmax": lambda x: x.argmax(1).double(),
    "det": lambda x: torch.linalg.det(x @ x.t()),
    "pad": lambda x: F.pad(x, (1, 0), value=2.0),
    "conv": lambda x: F.conv1d(x[None], torch.ones(1, 2, 2).double()),
    "pool": lambda x: F.avg_pool1d(x, 2),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "std": lambda x: x.std(),
    "logical": lambda x: ((x > 0) & (x < 1)).double(),
}


def _zeroed(x: torch.Tensor) -> torch.Tensor:
    x[:, 0] = x[:, 1]
    x[1].mul_(2)
    return x


def drawn(seed: int, *shape: int) -> torch.Tensor:
    g = np.random.default_rng(seed)
    return torch.tensor((g.uniform(0.2, 1.4, shape) * g.choice([-1, 1], shape)).tolist(), dtype=torch.float64)


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape
    np.testing.assert_allclose(a.tolist(), b.tolist(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap_is_the_loop(name: str) -> None:
    """vmap(f)(x) is the stack of f over the examples, along any dimension, in chunks, and nested."""
    f, x = FUNCTIONS[name], drawn(1, 4, 2, 3)
    looped = torch.stack([f(example) for example in x])
    same(vmap(f)(x), looped)
    same(vmap(f, in_dims=1)(x.movedim(0, 1)), looped)
    same(vmap(f, chunk_size=3)(x), looped)
    nested = drawn(2, 2, 3, 2, 3)
    same(vmap(vmap(f))(nested), torch.stack([torch.stack([f(e) for e in row]) for row in nested]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_transforms_agree_under_vmap(name: str) -> None:
    """Per-example gradients, tangents and Jacobians are those of the loop, and of each other."""
    f, x, t = FUNCTIONS[name], drawn(3, 3, 2, 3), drawn(4, 3, 2, 3)
    loss = lambda z: f(z).square().sum()
    same(vmap(grad(loss))(x), torch.stack([grad(loss)(e) for e in x]))
    pushed = vmap(lambda a, b: jvp(f, (a,), (b,))[1])(x, t)
    same(pushed, torch.stack([jvp(f, (a,), (b,))[1] for a, b in zip(x, t, strict=True)]))
    same(jacrev(f)(x[0]), jacfwd(f)(x[0]))
    same(vmap(jacrev(f))(x), torch.stack([jacrev(f)(e) for e in x]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_hessian_in_four_ways(name: str) -> None:
    """jacfwd and jacrev in any order, and nested grad, give the Hessian that the tape gives."""
    f, x = FUNCTIONS[name], drawn(5, 2, 3)
    loss = lambda z: (f(z) * f(z).detach().cos()).sum() if name == "argmax" else f(z).sin().sum()
    leaf = x.clone().requires_grad_()
    wanted = torch.autograd.functional.hessian(loss, leaf)
    for outer in (jacfwd, jacrev):
        for inner in (jacfwd, jacrev):
            same(outer(inner(loss))(x), wanted)
    same(hessian(loss)(x), wanted)
    same(jacrev(grad(loss))(x), wanted)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["grad", "vmap", "jvp"]), min_size=1, max_size=4), st.integers(0, 50))
def test_any_mix_of_transforms(kinds: list[str], seed: int) -> None:
    """Transforms nest in any order; each mixture agrees with the same one in which vmap is written as a loop."""

    def apply(kinds: list[str], vectorized: bool):
        if not kinds:
            return lambda x: (x.sin() * x).sum()
        inner = apply(kinds[1:], vectorized)
        if kinds[0] == "grad":
            return lambda x: grad(inner)(x).sum()
        if kinds[0] == "jvp":
            return lambda x: jvp(inner, (x,), (x.cos(),))[1]
        batch = lambda x: torch.stack([x, x * 2, x.exp()])
        if vectorized:
            return lambda x: vmap(inner)(batch(x)).prod()
        return lambda x: torch.stack([inner(e) for e in batch(x)]).prod()

    x = drawn(seed, 2) * 0.5
    np.testing.assert_allclose(apply(kinds, True)(x).item(), apply(kinds, False)(x).item(), rtol=1e-8)


def test_perturbations_are_not_confused() -> None:
    """The inner derivative does not see the outer variable, in any mode."""
    one = torch.tensor(1.0)
    assert grad(lambda x: x * grad(lambda y: x + y)(one))(one).item() == 1.0
    assert grad(lambda x: x * jvp(lambda y: x + y, (one,), (one,))[1])(one).item() == 1.0
    assert jvp(lambda x: x * grad(lambda y: x + y)(one), (one,), (one,))[1].item() == 1.0
    assert vmap(grad(lambda x: x * grad(lambda y: x * y)(x)))(torch.tensor([1.0, 2.0])).tolist() == [2.0, 4.0]


def test_what_leaves_a_transform_has_the_history_of_outside() -> None:
    """Results are tracked where they depend on something tracked outside and grad mode is on there; else not."""
    x, w = torch.tensor(2.0), torch.tensor(3.0, requires_grad=True)
    g, value = grad_and_value(lambda a: a**2 * w)(x)
    assert g.requires_grad
    assert value.requires_grad
    assert torch.autograd.grad(g, w)[0].item() == 4.0
    with torch.no_grad():
        assert not grad(lambda a: a**2 * w)(x).requires_grad
    out, pull = vjp(lambda a: a**2, x)
    assert not out.requires_grad
    assert not pull(torch.tensor(1.0))[0].requires_grad
    assert not linearize(lambda a: a**3, x)[1](torch.tensor(1.0)).requires_grad
    assert linearize(lambda a: a**3 * w, x)[1](torch.tensor(1.0)).requires_grad
    assert x.grad is None
    assert not x.requires_grad


def test_per_sample_gradients_of_a_network() -> None:
    """vmap over grad of a module's loss gives each sample's gradient, and takes the batched way everywhere but in loops."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    images, labels = drawn(6, 7, 4).float(), torch.tensor([0, 1, 2, 1, 0, 2, 2])
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(p, x, y):
        return F.cross_entropy(functional_call(net, p, (x.unsqueeze(0),)), y.unsqueeze(0))

    before = dict(counts)
    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, images, labels)
    assert counts["looped"] == before["looped"]
    assert counts["batched"] > before["batched"]
    for k in range(7):
        own = torch.autograd.grad(F.cross_entropy(net(images[k : k + 1]), labels[k : k + 1]), list(net.parameters()))
        for mine, theirs in zip(found.values(), own, strict=True):
            np.testing.assert_allclose(mine[k].tolist(), theirs.tolist(), rtol=1e-4, atol=1e-6)


def test_what_has_no_rule_goes_example_by_example() -> None:
    """An operator without a batching rule, and a function that reads indices, are slow and right; the counter tells."""
    before = counts["looped"]
    x, index = drawn(7, 3, 4), torch.tensor([1, 0, 3])
    same(vmap(lambda e, i: e[i] * e)(x, index), torch.stack([e[i] * e for e, i in zip(x, index, strict=True)]))
    assert counts["looped"] > before


def test_linearize_and_ensembles() -> None:
    """linearize pushes many tangents after one run; stacked models run as one."""
    x, t = drawn(8, 3), drawn(9, 3)
    out, push = linearize(lambda a: (a.sin(), a.sum() * a), x)
    same(push(t)[1], jvp(lambda a: a.sum() * a, (x,), (t,))[1])
    same(out[0], x.sin())
    models = [torch.nn.Linear(3, 2) for _ in range(4)]
    parameters, buffers = stack_module_state(models)
    batch = drawn(10, 5, 3).float()
    ran = vmap(lambda p, b: functional_call(models[0], (p, b), (batch,)))(parameters, buffers)
    np.testing.assert_allclose(ran.tolist(), torch.stack([m(batch) for m in models]).tolist(), rtol=1e-5, atol=1e-6)


def test_transforms_differentiate_in_inference_mode() -> None:
    """Inside a transform inference mode is off, for inputs that were made in it too."""
    with torch.inference_mode():
        x, w = torch.tensor([1.0, 2.0]), torch.tensor(5.0)
        assert grad(lambda a: (a**3 * w).sum())(x).tolist() == [15.0, 60.0]
        assert jvp(lambda a: a**3, (x,), (x,))[1].tolist() == [3.0, 24.0]
        assert hessian(lambda a: (a**3).sum())(x).tolist() == [[6.0, 0.0], [0.0, 12.0]]
        assert vmap(grad(lambda a: a**3))(x).tolist() == [3.0, 12.0]
        assert torch.is_inference_mode_enabled()


def test_vmap_draws_with_parameters_of_each_example() -> None:
    """A distribution's parameters may differ between examples; with "same" the numbers behind the draws do not."""
    certain = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert vmap(torch.bernoulli, randomness="different")(certain).tolist() == certain.tolist()
    mean = torch.tensor([[0.0] * 5, [10.0] * 5])
    shared = vmap(lambda m: torch.normal(m, 1.0) - m, randomness="same")(mean)
    own = vmap(lambda m: torch.normal(m, 1.0) - m, randomness="different")(mean)
    np.testing.assert_allclose(shared[0].tolist(), shared[1].tolist(), atol=1e-5)
    assert abs(own[0] - own[1]).max() > 1e-3


def checkpointed(x):
    return torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False)


def test_checkpointed_calls_are_mapped() -> None:
    """Under vmap and jvp a checkpointed function is the function."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert vmap(checkpointed)(x).tolist() == x.sin().tolist()
    assert jvp(checkpointed, (x,), (x,))[1].tolist() == (x.cos() * x).tolist()


def test_named_results_are_nests() -> None:
    """What an operator returns by name keeps its names through transforms."""
    x = torch.tensor([[3.0, 1.0], [2.0, 5.0]])
    assert vmap(lambda a: a.sort())(x).values.tolist() == [[1.0, 3.0], [2.0, 5.0]]
    assert jvp(lambda a: a.max(0), (x,), (x,))[1].values.tolist() == [3.0, 5.0]


WRONG = {
    "no output": (lambda x: vjp(lambda a: (), x), RuntimeError, "non-empty output"),
    "None as output": (lambda x: jvp(lambda a: None, (x,), (x,)), RuntimeError, "non-empty output"),
    "aux that is no tensor": (lambda x: jvp(lambda a: (a, "s"), (x,), (x,), has_aux=True), RuntimeError, "unsupported type"),
    "integers": (lambda x: jvp(lambda a: a, (x.long(),), (x.long(),)), ValueError, "floating point or complex"),
    "two cotangents": (lambda x: vjp(lambda a: (a, a), x)[1](x, x), RuntimeError, "pytree structure of cotangents"),
    "argnums with a float": (lambda x: grad(torch.sum, argnums=(0.0,))(x), RuntimeError, "argnum must be int"),
    "out_dims": (lambda x: vmap(torch.neg, out_dims="x")(x), ValueError, "`out_dims` must be an int, None or a python"),
    "in_dims": (lambda x: vmap(torch.mul, in_dims=(0, 1.0))(x, x), ValueError, "must be either an integer dimension or None"),
    "no such module": (lambda x: functional_call(torch.nn.Linear(1, 1), {"a.b": x}, x), AttributeError, "has no attribute"),
    "no tensor": (lambda x: functional_call(torch.nn.Linear(1, 1), {"bias": "x"}, x), TypeError, "not an instance of"),
    "flag": (lambda x: grad(lambda a: a.requires_grad_().sum())(x), RuntimeError, "attempting to call Tensor.requires_grad_"),
    "retain_grad": (lambda x: grad(lambda a: (a * 2).retain_grad())(x), RuntimeError, "Tensor.retain_grad"),
    "checkpoint": (lambda x: grad(lambda a: checkpointed(a).sum())(x), RuntimeError, "don't yet support saved tensor hooks"),
    "data": (lambda x: vmap(lambda a: a.data)(x), RuntimeError, "accessing `data` under vmap"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_transforms_refuse(what: str) -> None:
    """Wrong arguments and functions raise, with torch's type and words."""
    call, error, message = WRONG[what]
    with pytest.raises(error, match=message):
        call(torch.ones(2))


def test_a_tensor_is_the_transforms_that_made_it_and_not_of_those_that_returned_it() -> None:
    """What is returned with history outside is an ordinary tensor there; what was kept besides is not."""
    w, kept = torch.tensor(2.0, requires_grad=True), []

    def f(x: Any) -> Any:
        y = x * x * w
        kept.append(y)
        return y

    value, pull = torch.func.vjp(f, torch.tensor(3.0))
    assert repr(value) == "tensor(18., grad_fn=<MulBackward0>)"
    assert repr(kept[0]) == "GradTrackingTensor(lvl=-2, value=\n    tensor(18., grad_fn=<MulBackward0>)\n)"
    assert pull(torch.tensor(1.0))[0].item() == 12.0
    (value * 2).backward()
    assert w.grad is not None
    assert w.grad.item() == 18.0
    constant = torch.func.grad(lambda x: kept.append(x * x) or x * 3.0)(torch.tensor(1.0))
    assert repr(constant) == "tensor(3.)"
    assert not (kept[1] * 2).requires_grad


def test_nothing_is_looked_up_once_no_tensor_is_kept() -> None:
    """The short path is taken again when the last one is gone; also after a transform that raised."""
    kept = []
    torch.func.grad(lambda x: kept.append(x.sin()) or x * 2)(torch.tensor(1.0))
    assert not state.plain
    kept.clear()
    assert state.plain
    with pytest.raises(RuntimeError, match="scalar"):
        torch.func.grad(lambda x: x * 2)(torch.ones(2))
    assert (state.plain, state.depth, state.kept, state.reversing) == (True, 0, (), ())


def test_an_input_that_is_kept_is_its_value() -> None:
    """Not its history alone: the input itself is no longer tracked by the transform."""
    kept: list = []
    torch.func.grad(lambda x: kept.append(x) or x * 2)(torch.tensor(1.0))
    assert repr(kept[0]) == "GradTrackingTensor(lvl=-2, value=\n    tensor(1.)\n)"
    assert not (kept[0] * 2).requires_grad
    assert torch.func.grad(lambda x: x * kept[0])(torch.tensor(3.0)).item() == 1.0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.softmax(0),
        lambda x: x.cumsum(-1),
        lambda x: x.sort().values,
        lambda x: x.max(0, keepdim=True).values,
        lambda x: x.transpose(0, -1),
        lambda x: torch.nn.functional.dropout(x, 1.0),
    ],
)
def test_examples_without_dimensions(function: Callable) -> None:
    """Dimension 0 of a 0-d example is that of a tensor of one element, and never the batch; nothing is drawn for p = 1."""
    x = torch.tensor([0.5, -2.0, 3.0])
    mapped = torch.vmap(function)(x)
    assert mapped.tolist() == [function(row).tolist() for row in x]


def test_a_mask_chooses_of_each_example() -> None:
    """masked_select with one mask for all; a mask per example would give results of unequal lengths."""
    x, mask = torch.arange(6.0).reshape(2, 3), torch.tensor([True, False, True])
    assert torch.vmap(lambda row: row.masked_select(mask))(x).tolist() == [[0.0, 2.0], [3.0, 5.0]]
    with pytest.raises(RuntimeError, match="Attempted to vmap over `mask`"):
        torch.vmap(torch.masked_select)(x, torch.stack([mask, mask]))


def test_tangents_of_a_batch_lie_as_primals_do() -> None:
    """So that what is a view of the primal is a view of its tangents, by columns too."""
    x = torch.arange(6.0).reshape(3, 2).t()
    for function in (lambda x: x.t().view(6), lambda x: torch.as_strided(x, (2, 2), (2, 1), 1)):
        by_columns, by_rows = torch.func.jacfwd(function)(x), torch.func.jacrev(function)(x)
        assert by_columns.tolist() == by_rows.tolist()
        assert by_rows.sum() == function(x).numel()
