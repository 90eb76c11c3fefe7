"""What a run will do: which cases, in which order, and which of those asked for do not apply and why."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from conformance.case import Case
from conformance.records import LeftOut
from conformance.running.process import Key


@dataclass(frozen=True)
class Plan:
    """The cases of a run, each after those that it needs.

    needed: cases that nobody asked for and that others need.
    left_out: cases that do not apply here, by reason.
    """

    cases: tuple[Case, ...]
    needed: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()
    patterns: tuple[str, ...] = field(default=())
    profile: str | None = None

    def applies(self, case: Case, key: Key) -> bool:
        """Whether the case can run on this engine: one about CUDA needs an engine on CUDA."""
        return case.device is None or case.device == key.device

    def shuffled(self, seed: int) -> Plan:
        """The same cases in another order; judging does not depend on the order."""
        cases = list(self.cases)
        random.Random(seed).shuffle(cases)
        return replace(self, cases=tuple(cases))


def plan(
    asked: Iterable[Case],
    by_name: Mapping[str, Case],
    keys: Iterable[Key],
    *,
    torch: str | None,
    patterns: Iterable[str] = (),
    profile: str | None = None,
) -> Plan:
    """Adds the cases that the asked ones need, and leaves out those that do not apply.

    torch: the version of torch that takes part, None where none does; then what no longer holds in torch is left out.
    """
    asked, keys = tuple(asked), tuple(keys)
    ordered = _with_needs(asked, by_name)
    names = {case.name for case in asked}
    reasons: dict[tuple[str, str | None], list[str]] = {}
    kept = []
    for case in ordered:
        reason = _wrong_version(case, torch) or _wrong_device(case, keys)
        if reason is None:
            kept.append(case)
            for key in keys:
                if case.device is not None and key.device != case.device:
                    reasons.setdefault((f"runs on {key.device} only", key.engine), []).append(case.name)
        elif case.name in names:
            reasons.setdefault((reason, None), []).append(case.name)
    return Plan(
        cases=tuple(kept),
        needed=frozenset(case.name for case in kept) - names,
        left_out=tuple(LeftOut(reason, cases, engine) for (reason, engine), cases in reasons.items()),
        patterns=tuple(patterns),
        profile=profile,
    )


def _with_needs(asked: Iterable[Case], by_name: Mapping[str, Case]) -> list[Case]:
    """The cases with everything that they need before them; a need that is not at hand is passed over."""
    ordered: dict[str, Case] = {}
    for case in asked:
        stack = [case]
        while stack:
            top = stack[-1]
            missing = [by_name[n] for n in top.needs if n in by_name and n not in ordered]
            if missing and top.name not in ordered:
                stack.extend(reversed(missing))
            else:
                ordered.setdefault(top.name, top)
                stack.pop()
    return list(ordered.values())


def _wrong_version(case: Case, torch: str | None) -> str | None:
    if torch is None:
        return f"held until torch {case.until}" if case.until else None
    if case.since and _numbers(torch) < _numbers(case.since):
        return f"holds since torch {case.since}, here is {torch}"
    if case.until and _numbers(torch)[: len(_numbers(case.until))] > _numbers(case.until):
        return f"held until torch {case.until}, here is {torch}"
    return None


def _wrong_device(case: Case, keys: Iterable[Key]) -> str | None:
    if case.device is None or any(key.device == case.device for key in keys):
        return None
    return f"needs a {case.device.upper()} device: run with --device {case.device}"


def _numbers(version: str) -> tuple[int, ...]:
    """ "2.13.0+cpu" -> (2, 13, 0). Pre-releases count as their release."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(n) for n in match[0].split(".")) if match else ()
