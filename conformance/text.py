"""Text of strangers' objects, kept short and got safely."""

from __future__ import annotations

from typing import Any

LIMIT = 2000  # characters


def short(text: str, limit: int = LIMIT) -> str:
    """`text`, cut where it is longer than `limit` characters, saying how much was left out."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more characters)"


def safe_text(value: Any) -> str:
    """str(value), whatever its __str__ does."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception in one line: its type and message."""
    return short(" ".join(f"{type(error).__name__}: {safe_text(error)}".split()), limit)
