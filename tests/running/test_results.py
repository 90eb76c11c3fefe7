"""Result files: what is written is read back; nothing that was written is lost or passed over in silence."""

import gzip
import math
import os
import stat

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.errors import ResultsError, RunError
from conformance.records import (
    FINDINGS,
    VERDICTS,
    CaseInfo,
    Difference,
    EngineInfo,
    ErrorInfo,
    LeftOut,
    Observed,
    Result,
    Run,
    SpecInfo,
    Summary,
)
from conformance.results import Writer, encode, finite, read, unpacked

TEXT = st.text(max_size=20)
NUMBERS = st.floats(width=32) | st.integers(-(2**53), 2**53)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner),
    max_leaves=6,
)  # fmt: skip
MEASURES = st.none() | st.floats()
OBSERVED = st.builds(Observed, line=st.integers(0, 99), what=TEXT, value=VALUES, expected=VALUES)
DIFFERENCES = st.builds(
    Difference, where=TEXT, line=st.integers(0, 99), expected=VALUES, observed=VALUES, max_abs=MEASURES,
    max_rel=MEASURES, ulps=MEASURES, finding=st.sampled_from(FINDINGS),
)  # fmt: skip


def results(case, engine):
    return st.builds(
        Result, case=st.just(case), engine=st.just(engine), device=st.just("cpu"), verdict=st.sampled_from(VERDICTS),
        observed=st.lists(OBSERVED, max_size=2), differences=st.lists(DIFFERENCES, max_size=2), missing=st.lists(TEXT),
        error=st.none() | st.builds(ErrorInfo, TEXT, TEXT, st.integers(0, 9), TEXT),
        seconds=st.floats(0, 9), state=st.dictionaries(TEXT, VALUES, max_size=2), reason=st.none() | TEXT,
    )  # fmt: skip


@st.composite
def runs(draw):
    """The records of a whole run, in order."""
    engines = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=2, unique=True))
    names = draw(st.lists(TEXT, max_size=3, unique=True))
    header = Run(
        SpecInfo("1", "sha256:0", len(names)), [EngineInfo(name, "1") for name in engines], {"python": "3"},
        selected=len(names), left_out=[LeftOut("no GPU", ["a/b"])],
    )  # fmt: skip
    records = [header]
    for name in names:
        records.append(CaseInfo(name, "chapter", draw(TEXT), "source", "program\n", "f.yaml", 1, 2))
        records += [draw(results(name, engine)) for engine in engines]
    return [*records, Summary({engine: {"pass": len(names)} for engine in engines})]


def write(path, records):
    with Writer(path) as writer:
        for record in records:
            writer.append(record)


def known(records):
    return [finite(msgspec.to_builtins(record)) for record in records]


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(runs())
def test_what_is_written_is_read_back(tmp_path, records):
    """Reading is the inverse of writing, up to numbers that JSON lacks, which come back as strings."""
    path = tmp_path / "r.jsonl"
    write(path, records)
    assert known(read(path).records) == sorted(known(records), key=lambda r: "run case result summary".find(r["kind"]))


@QUICK
@given(runs(), st.data())
def test_a_file_cut_anywhere_is_reported_or_resumed(tmp_path, records, data):
    """Cut at any byte, reading says so; repairing loses at most the line that was being written."""
    path = tmp_path / "r.jsonl"
    write(path, records)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    if whole == 0:
        with pytest.raises(ResultsError):
            read(path, repair=True)
        return
    if content[:cut].endswith(b"\n"):
        assert read(path).summary is None
    else:
        with pytest.raises(ResultsError, match="torn") as e:
            read(path)
        assert e.value.place.line == whole + 1
    assert len(list(read(path, repair=True).records)) == whole
    with Writer(path, resume=True) as writer:
        for record in records[whole:]:
            writer.append(record)
    assert path.read_bytes() == content


@QUICK
@given(runs(), st.data())
def test_a_packed_file_is_a_plain_one(tmp_path, records, data):
    """Packed, a file reads as the plain one does, for gunzip too; killed at any byte it is resumed to the same text."""
    path, plain = tmp_path / "r.jsonl.gz", tmp_path / "r.jsonl"
    write(path, records)
    write(plain, records)
    content = path.read_bytes()
    assert gzip.decompress(content) == plain.read_bytes()
    assert known(read(path).records) == known(read(plain).records)
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    text, _ = unpacked(path.read_bytes())
    assert plain.read_bytes().startswith(text)
    with Writer(path, resume=True) as writer:
        for record in records[text.count(b"\n") :]:
            writer.append(record)
    assert gzip.decompress(path.read_bytes()) == plain.read_bytes()
    assert list(tmp_path.glob(".*")) == []


