"""Modules: registration, walking, state, modes, hooks, and what torch says when they are misused."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import reference_engine as T
from tests.reference.networks import resnet18


@pytest.fixture(params=["reference", "torch"])
def engine(request):
    """Both engines: what a test says holds on torch itself, too."""
    return T if request.param == "reference" else pytest.importorskip("torch")


def net(e):
    """A small network with a buffer."""

    class Net(e.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = e.nn.Linear(3, 4)
            self.norm = e.nn.BatchNorm1d(4)
            self.last = e.nn.Linear(4, 2, bias=False)
            self.register_buffer("seen", e.zeros(1))
            self.register_buffer("hidden", e.zeros(1), persistent=False)

        def forward(self, x):
            return self.last(self.norm(self.first(x)).relu())

    return Net()


def test_names_and_order(engine):
    """Parameters, buffers and modules are named by where they are, in the order of registration."""
    m = net(engine)
    assert [n for n, _ in m.named_parameters()] == [
        "first.weight",
        "first.bias",
        "norm.weight",
        "norm.bias",
        "last.weight",
    ]
    assert [n for n, _ in m.named_buffers()] == ["seen", "hidden", "norm.running_mean", "norm.running_var",
                                                  "norm.num_batches_tracked"]  # fmt: skip
    assert [n for n, _ in m.named_modules()] == ["", "first", "norm", "last"]
    assert [n for n, _ in m.named_children()] == ["first", "norm", "last"]
    assert m.get_parameter("first.bias") is m.first.bias
    assert m.get_submodule("norm") is m.norm
    assert m.get_buffer("norm.running_var") is m.norm.running_var


def test_shared_parameter_is_one(engine):
    """A parameter with two names is listed once."""
    m = engine.nn.Sequential(engine.nn.Linear(2, 2, bias=False), engine.nn.Linear(2, 2, bias=False))
    m[1].weight = m[0].weight
    assert [n for n, _ in m.named_parameters()] == ["0.weight"]
    assert len(list(m.named_parameters(remove_duplicate=False))) == 2
    assert list(m.state_dict()) == ["0.weight", "1.weight"]


def test_state_dict_round_trip(engine):
    """A state loaded into another module makes it compute the same; non-persistent buffers stay out."""
    a, b = net(engine), net(engine)
    assert "hidden" not in a.state_dict()
    assert not any(v.requires_grad for v in a.state_dict().values())
    result = b.load_state_dict(a.state_dict())
    assert str(result) == "<All keys matched successfully>"
    x = engine.ones(3, 3)
    assert bool((a.eval()(x) == b.eval()(x)).all())
    assert a.state_dict()["first.weight"].data_ptr() == a.first.weight.data_ptr()


def test_state_dict_mismatch(engine):
    """Missing, superfluous and misshapen entries are all named; strict=False reports instead."""
    m = net(engine)
    state = OrderedDict(m.state_dict())
    del state["seen"]
    state["extra.weight"] = engine.zeros(1)
    result = m.load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["seen"], ["extra.weight"])
    state["last.weight"] = engine.zeros(1, 1)
    with pytest.raises(RuntimeError) as error:
        m.load_state_dict(state)
    assert str(error.value) == (
        'Error(s) in loading state_dict for Net:\n\tMissing key(s) in state_dict: "seen". \n\tUnexpected key(s) in '
        'state_dict: "extra.weight". \n\tsize mismatch for last.weight: copying a param with shape torch.Size([1, 1]) from '
        "checkpoint, the shape in current model is torch.Size([2, 4]).")  # fmt: skip
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        m.load_state_dict([1])


def test_loading_keeps_the_objects(engine):
    """load_state_dict copies into the parameters: an optimizer that holds them goes on; assign=True replaces them."""
    m = net(engine)
    weight = m.first.weight
    state = {k: v.clone() + 1 for k, v in m.state_dict().items()}
    m.load_state_dict(state)
    assert m.first.weight is weight
    m.load_state_dict(state, assign=True)
    assert m.first.weight is not weight
    assert isinstance(m.first.weight, engine.nn.Parameter)


def test_modes(engine):
    """train and eval reach all modules below; batch norm counts batches in training only."""
    m = net(engine)
    m(engine.ones(3, 3))
    m.eval()
    m(engine.ones(3, 3))
    assert not any(module.training for module in m.modules())
    assert m.norm.num_batches_tracked.item() == 1
    assert m.train().norm.training
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        m.train(1)


def test_zero_grad_and_requires_grad(engine):
    """zero_grad forgets gradients, or writes zeros; requires_grad_ reaches all parameters."""
    m = net(engine)
    m(engine.randn(5, 3)).sum().backward()
    grad = m.first.weight.grad
    m.zero_grad(set_to_none=False)
    assert m.first.weight.grad is grad
    assert not bool(grad.any())
    m.zero_grad()
    assert m.first.weight.grad is None
    assert not any(p.requires_grad for p in m.requires_grad_(False).parameters())


def test_casts(engine):
    """double() casts parameters in place, their gradients with them, and leaves integer buffers alone."""
    m = net(engine)
    m(engine.randn(5, 3)).sum().backward()
    weight = m.first.weight
    m.double()
    assert m.first.weight is weight
    assert weight.dtype == weight.grad.dtype == m.norm.running_mean.dtype == engine.float64
    assert m.norm.num_batches_tracked.dtype == engine.int64
    m(engine.ones(2, 3, dtype=engine.float64)).sum().backward()
    with pytest.raises(TypeError, match="only accepts floating point or complex dtypes"):
        m.to(engine.int64)


def test_deep_copy_is_independent(engine):
    """A deep copy has its own parameters and the same structure."""
    m = net(engine)
    other = copy.deepcopy(m)
    with engine.no_grad():
        other.first.weight.zero_()
    assert bool(m.first.weight.any())
    assert repr(m) == repr(other)


def test_apply_runs_children_first(engine):
    """apply visits every module once, children before parents."""
    order = []
    net(engine).apply(lambda m: order.append(type(m).__name__))
    assert order == ["Linear", "BatchNorm1d", "Linear", "Net"]


REPRS = [
    lambda nn: nn.Linear(2, 3, bias=False),
    lambda nn: nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, bias=False),
    lambda nn: nn.Conv1d(2, 4, 3, padding="same", padding_mode="reflect"),
    lambda nn: nn.ConvTranspose2d(2, 4, 3, output_padding=0),
    lambda nn: nn.BatchNorm2d(3),
    lambda nn: nn.LayerNorm((3, 2)),
    lambda nn: nn.GroupNorm(2, 4),
    lambda nn: nn.InstanceNorm1d(3),
    lambda nn: nn.MaxPool2d(2),
    lambda nn: nn.AvgPool2d(2),
    lambda nn: nn.AdaptiveAvgPool2d((1, 1)),
    lambda nn: nn.ReLU(inplace=True),
    lambda nn: nn.LeakyReLU(0.2),
    lambda nn: nn.ELU(),
    lambda nn: nn.GELU(),
    lambda nn: nn.Softmax(1),
    lambda nn: nn.LogSoftmax(),
    lambda nn: nn.Softplus(),
    lambda nn: nn.Hardtanh(),
    lambda nn: nn.Threshold(0.1, 2.0),
    lambda nn: nn.PReLU(),
    lambda nn: nn.SiLU(),
    lambda nn: nn.Dropout(0.3),
    lambda nn: nn.Embedding(3, 4, padding_idx=1),
    lambda nn: nn.Flatten(),
    lambda nn: nn.Identity(),
    lambda nn: nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU())),
    lambda nn: nn.ModuleDict({"a": nn.Tanh()}),
    lambda nn: nn.CrossEntropyLoss(),
    lambda nn: nn.MSELoss(),
    lambda nn: nn.Bilinear(1, 2, 3),
    lambda nn: nn.GLU(),
]


@pytest.mark.parametrize("make", REPRS)
def test_repr_is_torch_s(make):
    """A module prints as torch's does."""
    torch = pytest.importorskip("torch")
    assert repr(make(T.nn)) == repr(make(torch.nn))


