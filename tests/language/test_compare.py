"""Laws of comparing values."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.language.compare import compare, identical
from conformance.outcome import Items, TensorValue

numbers = st.floats(width=32)
arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=numbers)


def tensor(array: np.ndarray) -> TensorValue:
    return TensorValue(str(array.dtype), array.shape, array.tobytes())


def nested(value):
    return Items("list", tuple(nested(v) for v in value)) if isinstance(value, list) else value


@given(arrays)
def test_a_tensor_agrees_with_itself(array):
    """Reflexive, NaN and infinities included, also bit for bit."""
    assert compare(tensor(array), tensor(array), None).agrees
    assert identical(tensor(array), tensor(array))


@given(arrays, arrays)
def test_agreeing_is_symmetric(a, b):
    """Which side is called expected does not matter."""
    assert compare(tensor(a), tensor(b), None).agrees == compare(tensor(b), tensor(a), None).agrees


@given(arrays)
def test_a_tensor_agrees_with_its_nested_list(array):
    """`x == x.tolist()` holds for every tensor."""
    if array.size or array.ndim == 1:
        assert compare(tensor(array), nested(array.tolist()), None).agrees


@given(hnp.arrays(np.float32, st.integers(1, 6), elements=st.floats(-100, 100, width=32)), st.data())
def test_one_wrong_element_is_seen_and_named(array, data):
    """However long the tensor, one element that is off by a thousandth fails, and the measure points at it."""
    index = data.draw(st.integers(0, len(array) - 1))
    wrong = array.copy()
    wrong[index] += max(abs(wrong[index]), 1) * np.float32(1e-3)
    found = compare(tensor(wrong), tensor(array), None)
    assert not found.agrees
    assert found.measure.index == (index,)


@given(arrays)
def test_values_agree_across_precisions_and_never_across_shapes(array):
    """`==` is about values and shape: the dtype of what an assertion looked at is compared with the oracle's instead."""
    assert compare(tensor(array), tensor(array.astype(np.float64)), None).agrees
    assert compare(tensor(array), tensor(array[None]), None).finding == "shape"


@given(st.booleans())
def test_a_bool_is_never_a_number(value):
    """True is not 1 and False is not 0."""
    assert not compare(value, int(value), None).agrees
    assert not compare(int(value), value, None).agrees


def test_identical_sees_signs_of_zero_and_not_kinds_of_nan():
    """Bit for bit, where any NaN equals any NaN."""
    zero = np.zeros(1, np.float32)
    assert not identical(tensor(zero), tensor(-zero))
    other_nan = np.array([0x7FC00001], np.uint32).view(np.float32)
    assert identical(tensor(np.array([np.nan], np.float32)), tensor(other_nan))