def test_a_packed_file_loses_no_record_that_was_appended(tmp_path):
    """After each record everything so far can be read, while the run goes on."""
    path = tmp_path / "r.jsonl.gz"
    with Writer(path) as writer:
        for count, record in enumerate([HEADER, CASE, RESULT], start=1):
            writer.append(record)
            assert len(list(read(path).records)) == count


def test_a_damaged_packed_file_is_one_message(tmp_path):
    """Bytes changed inside are reported, not read."""
    path = tmp_path / "r.jsonl.gz"
    write(path, [HEADER, CASE, RESULT])
    content = bytearray(path.read_bytes())
    content[40:60] = b"\xff" * 20
    path.write_bytes(bytes(content))
    with pytest.raises(ResultsError, match=r"unpacked|no result record"):
        read(path)


def test_a_record_says_what_is_not_plain(tmp_path):
    """A pass is a short line; a line with every field, as files of before have, is the same record."""
    assert encode(RESULT) == b'{"kind":"result","case":"a/b","engine":"e","device":"cpu","verdict":"pass"}\n'
    path = tmp_path / "r.jsonl"
    write(path, [HEADER, CASE])
    old = b"""{"kind":"result","case":"a/b","engine":"e","device":"cpu","verdict":"pass","finding":null,"observed":[{"line":1,
"what":"x","value":1.0,"expected":1.0,"kind":"=="}],"differences":[],"missing":[],"error":null,"seconds":0.1,"oracle":null,
"departs":null,"reason":null,"state":{"x":1.0},"waived":null}""".replace(b"\n", b"")
    path.write_bytes(path.read_bytes() + old + b"\n")
    (found,) = read(path).results.values()
    observed = [Observed(1, "x", 1.0, 1.0)]
    assert found == Result("a/b", "e", "cpu", "pass", observed=observed, seconds=0.1, state={"x": 1.0})


@QUICK
@given(runs(), st.data())
def test_a_corrupted_line_is_named(tmp_path, records, data):
    """A line that is no record is reported with its number, whatever stands around it."""
    path = tmp_path / "r.jsonl"
    lines = [encode(record) for record in records]
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.sampled_from([b"{}\n", b"\xff\n", b'{"kind": "other"}\n', b"\n", lines[at][:-3] + b"\n"]))
    path.write_bytes(b"".join(lines))
    with pytest.raises(ResultsError) as e:
        read(path)
    assert e.value.place.line == at + 1


HEADER = Run(SpecInfo("1", "d"), [EngineInfo("e", "1")], {})
CASE = CaseInfo("a/b", "a", "claim", "source", "program", "f", 1, 2)
RESULT = Result("a/b", "e", "cpu", "pass")


@pytest.mark.parametrize(
    ("records", "line", "said"),
    [
        ([CASE], 1, "starts with its header"),
        ([HEADER, HEADER], 2, "second header"),
        ([HEADER, RESULT], 2, "no `case` record before it"),
        ([HEADER, CASE, CASE], 3, "second time"),
        ([HEADER, CASE, RESULT, RESULT], 4, "second result"),
        ([HEADER, CASE, Result("a/b", "x", "cpu", "pass")], 3, "the header lacks"),
        ([HEADER, Summary({}), CASE], 3, "after the summary"),
    ],
)
def test_records_out_of_place_are_refused(tmp_path, records, line, said):
    """A file says what it holds in order: header, cases before their results, the summary last."""
    path = tmp_path / "r.jsonl"
    write(path, records)
    with pytest.raises(ResultsError, match=said) as e:
        read(path)
    assert e.value.place.line == line


def test_non_finite_numbers_are_strings(tmp_path):
    """JSON has no NaN: a file that any JSON reader takes says "nan", "inf", "-inf"."""
    values = [math.nan, math.inf, -math.inf, 1.5]
    line = encode(Result("a/b", "e", "cpu", "pass", state={"x": {"value": values}}))
    assert msgspec.json.decode(line)["state"]["x"]["value"] == ["nan", "inf", "-inf", 1.5]


def test_two_runs_do_not_share_a_file(tmp_path):
    """The second writer of a file is refused while the first has it."""
    path = tmp_path / "r.jsonl"
    with Writer(path) as first:
        first.append(HEADER)
        with pytest.raises(ResultsError, match="another run"):
            Writer(path, resume=True)
    assert read(path).run == HEADER


@pytest.mark.parametrize("name", ["no/such/folder/r.jsonl", "."])
def test_a_file_that_cannot_be_written_is_one_message(tmp_path, name):
    """A missing folder or a folder in the place of the file is a ResultsError."""
    with pytest.raises(ResultsError, match="cannot be written"):
        Writer(tmp_path / name)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_ends_the_run(monkeypatch):
    """A result that cannot be written is a RunError: exit code 3, not a run that looks whole."""
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    monkeypatch.setattr(os, "ftruncate", lambda fd, size: None)
    with Writer("/dev/full") as writer, pytest.raises(RunError, match="could not be written"):
        writer.append(HEADER)
