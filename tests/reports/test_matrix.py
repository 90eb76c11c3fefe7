"""Records of one or several runs become one matrix, and nothing is lost on the way without a word."""

from __future__ import annotations

import pytest

from conformance.records import CaseInfo, EngineInfo, LeftOut, Result
from reports import matrix
from tests.reports import samples
from tests.reports.samples import MINI, REFERENCE, TORCH, case, failed, finish, header, passed

ONE = case("leaves/one", "One.")
TWO = case("leaves/two", "Two.")


def test_columns_put_the_reference_and_torch_first():
    """Whatever order the header names them in, reference and torch stand beside the expectation."""
    built = matrix.build([header(MINI, TORCH, REFERENCE, cases=1), ONE])
    assert [column.label for column in built.columns] == ["reference", "torch", MINI.name]


def test_a_later_file_adds_its_engines_as_columns():
    """Two runs of the same cases are one matrix with the engines of both."""
    first = finish([header(REFERENCE, cases=1), ONE, passed("leaves/one", REFERENCE)])
    second = finish([header(MINI, cases=1), ONE, failed("leaves/one", MINI)])
    built = matrix.build([*first, *second])
    assert [row.verdict(0) + " " + row.verdict(1) for row in built.rows] == ["pass fail"]
    assert built.notices == []
    assert built.finished


def test_two_versions_of_one_engine_are_two_columns():
    """The same engine in another version is another engine, told apart by its version."""
    newer = EngineInfo("torch", "2.14.0")
    built = matrix.build([header(TORCH, cases=1), ONE, passed("leaves/one", TORCH), header(newer, cases=1), ONE])
    assert [column.label for column in built.columns] == ["torch 2.13.0", "torch 2.14.0"]


def test_two_devices_of_one_engine_are_two_columns():
    """The same engine on another device is told apart by the device."""
    cuda = EngineInfo("torch", "2.13.0", "cuda")
    built = matrix.build([header(TORCH, cuda, cases=1), ONE, Result("leaves/one", "torch", "cuda", "pass")])
    assert [column.label for column in built.columns] == ["torch (cpu)", "torch (cuda)"]
    assert [row.verdict(1) for row in built.rows] == ["pass"]


def test_the_last_result_wins_and_a_notice_says_so():
    """The same case on the same engine twice: the last is shown, and it is said which."""
    first = finish([header(TORCH, cases=1), ONE, passed("leaves/one", TORCH)])
    second = finish([header(TORCH, cases=1), ONE, failed("leaves/one", TORCH)])
    built = matrix.build([*first, *second])
    assert [row.verdict(0) for row in built.rows] == ["fail"]
    (notice,) = built.notices
    assert "torch has more than one result for 1 case (leaves/one)" in notice


def test_differing_specifications_are_noticed():
    """Runs of two specifications do not stand side by side without a word."""
    built = matrix.build([header(TORCH), header(REFERENCE, digest="sha256:" + "0" * 64)])
    assert "different specifications: 0.1 (4f1d9c2a4f1d), 0.1 (000000000000)" in built.notices[0]


def test_a_case_that_changed_between_runs_is_noticed():
    """A case whose program is another in the second run is named."""
    other = case("leaves/one", "One.", "assert True\n")
    built = matrix.build([header(TORCH), ONE, TWO, header(REFERENCE), other, TWO])
    assert built.notices == ["1 case changed between runs (leaves/one): the last is shown."]


def test_a_result_without_its_case_is_shown_and_noticed():
    """A result whose case the file does not describe still has its row."""
    built = matrix.build([header(TORCH, cases=1), passed("leaves/ghost", TORCH)])
    assert [(row.info.case, row.info.chapter) for row in built.rows] == [("leaves/ghost", "leaves")]
    assert built.notices == ["1 result of cases that are not described (leaves/ghost)."]


def test_one_file_without_summary_makes_the_whole_unfinished():
    """An unfinished run is not hidden by a finished one."""
    finished = finish([header(TORCH, cases=1), ONE, passed("leaves/one", TORCH)])
    assert matrix.build(finished).finished
    assert not matrix.build([*finished, header(REFERENCE, cases=1), ONE]).finished
    assert not matrix.build([]).finished


def test_records_without_a_header_are_refused():
    """A result belongs to a run: without one there is nothing to say about it."""
    with pytest.raises(ValueError, match="without a header"):
        matrix.build([passed("leaves/one", TORCH)])


def test_a_tally_is_whole_only_with_every_result():
    """A chapter of which one case has no result gives no percentage."""
    built = matrix.build([header(TORCH, cases=2), ONE, TWO, passed("leaves/one", TORCH)])
    tally = built.tally(built.rows, 0)
    assert (tally.passes, tally.run, tally.cases, tally.whole) == (1, 1, 2, False)
    assert tally.others == [("not run", 1)]
    assert built.tally(built.rows[:1], 0).whole


@pytest.mark.parametrize(("passes", "percent"), [(0, 0), (1, 0), (999, 99), (1000, 100)])
def test_a_percentage_is_rounded_down(passes, percent):
    """100 % means all, never almost all."""
    tally = matrix.Tally(matrix.Counter({"pass": passes, "fail": 1000 - passes}), 1000)
    assert tally.percent == percent


def test_left_out_cases_are_listed_once():
    """Two runs that left the same cases out for the same reason say so once."""
    left = LeftOut("no GPU", ["leaves/cuda"])
    built = matrix.build([header(TORCH, left_out=[left]), header(REFERENCE, left_out=[left])])
    assert built.left_out == [left]


def test_rows_keep_the_order_of_the_records():
    """Rows stand in the order of the records; chapters by name, as the command line prints them."""
    built = matrix.build(samples.every_verdict())
    cases = [record.case for record in samples.every_verdict() if isinstance(record, CaseInfo)]
    assert [row.info.case for row in built.rows] == cases
    assert list(built.chapters()) == ["accumulation", "leaves", "retain_graph"]