def test_resnet_prints_as_torch_s():
    """So does a whole network, nested."""
    torch = pytest.importorskip("torch")
    assert repr(resnet18(T)) == repr(resnet18(torch))


MISUSE = [
    (TypeError, "cannot assign 'torch.FloatTensor' as parameter 'weight' (torch.nn.Parameter or None expected)",
     lambda e, m: setattr(m.first, "weight", e.zeros(1))),
    (TypeError, "as child module 'first' (torch.nn.Module or None expected)", lambda e, m: setattr(m, "first", 3)),
    (TypeError, "as buffer 'seen' (torch.nn.Buffer, torch.Tensor or None expected)", lambda e, m: setattr(m, "seen", 3)),
    (KeyError, 'parameter name can\\\'t contain "."', lambda e, m: m.register_parameter("a.b", None)),
    (KeyError, 'buffer name can\\\'t be empty string ""', lambda e, m: m.register_buffer("", None)),
    (KeyError, "attribute 'forward' already exists", lambda e, m: m.register_buffer("forward", None)),
    (KeyError, "attribute 'forward' already exists", lambda e, m: m.add_module("forward", None)),
    (TypeError, "int is not a Module subclass", lambda e, m: m.add_module("x", 3)),
    (TypeError, "cannot assign 'int' object to parameter 'x' (torch.nn.Parameter or None required)",
     lambda e, m: m.register_parameter("x", 3)),
    (ValueError, "Cannot assign non-leaf Tensor to parameter 'x'", lambda e, m: m.register_parameter(
        "x", derived_parameter(e))),
    (AttributeError, "'Net' object has no attribute 'nothing'", lambda e, m: m.nothing),
    (AttributeError, "Net has no attribute `nothing`", lambda e, m: m.get_submodule("nothing.x")),
    (AttributeError, "`weight` is not an nn.Module", lambda e, m: m.get_submodule("first.weight")),
    (AttributeError, "`seen` is not an nn.Parameter", lambda e, m: m.get_parameter("seen")),
    (IndexError, "index 2 is out of range", lambda e, m: e.nn.Sequential(m, m)[2]),
    (NotImplementedError, 'is missing the required "forward" function', lambda e, m: e.nn.Module()(1)),
    (ValueError, "in_channels must be divisible by groups", lambda e, m: e.nn.Conv2d(3, 4, 1, groups=2)),
    (ValueError, "expected 4D input (got 3D input)", lambda e, m: e.nn.BatchNorm2d(3)(e.zeros(3, 3, 3))),
    (ValueError, "num_channels (3) must be divisible by num_groups (2)", lambda e, m: e.nn.GroupNorm(2, 3)),
    (ValueError, "Unsupported nonlinearity foo", lambda e, m: e.nn.init.calculate_gain("foo")),
    (ValueError, "Fan in and fan out can not be computed", lambda e, m: e.nn.init.xavier_uniform_(e.zeros(2))),
    (ValueError, "foo is not a valid value for reduction", lambda e, m: e.nn.MSELoss(reduction="foo")(e.zeros(1), e.zeros(1))),
]  # fmt: skip


