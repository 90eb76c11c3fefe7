"""make_fx and functionalize: the operators that torch lists, and the same values and effects for other inputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

import reference_engine as torch
from reference_engine.fx.experimental.proxy_tensor import make_fx

functionalize = torch.func.functionalize
FORMS = {
    "as it is": lambda f, functionalize: f,
    "mutations": lambda f, functionalize: functionalize(f),
    "mutations_and_views": lambda f, functionalize: functionalize(f, remove="mutations_and_views"),
}


def through_a_view(t: Any, a: Any) -> Any:
    b = a + 1
    b.view(-1).add_(1)
    return b


def through_views_of_views(t: Any, a: Any) -> Any:
    b = a * 2
    b[0].mul_(3)
    c = b.t()
    c[1:].add_(b.sum())
    return c, b


def into_the_input(t: Any, a: Any) -> Any:
    a.mul_(2)
    a[0] = 5.0
    return a.sum()


def made_inside(t: Any, a: Any) -> Any:
    b = t.zeros(2, 2)
    b.copy_(a)
    b.transpose(0, 1)[0].fill_(1)
    return b


def matrices(t: Any, a: Any) -> Any:
    return (
        t.nn.functional.relu(a @ a).mean(0),
        t.nn.functional.linear(a, t.ones(3, 2), t.ones(3)),
        a.sum(dim=1, keepdim=True),
    )


def numbers(t: Any, a: Any) -> Any:
    return t.softmax(a, -1) * 2 - 1, (1 - a) / a**2, a.clamp(min=0), 2**a, a % 2


def parts(t: Any, a: Any) -> Any:
    x, y = a.chunk(2)
    x.add_(y)
    first, rest = t.split(a.flatten(), [1, 3])
    rest.mul_(2)
    return t.cat([x, y]), first, a.split(1)


def several_results(t: Any, a: Any) -> Any:
    return a.max(0)[0], a.unbind(0)[1].exp_()


def diagonals(t: Any, a: Any) -> Any:
    a.diagonal().zero_()
    return a.unsqueeze(0).expand(3, 2, 2).clone()


def squeezed(t: Any, a: Any) -> Any:
    b = a.clone()
    v = b.unsqueeze(0).permute(2, 0, 1)
    v.mul_(2)
    v.squeeze(1).sub_(1)
    b.as_strided((2,), (3,), 0).neg_()
    return b, v


def chosen(t: Any, a: Any) -> Any:
    return t.where(a > 1, a, t.zeros_like(a)), {"x": a[:, 1], "y": (a[0, 0], a.double().sum().float())}


def of_loops(t: Any, a: Any) -> Any:
    for i in range(2):
        a[i].add_(i)
    b = a.transpose(0, 1)
    b[0].mul_(a[0])
    return b.sum(), a


def gradients(t: Any, a: Any) -> Any:
    return t.func.grad(lambda x: (x.sin() * x).sum())(a)


def gradients_of_changes(t: Any, a: Any) -> Any:
    def f(x: Any) -> Any:
        y = x * 2
        y.mul_(x)
        return y.sum()

    return t.func.grad(f)(a)


ALL = [through_a_view, through_views_of_views, into_the_input, made_inside, matrices, numbers, parts, several_results,
       diagonals, squeezed, chosen, of_loops, gradients, gradients_of_changes]  # fmt: skip
programs = pytest.mark.parametrize("program", ALL, ids=lambda f: f.__name__)
forms = pytest.mark.parametrize("form", FORMS)


def matrix(t: Any, *values: float) -> Any:
    return t.tensor([values[:2], values[2:]])


def flat(tree: Any) -> list:
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (tuple, list)) else None
    return [tree] if parts is None else [leaf for part in parts for leaf in flat(part)]


def targets(module: Any) -> list[str]:
    return [str(n.target) for n in module.graph.nodes if n.op == "call_function" and "getitem" not in str(n.target)]


@programs
@forms
def test_operators_are_torchs(program: Callable, form: str) -> None:
    """The same operators in the same order, as they are, without changes in place, and without views."""
    original = pytest.importorskip("torch")
    theirs = importlib.import_module("torch.fx.experimental.proxy_tensor").make_fx
    own = make_fx(FORMS[form](lambda a: program(torch, a), functionalize))(matrix(torch, 1.0, 2.0, 3.0, 4.0))
    other = FORMS[form](lambda a: program(original, a), original.func.functionalize)
    assert targets(own) == targets(theirs(other)(matrix(original, 1.0, 2.0, 3.0, 4.0)))


@programs
@forms
def test_a_graph_computes_for_other_inputs(program: Callable, form: str) -> None:
    """Values and changes of the input are those of the function, also where the example had other elements."""
    module = make_fx(FORMS[form](lambda a: program(torch, a), functionalize))(matrix(torch, 1.0, 2.0, 3.0, 4.0))
    for values in ((0.5, -1.5, 2.0, 1.25), (3.0, 0.25, -1.0, 7.0)):
        given, same = matrix(torch, *values), matrix(torch, *values)
        found, wanted = module(given), program(torch, same)
        assert [x.tolist() for x in flat(found)] == [x.tolist() for x in flat(wanted)]
        assert given.tolist() == same.tolist()


@programs
def test_nothing_is_changed_in_place_but_inputs_at_the_end(program: Callable) -> None:
    """After functionalize only copy_ into an input is left, and with views removed no view."""
    module = make_fx(functionalize(lambda a: program(torch, a), remove="mutations_and_views"))(
        matrix(torch, 1.0, 2.0, 3.0, 4.0)
    )
    calls = [n for n in module.graph.nodes if n.call is not None]
    changing = [n for n in calls if n.call.changes]
    assert all(str(n.target) == "aten.copy_.default" and n.args[0].op == "placeholder" for n in changing)
    assert not any(n.call.view and not n.call.copies for n in calls)


def test_the_code_is_a_function_of_python() -> None:
    """A line per node; a name is dropped after its last use; names are Python's to use."""
    module = make_fx(lambda a, n: (a * n).sum().max(0)[0] + 1)(torch.ones(2), 3)
    assert (
        module.code
        == """


def forward(self, a_1, n_1):
    mul = torch.ops.aten.mul.Tensor(a_1, 3);  a_1 = None
    sum_1 = torch.ops.aten.sum.default(mul);  mul = None
    max_1 = torch.ops.aten.max.dim(sum_1, 0);  sum_1 = None
    getitem = max_1[0]
    getitem_1 = max_1[1];  max_1 = getitem_1 = None
    add = torch.ops.aten.add.Tensor(getitem, 1);  getitem = None
    return add
    """
    )
    nodes = {node.name: node for node in module.graph.nodes}
    assert [nodes["mul"].op, nodes["mul"].args, str(nodes["mul"].target)] == [
        "call_function", (nodes["a_1"], 3), "aten.mul.Tensor"]  # fmt: skip
    assert list(nodes["getitem"].users) == [nodes["add"]]


