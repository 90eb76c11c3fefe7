"""Modules: registration, walking, state, modes, containers, and what torch says when they are misused."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest

import reference_engine as T
from tests.reference.networks import resnet18


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
    assert repr(result) == "_IncompatibleKeys(missing_keys=['seen'], unexpected_keys=['extra.weight'])"
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
    assert m.bfloat16() is m
    assert weight.dtype == engine.bfloat16
    assert m.to_empty(device="cpu").first.weight.shape == weight.shape


def test_deep_copy_is_independent(engine):
    """A deep copy has its own parameters and the same structure."""
    m = net(engine)
    other = copy.deepcopy(m)
    with engine.no_grad():
        other.first.weight.zero_()
    assert bool(m.first.weight.any())
    assert repr(m) == repr(other)


def test_deep_copies_have_no_gradient(engine):
    """A Parameter's deep copy is a Parameter without the gradient; one under two names stays one."""
    m = engine.nn.Linear(2, 1)
    m.alias = m.weight
    m(engine.ones(2)).backward()
    other = copy.deepcopy(m)
    assert m.weight.grad is not None
    assert other.weight.grad is None
    assert other.alias is other.weight
    assert isinstance(other.weight, engine.nn.Parameter)
    assert other.requires_grad_(False) is other
    assert not copy.deepcopy(other.weight).requires_grad


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
