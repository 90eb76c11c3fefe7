"""From a folder to a Specification: every chapter from the cache or from its file, then what spans chapters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from conformance.errors import Place, SpecError, SpecErrors

from . import cache, lints
from . import root as roots
from .specification import Chapter, Specification


def load(patterns: Iterable[str] = (), root: str | Path | None = None) -> Specification:
    """Load the specification and select from it.

    root: the specification's folder; see `root.find` for where it is looked for otherwise.
    Raises SpecErrors with every mistake found, and UsageError for a missing folder or a pattern that matches nothing.
    """
    folder = roots.find(root)
    names, others = roots.files(folder)
    contents = {name: roots.read_bytes(folder / name) for name in (*names, *others)}
    if not names:
        raise SpecError("no chapters here", place=Place(folder), hint="a chapter is a .yaml file")
    chapters, errors = _chapters(folder, names, contents)
    if not errors:
        chapters, errors = lints.resolve_needs(chapters)
    if errors:
        raise SpecErrors([_under(folder, error) for error in errors])
    cases = tuple(case for chapter in chapters for case in chapter.cases)
    version = contents.get("VERSION", b"0").decode(errors="replace").strip()
    whole = Specification(folder, version, roots.digest(contents), chapters, cases)
    return whole.select(patterns)


def _chapters(
    folder: Path, names: list[str], contents: dict[str, bytes]
) -> tuple[tuple[Chapter, ...], list[SpecError]]:
    vocabulary = contents["vocabulary.yaml"]
    schemas = {name: roots.read_bytes(folder / name) for name in {_schema(name) for name in names}}
    where = cache.folder()
    keys = {name: cache.key(name, contents[name], vocabulary, schemas[_schema(name)]) for name in names}
    chapters: list[Chapter] = []
    errors: list[SpecError] = []
    stored = False
    for name in names:
        chapter = cache.get(where, keys[name])
        if chapter is None:
            chapter = _read(folder, name, contents[name], vocabulary, schemas[_schema(name)], errors)
            if chapter is not None:
                cache.put(where, keys[name], chapter)
                stored = True
        if chapter is not None:
            chapters.append(chapter)
    if stored:
        cache.tidy(where, set(keys.values()))
    return tuple(chapters), errors


def _schema(name: str) -> str:
    """The schema of a chapter, or of a table of operators."""
    return f"{roots.OPERATORS}/schema.json" if name.startswith(f"{roots.OPERATORS}/") else "schema.json"


def _read(
    folder: Path, name: str, content: bytes, vocabulary: bytes, schema: bytes, errors: list[SpecError]
) -> Chapter | None:
    # Imported here: a warm load needs none of it, nor PyYAML and jsonschema behind it.
    from conformance.language.lower import lower

    from .chapter import Frame, read_chapter
    from .checking import read_vocabulary
    from .operators import read_table

    frame = Frame(read_vocabulary(vocabulary, "vocabulary.yaml"), schema, folder / _schema(name), lower)
    try:
        return (read_table if name.startswith(f"{roots.OPERATORS}/") else read_chapter)(content, name, frame)
    except SpecErrors as mistakes:
        errors += mistakes.errors
        return None


def _under(folder: Path, error: SpecError) -> SpecError:
    """The same error with its file spelled so that it opens from here: below the folder, relative where it can be."""
    if error.place is None or Path(error.place.file).is_absolute():
        return error
    path = folder / error.place.file
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    place = Place(path, error.place.line, error.place.column)
    return SpecError(error.what, place=place, hint=error.hint)
