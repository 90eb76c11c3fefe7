"""`python -m tests.faulty_engines [CHAPTER]`: which cases catch which fault, and which cases catch none."""

from __future__ import annotations

import sys
from collections import Counter

from tests.faulty_engines import FAULTS
from tests.faulty_engines.checking import catching, load, outcomes


def main() -> None:
    """Prints the table."""
    chapters = sys.argv[1:] or sorted({f.chapter for f in FAULTS.values()})
    cases = [case for case in load() if case.chapter in chapters]
    oracle = outcomes(cases)
    useful: Counter[str] = Counter()
    missed = []
    for fault in FAULTS.values():
        if fault.chapter not in chapters:
            continue
        caught = list(catching(fault, cases, oracle))
        useful.update(caught)
        alone = "  (by this case only)" if len(caught) == 1 else ""
        print(
            f"{fault.chapter:16} {fault.name:42} {len(caught):4} cases: {', '.join(caught[:3]) or 'NOT CAUGHT'}{alone}"
        )
        if not caught:
            missed.append(fault.name)
    for chapter in chapters:
        idle = [case.name for case in cases if case.chapter == chapter and not useful[case.name]]
        print(f"\n{chapter}: cases that catch no fault (candidates to sharpen): {', '.join(idle) or 'none'}")
    total = sum(f.chapter in chapters for f in FAULTS.values())
    print(f"\ncaught {total - len(missed)} of {total}" + (f"; missed: {', '.join(missed)}" if missed else ""))
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
