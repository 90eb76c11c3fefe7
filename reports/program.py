"""A case's program as lines of highlighted HTML.

Own code where a library exists, and why: Pygments' Python lexer takes 900 us for a program of six lines, so that the
colours alone of 2,000 cases would take two seconds. Cases are a small subset of Python: one pattern finds what is
coloured, twelve times as fast.
"""

from __future__ import annotations

import keyword
import re

from markupsafe import Markup, escape

from reports.text import clean

LINES = 400
"""Lines of a program that are shown."""

_WORDS = (
    "raises",
    "recorded_warnings",
    "warns",
    "same",
    "identical",
    "same_storage",
    "weak",
    "collect",
    "defaults",
    "deep_copy",
)
_TOKEN = re.compile(
    rf"""(?P<c>\#.*)
    |(?P<s>[rRbBfFuU]{{0,2}}(?:'''(?:[^\\]|\\[\s\S])*?'''|\"\"\"(?:[^\\]|\\[\s\S])*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<m>(?<![\w.])(?:0[xXbBoO]\w+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?j?))
    |\b(?P<k>{"|".join([*keyword.kwlist])})\b
    |(?<!\.)\b(?P<w>{"|".join(_WORDS)})\b""",
    re.VERBOSE,
)


def highlighted(program: str) -> list[Markup]:
    """The program's lines as escaped HTML: <i class=k> keyword, s text, m number, c comment, w a word of the kit.

    A long program ends in a line that says how many lines follow.
    """
    lines = clean(program, 40_000).rstrip("\n").split("\n")
    more = [Markup("<em>… {:,} more lines</em>").format(len(lines) - LINES)] if len(lines) > LINES else []
    pieces: list[str] = []
    end = 0
    text = "\n".join(lines[:LINES])
    for match in _TOKEN.finditer(text):
        pieces.append(str(escape(text[end : match.start()])))
        # A token of several lines (a long text) is closed and opened again at each line's end.
        pieces.append("\n".join(f"<i class={match.lastgroup}>{escape(part)}</i>" for part in match.group().split("\n")))
        end = match.end()
    pieces.append(str(escape(text[end:])))
    return [Markup(line) for line in "".join(pieces).split("\n")] + more
