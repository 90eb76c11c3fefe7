"""Authors' mistakes in a chapter's form: each has its place, and a hint where one is due."""

from __future__ import annotations

import json

import pytest

from .conftest import REAL, Folder

# (a behaviour's keys; the messages). The first line is line 4 of the file, indented by two columns.
FORM = [
    ("progam: x", ["4:3: unknown key 'progam' (did you mean program?)"]),
    ("colour: x", ["4:3: unknown key 'colour' (known here: id, claim, source, program, covers, needs,"]),
    ("id: Upper", ['4:7: "Upper" is no valid \'id\' (lower-case letters, digits, - and _)']),
    ("id: 3", ["4:7: 'id' is text, not 3"]),
    ("claim: It holds", [
        '4:10: "It holds" is no valid \'claim\' (a claim is a sentence, or two, that ends with a period)']),
    ("claim: ''", ["4:10: 'claim' is empty (a claim is a sentence, or two, that ends with a period)"]),
    ("source: ' '", ["4:11: 'source' is empty"]),
    ("since: 2.1", ["4:10: 'since' is text, not 2.1 (a torch version in quotes, as \"2.1\")"]),
    ("device: gpu", ['4:11: "gpu" is no valid \'device\' (one of cpu, cuda)']),
    ("device: cudda", ['4:11: "cudda" is no valid \'device\' (did you mean cuda?)']),
    ("kink: yes", ["4:9: 'kink' is true or false, not \"yes\""]),
    ("needs: a-b", ["4:10: 'needs' is a list, not \"a-b\""]),
    ("covers: [Ab]", ['4:12: "Ab" is no valid \'covers\' (an id, or chapter/id)']),
    ("covers: [b, b]", ["4:11: 'covers' holds something twice"]),
    ("tolerance: {rtol: 1e-3}", ["4:14: 'tolerance' is too short", "4:14: the key 'reason' is missing"]),
    ("tolerance: {reason: why, rtoll: 1e-3}", ["4:28: unknown key 'rtoll' (did you mean rtol?)"]),
    ("tolerance: {reason: why, rtol: -1}", ["4:34: 'rtol': -1 is less than the minimum of 0"]),
    ("with: {n: []}", ["4:13: 'n' is too short: []"]),
    ("with: {2n: [1]}", ["4:10: '2n' is no name for a variable"]),
    ("given: {x: {distribution: gauss, shape: [2], seed: 0}}", [
        '4:29: "gauss" is no valid \'distribution\' (one of normal, uniform, integers, bernoulli)']),
    ("given: {x: {distribution: normal, shape: [-2], seed: 0}}", [
        "4:44: [-2] is no valid 'shape' (a list of sizes, or $parameter)"]),
    ("given: {x: {distribution: normal, seed: 0}}", ["4:14: the key 'shape' is missing"]),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "messages"), FORM)
def test_form(folder: Folder, keys: str, messages: list[str]) -> None:
    """A departure from the schema is reported at its line and column, in words for an author."""
    found = folder.behaviour(keys).mistakes()
    for message in messages:
        assert any(text.startswith(f"chapter.yaml:{message}") for text in found), found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chapter: chapter\ntitle: x\n", "1:1: the key 'behaviours' is missing"),
        ("chapter: chapter\ntitle: x\nbehaviours: []\n", "3:13: 'behaviours' is too short: []"),
        ("- 1\n", "1:1: a chapter is a mapping"),
        ("chapter: other\ntitle: x\nbehaviours:\n- {id: a, claim: A., source: s, program: x}\n",
         "4:42: a program is a literal block (program: |) (so that its lines count)"),
    ],
)  # fmt: skip
def test_chapter_form(folder: Folder, text: str, message: str) -> None:
    """The chapter's own keys are checked as well."""
    assert f"chapter.yaml:{message}" in folder.write(text).mistakes()


def test_several_mistakes_in_one_load(folder: Folder) -> None:
    """Mistakes of all files come together, in the order of their places."""
    folder.behaviour("id: Upper\nclaim: none")
    folder.write("chapter: other\ntitel: x\n", "other.yaml")
    places = [text.split(": ")[0] for text in folder.mistakes()]
    assert places == ["chapter.yaml:4:7", "chapter.yaml:5:10", "other.yaml:1:1", "other.yaml:1:1", "other.yaml:2:1"]


def test_schema_is_a_schema_for_editors() -> None:
    """Editors can use the schema as it stands, and every field of a behaviour is explained or obvious."""
    import jsonschema

    schema = json.loads((REAL / "schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {"chapter", "title", "description", "behaviours"}


def test_a_broken_schema_is_named(folder: Folder) -> None:
    """A schema that is no schema is one clear message."""
    from conformance.errors import SpecError

    folder.behaviour("id: a")
    (folder.root / "schema.json").write_text("{")
    with pytest.raises(SpecError, match=r"schema\.json is not a JSON Schema"):
        folder.load()
