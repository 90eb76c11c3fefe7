"""Text and values from engines are shown whole where they are short, harmless always."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.text import clean, clean_ends, one_line
from reports.values import number, show


@given(st.text(alphabet=st.characters(codec=None, categories=None)))
def test_clean_text_can_be_written_and_holds_no_control_character(text):
    """Whatever the text, what is shown is UTF-8, XML-safe, and acts on no terminal."""
    shown = clean(text)
    shown.encode("utf-8")
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert not any(0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 or ord(c) in (0xFFFE, 0xFFFF) for c in shown)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_clean_leaves_plain_text_alone(text):
    """Plain ASCII of ordinary length is shown as it is."""
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[31mred", "␛[31mred"), ("a\x00b", "a␀b"), ("\udc80", "\\udc80"), ("a\u202eb", "a\\u202eb"), ("\x7f", "␡")],
)
def test_what_acts_is_made_visible(text, shown):
    """ANSI codes, NUL, lone surrogates, bidirectional overrides and DEL become signs that do nothing."""
    assert clean(text) == shown


def test_a_long_text_says_what_is_cut():
    """A megabyte of text is cut where a reader sees it, with the number of characters left out."""
    assert clean("x" * 1_000_000) == "x" * 4_000 + "… [996,000 more characters]"
    ends = clean_ends("a" * 500_000 + "z" * 500_000, 100)
    assert ends.startswith("a" * 50)
    assert ends.endswith("z" * 50)
    assert "999,900 more characters" in ends


def test_one_line_has_no_line_breaks():
    """Messages of several lines fit into a table cell."""
    assert one_line(" a\n\n  b\tc ") == "a b c"


@given(st.floats(width=32, allow_nan=False))
def test_a_float32_reads_back_as_itself(value):
    """The digits shown for a float32 are those of that float32."""
    text = number(value, "float32")
    assert float(text) == value or struct.pack("f", float(text)) == struct.pack("f", value)


@given(st.floats(allow_nan=False))
def test_a_float64_reads_back_as_itself(value):
    """The digits shown for a float64 are exact, the sign of zero included."""
    text = number(value)
    assert float(text) == value
    assert math.copysign(1.0, float(text)) == math.copysign(1.0, value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (True, "True"),
        (1, "1"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        ("nan", "nan"),
        ("text", "'text'"),
        ([1.0, [2, None]], "[1.0, [2, None]]"),
        ({"real": 1.0, "imag": -2.0}, "1.0-2.0j"),
        ({"type": "Node", "text": "<AddBackward0>"}, "<AddBackward0>"),
        ({"weight": {"dtype": "float64", "shape": [1], "value": [0.1]}}, "{weight: [0.1] float64}"),
        ({"dtype": "float32", "shape": [2], "value": [0.10000000149011612, "inf"]}, "[0.1, inf] float32"),
        ({"dtype": "float32", "shape": [0], "value": []}, "[] float32 0"),
        ({"dtype": "complex64", "shape": [1], "value": [[1.0, 2.0]], "complex": True}, "[1.0+2.0j] complex64"),
        (
            {"dtype": "float32", "shape": [9, 9], "value": None, "min": 0.0, "max": 8.0, "mean": 4.0, "sha256": "ab"},
            "float32 9×9 in [0.0, 8.0], mean 4.0, sha256 ab",
        ),
        (
            {"dtype": "float32", "shape": [], "value": 2.0, "requires_grad": True, "is_leaf": True, "grad": None},
            "2.0 float32 requires_grad",
        ),
    ],
)
def test_values_are_shown_as_a_reader_writes_them(value, shown):
    """Every kind of value that a record holds has its form; 1, 1.0 and True stay different, and so do both zeros."""
    assert show(value) == shown


def test_a_long_value_shows_its_first_elements():
    """A list of 10,000 numbers shows the first and how many follow."""
    shown = show([float(n) for n in range(10_000)])
    assert shown.startswith("[0.0, 1.0, ")
    assert shown.endswith("… 9,936 more]")
