"""Saved tensors: laws of their hooks, and what each operator saves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


steps = st.lists(
    st.sampled_from(["exp", "sin", "tanh", "mul", "div", "cube", "softmax", "exp_", "mul_"]), min_size=1, max_size=4
)


def compute(torch, x, names):
    """A composition of operators that save inputs, outputs, both, or something of their own."""
    y = x * 0.5
    for name in names:
        y = {
            "exp": lambda y: y.exp(), "sin": lambda y: y.sin(), "tanh": lambda y: y.tanh(), "mul": lambda y: y * x,
            "div": lambda y: y / (x + 3), "cube": lambda y: y**3, "softmax": lambda y: y.softmax(0),
            "exp_": lambda y: (y * 1).exp_(), "mul_": lambda y: (y * 1).mul_(x),
        }[name](y)  # fmt: skip
    return y.sum()


def derivatives(torch, names, pack, unpack):
    """First and second derivative; the backward pass is recorded under the same hooks."""
    x = torch.tensor([0.25, 0.5, -0.75], dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = compute(torch, x, names)
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        second = torch.autograd.grad(first.sum(), x)[0] if first.requires_grad else first
    return first.tolist(), second.tolist()


FAITHFUL = {
    "kept": (lambda t: t, lambda t: t),
    "detached": (lambda t: t.detach(), lambda t: t),
    "copied": (lambda t: t.clone(), lambda t: t),
    "scaled": (lambda t: t * 4, lambda t: t / 4),
    "packed in a list": (lambda t: [t.detach()], lambda packed: packed[0]),
    "tracked": (lambda t: t.detach().requires_grad_(), lambda t: t * 1),
}


@pytest.mark.parametrize("name", FAITHFUL)
@given(names=steps)
@settings(max_examples=25)
def test_faithful_hooks_change_no_derivative(name, names):
    """Law: where unpack(pack(t)) has t's values, first and second derivatives are bit for bit those without hooks."""
    engine = reference_engine
    x = engine.tensor([0.25, 0.5, -0.75], dtype=engine.float64, requires_grad=True)
    (first,) = engine.autograd.grad(compute(engine, x, names), x, create_graph=True)
    second = engine.autograd.grad(first.sum(), x)[0] if first.requires_grad else first
    assert derivatives(engine, names, *FAITHFUL[name]) == (first.tolist(), second.tolist())


# --- what is saved ---------------------------------------------------------------------------------------------------

