"""Where the specification lies, and the digest of what lies there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from conformance.errors import SpecError, UsageError

VARIABLE = "AUTOGRAD_CONFORMANCE_SPEC"
NOT_CHAPTERS = {"vocabulary.yaml", "profiles.yaml"}
PROGRAMS, OPERATORS = "programs", "ops"  # folders of chapters and of tables


def find(root: str | Path | None = None) -> Path:
    """The specification's folder: the one given, $AUTOGRAD_CONFORMANCE_SPEC, the wheel's own, else the checkout's."""
    package = Path(__file__).resolve().parent.parent
    named = root or os.environ.get(VARIABLE)
    if named:
        path = Path(named)
        if not path.is_dir():
            origin = "" if root else f" (from ${VARIABLE})"
            raise UsageError(f"no specification at {path}{origin}", hint="a folder with vocabulary.yaml and chapters")
        return path
    for path in (package / "_spec", package.parent / "spec"):
        if (path / "vocabulary.yaml").is_file():
            return path
    raise UsageError(f"no specification beside {package}", hint=f"name its folder in ${VARIABLE}")


def files(root: Path) -> tuple[list[str], list[str]]:
    """(chapter files, other files that give the cases their meaning), as sorted paths relative to the root."""
    chapters = [p.name for p in root.glob("*.yaml") if p.name not in NOT_CHAPTERS]
    chapters += [f"{folder}/{p.name}" for folder in (PROGRAMS, OPERATORS) for p in (root / folder).glob("*.yaml")]
    others = ["vocabulary.yaml", *(n for n in ("VERSION", "profiles.yaml") if (root / n).is_file())]
    return sorted(chapters), others


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or a SpecError that says why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None


def digest(contents: dict[str, bytes]) -> str:
    """ "sha256:..." over names and contents, independent of where the folder lies and of the order of reading."""
    total = hashlib.sha256()
    for name in sorted(contents):
        total.update(f"{name}\0{len(contents[name])}\0".encode())
        total.update(contents[name])
    return f"sha256:{total.hexdigest()}"
