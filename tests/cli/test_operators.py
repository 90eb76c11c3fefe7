"""`operators`: what the tables say, with the reference's rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance import engines, spec
from conformance.cli import cli
from conformance.cli.operators import pages, tables
from conformance.results import read

DOCS = Path(__file__).parents[2] / "docs" / "operators"


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["operators", *arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    ("operator", "texts"),
    [
        (
            "ops.elementwise_unary/exp",
            ["e to the power of each element.", "rule of ExpBackward0: `d/dx = y`", "checks: value, vjp"],
        ),
        ("ops.elementwise_unary/abs", ["at a kink or pole, at-zero", "rule of AbsBackward0"]),
        (
            "ops.matmul/mm",
            [
                "gradient of a = g b^T, which lies in memory as a does; gradient of b = a^T g, which lies in memory as b does"
            ],
        ),
        ("ops.joining/cat", ["rule of CatBackward0"]),
    ],
)
def test_an_operator_is_described(operator: str, texts: list[str]) -> None:
    """Its claim, the rules of what it is made of, its samples, and what holds at kinks."""
    output = shown(operator)
    for text in texts:
        assert text in output


def test_results_hold_the_rules(place_results: Path) -> None:
    """A run's records tell the reference's rules where an operator was differentiated; other engines tell none."""
    found = {(case, engine): result.rules for (case, engine, _), result in read(place_results).results.items()}
    assert found["ops.matmul/mm[plain,vjp]", "reference"] == [
        (
            "MmBackward0",
            [
                "gradient of a = g b^T, which lies in memory as a does",
                "gradient of b = a^T g, which lies in memory as b does",
            ],
        )
    ]
    told = {case.rpartition(",")[2] for (case, _), rules in found.items() if rules}
    assert told == {"vjp]", "complex]"}
    assert {case.check for case in read(place_results).cases.values()} >= {"value", "vjp", "jvp", "double"}


@pytest.fixture
def place_results(tmp_path: Path) -> Path:
    file = tmp_path / "r.jsonl"
    assert (
        CliRunner().invoke(cli, ["run", "ops.matmul/mm", "--engine", "reference", "--results", str(file)]).exit_code
        == 0
    )
    return file


def test_pages_are_written(tmp_path: Path) -> None:
    """One Markdown page for each family, an operator a heading."""
    output = shown("ops.cumulative", "--markdown", str(tmp_path))
    assert "operators in" in output
    page = (tmp_path / "cumulative.md").read_text(encoding="utf-8")
    assert "## cumsum" in page
    assert "rule of CumsumBackward0" in page


def test_the_pages_in_docs_are_current() -> None:
    """docs/operators is what the tables and rules say now; `operators --markdown docs/operators` writes them anew."""
    shown = tables(spec.load(("ops.*",)).cases)
    written = {page.stem: page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")}
    found = pages(shown, engines.load("reference"))
    assert sorted(written) == sorted(found)
    assert [family for family in found if found[family] != written[family]] == []