OPERATORS = {
    "mul": lambda t, x, p, m: x * p, "mul by a number": lambda t, x, p, m: x * 3.0, "div": lambda t, x, p, m: x / p,
    "pow": lambda t, x, p, m: x**2.5, "pow of tensors": lambda t, x, p, m: x**p, "relu": lambda t, x, p, m: x.relu(),
    "mm": lambda t, x, p, m: m @ m, "softmax": lambda t, x, p, m: x.softmax(0), "mean": lambda t, x, p, m: x.mean(),
    "sum": lambda t, x, p, m: x.sum(), "norm": lambda t, x, p, m: x.norm(), "prod": lambda t, x, p, m: x.prod(),
    "abs": lambda t, x, p, m: x.abs(), "maximum": lambda t, x, p, m: t.maximum(x, p), "sqrt": lambda t, x, p, m: x.sqrt(),
    "tanh": lambda t, x, p, m: x.tanh(), "cat": lambda t, x, p, m: t.cat([x, p]), "add": lambda t, x, p, m: x + p,
    "logsumexp": lambda t, x, p, m: x.logsumexp(0), "mse": lambda t, x, p, m: t.nn.functional.mse_loss(x, p),
    "layer_norm": lambda t, x, p, m: t.nn.functional.layer_norm(m, (2,)), "view": lambda t, x, p, m: x.view(2, 1),
    "exp_": lambda t, x, p, m: (x + 1).exp_(), "mul_": lambda t, x, p, m: (x + 1).mul_(p), "log": lambda t, x, p, m: x.log(),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_pack_what_they_pack_on_torch(name):
    """The pack hook is given as many tensors, of the same values, as on torch."""

    def packed(torch):
        x = torch.tensor([0.25, 0.5], requires_grad=True)
        p = torch.tensor([0.75, 2.0], requires_grad=True)
        m = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
        given = []

        def pack(t):
            given.append([round(v, 3) for v in t.flatten().tolist()])
            return t.detach()

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            OPERATORS[name](torch, x, p, m)
        return sorted(given)

    assert packed(reference_engine) == packed(pytest.importorskip("torch"))


NAMED = ["mul", "mul by a number", "div", "pow", "pow of tensors", "relu", "softmax", "sum", "norm", "prod", "abs", "maximum",
         "sqrt", "tanh", "add", "exp_", "log", "mean", "cat"]  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_nodes_show_the_names_that_torch_shows(name):
    """The _raw_saved_ names of a node, and what the _saved_ names beside them give."""

    def shown(torch):
        x = torch.tensor([0.25, 0.5], requires_grad=True)
        p = torch.tensor([0.75, 2.0], requires_grad=True)
        node = OPERATORS[name](torch, x, p, None).grad_fn
        names = sorted(n for n in dir(node) if n.startswith("_raw_saved_"))
        values = [getattr(node, n.removeprefix("_raw")) for n in names]
        return [
            (n, None if v is None else pytest.approx(v.tolist()), v is x, v is p)
            for n, v in zip(names, values, strict=True)
        ]

    ours, theirs = shown(reference_engine), shown(pytest.importorskip("torch"))
    assert ours == [(n, v if v is None else v.expected, x, p) for n, v, x, p in theirs]


def test_names_that_an_operator_does_not_save_are_no_attributes(torch):
    """Reading one is an AttributeError, as hasattr needs it."""
    x = torch.ones(2, requires_grad=True)
    assert not hasattr((x + x).grad_fn, "_saved_self")
    assert not hasattr((x * x).grad_fn, "_saved_result")
    assert not hasattr((x * x).grad_fn, "_raw_saved_result")


# --- hooks of a block ------------------------------------------------------------------------------------------------


def test_an_unpacked_leaf_is_a_leaf_of_the_same_gradient(torch):
    """What stands for a saved leaf requires grad, is a leaf, and passes its gradient to the leaf."""
    x = torch.tensor([2.0], requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        y = x.pow(2)
    saved = y.grad_fn._saved_self
    assert saved is not x
    assert (saved.is_leaf, saved.requires_grad, saved.grad_fn) == (True, True, None)
    (saved * 3).backward()
    assert x.grad.tolist() == [3.0]


def test_unpacking_a_constant_never_makes_it_tracked(torch):
    """A constant stays one though unpack gives a tensor that requires grad."""
    x = torch.ones(2, requires_grad=True)
    other = torch.full((2,), 5.0, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: other):
        y = x * torch.ones(2)
    assert y.grad_fn._saved_other.requires_grad is False
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [5.0, 5.0]


def test_hooks_take_the_place_of_the_version_check(torch):
    """What was packed may be changed afterwards: its values are the hooks' business."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    h = x * 1
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = h * h
    h.detach().zero_()
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_errors_of_hooks_reach_the_caller(torch):
    """What pack or unpack raises comes out of the operation, the attribute, or backward, and the modes are as before."""

    def fails(t):
        raise KeyError("mine")

    x = torch.ones(2, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(fails, lambda t: t), pytest.raises(KeyError, match="mine"):
        x.exp()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach(), fails):
        y = x.exp()
    with pytest.raises(KeyError, match="mine"):
        _ = y.grad_fn._saved_result
    with pytest.raises(KeyError, match="mine"):
        y.sum().backward()
    assert torch.is_grad_enabled()
    x.exp().sum().backward()
    assert x.grad is not None


def test_hooks_that_cannot_be_called_are_refused(torch):
    """A pair that is no pair of functions is a TypeError, and no hooks are left behind."""
    block = torch.autograd.graph.saved_tensors_hooks(1, 2)
    with pytest.raises(TypeError), block:
        pass
    x = torch.ones(2, requires_grad=True)
    x.exp().sum().backward()
    assert x.grad is not None


def test_inference_tensors_are_not_packed(torch):
    """Hooks do not make inference tensors fit to be saved."""
    with torch.inference_mode():
        c = torch.ones(2)
    x = torch.ones(2, requires_grad=True)
    block = torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t)
    with block, pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        x * c


def test_replacing_hooks_on_a_block_before_it_is_entered(torch):
    """pack_hook and unpack_hook of the block are what is used."""
    block = torch.autograd.graph.save_on_cpu()
    seen = []
    pack = block.pack_hook
    block.pack_hook = lambda t: seen.append(t.shape) or pack(t)
    x = torch.ones(2, requires_grad=True)
    with block:
        y = x.pow(2)
    y.sum().backward()
    assert len(seen) == 1
    assert x.grad.tolist() == [2.0, 2.0]


def test_auxiliary_results_of_layer_norm_pass_through_hooks(torch):
    """Statistics that only the rule needs are packed and unpacked too: doubling what unpack gives changes the gradient."""
    m = torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
    gradients = []
    for factor in (1.0, 2.0):
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: t.detach(), lambda t, f=factor: t * f if t.numel() == 1 else t
        ):
            y = torch.nn.functional.layer_norm(m, (3,))
        (g,) = torch.autograd.grad(y[0, 0], m, retain_graph=True)
        gradients.append(g.tolist())
        torch.autograd.grad(y[0, 0], m)
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(y[0, 0], m)
    assert gradients[0] != gradients[1]


# --- hooks of one saved tensor ---------------------------------------------------------------------------------------


def test_a_handle_shows_what_is_stored(torch):
    """`data` is the tensor without history, or what pack returned; `unpack_hook` is the hook."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x.exp()
    handle = y.grad_fn._raw_saved_result
    assert handle.unpack_hook is None
    assert handle.data.requires_grad is False
    unpack = lambda packed: packed[1]
    handle.register_hooks(lambda t: (1, t), unpack)
    assert handle.unpack_hook is unpack
    assert handle.data[0] == 1
    assert handle.data[1].tolist() == y.tolist()


def test_handles_are_made_by_nodes_alone(torch):
    """SavedTensor() is an error; so are hooks that are no functions, and hooks on what was not saved."""
    with pytest.raises(RuntimeError, match="from Python is forbidden"):
        torch.autograd.SavedTensor()
    x = torch.ones(2, requires_grad=True)
    node = (x * 3.0).grad_fn
    assert isinstance(node._raw_saved_self, torch.autograd.SavedTensor)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        node._raw_saved_other.register_hooks(1, 2)
    with pytest.raises(RuntimeError, match="value None is forbidden"):
        node._raw_saved_self.register_hooks(lambda t: t, lambda t: t)


def test_a_saved_number_takes_hooks_of_its_own(torch):
    """A number in an expression is a 0-d float64 tensor to whom asks for it by name."""
    x = torch.ones(2, requires_grad=True)
    y = x * 3.0
    assert y.grad_fn._saved_other.dtype is torch.float64
    assert y.grad_fn._saved_other.shape == ()
    y.grad_fn._raw_saved_other.register_hooks(lambda t: t, lambda t: t * 2)
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]


def test_hooks_registered_between_two_passes_hold_for_the_second(torch):
    """Registration does not need a fresh graph, and works where the saved tensor has changed version before."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    h = (x * 1).mul_(2)
    y = h.pow(2).sum()
    node = y.grad_fn.next_functions[0][0]
    y.backward(retain_graph=True)
    assert x.grad.tolist() == [8.0, 16.0]
    node._raw_saved_self.register_hooks(lambda t: t.clone(), lambda t: t * 10)
    y.backward()
    assert x.grad.tolist() == [88.0, 176.0]
