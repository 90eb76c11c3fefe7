"""Compositions that are recorded as one node, and nodes with a number in the place of a tensor."""

from __future__ import annotations

import pytest

import reference_engine
from reference_engine.state import process


@pytest.fixture(params=["reference", "torch"])
def torch(request):
    """Both engines: what a test says holds on torch itself, too."""
    return reference_engine if request.param == "reference" else pytest.importorskip("torch")


# fmt: off
NODES = {
    "gelu": (lambda t, x, y: t.nn.functional.gelu(x), "GeluBackward0", 1),
    "elu": (lambda t, x, y: t.nn.functional.elu(x), "EluBackward0", 1),
    "softplus": (lambda t, x, y: t.nn.functional.softplus(x), "SoftplusBackward0", 1),
    "mish": (lambda t, x, y: t.nn.functional.mish(x), "MishBackward0", 1),
    "hardswish": (lambda t, x, y: t.nn.functional.hardswish(x), "HardswishBackward0", 1),
    "glu": (lambda t, x, y: t.nn.functional.glu(x), "GluBackward0", 1),
    "lerp": (lambda t, x, y: x.lerp(y, 0.3), "LerpBackward0", 2),
    "lerp by a tensor": (lambda t, x, y: x.lerp(y, y), "LerpBackward1", 3),
    "addcmul": (lambda t, x, y: t.addcmul(x, x, y), "AddcmulBackward0", 3),
    "dist": (lambda t, x, y: t.dist(x, y), "DistBackward0", 2),
    "aminmax": (lambda t, x, y: x.aminmax().max, "AminmaxBackward0", 1),
    "stack": (lambda t, x, y: t.stack([x, y, x]), "StackBackward0", 3),
    "masked_select": (lambda t, x, y: x.masked_select(x > 0), "MaskedSelectBackward0", 1),
    "index_add": (lambda t, x, y: x.index_add(0, t.tensor([1, 0]), y), "IndexAddBackward0", 2),
    "vdot": (lambda t, x, y: t.vdot(x, y), "VdotBackward0", 2),
    "sgn": (lambda t, x, y: t.sgn(x), "SgnBackward0", 1),
    "polar": (lambda t, x, y: t.polar(y, x), "PolarBackward0", 2),
    "number - tensor": (lambda t, x, y: 2 - x, "RsubBackward1", 1),
    "number ** tensor": (lambda t, x, y: 2**x, "PowBackward2", 1),
    "tensor % number": (lambda t, x, y: x % 2, "RemainderBackward0", 1),
    "tensor % tensor": (lambda t, x, y: x % y, "RemainderBackward1", 2),
    "xlogy(number, tensor)": (lambda t, x, y: t.xlogy(2.0, y), "XlogyBackward1", 1),
    "squeeze": (lambda t, x, y: x.squeeze(), "SqueezeBackward0", 1),
    "squeeze(dim)": (lambda t, x, y: x.squeeze(0), "SqueezeBackward1", 1),
    "squeeze(dims)": (lambda t, x, y: x.squeeze((0,)), "SqueezeBackward2", 1),
    "prod": (lambda t, x, y: x.prod(), "ProdBackward0", 1),
    "prod(dim)": (lambda t, x, y: x.prod(0), "ProdBackward1", 1),
}
# fmt: on


@pytest.mark.parametrize("name", NODES)
def test_the_node_that_torch_has(torch, name):
    """The name of the node and the number of its inputs."""
    call, node, count = NODES[name]
    x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([0.5, -0.25], [2.0, 0.75]))
    made = call(torch, x, y).grad_fn
    assert (type(made).__name__, len(made.next_functions)) == (node, count)


SMOOTH = [n for n in NODES if n not in ("polar", "sgn", "number - tensor") and "squeeze" not in n]


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_those_of_the_composition(name, monkeypatch):
    """First and second derivatives are those of the same program recorded operator by operator."""
    call = NODES[name][0]

    def derivatives():
        t = reference_engine
        x, y = (t.tensor(v, dtype=t.float64, requires_grad=True) for v in ([0.5, -0.25], [2.0, 0.75]))
        first = t.autograd.grad(call(t, x, y).square().sum(), (x, y), create_graph=True, allow_unused=True)
        total = sum((g * g).sum() for g in first if g is not None)
        second = t.autograd.grad(total, (x, y), allow_unused=True) if total.requires_grad else ()
        return [g.tolist() for g in (*first, *second) if g is not None]

    whole = derivatives()
    monkeypatch.setattr(process, "one_node", False)
    for got, expected in zip(whole, derivatives(), strict=True):
        assert got == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "arguments", "node"),
    [("t_", (), "TBackward1"), ("transpose_", (0, 1), "TransposeBackward1"), ("squeeze_", (), "SqueezeBackward3"),
     ("squeeze_", (0,), "SqueezeBackward4"), ("unsqueeze_", (0,), "UnsqueezeBackward1")],
)  # fmt: skip
def test_a_tensor_that_becomes_its_own_view(torch, name, arguments, node):
    """The node has another name than that of a view; the gradient is in the shape of before."""
    x = torch.ones(2, 1, requires_grad=True)
    y = x * 1
    getattr(y, name)(*arguments)
    assert type(y.grad_fn).__name__ == node
    y.sum().backward()
    assert x.grad.tolist() == [[1.0], [1.0]]


def test_a_second_backward_raises(torch):
    """What a composition saved is freed; with retain_graph it is not."""
    x = torch.tensor([0.5, 1.5], requires_grad=True)
    y = torch.nn.functional.gelu(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_a_recorded_gradient_and_the_result_in_one_pass(torch):
    """Nodes within are reached from outside by a recorded gradient: neither way frees them for the other."""
    x = torch.tensor([-0.5, 1.5], dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.elu(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (y.sum() + g.sum()).backward()
    slope = torch.tensor([-0.5], dtype=torch.float64).exp().item()
    assert x.grad.tolist() == pytest.approx([2 * slope, 1.0])


@pytest.mark.parametrize("name", ["elu_", "selu_", "celu_"])
def test_in_place_within_a_view(torch, name):
    """A composition in place keeps what it saved of the values that it overwrites."""
    x = torch.tensor([-0.5, -0.25, 2.0], dtype=torch.float64, requires_grad=True)
    y, z = x * 1, x * 1
    getattr(torch.nn.functional, name)(y[:2])
    y.sum().backward()
    got, x.grad = x.grad, None
    torch.cat([getattr(torch.nn.functional, name[:-1])(z[:2]), z[2:]]).sum().backward()
    assert got.tolist() == pytest.approx(x.grad.tolist())


def test_a_number_modulo_a_tensor_has_no_derivative(torch):
    """It is recorded, and backward raises; a tensor modulo a number has its derivative."""
    x = torch.tensor([1.5, 4.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="derivative for aten::remainder is not implemented"):
        (2 % x).sum().backward()
    (x % 2).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_the_recorded_gradient_of_relu_hangs_on_its_input(torch):
    """The second derivative is zeros, not None."""
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad(torch.relu(x).sum(), x, create_graph=True)
    assert torch.autograd.grad(g.sum(), x)[0].tolist() == [0.0, 0.0]
