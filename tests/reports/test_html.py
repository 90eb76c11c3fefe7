"""The page says everything that the records hold, works alone, and nothing that an engine writes can act in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import pytest

from conformance.records import CaseInfo, Difference, EngineInfo, ErrorInfo, LeftOut, Observed, Result
from reports import cases, html
from reports.text import clean
from tests.reports import samples
from tests.reports.samples import MINI, REFERENCE, TORCH, case, failed, finish, header, passed

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "<!--",
    "]]>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[2J\x1b[31mred\x07",
    "\ud800 lone",
    "\u202egnp.exe",
    "javascript:alert(1)",
    "x" * 1_000_000,
]
VOID = {"meta", "input", "br", "rect", "wbr"}


class Page(HTMLParser):
    """The page's elements, and whether every one is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def having(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]


def unpacked(text: str) -> Any:
    """What a pack holds, as the page's script reads it."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


def index(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="text/plain" id="index">([^<]*)</script>', page)
    return unpacked(text)


def details(page: str) -> dict[str, dict[str, Any]]:
    """The details that the page carries, by the case's name."""
    packs = re.findall(r'<script type="text/plain" class="pack" data-c="[^"]*">([^<]*)</script>', page)
    found = {}
    for chapter, pack in zip(index(page)["chapters"], packs, strict=True):
        names = [f"{chapter['name']}/{name}" for name in chapter["ids"]]
        found |= zip(names, unpacked(pack), strict=True)
    return found


