"""Authors' mistakes in a chapter's form, found with the JSON Schema that their editors use, placed in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from conformance.errors import SpecError

from .checking.problem import near
from .reading import Document, Route

PATTERNS = {
    "claim": "a claim is a sentence, or two, that ends with a period",
    "since": 'a torch version in quotes, as "2.1"',
    "until": 'a torch version in quotes, as "2.1"',
}
# Keys of an operator's sample that are not data.
SAMPLE_KEYS = frozenset({
    "id", "claim", "source", "kind", "call", "outputs", "differentiable", "only", "value", "gradient", "covers",
    "tolerance", "torch_departs", "pending", "checks", "note",
})  # fmt: skip
KINDS = {"object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false", "number": "a number"}


def check_form(document: Document, schema: bytes, file: Path) -> list[SpecError]:
    """Every departure from the schema, in the order of the file."""
    validator = _validator(schema, str(file))
    return [mistake for error in validator.iter_errors(document.value) for mistake in _translate(error, document)]


@lru_cache(maxsize=4)
def _validator(schema: bytes, file: str) -> Any:
    import jsonschema

    try:
        content = json.loads(schema)
        jsonschema.Draft202012Validator.check_schema(content)
    except (ValueError, jsonschema.SchemaError) as error:
        raise SpecError(f"{file} is not a JSON Schema: {error}") from None
    return jsonschema.Draft202012Validator(content)


def _translate(error: Any, document: Document) -> Iterator[SpecError]:
    route: Route = tuple(error.absolute_path)
    place = document.place(route)
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        for key in (k for k in error.instance if k not in known):
            hint = near(key, known) or f"known here: {', '.join(known)}"
            yield SpecError(f"unknown key '{key}'", place=document.place((*route, key), key=True), hint=hint)
    elif error.validator == "required":
        for key in (k for k in error.validator_value if k not in error.instance):
            if error.message.startswith(repr(key)):
                yield SpecError(f"the key '{key}' is missing", place=place)
    elif error.validator == "propertyNames" or "propertyNames" in error.absolute_schema_path:
        key, known = str(error.instance), error.validator_value if error.validator == "enum" else ()
        what = f"unknown key '{key}'" if known else f"'{key}' is no name for a variable"
        right = near(key, known) or f"one of {', '.join(known)}" if known else None
        yield SpecError(what, place=document.place((*route, key), key=True), hint=right)
    else:
        yield SpecError(_say(error, route), place=place, hint=_hint(error, route))


def _say(error: Any, route: Route) -> str:
    what = next((part for part in reversed(route) if isinstance(part, str)), "chapter")
    if error.validator == "type":
        expected = KINDS.get(error.validator_value, error.validator_value)
        return f"'{what}' is {expected}, not {_shown(error.instance)}" if route else f"a chapter is {expected}"
    if error.validator in ("pattern", "enum", "anyOf"):
        if isinstance(error.instance, str) and not error.instance.strip():
            return f"'{what}' is empty"
        return f"{_shown(error.instance)} is no valid '{what}'"
    if error.validator in ("minItems", "minProperties"):
        return f"'{what}' is too short: {_shown(error.instance)}"
    if error.validator == "uniqueItems":
        return f"'{what}' holds something twice"
    return f"'{what}': {error.message}"


def _hint(error: Any, route: Route) -> str | None:
    name = route[-1] if route else None
    if error.validator == "enum":
        values = [str(value) for value in error.validator_value]
        return near(str(error.instance), values) or f"one of {', '.join(values)}"
    if name in PATTERNS and error.validator in ("pattern", "type"):
        return PATTERNS[str(name)]
    if error.validator == "pattern" and name in ("id", "chapter"):
        return "lower-case letters, digits, - and _"
    if error.validator == "pattern" and len(route) > 1 and route[-2] in ("covers", "needs"):
        return "an id, or chapter/id"
    if error.validator == "anyOf" and name == "dtype":
        return "a dtype such as float32, or $parameter"
    if error.validator == "anyOf" and "samples" in route:
        return near(str(name), SAMPLE_KEYS) or "data are drawn, a number, a nested list, or {data: ..., dtype: ...}"
    if error.validator == "anyOf" and name == "shape":
        return "a list of sizes, or $parameter"
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
