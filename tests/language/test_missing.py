"""Telling what an engine lacks from what it does wrong: the first is `unsupported`, the second is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conformance.engines import TorchLike, Unsupported
from tests.language.programs import run


class Tiny:
    """A tensor of few talents: `backward` takes no argument, there is addition only."""

    dtype, shape, requires_grad, is_leaf, grad = "float32", (1,), False, True, None

    def __init__(self, values: Any) -> None:
        self.values = values

    def tolist(self) -> Any:
        return self.values

    def __add__(self, other: Any) -> Tiny:
        return Tiny(self.values)

    def backward(self) -> None:
        raise RuntimeError("no graph here")

    def broken(self) -> Any:
        return self._inner.shape

    def wraps(self) -> Any:
        raise RuntimeError("from below") from Unsupported("Tensor.wraps")


class Lazy(Tiny):
    """Looks its attributes up itself, in Python."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Lazy has no {name}", name=name, obj=self)


def tiny(kind: type[Tiny] = Tiny, **names: Any) -> TorchLike:
    return TorchLike(SimpleNamespace(tensor=lambda values, **_: kind(values), Tensor=kind, **names), name="tiny")


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("x.sinh()", "Tiny.sinh"),
        ("x.T", "Tiny.T"),
        ("x @ x", "Tiny.__matmul__"),
        ("x * 2", "Tiny.__mul__"),
        ("x ** 2", "Tiny.__pow__"),
        ("x < 2.0", "Tiny.__lt__"),
        ("-x", "Tiny.__neg__"),
        ("x[0]", "Tiny.__getitem__"),
        ("x[0] = 1.0", "Tiny.__setitem__"),
        ("len(x)", "Tiny.__len__"),
        ("[v for v in x]", "Tiny.__iter__"),
        ("x.backward(retain_graph=True)", "Tiny.backward(retain_graph=)"),
        ("x.backward(x)", "Tiny.backward() takes 1 positional argument but 2 were given"),
        ("torch.autograd", "autograd"),
        ("x.wraps()", "Tensor.wraps"),
    ],
)
def test_what_an_engine_lacks_is_named(statement, name):
    """Attributes, operators, parameters and paths, as a program would spell them; nothing else is said to be wrong."""
    end = run(f"x = torch.tensor([1.0])\n{statement}", tiny())
    assert end.missing == (name,)
    assert end.error is None


def test_an_engines_own_lookup_in_python_counts_as_pythons():
    """`__getattr__` may raise the AttributeError itself."""
    assert run("x = torch.tensor([1.0])\nx.sinh()", tiny(Lazy)).missing == ("Lazy.sinh",)


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("x = torch.tensor([1.0])\nx.broken()", "AttributeError"),  # inside the engine
        ("x = torch.tensor([1.0])\nx.grad.shape", "AttributeError"),  # None has no shape: the gradient is missing
        ("x = torch.tensor([1.0])\nx.backward()", "RuntimeError"),
        ("def f(a): return a\nf(1, 2)", "TypeError"),  # the program's own function
        ("f = lambda: 1\nf(2)", "TypeError"),
        ("x = torch.tensor([1.0])\nx + {}.nothing", "AttributeError"),  # Python's own objects
        (
            "class A:\n    def set(self): self.kept = 1\na = A()\na.kept",
            "AttributeError",
        ),  # the program's own attribute
    ],
)
def test_what_an_engine_does_wrong_is_an_error(program, error):
    """An AttributeError or TypeError from elsewhere says nothing of what the engine spells."""
    end = run(program, tiny())
    assert end.missing == ()
    assert end.error is not None
    assert end.error.type == error


@pytest.mark.parametrize("block", ["RuntimeError", "(ValueError, RuntimeError)", "Exception"])
@pytest.mark.parametrize("statement", ["x.sinh()", "x @ x", "x.backward(retain_graph=True)", "x.wraps()"])
def test_what_an_engine_lacks_is_not_the_error_that_was_due(block, statement):
    """Whatever kind of lack, and however wide the type named, the block does not pass; the real error does."""
    end = run(f"x = torch.tensor([1.0])\nwith raises({block}):\n    {statement}", tiny())
    assert [o.agrees for o in end.observations] == [False]
    assert len(end.missing) == 1
    real = run(f"x = torch.tensor([1.0])\nwith raises({block}):\n    x.backward()", tiny())
    assert [o.agrees for o in real.observations] == [True]
    assert real.missing == ()


def test_a_type_that_is_named_may_come_from_a_lookup():
    """Where the documented error is AttributeError or TypeError itself, that is what the block takes."""
    end = run("""
        x = torch.tensor([1.0])
        with raises(AttributeError):
            x.sinh
        with raises(TypeError):
            x @ x
    """, tiny())  # fmt: skip
    assert [o.agrees for o in end.observations] == [True, True]
    assert end.missing == ()


def test_what_is_lacking_inside_an_assertion_is_named_and_the_program_goes_on():
    """One missing name hides nothing of what comes after it."""
    end = run("""
        x = torch.tensor([1.0])
        assert x.sinh() == [2.0]
        assert x == [1.0]
        assert x.cosh() == [2.0]
    """, tiny())  # fmt: skip
    assert end.missing == ("Tiny.sinh", "Tiny.cosh")
    assert [o.agrees for o in end.observations] == [False, True, False]


IMPORT = "from torch.autograd.gradcheck import get_numerical_jacobian as numerical\nassert numerical(1) == 2"
NEEDS = ("autograd.gradcheck:get_numerical_jacobian",)


@pytest.mark.parametrize("inner", [{}, {"autograd": SimpleNamespace()}, {"autograd": SimpleNamespace(gradcheck=abs)}])
def test_what_cannot_be_imported_is_missing_before_the_program_runs(inner):
    """By the module's name and its own; a function in the module's place has no such name."""
    end = run(IMPORT, tiny(**inner), requires=NEEDS)
    assert (end.missing, end.observations, end.error) == (NEEDS, [], None)


def test_a_namespace_that_is_no_package_offers_what_is_imported_as_an_attribute():
    """The module's path is one of attributes there."""
    helpers = SimpleNamespace(get_numerical_jacobian=lambda x: x + 1)
    end = run(IMPORT, tiny(autograd=SimpleNamespace(gradcheck=helpers)), requires=NEEDS)
    assert [o.agrees for o in end.observations] == [True]


def test_a_package_is_imported_from_where_the_attribute_is_something_else():
    """`reference_engine.autograd.gradcheck` is the function; the import takes the module of that path."""
    name = run("from torch.autograd.gradcheck import get_numerical_jacobian\n"
               "assert get_numerical_jacobian.__name__ == 'get_numerical_jacobian'", requires=NEEDS)  # fmt: skip
    assert [o.agrees for o in name.observations] == [True]