def derived_parameter(e):
    """A Parameter that an operation has made a non-leaf."""
    p = e.nn.Parameter(e.ones(1))
    q = e.nn.Parameter(e.ones(1), requires_grad=False)
    q.mul_(p)
    return q


@pytest.mark.parametrize(("kind", "message", "act"), MISUSE)
def test_misuse(engine, kind, message, act):
    """Each mistake raises torch's error."""
    with pytest.raises(kind) as error:
        act(engine, net(engine))
    assert message in str(error.value)


def test_assigning_before_init(engine):
    """Assigning parameters or modules before super().__init__() is an error that says so."""

    class Early(engine.nn.Module):
        def __init__(self, value):
            self.value = value

    with pytest.raises(AttributeError, match=r"cannot assign parameters before Module.__init__\(\) call"):
        Early(engine.nn.Parameter(engine.ones(1)))
    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
        Early(engine.nn.ReLU())


def test_a_name_has_one_meaning(engine):
    """Assigning a parameter where a buffer or plain attribute was replaces it; deleting forgets it."""
    m = engine.nn.Module()
    m.x = 3
    m.x = engine.nn.Parameter(engine.ones(1))
    assert list(dict(m.named_parameters())) == ["x"]
    m.x = None
    assert list(m.parameters()) == []
    assert m.x is None
    del m.x
    assert not hasattr(m, "x")


