"""Deliberately faulty engines: the reference with one realistic fault each. The kit is only worth what it catches.

python -m tests.faulty_engines                                  a table: which cases catch which fault
autograd-conformance run --engine tests.faulty_engines:NAME     one of them, judged like any engine
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from tests.faulty_engines.patching import FAULTS, Fault, Patch, fault

for _module in pkgutil.iter_modules(__path__):
    if _module.name not in ("patching", "__main__", "checking"):
        importlib.import_module(f"{__name__}.{_module.name}")


def __getattr__(name: str) -> Callable[[], Any]:
    """A factory for the command line: plants the fault in its process for good, and returns the namespace."""
    if name not in FAULTS:
        raise AttributeError(f"no fault {name!r}; there are {', '.join(sorted(FAULTS))}")

    def factory() -> Any:
        from conformance.engines.reference import ReferenceEngine

        namespace = importlib.import_module("reference_engine")
        FAULTS[name].plant(Patch())
        return ReferenceEngine(namespace, name=name, drop_in=True)

    return factory


__all__ = ["FAULTS", "Fault", "Patch", "fault"]
