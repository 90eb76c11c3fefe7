"""The page says everything that the records hold, works alone, and nothing that an engine writes can act in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
import zlib
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from conformance.records import CaseInfo, Difference, EngineInfo, ErrorInfo, LeftOut, Observed, Result
from reports import cases, html
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


def bodies(page: str) -> list[str]:
    """What the page carries packed, unpacked as its script does it."""
    packs = re.findall(r'<script type="text/plain" class="packed">([^<]*)</script>', page)
    return [body for pack in packs for body in json.loads(zlib.decompress(base64.b64decode(pack)))]


@pytest.fixture(scope="module")
def page():
    return html.render(samples.every_verdict())


def test_every_element_is_closed(page):
    """The page and every packed body are well-formed: each end tag closes the element that was opened last."""
    for part in [page, *bodies(page)]:
        assert Page(part).open == []


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
    for part in [page, *bodies(page)]:
        names = {name for _, attributes in Page(part).elements for name in attributes}
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


def test_failing_cases_stand_in_the_page_itself(page):
    """Without JavaScript a failing case shows its program, its differences and its command; packed is what conforms."""
    text = Page(page).text
    assert "raises(RuntimeError)" in text
    assert "autograd-conformance run retain_graph/second-backward-raises --engine minigrad.adapter:engine" in text
    assert "signal 11 (SIGSEGV)" in text
    assert "no answer within 10 s" in text
    packed = "".join(bodies(page))
    assert "leaves/hook-fires-once" in packed
    assert "second-backward-raises" not in packed


def test_failing_lines_are_marked(page):
    """The lines where an engine failed are marked in the program, with the engine's name."""
    part = page[page.index('id="retain_graph/second-backward-raises"') :]
    part = part[: part.index("</details>")]
    marked = re.findall(r'<span class="l bad" title="([^"]*)">(.*?)\n</span>', part)
    assert [re.sub("<[^>]*>", "", line) for _, line in marked] == [
        "with raises(RuntimeError, contains=&#34;second time&#34;):",
        "assert x.grad == [3.0, 2.0]",
    ]
    assert {title for title, _ in marked} == {"fails on minigrad.adapter:engine"}


def test_engines_stand_side_by_side(page):
    """A row of observations has the expectation, then reference, torch and the other engine."""
    part = page[page.index('id="retain_graph/second-backward-raises"') :]
    rows = re.findall(r"<tr>(.*?)</tr>", part[: part.index("</table>")])
    assert re.findall(r'<th scope="col">(.*?)</th>', rows[0]) == [
        "Line", "Observation", "Expected", "reference", "torch", MINI.name,
    ]  # fmt: skip
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", rows[3])]
    assert cells == ["7", "x.grad", "[3.0, 2.0]", "[3.0, 2.0] float32", "[3.0, 2.0] float32", "✗ [6.0, 4.0] float32"]


def test_what_an_engine_never_reached_is_said(page):
    """An observation that one engine made and another did not is no empty cell."""
    assert 'class="never">not reached' in page


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


def test_every_case_has_its_anchor_and_links_reach_one(page):
    """Each case can be linked to, and every link in the page that names a case or chapter ends at an element."""
    anchors = Page(page).having("id")
    assert len(anchors) == len(set(anchors))
    names = [record.case for record in samples.every_verdict() if isinstance(record, CaseInfo)]
    assert set(names) <= set(anchors)
    links = {link[1:] for part in [page, *bodies(page)] for link in Page(part).having("href") if link[:2] != "#?"}
    assert links <= set(anchors)


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
    for body, other in zip(bodies(page), bodies(tame), strict=True):
        assert [tag for tag, _ in skeleton(body) if tag != "i"] == [tag for tag, _ in skeleton(other) if tag != "i"]


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
    """Beyond a number of failing cases the details are packed, and the lists say how many more there are."""
    page = html.render(samples.many(1_000, 2, failing=1_000))
    assert len(bodies(page)) == 1_000 - html.WRITTEN_OUT
    assert "… and 900 more results" in page
    assert f"the first {html.WRITTEN_OUT} cases that do not conform are complete" in page


def test_few_failures_are_all_complete_without_javascript():
    """Where all failing cases stand in the page, it says so."""
    page = html.render(samples.many(20, 2, failing=3))
    assert "the cases that do not conform are complete" in page


def test_many_observations_and_differences_say_what_is_left_out():
    """A loop of a thousand rounds shows its first observations and the number of those left out."""
    seen = [Observed(4, "x.grad", n, -1, agrees=False, iteration=n) for n in range(1_000)]
    gaps = [Difference("x.grad", 4, -1, n) for n in range(1_000)]
    bad = failed("leaves/a", MINI, observed=seen, differences=gaps)
    page = html.render(finish([header(MINI, cases=1), case("leaves/a", "A."), bad]))
    assert f"and {1_000 - cases.OBSERVATIONS} more observations in the result file" in page
    assert f"and {1_000 - cases.DIFFERENCES} more differences in the result file" in page


def test_a_large_report_is_small_and_quick():
    """2,000 cases on five engines: under 2 MB, and well below a second where the machine is not busy."""
    records = samples.many(2_000, 5)
    html.render(samples.every_verdict())  # the templates are compiled once
    start = time.process_time()
    page = html.render(records)
    assert time.process_time() - start < 2.5  # three times what it takes: a limit for mistakes, not for machines
    assert len(page) < 2_000_000
    assert page.count('<details class="c"') == 2_000


@pytest.mark.parametrize("engine", [REFERENCE, TORCH])
def test_equal_values_of_other_types_are_not_confused(engine):
    """1, 1.0 and True, or both zeros, compare equal in Python and are shown apart."""
    seen = [Observed(n, "x", value, value) for n, value in enumerate((1, 1.0, True, 0.0, -0.0), 1)]
    page = html.render(finish([header(engine, cases=1), case("leaves/a", "A."), passed("leaves/a", engine, seen)]))
    (body,) = bodies(page)
    shown = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", body)]
    assert shown[3::4] == ["1", "1.0", "True", "0.0", "-0.0"]