# --- containers ----------------------------------------------------------------------------------------------------


def test_sequential(engine):
    """Indexing, slicing, assignment, deletion, appending, named layers."""
    nn = engine.nn
    m = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert m[-1] is m[2]
    assert len(m[:2]) == 2
    assert m[1:][0] is m[1]
    m[1] = nn.Tanh()
    assert isinstance(m[1], nn.Tanh)
    del m[0]
    assert [n for n, _ in m.named_children()] == ["0", "1"]
    m.append(nn.ReLU()).extend([nn.Identity()])
    m.insert(0, nn.Linear(2, 3))
    assert [type(x).__name__ for x in m] == ["Linear", "Tanh", "Linear", "ReLU", "Identity"]
    assert m(engine.ones(4, 2)).shape == (4, 1)
    named = nn.Sequential(OrderedDict([("a", nn.Linear(1, 1)), ("b", nn.ReLU())]))
    assert named.a is named[0]
    assert [n for n, _ in named.named_parameters()] == ["a.weight", "a.bias"]
    assert len(m + named) == 7


def test_lists_and_dicts(engine):
    """ModuleList, ModuleDict, ParameterList and ParameterDict register what they hold."""
    nn = engine.nn
    m = nn.Module()
    m.layers = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(2)])
    m.heads = nn.ModuleDict({"x": nn.Linear(1, 1, bias=False)})
    m.heads["y"] = nn.Identity()
    m.scales = nn.ParameterList([engine.ones(1), nn.Parameter(engine.zeros(1))])
    m.table = nn.ParameterDict({"k": nn.Parameter(engine.ones(2))})
    names = ["layers.0.weight", "layers.1.weight", "heads.x.weight", "scales.0", "scales.1", "table.k"]
    assert [n for n, _ in m.named_parameters()] == names
    assert ("x" in m.heads, list(m.heads.keys()), len(m.heads)) == (True, ["x", "y"], 2)
    assert m.layers[-1] is m.layers[1]
    assert len(m.layers[:1]) == 1
    assert m.scales[0].requires_grad
    m.scales.append(engine.ones(1))
    m.layers.append(nn.Identity())
    assert (len(m.scales), len(m.layers)) == (3, 3)
    assert m.heads.pop("y").__class__.__name__ == "Identity"


# --- hooks -----------------------------------------------------------------------------------------------------------


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


# --- initialisation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "bound"), [
    (lambda nn: nn.Linear(64, 200).weight, 1 / 8), (lambda nn: nn.Linear(64, 2000).bias, 1 / 8),
    (lambda nn: nn.Conv2d(4, 90, 4).weight, 1 / 8), (lambda nn: nn.Conv2d(4, 2000, 4).bias, 1 / 8),
    (lambda nn: nn.ConvTranspose2d(90, 4, 4).weight, 1 / 8), (lambda nn: nn.Bilinear(64, 8, 8).weight, 1 / 8),
])  # fmt: skip
def test_default_initialisation(make, bound):
    """Weights and biases are uniform within 1 / sqrt(fan_in), as torch's: extremes and deviation tell."""
    torch = pytest.importorskip("torch")
    T.manual_seed(1)
    for value in (make(T.nn), make(torch.nn)):
        values = value.detach().numpy()
        assert 0.98 * bound < np.abs(values).max() <= bound
        np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.05)


