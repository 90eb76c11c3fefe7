"""Results as JUnit XML: a suite per engine, a test case per case, for CI systems that show such files.

What does not conform is a failure (a difference) or an error (an exception, a crash, a timeout); what an engine does
not spell, is blocked, pending, waived or a known departure of torch is skipped with its reason. An unfinished run
adds an error of its own, so that no CI system takes half a run for a green one.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from conformance.records import Record, Result
from reports.explain import MEANINGS, details, headline, progress
from reports.matrix import Column, Matrix, Row, build
from reports.text import one_line


def render(records: Iterable[Record]) -> str:
    """The JUnit document for the records of one or several runs, with its XML declaration."""
    matrix = build(records)
    root = ET.Element("testsuites", name="autograd-conformance")
    for n, column in enumerate(matrix.columns):
        rows = [(row, result) for row in matrix.rows if (result := row.results[n])]
        _suite(root, matrix, column, rows)
    if not matrix.finished:
        _unfinished(root, matrix)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, 0)) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, matrix: Matrix, column: Column, rows: list[tuple[Row, Result]]) -> None:
    seconds = sum(result.seconds for _, result in rows)
    suite = ET.SubElement(root, "testsuite", name=one_line(column.label), time=f"{seconds:.6f}")
    about = {"engine": column.engine, "version": column.version, "device": column.device}
    for run in matrix.runs:
        about |= {"spec.version": run.header.spec.version, "spec.digest": run.header.spec.digest}
    _properties(suite, about)
    for row, result in rows:
        _case(suite, column, row, result)
    _count(suite)


def _case(suite: ET.Element, column: Column, row: Row, result: Result) -> None:
    info = row.info
    case = ET.SubElement(
        suite,
        "testcase",
        classname=one_line(f"{column.label}.{info.chapter}"),
        name=one_line(info.case.removeprefix(f"{info.chapter}/")),
        time=f"{result.seconds:.6f}",
    )
    if info.file:
        case.set("file", one_line(info.file))
        case.set("line", str(info.line))
    about = {"case": info.case, "verdict": result.verdict, "claim": info.claim, "source": info.source}
    _properties(case, about | ({"torch_departs": result.departs} if result.departs else {}))
    if result.verdict == "pass":
        return
    why = headline(result) or MEANINGS[result.verdict]
    if result.verdict == "fail":
        child = ET.SubElement(case, "failure", type=result.finding or "fail", message=why)
        child.text = details(row, column, result)
    elif result.verdict in ("error", "crash", "timeout"):
        kind = result.error.type if result.error else result.verdict
        child = ET.SubElement(case, "error", type=one_line(kind), message=why)
        child.text = details(row, column, result)
    else:
        ET.SubElement(case, "skipped", type=result.verdict, message=f"{result.verdict}: {why}")


def _unfinished(root: ET.Element, matrix: Matrix) -> None:
    suite = ET.SubElement(root, "testsuite", name="run", time="0")
    case = ET.SubElement(suite, "testcase", classname="run", name="finished", time="0")
    ET.SubElement(case, "error", type="unfinished", message=f"UNFINISHED {progress(matrix)}")
    _count(suite)


def _properties(parent: ET.Element, about: dict[str, str]) -> None:
    properties = ET.SubElement(parent, "properties")
    for name, value in about.items():
        ET.SubElement(properties, "property", name=name, value=one_line(value, 1_000))


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
