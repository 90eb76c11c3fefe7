"""Grad modes in any nesting and order do what they do on torch."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_engine as engine

torch = pytest.importorskip("torch")

MODES = {
    "no_grad": lambda t: t.no_grad(),
    "enable_grad": lambda t: t.enable_grad(),
    "on": lambda t: t.set_grad_enabled(True),
    "off": lambda t: t.set_grad_enabled(False),
    "inference": lambda t: t.inference_mode(),
    "normal": lambda t: t.inference_mode(False),
}
programs = st.recursive(
    st.just([]),
    lambda inner: st.lists(
        st.tuples(
            st.sampled_from([*MODES, "call on", "call off", "raise"]), st.sampled_from(["with", "def", "yield"]), inner
        ),
        max_size=3,
    ),
    max_leaves=8,
)


class Stop(Exception):
    """Leaves blocks in the middle."""


def observe(namespace, seen):
    """Notes the modes, and the flags of tensors that are made and computed under them."""
    x = namespace.ones(2, requires_grad=True)
    y = x * 2
    seen.append((
        namespace.is_grad_enabled(), namespace.is_inference_mode_enabled(), y.requires_grad, y.is_inference(),
        y.detach().is_inference(), x.clone().is_leaf, x.is_inference(),
    ))  # fmt: skip


def run(namespace, program, seen):
    """Runs nested modes, as blocks, decorated functions and decorated generators."""
    observe(namespace, seen)
    for mode, form, inner in program:
        if mode == "raise":
            raise Stop
        if mode.startswith("call"):
            namespace.set_grad_enabled(mode == "call on")
        elif form == "with":
            with MODES[mode](namespace):
                run(namespace, inner, seen)
        elif form == "def":
            MODES[mode](namespace)(run)(namespace, inner, seen)
        else:

            def steps(inner=inner):
                run(namespace, inner, seen)
                yield
                run(namespace, inner, seen)

            for _ in MODES[mode](namespace)(steps)():
                observe(namespace, seen)
        observe(namespace, seen)


def history(namespace, program):
    """Everything observed, also after the whole."""
    seen = []
    with namespace.enable_grad():
        try:
            run(namespace, program, seen)
        except Stop:
            seen.append("stopped")
    observe(namespace, seen)
    return seen


@given(programs)
def test_nested_modes_do_as_on_torch(program):
    """Modes as blocks, decorators, generators and calls, in any nesting, left by exceptions or not."""
    assert history(engine, program) == history(torch, program)


@pytest.mark.parametrize("mode", ["no_grad", "off", "inference"])
def test_decorating_a_coroutine_function_wraps_the_call_only(mode):
    """The body of an async function runs later, in the mode of then."""

    @MODES[mode](engine)
    async def f():
        return engine.is_grad_enabled(), engine.is_inference_mode_enabled()

    assert asyncio.run(f()) == (True, False)


def test_a_decorated_generator_gives_its_mode_back_when_it_is_dropped():
    """Closing a suspended generator runs its end in the decorator's mode, and leaves the caller's alone."""
    ends = []

    @engine.no_grad()
    def g():
        try:
            yield
        finally:
            ends.append(engine.is_grad_enabled())

    suspended = g()
    next(suspended)
    assert engine.is_grad_enabled()
    del suspended
    assert ends == [False]
    assert engine.is_grad_enabled()


@pytest.mark.parametrize(("mode", "words"), [("no_grad", "no_grad mode"), ("inference", "inference mode")])
@pytest.mark.parametrize("namespace", [engine, torch], ids=["reference", "torch"])
def test_views_made_unrecorded_are_not_changed_in_recorded_code(namespace, mode, words):
    """The error names the mode in which the view was made; in that mode, and for a clone, the change is allowed."""
    base = namespace.ones(2, requires_grad=True) * 1
    with MODES[mode](namespace):
        view = base.view(-1)
        view.mul_(3)
        assert not view.is_inference()
    with pytest.raises(RuntimeError, match=f"A view was created in {words} and is being modified inplace"):
        view.mul_(2)
    assert view.detach().clone().mul_(2).tolist() == [6.0, 6.0]


@pytest.mark.parametrize("namespace", [engine, torch], ids=["reference", "torch"])
def test_whatever_is_made_in_inference_mode_is_an_inference_tensor(namespace):
    """Factories, data, drawn numbers, NumPy arrays and results; aliases of normal tensors stay normal."""
    normal = namespace.ones(2)
    with namespace.inference_mode():
        made = [
            namespace.tensor([1.0]), namespace.zeros_like(normal), normal.new_ones(2), namespace.rand(2), namespace.randn(2),
            namespace.randperm(3), namespace.arange(2), namespace.from_numpy(np.ones(2)), normal + 1,
            normal.to(namespace.float64),
        ]  # fmt: skip
        aliases = [normal.detach(), normal.view(2, 1), normal.to(namespace.float32), normal.contiguous(), normal[0]]
    assert [t.is_inference() for t in made] == [True] * len(made)
    assert [t.is_inference() for t in aliases] == [False] * len(aliases)
