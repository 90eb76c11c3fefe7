"""Drawn data of a case as leaves of an engine. The numbers are drawn once per process, whatever engines receive them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from conformance.arrays import Array
from conformance.case import Given
from conformance.engines.base import Engine


@lru_cache(maxsize=16)
def _drawn(key: str) -> Array:
    from conformance.spec.given import draw  # the specification's loader is not needed where nothing is drawn

    array = draw(_waiting.pop(key))
    array.flags.writeable = False
    return array


_waiting: dict[str, Given] = {}


def bind(givens: tuple[Given, ...], engine: Engine) -> dict[str, Any]:
    """The drawn tensors by name."""
    found = {}
    for given in givens:
        key = repr(given)
        _waiting[key] = given
        found[given.name] = engine.make(_drawn(key), given.dtype, given.requires_grad)
        _waiting.pop(key, None)
    return found
