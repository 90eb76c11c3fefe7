"""Plain values as JSON values: every value has a short one, and none breaks the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.outcome import Items, Mapping, Number, Observation, Opaque, TensorValue
from conformance.records import Result
from conformance.results import encode
from conformance.running.shown import SHOWN_ELEMENTS, digest, observed, seconds, shown


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


@given(st.floats(width=32))
def test_narrow_floats_are_short_and_exact(number):
    """A float32 is written with at most 9 digits, and reads back as the same float32, the sign of zero included."""
    found = shown(tensor(np.float32([number])))["value"][0]
    assert np.float32(found).tobytes() == np.float32(number).tobytes() or number != number
    digits = repr(found).partition("e")[0].replace(".", "").lstrip("-0").rstrip("0")
    assert len(digits) <= 9 or not np.isfinite(found) or abs(found) >= 1e9


def test_a_digest_tells_bits_and_no_addresses():
    """Any bit of a tensor counts, and its gradient's; the text of what is not looked into may hold an address, and does not."""
    one, other = np.float64([0.0]), np.float64([-0.0])
    state = {"x": tensor(one), "held": Items("list", (Opaque("Node", "<Node at 0x1>"),))}
    assert digest(state) == digest(state | {"held": Items("list", (Opaque("Node", "<Node at 0x2>"),))})
    assert digest(state) != digest(state | {"x": tensor(other)})
    assert digest(state) != digest(state | {"x": TensorValue("float64", (1,), one.tobytes(), grad=tensor(one))})
    assert digest(state) != digest(state | {"held": Mapping({"0": Opaque("Node", "")})})
    assert digest({}) is None


@pytest.mark.parametrize(
    ("kind", "agrees", "expected", "kept"), [("==", True, 1, None), ("==", False, 1, 1), ("<", True, 2, 2)]
)
def test_an_equality_that_holds_says_its_value_once(kind, agrees, expected, kept):
    """The expectation is left out where it says nothing that the value does not."""
    line = encode(
        Result("a/b", "e", "cpu", "pass", [observed(Observation(0, 3, 1, 0, kind, "x", 1, expected, agrees))])
    )
    assert (b"expected" in line, b'kind":"==' in line) == (kept is not None, False)
    assert observed(Observation(0, 3, 1, 0, kind, "x", 1, expected, agrees)).expected == kept


def test_times_have_three_digits():
    """More digits of a time are noise."""
    assert [seconds(x) for x in (0.000123456, 1.23456, 0.0)] == [0.000123, 1.23, 0.0]


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