def test_tensors_from_outside_stay_what_they_are() -> None:
    """A tensor that the function did not make is a constant, and keeps its history."""
    w = torch.ones(2, requires_grad=True)
    module = make_fx(lambda a: a * w + w)(torch.ones(2))
    assert [n.target for n in module.graph.nodes if n.op == "get_attr"] == ["_tensor_constant0"] * 2
    module(torch.tensor([2.0, 3.0])).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [3.0, 4.0]


def test_transforms_inside_are_recorded_with_what_they_call() -> None:
    """grad, jvp and vmap of functions, and what they compute for other inputs."""
    cube = lambda x: (x**3).sum()
    ones, x = torch.ones(2), torch.tensor([2.0, 3.0])
    assert make_fx(torch.func.grad(cube))(ones)(x).tolist() == [12.0, 27.0]
    assert (
        make_fx(torch.func.vmap(lambda a: a.sin() * a.sum()))(torch.ones(2, 2))(torch.zeros(2, 2)).tolist()
        == [[0.0] * 2] * 2
    )
    assert make_fx(torch.func.vmap(torch.func.grad(cube)))(torch.ones(1, 2))(x.reshape(1, 2)).tolist() == [[12.0, 27.0]]
    value, pushed = make_fx(lambda a: torch.func.jvp(cube, (a,), (a,)))(ones)(x)
    assert (value.item(), pushed.item()) == (35.0, 105.0)
    nested = make_fx(torch.func.grad(functionalize(lambda a: a.clone().mul_(a).mul_(a).sum())))(ones)
    assert nested(x).tolist() == [12.0, 27.0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a: a if a.sum() > 0 else -a, "data-dependent control flow"),
        (lambda a: a * a[0].item(), "data-dependent control flow"),
        (lambda a: torch.tensor([a[0], 2.0]), "data-dependent control flow"),
        (lambda a: torch.full((2,), a[0]), "data-dependent control flow"),
        (lambda a: a[a > 0], "data-dependent control flow"),
        (lambda a: OUTSIDE.add_(a), "a tensor from outside of the traced function is changed"),
        (functionalize(lambda a: a.unfold(0, 1, 1).add_(1)), "through unfold has no form"),
    ],
)
def test_what_has_no_form_in_a_graph_is_refused(function: Callable, message: str) -> None:
    """Elements that Python reads would become constants; the modes are put back."""
    with pytest.raises(RuntimeError, match=message):
        make_fx(function)(torch.ones(2))
    assert (torch.ones(2) + 1).tolist() == [2.0, 2.0]
    assert OUTSIDE.tolist() == [1.0, 1.0]


OUTSIDE = torch.ones(2)


def test_options_that_are_not_there_are_refused() -> None:
    """Tracing for other sizes and decompositions are not made; another form of inputs is not run."""
    with pytest.raises(AssertionError, match="must be real/fake/symbolic, got other"):
        make_fx(torch.sin, tracing_mode="other")
    with pytest.raises(NotImplementedError, match="sizes"):
        make_fx(torch.sin, tracing_mode="symbolic")
    module = make_fx(lambda a: a["x"] + 1)({"x": torch.ones(2)})
    assert module({"x": torch.zeros(2)}).tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="inputs of the form"):
        module(torch.zeros(2))
