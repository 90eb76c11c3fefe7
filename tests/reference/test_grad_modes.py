"""Grad modes in any nesting and order do what they do on torch."""

from __future__ import annotations

import asyncio

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