def strings(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from strings(inner)


@pytest.fixture(scope="module")
def page():
    return html.render(samples.every_verdict())


def test_every_element_is_closed(page):
    """The page is well-formed: each end tag closes the element that was opened last."""
    assert Page(page).open == []


def test_the_page_needs_nothing_from_outside(page):
    """No address but fragments of the page itself: it opens offline, from an e-mail, from a build's artefacts."""
    parsed = Page(page)
    assert all(address.startswith("#") for address in parsed.having("href"))
    assert parsed.having("src") == []
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_names_the_only_script_and_style(page):
    """The policy's digests are those of the page's script and style sheet: a browser runs them and no other."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for text, directive in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} &#39;sha256-{digest}&#39;" in page or f"{directive} 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_no_inline_handlers_or_styles(page):
    """Nothing in the markup needs what the policy forbids."""
    names = {name for _, attributes in Page(page).elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name == "style"}


def test_every_verdict_is_counted_and_explained(page):
    """Each verdict that occurs is in the filter and in the legend; one that does not is not."""
    text = Page(page).text
    for word in ("fail", "error", "crash", "timeout", "unsupported", "blocked", "pending", "waived", "departs"):
        assert f'name="v" value="{word}"' in page
    assert "every assertion holds and the final state agrees" in text
    assert 'value="not run"' not in page


def test_a_percentage_stands_only_over_a_whole_chapter():
    """A chapter with a case that has no result shows how many ran, and no percentage."""
    records = [header(TORCH, cases=2), case("leaves/a", "A."), case("leaves/b", "B."), passed("leaves/a", TORCH)]
    whole = html.render(finish([*records, passed("leaves/b", TORCH)]))
    part = html.render(records)
    assert "2 of 2 <small>100 %" in whole
    assert "1 of 1 run" in part
    assert not re.search(r"\d %", part)


def test_an_unfinished_run_says_so_first():
    """The state stands above the summary, with how far the run came."""
    records = samples.every_verdict()[:-1]
    text = Page(html.render(records)).text
    assert text.index("UNFINISHED") < text.index("Summary")
    assert "36 of 36 results are there" in text
    assert "UNFINISHED" not in Page(html.render(samples.every_verdict())).text


def test_no_records_give_a_page_that_says_so():
    """An empty file is not a report that everything is fine."""
    assert "UNFINISHED" in html.render([])


def test_failing_results_stand_in_the_page_itself(page):
    """Without JavaScript a failing result shows its program, its differences, its error and its command."""
    text = Page(page).text
    assert "raises(RuntimeError)" in text
    assert "autograd-conformance run retain_graph/second-backward-raises --engine minigrad.adapter:engine" in text
    assert "signal 11 (SIGSEGV)" in text
    assert "no answer within 10 s" in text
    assert "the results that do not conform are complete" in text


def test_everything_about_a_case_is_packed(page):
    """Program, source, place, notes, differences with their distance and finding, errors, the command's engines."""
    found = details(page)
    twice = found["retain_graph/second-backward-raises"]
    assert twice["program"] == samples.SECOND_BACKWARD.rstrip()
    assert (twice["source"], twice["place"]) == ("torch.Tensor.backward, retain_graph", "retain_graph.yaml:12")
    assert twice["covers"] == ["backward/frees-graph"]
    assert twice["options"] == f"--engine {MINI.name}"
    (mini,) = twice["engines"]
    assert mini["differences"][1] == [
        "x.grad", 7, "[3.0, 2.0]", "", "[6.0, 4.0] float32", ["max abs 3", "max rel 1", "at [0]"], "mathematically wrong"
    ]  # fmt: skip
    assert mini["differences"][2][3] == "torch"
    assert found["accumulation/grad-is-none"]["engines"][0]["error"][0].startswith("line 3: TypeError: unsupported")
    assert found["accumulation/zero-grad"]["engines"][0]["missing"] == ["optim.SGD", "Tensor.zero_grad"]
    assert found["accumulation/order"]["engines"][0]["waived"] == "fail"
    assert found["leaves/grad-is-kept"]["notes"] == ["torch departs: the documentation says kept, 2.13 drops it"]
    assert "engines" not in found["leaves/hook-fires-once"]


def test_the_index_lists_every_case_with_its_verdicts(page):
    """By chapter: ids, claims, and a letter for each engine, findings of what does not pass."""
    found = index(page)
    assert found["engines"] == ["reference", "torch", MINI.name]
    chapters = {chapter["name"]: chapter for chapter in found["chapters"]}
    assert list(chapters) == ["accumulation", "leaves", "retain_graph"]
    assert (chapters["leaves"]["ids"][0], chapters["leaves"]["verdicts"][:3]) == ("hook-fires-once", "ppp")
    assert chapters["leaves"]["claims"][0] == "A hook on a leaf fires once per backward."
    assert (chapters["retain_graph"]["verdicts"], chapters["retain_graph"]["findings"]) == (
        "ppf", {"0": ["", "", "no-error"]}
    )  # fmt: skip
    assert found["letters"]["f"] == ["fail", "✗", "fail"]
    assert found["opened"][0] == "retain_graph/second-backward-raises"


def test_failing_lines_are_named(page):
    """The program's lines where an engine failed, with the engine's name."""
    said = f"fails on {MINI.name}"
    assert details(page)["retain_graph/second-backward-raises"]["failing"] == {"5": said, "7": said}


def test_engines_stand_side_by_side(page):
    """An observation has its line, what was looked at, what every engine shows, and the expectation."""
    seen = details(page)["retain_graph/second-backward-raises"]["seen"]
    good = "[3.0, 2.0] float32"
    assert seen[0] == [4, "x.grad", good, "[3.0, 2.0]"]
    assert seen[1][2][2] == ["None", False, ""]
    assert seen[1][3:] == ["'RuntimeError'", "raises"]
    assert seen[2] == [7, "x.grad", [good, good, ["[6.0, 4.0] float32", False, ""]], "[3.0, 2.0]"]
    assert [row[5] for row in details(page)["leaves/hook-fires-once"]["seen"][1:2]] == [1]


def test_an_expectation_that_holds_needs_no_column():
    """Where records leave it out, what was expected stands beside what does not keep it."""
    seen = [Observed(4, "x.grad", 60.0), Observed(5, "y", None)]
    bad = failed("leaves/a", MINI, observed=[Observed(4, "x.grad", 30.0, 60.0, agrees=False), Observed(5, "y", None)])
    run = [header(TORCH, MINI, cases=1), case("leaves/a", "A."), passed("leaves/a", TORCH, seen), bad]
    found = details(html.render(finish(run)))["leaves/a"]["seen"]
    assert found == [[4, "x.grad", ["60.0", ["30.0", False, "60.0"]]], [5, "y", "None"]]


def test_what_an_engine_never_reached_is_said(page):
    """An observation that one engine made and another did not is no empty cell."""
    assert details(page)["accumulation/diamond"]["seen"][1][2] == [None, None, "'torch.float32'"]


def test_a_table_carries_its_operators_rules():
    """The rules that an engine tells stand with the operator, once; other chapters have none."""
    rules = [("ErfBackward0", ["d/dx = 2 / sqrt(pi) * exp(-x * x)"])]
    names = ["ops.special/erf[plain,vjp]", "ops.special/erf[a, b,vjp]", "ops.special/erf[plain,value]"]
    run = [header(REFERENCE, TORCH, cases=3)]
    for name, check in zip(names, ("vjp", "vjp", "value"), strict=True):
        told = rules if check == "vjp" else []
        run += [case(name, "C.", check=check), passed(name, REFERENCE, rules=told), passed(name, TORCH)]
    (chapter,) = index(html.render(finish(run)))["chapters"]
    assert chapter["checks"] == ["vjp", "vjp", "value"]
    assert chapter["rules"] == {"erf": ["reference", [["ErfBackward0", ["d/dx = 2 / sqrt(pi) * exp(-x * x)"]]]]}
    assert (index(html.render(samples.every_verdict()))["chapters"][0]["rules"]) == {}


def test_departures_of_torch_have_their_own_list(page):
    """Known departures and new ones are told apart."""
    text = Page(page).text
    assert "torch departs from its documentation 2 results" in text
    assert "new: the case does not say so" in text
    assert "the documentation says kept, 2.13 drops it" in text


def test_left_out_cases_are_named(page):
    """What was asked for and not run is listed with its reason."""
    text = Page(page).text
    assert "no CUDA device" in text
    assert "leaves/cuda-leaf, leaves/cuda-grad" in text


def test_every_link_ends_somewhere(page):
    """Each link in the page that names a case or chapter ends at one of the index, or at an element."""
    anchors = Page(page).having("id")
    assert len(anchors) == len(set(anchors))
    links = {unquote(link[1:]) for link in Page(page).having("href") if link[:2] != "#?"}
    assert set(details(page)) == {record.case for record in samples.every_verdict() if isinstance(record, CaseInfo)}
    chapters = {f"chapter:{chapter['name']}" for chapter in index(page)["chapters"]}
    assert links <= set(anchors) | set(details(page)) | chapters
    assert chapters <= links


def test_headings_and_tables_are_announced(page):
    """No heading level is skipped, every table names its columns, every field has its label."""
    levels = [int(tag[1]) for tag, _ in Page(page).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.count("<table") == page.count("<thead>")
    assert "<th>" not in page
    assert all(page[: found.start()].rfind("<label") > page[: found.start()].rfind("</label") for found in
               re.finditer(r"<(?:input|select)\b", page))  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_hostile_text_stays_text(text):
    """Whatever stands in any field, the page's elements are those that it has without it."""
    page, tame = html.render(_everywhere(text)), html.render(_everywhere("tame"))
    page.encode("utf-8")
    assert len(page) < 2_000_000

    def skeleton(part):
        return [(tag, sorted(attributes)) for tag, attributes in Page(part).elements if tag != "wbr"]

    assert skeleton(page) == skeleton(tame)
    assert "\x1b" not in page
    for found in strings([index(page), details(page)]):
        assert clean(found, 100_000) == found
        assert len(found) < 50_000


def _everywhere(text: str) -> list:
    """A run with one failing and one passing case in which every field that is a text is this one."""
    engine = EngineInfo(text, text, text)
    results = []
    infos = []
    for n, verdict in enumerate(("fail", "pass")):
        name = f"{text[:300]}/{n}{text[:300]}"
        infos.append(
            CaseInfo(name, text[:300], text, text, f"x = 1\n# {text}", text, 1, 2, [text], [text], text, text, text)
        )
        results.append(
            Result(
                name, text, text, verdict, finding="wrong",
                observed=[Observed(1, text, text, {"dtype": text, "shape": [1], "value": [text]}, text, n == 1)],
                differences=[Difference(text, 1, text, [text], 1.0, text, 1.0, [0], text, text)],
                missing=[text], error=ErrorInfo(text, text, 1, text), oracle=text, departs="found", reason=text,
                state={text: text},
            )
        )  # fmt: skip
    left = [LeftOut(text, [text], text)]
    run = header(engine, cases=2, digest=text, oracle=text, patterns=[text], left_out=left, profile=text)
    run.environment = {text: text}
    return finish([run, *infos, *results])


def test_a_cut_text_says_how_much_is_missing():
    """A megabyte of message is cut where it can be seen."""
    long = failed("leaves/a", MINI, error=ErrorInfo("E", "m" * 1_000_000, 1))
    page = html.render(finish([header(MINI, cases=1), case("leaves/a", "A."), long]))
    assert "more characters]" in page
    assert len(page) < 100_000


def test_many_failures_stay_bounded():
    """Beyond a number of failing results their details are packed only, and the page says how many more there are."""
    page = html.render(samples.many(1_000, 2, failing=1_000))
    assert page.count("Program and differences") == html.ATTENTION
    assert "… and 900 more results" in page
    assert f"first {html.ATTENTION} results that do not conform are complete" in page
    assert index(page)["opened"] == []


def test_many_observations_and_differences_say_what_is_left_out():
    """A loop of a thousand rounds shows its first observations and the number of those left out."""
    seen = [Observed(4, "x.grad", n, -1, agrees=False, iteration=n) for n in range(1_000)]
    gaps = [Difference("x.grad", 4, -1, n) for n in range(1_000)]
    bad = failed("leaves/a", MINI, observed=seen, differences=gaps)
    page = html.render(finish([header(MINI, cases=1), case("leaves/a", "A."), bad]))
    found = details(page)["leaves/a"]
    assert (len(found["seen"]), found["unseen"]) == (cases.OBSERVATIONS, 1_000 - cases.OBSERVATIONS)
    assert (len(found["engines"][0]["differences"]), found["engines"][0]["more"]) == (
        cases.DIFFERENCES, 1_000 - cases.DIFFERENCES
    )  # fmt: skip


def test_a_large_report_is_small_and_quick():
    """2,000 cases on five engines: under 300 KB, and well below a second where the machine is not busy."""
    records = samples.many(2_000, 5)
    html.render(samples.every_verdict())  # the template is compiled once
    start = time.process_time()
    page = html.render(records)
    assert time.process_time() - start < 1.5  # three times what it takes: a limit for mistakes, not for machines
    assert len(page) < 300_000
    assert len(details(page)) == 2_000


@pytest.mark.parametrize("engine", [REFERENCE, TORCH])
def test_equal_values_of_other_types_are_not_confused(engine):
    """1, 1.0 and True, or both zeros, compare equal in Python and are shown apart."""
    seen = [Observed(n, "x", value, value) for n, value in enumerate((1, 1.0, True, 0.0, -0.0), 1)]
    page = html.render(finish([header(engine, cases=1), case("leaves/a", "A."), passed("leaves/a", engine, seen)]))
    assert [row[2] for row in details(page)["leaves/a"]["seen"]] == ["1", "1.0", "True", "0.0", "-0.0"]


def test_a_long_program_says_how_many_lines_follow():
    """A program of a thousand lines shows its first."""
    info = case("leaves/a", "A.", "x = 1\n" * 1_000)
    found = details(html.render(finish([header(TORCH, cases=1), info, passed("leaves/a", TORCH)])))["leaves/a"]
    assert (found["program"].count("\n") + 1, found["lines"]) == (cases.LINES, 1_000 - cases.LINES)
