"""`coverage`: the inventory, and the list of operators."""

from __future__ import annotations

import json

import pytest

from conformance.cli import call

from ..spec.conftest import Folder
from .test_look import run

__all__ = ["listed"]

OPERATORS = """\
entry,family,tier,complex,forward,left_out
exp,table,1,1,1,
sin,table,1,1,1,
div:floor_rounding,other,2,0,1,
to_sparse,other,3,0,0,sparse
no_such_operator,other,3,0,0,
"""


@pytest.fixture
def listed(tmp_path, monkeypatch) -> Folder:
    """A specification with one table, of exp, and a list of five operators."""
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_CACHE", "")
    monkeypatch.setenv("AUTOGRAD_CONFORMANCE_SPEC", str(tmp_path / "spec"))
    folder = Folder(tmp_path / "spec").table("op: exp").write(OPERATORS, "inventory/operators.csv")
    return folder.write("a: One\nb: Two\n", "inventory/chapter.yaml").behaviour("id: a")


def test_the_inventory_by_chapter(listed, capsys):
    """Rows, those that a case shows, those that none shows."""
    code, out, _ = run(capsys, "coverage")
    assert code == 0
    assert [line.split() for line in out.splitlines() if line.startswith(("chapter ", "all"))][1:] == [
        ["chapter", "2", "1", "1", "0"], ["all", "2", "1", "1", "0"],
    ]  # fmt: skip
    found = json.loads(run(capsys, "coverage", "--json")[1])
    assert found == {"chapter": {"rows": 2, "covered": 1, "uncovered": ["b"], "gpu_only": []}}


def test_operators_by_tier_and_family(listed, capsys):
    """Entries, those that a table shows, those whose names the reference has, those left out with a reason."""
    found = json.loads(run(capsys, "coverage", "--operators", "--json")[1])
    numbers = {
        name: [c[k] for k in ("entries", "specified", "implemented", "left_out")] for name, c in found["tiers"].items()
    }
    assert numbers == {"1": [2, 1, 2, 0], "2": [1, 0, 1, 0], "3": [2, 0, 1, 1]}
    assert found["families"]["table"]["missing"] == ["sin"]
    assert found["families"]["other"]["missing"] == ["div:floor_rounding", "no_such_operator"]
    out = run(capsys, "coverage", "--operators")[1]
    assert "not specified, other: div:floor_rounding, no_such_operator" in out
    assert "left out: to_sparse: sparse" in out


def test_operators_that_pass(listed, capsys, tmp_path):
    """With a result file: operators of which every case passes, by engine."""
    assert call(["run", "--engine", "reference", "--results", str(tmp_path / "r.jsonl"), "ops.table"]) == 0
    capsys.readouterr()
    found = json.loads(run(capsys, "coverage", "--operators", "--json", "--results", tmp_path / "r.jsonl")[1])
    assert found["tiers"]["1"]["passing"] == {"reference": 1}
    assert found["operators"][1]["passing"] == {"reference": False}


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ("op: exp\nentries: [expp]", "shows expp, which is no row of inventory/operators.csv (did you mean exp?)"),
        ("op: exp\nentries: [to_sparse]", "shows to_sparse, which inventory/operators.csv leaves out: sparse"),
        ("op: exp\nentries: ['div:floor_rounding']", "shows div:floor_rounding, which belongs to other (move it"),
    ],
)
def test_tables_that_do_not_fit_the_list(listed, capsys, operator, message):
    """An entry that the list lacks, leaves out, or has in another family is a mistake with its place."""
    listed.table(operator)
    code, _, err = run(capsys, "coverage", "--operators")
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entry,tier\n", "operators.csv:1: the columns are entry,family,tier,complex,forward,left_out"),
        (OPERATORS + "exp,table,1,1,1,\n", "operators.csv:7: 'exp' is here twice"),
        (OPERATORS + "cos,table,4,1,1,\n", "operators.csv:7: no row of this list: cos,table,4,1,1,"),
    ],
)
def test_a_broken_list_is_named(listed, capsys, text, message):
    """A mistake in the list has its line."""
    listed.write(text, "inventory/operators.csv")
    code, _, err = run(capsys, "coverage", "--operators")
    assert code == 2
    assert message in err
