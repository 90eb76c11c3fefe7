"""Result records of one or several runs as one matrix: a row per case, a column per engine.

Records of several files follow one another, each file starting with its header. A column is an engine with its
version and device, so that two versions of one engine stand side by side. Nothing is dropped silently: what came
twice, what differs between the runs, and what is missing is said in `notices`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from conformance.records import FAILING, VERDICTS, CaseInfo, EngineInfo, LeftOut, Record, Result, Run, Summary
from reports.text import one_line, plural

_FIRST = {"reference": 0, "torch": 1}  # beside the written expectation, whatever order the runs came in


@dataclass(frozen=True)
class Column:
    """An engine as one or several runs saw it. `label` is unique in the matrix."""

    engine: str
    version: str
    device: str
    drop_in: bool = True
    label: str = ""


@dataclass
class RunView:
    """One result file: its header, the cases it describes, how many results it holds, its summary where it has one."""

    header: Run
    summary: Summary | None = None
    cases: set[str] = field(default_factory=set)
    results: int = 0

    @property
    def due(self) -> int:
        """How many results the finished run has."""
        return (self.header.selected or len(self.cases)) * len(self.header.engines)


@dataclass
class Row:
    """One case and what each column made of it; None where a column has no result for it."""

    info: CaseInfo
    results: list[Result | None]

    def verdict(self, column: int) -> str:
        """The verdict of one column, "not run" where there is none."""
        result = self.results[column]
        return result.verdict if result else "not run"

    @property
    def failing(self) -> bool:
        """Some engine does not conform here, or torch was found to depart from its documentation."""
        return any(r and (r.verdict in FAILING or r.departs == "found") for r in self.results)


@dataclass
class Tally:
    """What one column made of some cases: counts by verdict, over `cases` cases that its runs selected."""

    counts: Counter[str]
    cases: int

    @property
    def passes(self) -> int:
        return self.counts["pass"]

    @property
    def run(self) -> int:
        """Cases that have a result."""
        return sum(self.counts[v] for v in VERDICTS)

    @property
    def whole(self) -> bool:
        """Every one of the cases has a result: only then is a percentage honest."""
        return 0 < self.cases == self.run

    @property
    def percent(self) -> int:
        """Passes in a hundred, rounded down: 100 means all."""
        return 100 * self.passes // self.cases

    @property
    def others(self) -> list[tuple[str, int]]:
        """Verdicts other than pass with their counts, in the order of the verdict table."""
        return [(v, self.counts[v]) for v in (*VERDICTS, "not run") if v != "pass" and self.counts[v]]


@dataclass
class Matrix:
    """Everything a report shows."""

    runs: list[RunView]
    columns: list[Column]
    rows: list[Row]
    notices: list[str]

    @property
    def finished(self) -> bool:
        return bool(self.runs) and all(run.summary for run in self.runs)

    @property
    def left_out(self) -> list[LeftOut]:
        """What was asked for and not run, of all runs, without repetitions."""
        groups = [group for run in self.runs for group in run.header.left_out]
        return [group for n, group in enumerate(groups) if group not in groups[:n]]

    @property
    def failing(self) -> list[Row]:
        return [row for row in self.rows if row.failing]

    def chapters(self) -> dict[str, list[Row]]:
        """The rows by chapter, chapters by name, rows in the order of the records."""
        chapters: dict[str, list[Row]] = {}
        for row in self.rows:
            chapters.setdefault(row.info.chapter, []).append(row)
        return dict(sorted(chapters.items()))

    def tally(self, rows: list[Row], column: int) -> Tally:
        """What one column made of these rows."""
        return Tally(Counter(row.verdict(column) for row in rows), len(rows))


def build(records: Iterable[Record]) -> Matrix:
    """The matrix of the records of one or several runs. Records before the first header count as a run without one."""
    builder = _Builder()
    for record in records:
        builder.add(record)
    return builder.matrix()


class _Builder:
    def __init__(self) -> None:
        self.runs: list[RunView] = []
        self.cases: dict[str, CaseInfo] = {}
        self.columns: dict[tuple[str, str, str], Column] = {}
        self.cells: dict[str, dict[Column, Result]] = {}
        self.twice: dict[Column, list[str]] = {}
        self.changed: list[str] = []
        self.undescribed: list[str] = []

    def add(self, record: Record) -> None:
        if isinstance(record, Run):
            self._start(record)
        elif isinstance(record, CaseInfo):
            self._describe(record)
        elif isinstance(record, Result):
            self._judge(record)
        else:
            self._run().summary = record

    def _start(self, header: Run) -> None:
        self.runs.append(RunView(header))
        for engine in header.engines:
            self._column(engine)

    def _run(self) -> RunView:
        if not self.runs:
            raise ValueError("records without a header: the first record of a result file is its run")
        return self.runs[-1]

    def _column(self, engine: EngineInfo) -> Column:
        key = (engine.name, engine.version, engine.device)
        return self.columns.setdefault(key, Column(*key, drop_in=engine.drop_in))

    def _describe(self, case: CaseInfo) -> None:
        known = self.cases.get(case.case)
        if known and (known.program, known.claim) != (case.program, case.claim):
            self.changed.append(case.case)
        self.cases[case.case] = case
        self._run().cases.add(case.case)

    def _judge(self, result: Result) -> None:
        run = self._run()
        if result.case not in self.cases:
            self.undescribed.append(result.case)
            chapter = result.case.partition("/")[0]
            self.cases[result.case] = CaseInfo(result.case, chapter, "", "", "", "", 0, 0)
        engines = (e for e in run.header.engines if (e.name, e.device) == (result.engine, result.device))
        column = self._column(next(engines, EngineInfo(result.engine, "", result.device)))
        cells = self.cells.setdefault(result.case, {})
        if column in cells:
            self.twice.setdefault(column, []).append(result.case)
        else:
            run.results += 1
        cells[column] = result

    def matrix(self) -> Matrix:
        columns = sorted(self.columns.values(), key=lambda c: _FIRST.get(c.engine, 2))
        nothing: dict[Column, Result] = {}
        rows = []
        for case, info in self.cases.items():
            cells = self.cells.get(case, nothing)
            rows.append(Row(info, [cells.get(column) for column in columns]))
        labels = dict(zip(columns, _labels(columns), strict=True))
        return Matrix(self.runs, list(labels.values()), rows, list(self._notices(labels)))

    def _notices(self, labels: dict[Column, Column]) -> Iterator[str]:
        digests = {run.header.spec.digest: run.header.spec.version for run in self.runs}
        if len(digests) > 1:
            versions = ", ".join(f"{version} ({short(digest)})" for digest, version in digests.items())
            yield f"These runs used different specifications: {versions}. Cases are not comparable one by one."
        for column, cases in self.twice.items():
            yield (
                f"{labels[column].label} has more than one result for {plural(len(cases), 'case')} ({_some(cases)}): "
                "the last one is shown."
            )
        if self.changed:
            count = plural(len(self.changed), "case")
            yield f"{count} changed between runs ({_some(self.changed)}): the last is shown."
        if self.undescribed:
            count = plural(len(self.undescribed), "result")
            yield f"{count} of cases that are not described ({_some(self.undescribed)})."


def _labels(columns: list[Column]) -> list[Column]:
    """The columns with the shortest label that tells them apart: name, else with version, else with device."""
    names = Counter(c.engine for c in columns)
    versions = Counter((c.engine, c.version) for c in columns)
    devices = Counter((c.engine, c.device) for c in columns)
    labelled = []
    for c in columns:
        label = c.engine
        if names[c.engine] > 1:
            label += f" {c.version}" if devices[c.engine, c.device] > 1 else ""
            label += f" ({c.device})" if versions[c.engine, c.version] > 1 else ""
        labelled.append(Column(c.engine, c.version, c.device, c.drop_in, one_line(label, 100)))
    return labelled


def _some(names: list[str], limit: int = 3) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def short(digest: str) -> str:
    """The first twelve digits of a digest, without the name of its algorithm."""
    return digest.removeprefix("sha256:")[:12]
