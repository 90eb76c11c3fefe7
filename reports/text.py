"""Text from engines and specifications, made safe to show: bounded in length, and nothing in it acts.

Escaping is the business of each format (Jinja2's autoescape, ElementTree); what is done here holds for all of them.
Control characters (ANSI codes among them) become the pictures of themselves, lone surrogates and bidirectional
overrides, which would make a line read otherwise than it is, become escapes, and what is cut off is said.
"""

from __future__ import annotations

import re

LIMIT = 4_000
"""Characters shown of one text where no other limit is given."""

_ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_SPACE = re.compile(r"\s+")


def clean(text: str, limit: int = LIMIT) -> str:
    """The text as it can be shown: at most `limit` characters (and a note of how many were cut), harmless."""
    if len(text) > limit:
        text = f"{text[:limit]}… [{len(text) - limit:,} more characters]"
    return text if text.isascii() and text.isprintable() else _ACTS.sub(_picture, text)


def clean_ends(text: str, limit: int = LIMIT) -> str:
    """Like `clean`, but cut in the middle: a traceback says most at its ends."""
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n… [{len(text) - 2 * half:,} more characters] …\n{text[-half:]}"
    return clean(text, limit + 100)


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line."""
    return clean(_SPACE.sub(" ", text[: 4 * limit]).strip() + text[4 * limit :], limit)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\u{code:04x}"


def plural(count: int, noun: str) -> str:
    """`1 case`, `1,200 cases`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
