"""The page in a browser: its script lists, filters and opens what it carries, and no text becomes markup."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest

from conformance.records import Difference, ErrorInfo, Observed
from reports import html
from tests.reports import samples
from tests.reports.samples import MINI, REFERENCE, TORCH, case, failed, finish, header, passed
from tests.reports.test_html import HOSTILE

CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=20000", "--dump-dom",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine to open the page with"),
]


class Browser:
    """Opens a page and gives its elements as they are once its script has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, records: list, fragment: str = "", change: tuple[str, str] = ("", "")) -> str:
        page = html.render(records)
        if any(change):  # of the script, which the policy then no longer names
            page = re.sub("script-src '[^']*'", "script-src 'unsafe-inline'", page).replace(*change)
        (self.folder / "page.html").write_text(page, "utf-8")
        address = f"{(self.folder / 'page.html').as_uri()}{fragment}"
        command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={self.folder / 'profile'}", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout


@pytest.fixture
def browser(tmp_path):
    return Browser(tmp_path)


def plain(markup: str) -> str:
    """The text of some markup."""
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]*>", "", markup))).strip()


def rows(markup: str) -> list[list[str]]:
    """The cells' texts of each row of a table."""
    return [
        [plain(cell) for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", markup, re.DOTALL)
    ]


def table_of_operators() -> list:
    """A run with a table: two samples of erf, of which one fails on the last engine in one check."""
    rules = [("ErfBackward0", ["d/dx = 2 / sqrt(pi) * exp(-x * x)"])]
    run = [header(REFERENCE, MINI, cases=4)]
    for sample in ("plain", "zero, dim"):
        for check in ("value", "vjp"):
            name = f"ops.special/erf[{sample},{check}]"
            run += [case(name, f"The {check} of erf.", check=check), passed(name, REFERENCE, rules=rules)]
            run.append(failed(name, MINI) if (sample, check) == ("plain", "vjp") else passed(name, MINI))
    return finish(run)


def test_a_case_that_is_linked_to_stands_open(browser):
    """Program with its failing lines marked and coloured, observations side by side, differences, the command."""
    dom = browser.open(samples.every_verdict(), "#retain_graph/second-backward-raises")
    part = dom[dom.index('<details class="c at" id="retain_graph/second-backward-raises"') :]
    assert re.findall(r'<span class="l bad" title="([^"]*)">(.*?)\n', part) == [
        (f"fails on {MINI.name}", '<i class="k">with</i> <i class="w">raises</i>(RuntimeError, '
         'contains=<i class="s">"second time"</i>):'),
        (f"fails on {MINI.name}", '<i class="k">assert</i> x.grad == [<i class="m">3.0</i>, <i class="m">2.0</i>]'),
    ]  # fmt: skip
    seen, gaps = (rows(table) for table in re.findall(r"<table.*?</table>", part, re.DOTALL)[:2])
    good = "[3.0, 2.0] float32"
    assert seen[0] == ["Line", "Observation", "Expected", "reference", "torch", MINI.name]
    assert seen[3] == ["7", "x.grad", "[3.0, 2.0]", good, good, "✗ [6.0, 4.0] float32"]
    assert gaps[2] == ["x.grad line 7", "[3.0, 2.0]", "[6.0, 4.0] float32", "max abs 3max rel 1at [0]",
                       "mathematically wrong"]  # fmt: skip
    assert f"run retain_graph/second-backward-raises --engine {MINI.name}</code>" in part


def test_a_fragment_filters_the_cases(browser):
    """Verdict and engine: what matches is listed, the rest of the chapters goes."""
    dom = browser.open(samples.every_verdict(), "#?v=fail&e=torch")
    assert "1 of 12 cases shown" in plain(dom)
    assert re.findall(r'<details class="c" id="([^"]*)"', dom) == ["leaves/copy-is-a-leaf"]
    assert len(re.findall(r'<section class="chapter" id="chapter:\w+" hidden', dom)) == 2


def test_a_text_is_looked_for_in_what_is_packed(browser):
    """The words of the search are found in programs and observations of cases that nobody opened."""
    dom = browser.open(samples.every_verdict(), "#?q=register_hook+seen.append")
    assert "1 of 12 cases shown" in plain(dom)
    assert re.findall(r'<details class="c" id="([^"]*)"', dom) == ["leaves/hook-fires-once"]


def test_a_table_shows_rules_and_checks(browser):
    """An operator has its rules, a row for each sample, a column for each check; the case linked to stands below."""
    dom = browser.open(table_of_operators(), "#ops.special/erf%5Bplain,vjp%5D")
    part = dom[dom.index('<details class="c o"') :]
    assert plain(part[: part.index("</summary>")]).startswith("erf 4 cases✓ reference✗ minigrad.adapter:engine: 1 fail")
    assert "The value of erf." in part[: part.index("</summary>")]
    assert "Derivative rules as reference states them" in plain(part)
    assert plain(part[part.index("<dl") : part.index("</dl>")]) == "ErfBackward0d/dx = 2 / sqrt(pi) * exp(-x * x)"
    assert rows(part[part.index("<table") : part.index("</table>")]) == [
        ["Sample", "value", "vjp"], ["plain", "✓", "✓✗"], ["zero, dim", "✓", "✓"]
    ]  # fmt: skip
    assert 'title="plain, vjp: reference: pass; minigrad.adapter:engine: fail, wrong"' in part
    opened = part[part.index('<div class="opened">') :]
    assert opened.count("<article") == 1
    assert '<article id="ops.special/erf[plain,vjp]"' in opened
    assert "mathematically wrong" in opened


@pytest.mark.parametrize("records", [samples.every_verdict(), table_of_operators()], ids=["chapters", "table"])
def test_no_heading_level_is_skipped(browser, records):
    """What the script opens stands under headings one level apart, as the page's own do."""
    dom = browser.open(records)
    levels = [int(level) for level in re.findall(r"<h(\d)\b", dom)]
    assert max(levels) == (6 if "<article id" in dom else 4)
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_many_cases_are_listed_by_chapter_only(browser):
    """A large page opens without its thousands of rows; a chapter that is linked to, or chosen, has them."""
    records = samples.many(600, 2, failing=0)
    assert '<details class="c"' not in browser.open(records)
    for fragment in ("#chapter:chapter_03", "#?c=chapter_03"):
        assert browser.open(records, fragment).count('<details class="c"') == 60


def test_hostile_text_stays_text_when_it_is_opened(browser):
    """Whatever stands in the details of a case, the elements that the script makes are those of harmless text."""

    def skeleton(text: str) -> list[str]:
        seen = [Observed(1, text, text, text, text, agrees=False), Observed(2, text, text)]
        gap = Difference(text, 1, text, [text], finding=text, against=text)
        info = case("leaves/a", text, f"x = 1\n# {text}\n'{text}'", source=text, covers=[text], note=text)
        bad = failed("leaves/a", MINI, observed=seen, differences=[gap], error=ErrorInfo(text, text, 1, text),
                     reason=text, missing=[text])  # fmt: skip
        dom = browser.open(finish([header(MINI, TORCH, cases=1), info, bad, passed("leaves/a", TORCH)]))
        part = dom[dom.index('<div id="list">') : dom.index('<p id="none"')]
        return [tag for tag in re.findall(r"<([a-z]\w*)", part) if tag not in ("i", "span")]

    tame = skeleton("tame")
    assert {"pre", "table", "details", "button"} <= set(tame)
    assert all(skeleton(text[:200]) == tame for text in HOSTILE)


def test_a_browser_that_cannot_inflate_says_so(browser):
    """Without DecompressionStream there is one clear message instead of an empty list."""
    dom = browser.open(samples.every_verdict(), change=("new DecompressionStream", "new NoSuchStream"))
    assert "This browser cannot unpack the list of cases (ReferenceError" in plain(dom[dom.index('<div id="list">') :])
