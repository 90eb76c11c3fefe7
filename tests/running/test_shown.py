"""Plain values as JSON values: every value has a short one, and none breaks the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.outcome import Items, Mapping, Number, Opaque, TensorValue
from conformance.records import Result
from conformance.results import encode
from conformance.running.shown import SHOWN_ELEMENTS, shown


def tensor(array):
    return TensorValue(str(array.dtype), array.shape, array.tobytes())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**70, str(2**70)),
        ("\ud800", "\\ud800"),
        (Number(1.0, -2.0), {"real": 1.0, "imag": -2.0}),
        (Items("tuple", (1, Items("list", ()))), [1, []]),
        (Mapping({"a": 1.0}), {"a": 1.0}),
        (Opaque("function", "f"), {"type": "function", "text": "f"}),
        (tensor(np.float32([1.5, 2.0])), {"dtype": "float32", "shape": [2], "value": [1.5, 2.0]}),
        (tensor(np.array(True)), {"dtype": "bool", "shape": [], "value": True}),
        (tensor(np.zeros((0, 3))), {"dtype": "float64", "shape": [0, 3], "value": []}),
        (tensor(np.complex64([1 + 2j])),
         {"dtype": "complex64", "shape": [1], "value": [[1.0, 2.0]], "complex": True}),
        (TensorValue("unheard-of", (1,), b"ab"), {"dtype": "unheard-of", "shape": [1], "bytes": "6162"}),
    ],
)  # fmt: skip
def test_values_as_json(value, expected):
    """Each kind of value has one JSON form."""
    assert shown(value) == expected


def test_a_large_tensor_is_summed_up():
    """Beyond the limit the record holds range, mean and digest instead of the elements."""
    found = shown(tensor(np.arange(SHOWN_ELEMENTS + 1, dtype=np.float32)))
    assert (found["value"], found["min"], found["max"], found["mean"]) == (None, 0.0, 64.0, 32.0)
    assert len(found["sha256"]) == 16


def test_flags_and_gradients_are_shown():
    """requires_grad, is_leaf and grad where they were looked at."""
    one = np.float32([1.0])
    value = TensorValue("float32", (1,), one.tobytes(), True, False, tensor(one))
    assert shown(value)["requires_grad"] is True
    assert shown(value)["is_leaf"] is False
    assert shown(value)["grad"]["value"] == [1.0]


@given(st.recursive(st.text() | st.integers() | st.floats(), lambda x: st.builds(lambda v: Items("list", tuple(v)),
       st.lists(x)) | st.builds(Mapping, st.dictionaries(st.text(), x))))  # fmt: skip
def test_whatever_is_shown_can_be_written(value):
    """Any text, any integer, any depth makes one line of a result file."""
    line = encode(Result("a/b", "e", "cpu", "pass", state={"x": shown(value)}))
    assert line.count(b"\n") == 1


def test_long_things_are_cut():
    """A text or list beyond its limit says how much there is."""
    assert shown("x" * 3000).endswith("(3000 characters)")
    assert shown(Items("list", tuple(range(150))))[-1] == "... (50 more)"
    assert shown(Mapping({str(n): n for n in range(150)}))["..."] == "... (50 more)"
