"""Drawn data: the documented formulas, bit for bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from conformance.case import Given
from conformance.drawing import DEFAULTS, DTYPES, draw

GIVEN = st.builds(
    Given,
    name=st.just("x"),
    distribution=st.sampled_from(sorted(DEFAULTS)),
    shape=array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    seed=st.integers(0, 2**63),
    dtype=st.sampled_from(sorted(DTYPES)),
)


@given(GIVEN)
def test_the_same_description_gives_the_same_bits(data: Given) -> None:
    """Drawing depends on the description alone: not on what was drawn before, nor on its name."""
    first = draw(data).tobytes()
    draw(Given("y", "normal", (3,), data.seed + 1))
    assert draw(Given("z", data.distribution, data.shape, data.seed, data.dtype)).tobytes() == first


@given(GIVEN)
def test_shape_and_dtype(data: Given) -> None:
    """The array has the shape and dtype that are asked for; bfloat16 comes as float32. It cannot be changed."""
    array = draw(data)
    assert array.shape == data.shape
    assert array.dtype == ("float32" if data.dtype == "bfloat16" else data.dtype)
    assert not array.flags.writeable


@given(GIVEN)
def test_bounds(data: Given) -> None:
    """Uniform lies in [0, 1), integers in 0..9, bernoulli is 0 or 1."""
    if data.dtype.startswith("complex") or data.dtype == "bool" or data.distribution == "normal":
        return
    array = draw(data).astype(np.float64)
    low, high = {"uniform": (0, 1), "integers": (0, 9), "bernoulli": (0, 1)}[data.distribution]
    assert ((array >= low) & (array <= high)).all()


def test_formulas() -> None:
    """Each distribution is the documented expression of NumPy's Philox generator."""

    def generator() -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=7))

    shape = (2, 3)
    cases = {
        ("normal", (("mean", 1.0), ("std", 2.0))): 1.0 + 2.0 * generator().standard_normal(shape),
        ("uniform", (("low", -1.0), ("high", 3.0))): -1.0 + 4.0 * generator().random(shape),
        ("integers", (("low", -5), ("high", 5))): generator().integers(-5, 5, shape).astype(float),
        ("bernoulli", (("p", 0.25),)): (generator().random(shape) < 0.25).astype(float),
    }
    for (distribution, parameters), expected in cases.items():
        found = draw(Given("x", distribution, shape, 7, "float64", dict(parameters)))
        assert found.tobytes() == expected.tobytes()


def test_complex_draws_real_parts_first() -> None:
    """One stream: all real parts, then all imaginary parts."""
    g = np.random.Generator(np.random.Philox(key=7))
    real, imaginary = g.standard_normal(3), g.standard_normal(3)
    assert draw(Given("x", "normal", (3,), 7, "complex128")).tolist() == (real + 1j * imaginary).tolist()


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (Given("x", "normal", (100,), 0, "float64"), "682cbbedaceed5b0"),
        (Given("x", "uniform", (100,), 1, "float64"), "d71ddbcb01959a75"),
        (Given("x", "integers", (100,), 2, "int64"), "629379d0d9cdbb7e"),
        (Given("x", "bernoulli", (100,), 3, "bool"), "e6fff5b1596ef3eb"),
    ],
)
def test_the_stream_never_changes(data: Given, digest: str) -> None:
    """The bits of released cases are pinned: a NumPy with another stream is noticed here."""
    assert hashlib.sha256(draw(data).tobytes()).hexdigest()[:16] == digest


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99), max_value=2.0**99))
def test_bfloat16_is_rounded_to_nearest(value: float) -> None:
    """The nearest bfloat16, ties to even, as torch rounds."""
    torch = pytest.importorskip("torch")
    from conformance.drawing import _round_to_bfloat16

    found = _round_to_bfloat16(np.asarray([value], dtype=np.float32))
    assert found.tolist() == torch.tensor([value], dtype=torch.float32).to(torch.bfloat16).tolist()
