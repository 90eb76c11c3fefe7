"""YAML: a place for every value, plain scalars by YAML 1.2, and nothing that says other than it shows."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conformance.spec.reading import read, scalar

# (text, message): the whole message, with its place.
REFUSED = [
    ("a: 1\nb: 2\na: 3\n", "f:3:1: the key 'a' is here twice (first at 1:1)"),
    ("a:\n  x: 1\n  x: 2\n", "f:3:3: the key 'x' is here twice (first at 2:3)"),
    ("a: &k 1\n", "f:1:4: the anchor &k: write the value out where it is used"),
    ("a: 1\nb: *k\n", "f:2:4: the alias *k: write the value out"),
    ("<<: {a: 1}\n", "f:1:1: a merge key: write the keys out"),
    ("a: !!str 1\n", "f:1:4: the tag tag:yaml.org,2002:str: values have the type that they are written in"),
    ("a: !own 1\n", "f:1:4: the tag !own: values have the type that they are written in"),
    ("? [1, 2]\n: 3\n", "f:1:3: a key that is not a name"),
    ("a: 1\n---\nb: 2\n", "f:2:1: a second document: a file holds one"),
    ("", "f:1:1: the file is empty"),
    ("# only a comment\n", "f:1:1: the file is empty"),
    ("a: [1, 2\n", "f:2:1: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence"),
    ("a: 1\n\tb: 2\n", "f:2:1: not valid YAML: found a tab character that violates indentation while scanning"),
    ("a: 'x\n", "f:2:1: not valid YAML: found unexpected end of stream while scanning a quoted scalar"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refuses_with_the_place(text: str, message: str) -> None:
    """Every construct outside the subset is refused where it stands."""
    errors = [str(error) for error in read(text, "f").errors]
    assert errors
    assert errors[0].startswith(message)


def test_anchor_and_alias_are_both_reported() -> None:
    """An alias is refused as well as the anchor that it names."""
    errors = [str(error) for error in read("a: &k 1\nb: *k\n", "f").errors]
    assert [e.split(": ")[1] for e in errors] == ["the anchor &k", "the alias *k"]


def test_a_control_character_has_its_place() -> None:
    """A character that YAML does not allow is named, with its line."""
    (error,) = read("a: 1\nb: x\x07y\n", "f").errors
    assert error.place is not None
    assert error.place.line in (1, 2)
    assert "not valid YAML" in str(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"),
        ("1e3", 1000.0), ("1.5E-3", 0.0015), (".5", 0.5), ("3.", 3.0), ("-7", -7), ("+7", 7), ("010", 10),
        ("0o10", 8), ("0xff", 255), ("1_000", "1_000"), ("1:30", "1:30"), ("2001-01-01", "2001-01-01"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        (".inf", math.inf), ("-.inf", -math.inf), ("1.2.3", "1.2.3"), ("e", "e"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(text: str, value: object) -> None:
    """Plain scalars have the value of YAML 1.2's core schema, with its type."""
    found = scalar(text)
    assert (found, type(found)) == (value, type(value))


def test_nan_is_not_a_string() -> None:
    """.nan is the number."""
    assert math.isnan(scalar(".nan"))


@given(st.floats(allow_nan=False))
def test_floats_survive(value: float) -> None:
    """Whatever Python writes for a float (but inf), the reader reads back bit for bit."""
    text = repr(value).replace("inf", ".inf")
    assert repr(scalar(text)) == repr(value)


@given(st.integers())
def test_integers_survive(value: int) -> None:
    """Integers of any size are read exactly."""
    assert scalar(str(value)) == value


def test_quoted_scalars_are_text() -> None:
    """Quotes make text, whatever is inside."""
    assert read("a: '1'\nb: \"true\"\n", "f").value == {"a": "1", "b": "true"}


def test_every_value_and_key_has_its_place() -> None:
    """Line and column, from 1, of values and keys at every depth."""
    document = read("a: 1\nb:\n- x: 2\n  yy: [3, 4]\n", "f")
    assert document.values[("a",)] == (1, 4)
    assert document.values[("b", 0)] == (3, 3)
    assert document.values[("b", 0, "yy", 1)] == (4, 11)
    assert document.keys[("b", 0, "yy")] == (4, 3)
    assert str(document.place(("b", 0, "missing"))) == "f:3:3"


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("p: |\n  x\n", (2, 2)),
        ("p: |  # why\n\n    x\n      y\n", (2, 4)),
        ("p: |2\n    x\n", (2, 2)),
        ("- p: |-\n    x\n", (2, 4)),
        ("p: |\r\n  x\r\n", (2, 2)),
    ],
)
def test_a_block_knows_its_first_line_and_indent(text: str, block: tuple[int, int]) -> None:
    """A literal block's lines can be found in the file again."""
    assert list(read(text, "f").blocks.values()) == [block]


KEYS = st.text("abcdefghij", min_size=1, max_size=4)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


class Quoting(yaml.SafeDumper):
    """Writes text in quotes: PyYAML follows YAML 1.1, which leaves out quotes that 1.2 needs (08, 1e3)."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=4))
def test_reads_what_others_write(tree: dict[str, object]) -> None:
    """JSON is YAML, and PyYAML's block style is: both are read back as they were, with nothing to complain of."""
    for text in (json.dumps(tree), yaml.dump(tree, Dumper=Quoting)):
        document = read(text, "f")
        assert (document.value, document.errors) == (tree, [])


@pytest.mark.parametrize(
    ("text", "place", "character"),
    [("\x00", "1:1", "U+0000"), ("é\x00", "1:2", "U+0000"), ("ab: é\nöü\x07x", "2:3", "U+0007")],
)
def test_a_control_character_has_its_place_counted_in_characters(text, place, character):
    """YAML's own reader counts bytes; the message counts characters, beyond ASCII too."""
    (error,) = read(text, "f.yaml").errors
    assert str(error) == f"f.yaml:{place}: not valid YAML: the character {character} is not allowed"