@pytest.mark.parametrize(("fill", "low", "high", "std"), [
    (lambda i, t: i.uniform_(t, -1.0, 3.0), -1, 3, 4 / np.sqrt(12)), (lambda i, t: i.normal_(t, 0.0, 2.0), -12, 12, 2.0),
    (lambda i, t: i.trunc_normal_(t, std=1.0), -2, 2, 0.8796), (lambda i, t: i.xavier_uniform_(t, gain=2.0), -0.35, 0.35, 0.2),
    (lambda i, t: i.xavier_normal_(t), -1, 1, 0.1), (lambda i, t: i.kaiming_normal_(t, nonlinearity="relu"), -1, 1, 0.1414),
    (lambda i, t: i.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"), -0.25, 0.25, 0.1414),
    (lambda i, t: i.constant_(t, 2.5), 2.5, 2.5, 0), (lambda i, t: i.zeros_(t), 0, 0, 0), (lambda i, t: i.ones_(t), 1, 1, 0),
])  # fmt: skip
def test_init(engine, fill, low, high, std):
    """Each filler fills in place and unrecorded, returns its tensor, and has the range and deviation documented."""
    t = engine.empty(100, 100, requires_grad=True)
    engine.manual_seed(3)
    assert fill(engine.nn.init, t) is t
    values = t.detach().numpy()
    assert values.min() >= low - 1e-6
    assert values.max() <= high + 1e-6
    assert abs(values.std() - std) <= 0.03 * std
    assert t.is_leaf


def test_structured_init(engine):
    """eye_, dirac_ and orthogonal_ give the identity, the identity convolution and orthonormal rows."""
    init = engine.nn.init
    assert init.eye_(engine.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = engine.randn(1, 3, 5, 5)
    kernel = init.dirac_(engine.empty(3, 3, 3, 3))
    assert bool((engine.nn.functional.conv2d(x, kernel, padding=1) == x).all())
    q = init.orthogonal_(engine.empty(3, 5)).numpy()
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-5)


# --- utilities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clip_grad_norm(engine, norm_type):
    """Gradients are scaled to the norm asked for, together; the norm before is returned."""
    ps = [
        engine.nn.Parameter(engine.zeros(2)),
        engine.nn.Parameter(engine.zeros(1)),
        engine.nn.Parameter(engine.zeros(1)),
    ]
    ps[0].grad, ps[1].grad = engine.tensor([3.0, 0.0]), engine.tensor([-4.0])
    expected = {2.0: 5.0, 1.0: 7.0, float("inf"): 4.0}[norm_type]
    total = engine.nn.utils.clip_grad_norm_(ps, 1.0, norm_type)
    assert total.item() == expected
    np.testing.assert_allclose([ps[0].grad[0].item(), ps[1].grad[0].item()], [3 / expected, -4 / expected], rtol=1e-5)
    engine.nn.utils.clip_grad_norm_(ps, 100.0, norm_type)
    np.testing.assert_allclose(ps[0].grad[0].item(), 3 / expected, rtol=1e-5)


def test_clip_grad_errors_and_values(engine):
    """A non-finite norm raises where asked to; clip_grad_value_ clamps elements."""
    p = engine.nn.Parameter(engine.zeros(2))
    p.grad = engine.tensor([float("nan"), 5.0])
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        engine.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    p.grad = engine.tensor([-7.0, 0.5])
    engine.nn.utils.clip_grad_value_([p], 1)
    assert p.grad.tolist() == [-1.0, 0.5]


def test_parameters_as_a_vector(engine):
    """parameters_to_vector is recorded; vector_to_parameters makes the data slices of the vector."""
    m = engine.nn.Linear(2, 1)
    v = engine.nn.utils.parameters_to_vector(m.parameters())
    assert v.shape == (3,)
    v.sum().backward()
    assert m.weight.grad.tolist() == [[1.0, 1.0]]
    engine.nn.utils.vector_to_parameters(engine.tensor([1.0, 2.0, 3.0]), m.parameters())
    assert (m.weight.tolist(), m.bias.tolist()) == ([[1.0, 2.0]], [3.0])


def test_parameter(engine):
    """A Parameter is a tracked leaf on the same memory; it prints, copies and is recognised as one."""
    x = engine.ones(2)
    p = engine.nn.Parameter(x)
    assert p.data_ptr() == x.data_ptr()
    assert p.requires_grad
    assert p.is_leaf
    assert not engine.nn.Parameter(x, requires_grad=False).requires_grad
    assert isinstance(p, engine.Tensor)
    assert isinstance(copy.deepcopy(p), engine.nn.Parameter)
    assert type(p * 2) is engine.Tensor
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"


def test_buffer(engine):
    """A Buffer assigned to a module is registered, persistent or not."""
    m = engine.nn.Module()
    m.a = engine.nn.Buffer(engine.ones(1))
    m.b = engine.nn.Buffer(engine.ones(1), persistent=False)
    assert list(m.state_dict()) == ["a"]
    assert [n for n, _ in m.named_buffers()] == ["a", "b"]
