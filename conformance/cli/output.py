"""Files that a command writes besides the results."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path

from conformance.errors import RunError, UsageError
from conformance.records import Record

# suffix of the file -> module of `reports` with a `render`
FORMATS = {".html": "html", ".htm": "html", ".xml": "junit", ".md": "markdown"}


def writable(path: Path | None) -> None:
    """Raises UsageError for a file that cannot be written, before any work is done for it."""
    if path is None:
        return
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{path} cannot be written: permission denied")


def format_of(path: Path) -> str:
    """The format that the file's name asks for."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"{path}: what format is that?", hint=f"names end in {', '.join(FORMATS)}") from None


def render_to(path: Path, format_: str, records: Iterable[Record]) -> None:
    """Writes a report; an existing file is replaced only by a whole one."""
    render = importlib.import_module(f"reports.{format_}").render
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(render(list(records)), encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path} could not be written: {e.strerror}") from None
