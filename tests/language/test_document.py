"""docs/program-language.md says what the code does: words and tolerances."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.language.numeric import PRECISIONS
from conformance.language.observe import Recorder
from conformance.language.recorded import Warnings
from conformance.language.words import WORDS, constant_words
from conformance.spec.checking import read_vocabulary
from conformance.spec.root import find
from tests.language.programs import case, engine

TEXT = (Path(__file__).parents[2] / "docs" / "program-language.md").read_text("utf-8")


def test_every_word_is_documented_known_to_the_checker_and_there_when_a_program_runs():
    """The vocabulary, the document and the globals of a program name the same words."""
    table = TEXT.partition("## Words")[2].partition("\n\n`raises`")[0]
    documented = set(re.findall(r"`(\w+)", "\n".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    assert documented == WORDS
    assert read_vocabulary((find() / "vocabulary.yaml").read_bytes(), "vocabulary.yaml").words == WORDS
    names = constant_words(engine()).keys() | Recorder(case("pass"), engine(), Warnings()).names().keys()
    blocks = {f"@{word}" for word in ("raises", "warns")}
    assert blocks <= names
    assert {name for name in names if not name.startswith(("@", "__"))} == WORDS - {"raises", "warns"} | {"torch"}


def test_the_table_of_tolerances_is_the_one_in_use():
    """Each documented row, for each dtype that it names."""
    rows = re.findall(r"^\| ((?:float|bfloat)(?:64|32|16)[^|]*) \| ([\d.e-]+) \| ([\d.e-]+) \|$", TEXT, re.MULTILINE)
    found = {dtype: (float(r), float(a)) for names, r, a in rows for dtype in re.findall(r"\w+\d+", names)}
    assert found == {
        name: (precision.rtol, precision.atol) for name, precision in PRECISIONS.items() if "float8" not in name
    }
