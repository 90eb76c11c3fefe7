"""Loaded chapters, kept between runs: nothing is parsed, checked or lowered twice.

One MessagePack file per chapter, named by the digest of all that its content depends on: the chapter file, the
vocabulary, the schema, the kit's own loading and lowering code, the Python version. So an entry is never stale, only
unused. Entries are written beside their place and moved in one step: concurrent workers only ever see whole ones. An
entry that cannot be decoded counts as absent. A folder that cannot be written costs time, never an error.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import msgspec

from .specification import Chapter

VARIABLE = "AUTOGRAD_CONFORMANCE_CACHE"
KEPT = 64  # entries that no load has used lately are removed above this number

_decoder = msgspec.msgpack.Decoder(Chapter)
_encoder = msgspec.msgpack.Encoder()


def folder() -> Path | None:
    """Where entries lie: $AUTOGRAD_CONFORMANCE_CACHE (empty: nowhere), else the platform's cache folder."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "autograd-conformance"


@lru_cache(maxsize=1)
def kit_digest() -> bytes:
    """The digest of the code that makes a chapter from a file, and of the Python that it is compiled for."""
    package = Path(__file__).resolve().parent.parent
    sources = sorted([*(package / "spec").rglob("*.py"), *(package / "language").rglob("*.py"), package / "case.py"])
    total = hashlib.sha256(f"{sys.version}\0{sys.implementation.cache_tag}\0{msgspec.__version__}".encode())
    for source in sources:
        total.update(source.name.encode() + b"\0" + source.read_bytes())
    return total.digest()


def key(name: str, content: bytes, *meaning: bytes) -> str:
    """The entry's name for a chapter file with this content, read with `meaning` (vocabulary, schema)."""
    total = hashlib.sha256(kit_digest())
    for part in (name.encode(), content, *meaning):
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()[:40]


def get(where: Path | None, entry: str) -> Chapter | None:
    """The chapter under this key, or None where there is none that can be decoded."""
    if where is None:
        return None
    try:
        return _decoder.decode((where / f"{entry}.chapter").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def put(where: Path | None, entry: str, chapter: Chapter) -> None:
    """Keep a chapter. Does nothing where the folder cannot be written."""
    if where is None:
        return
    temporary = None
    try:
        where.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=where, prefix=".", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(_encoder.encode(chapter))
        os.replace(temporary, where / f"{entry}.chapter")
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def tidy(where: Path | None, used: set[str]) -> None:
    """Remove the oldest entries that are not in use, where there are many."""
    if where is None:
        return
    try:
        unused = [p for p in where.glob("*.chapter") if p.stem not in used]
        for path in sorted(unused, key=lambda p: p.stat().st_mtime)[:-KEPT]:
            path.unlink(missing_ok=True)
    except OSError:
        pass
