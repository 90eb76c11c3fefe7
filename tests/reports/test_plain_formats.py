"""JUnit XML that CI systems read, and Markdown that a pull request shows."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from conformance.records import ErrorInfo, Observed, Result
from reports import junit, markdown
from tests.reports import samples
from tests.reports.samples import MINI, TORCH, case, failed, finish, header, passed
from tests.reports.test_html import HOSTILE, _everywhere

ORDER = ("properties", "skipped", "error", "failure", "system-out", "system-err")
REQUIRED = {"testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
            "testcase": {"classname", "name", "time"}, "property": {"name", "value"}}  # fmt: skip


@pytest.fixture(scope="module")
def tree():
    return ET.fromstring(junit.render(samples.every_verdict()))


def test_every_verdict_has_its_junit_form(tree):
    """A difference is a failure, an exception, crash or timeout an error; what was not judged is skipped."""
    found = {}
    for element in tree.iter("testcase"):
        (verdict,) = (p.get("value") for p in element.iter("property") if p.get("name") == "verdict")
        children = [child.tag for child in element if child.tag != "properties"]
        found.setdefault(verdict, set()).add(tuple(children))
    skipped = {verdict: {("skipped",)} for verdict in ("unsupported", "blocked", "pending", "waived", "departs")}
    errors = {verdict: {("error",)} for verdict in ("error", "crash", "timeout")}
    assert found == {"pass": {()}, "fail": {("failure",)}} | skipped | errors


def test_counts_agree_with_the_elements(tree):
    """The totals that CI systems show are those of the elements."""
    for suite in tree:
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        assert int(suite.get("failures")) == len(list(suite.iter("failure")))
        assert int(suite.get("errors")) == len(list(suite.iter("error")))
        assert int(suite.get("skipped")) == len(list(suite.iter("skipped")))
    assert int(tree.get("tests")) == len(list(tree.iter("testcase"))) == 36


def test_structure_is_what_the_schema_asks(tree):
    """Required attributes are there, numbers are numbers, children come in the schema's order."""
    for element in tree.iter():
        assert REQUIRED.get(element.tag, set()) <= set(element.attrib)
        if "time" in element.attrib:
            assert float(element.get("time")) >= 0
        if element.tag == "testcase":
            tags = [child.tag for child in element]
            assert tags == sorted(tags, key=ORDER.index)


def test_source_and_claim_travel_as_properties(tree):
    """A CI system's page can say which promise was broken, and where it is made."""
    element = tree.find("testsuite/testcase")
    about = {p.get("name"): p.get("value") for p in element.iter("property")}
    assert about["source"] == "torch.Tensor.backward, retain_graph"
    assert about["claim"].startswith("backward() frees")


def test_a_failure_can_be_reproduced_from_its_text(tree):
    """The text of a failure holds the program, the differences and the command for that engine."""
    text = tree.find("testsuite/testcase[@name='second-backward-raises']/failure").text
    assert "y.backward()" in text
    assert "expected [3.0, 2.0], observed [6.0, 4.0] float32" in text
    assert text.endswith("run retain_graph/second-backward-raises --engine minigrad.adapter:engine")


def test_an_unfinished_run_is_an_error():
    """Half a run without failures is not green."""
    records = [header(TORCH, cases=2), case("leaves/a", "A."), passed("leaves/a", TORCH)]
    tree = ET.fromstring(junit.render(records))
    assert tree.get("errors") == "1"
    assert "UNFINISHED" in tree.find("testsuite[@name='run']/testcase/error").get("message")
    assert ET.fromstring(junit.render(finish(records))).get("errors") == "0"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_hostile_text_leaves_the_xml_whole(text):
    """Whatever an engine writes, the document parses, can be written as UTF-8, and stays bounded."""
    document = junit.render(_everywhere(text))
    tree = ET.fromstring(document.encode("utf-8"))
    assert len(list(tree.iter("testcase"))) == 2
    assert len(document) < 200_000


def test_markdown_sums_up_and_lists_failures():
    """The comment says at once whether it conforms, the table by chapter, the failures with their first difference."""
    text = markdown.render(samples.every_verdict())
    assert text.startswith("### Autograd conformance: 6 results do not conform\n")
    assert "| `leaves` | 3 of 4<br>… 1 pending | 2 of 4<br>✗ 1 fail<br>≠ 1 departs | 4 of 4 |" in text
    assert (
        "| `accumulation/diamond` | `minigrad.adapter:engine` | ✗ fail, mathematically wrong | `line 4: x.grad:" in text
    )


def test_markdown_of_a_clean_run_has_no_failures():
    """A run that conforms is one line and one table."""
    text = markdown.render(finish([header(TORCH, cases=1), case("leaves/a", "A."), passed("leaves/a", TORCH)]))
    assert "everything that ran conforms" in text
    assert "first difference" not in text


def test_markdown_of_an_unfinished_run_says_so():
    """An unfinished run never reads as a conforming one."""
    text = markdown.render([header(TORCH, cases=2), case("leaves/a", "A."), passed("leaves/a", TORCH)])
    assert "### Autograd conformance: unfinished" in text
    assert "**UNFINISHED**" in text


def test_markdown_lists_a_bounded_number_of_failures():
    """A comment has room for some failures; the number of the others is said."""
    text = markdown.render(samples.many(100, 2, failing=100))
    assert text.count("mathematically wrong") == 20
    assert "… and 80 more results." in text


@pytest.mark.parametrize(
    "text", [*HOSTILE, "a | b", "`` tick", "@someone #12 [x](y)"], ids=lambda text: ascii(text[:20])
)
def test_hostile_text_leaves_the_tables_whole(text):
    """Each row of a table has as many cells as its head; no HTML, no mention, no link comes from a record's text."""
    bad = failed("leaves/a", MINI, error=ErrorInfo(text, text), observed=[Observed(1, text, text, text)])
    run = header(MINI, cases=1)
    run.spec.version = text
    document = markdown.render(finish([run, case("leaves/a", text), bad, Result("leaves/a", "e", text, "pass")]))
    document.encode("utf-8")
    assert len(document) < 20_000
    outside = re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "CODE", document).replace("<br>", "")
    assert not re.search(r"(?<!\\)<|(?<!\\)\[|@\w|(?<!\\)#\d", outside)
    for table in re.findall(r"(?m)(?:^\|.*\n)+", document):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1
    assert len(re.findall(r"(?m)^\| --- ", document)) == 2
