"""The whole specification on the reference and on torch, one process each (goal: at most 2.5 times torch's time).

Each engine runs every case that it can, once, in a fresh process; imports and loading are not counted, the kit's own work
is. Processor time, processes in turn, the ratio within each round. Run: python -m benchmarks.specification [--chapters]
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

PROGRAM = """
import sys, time, json, warnings
from conformance import engines, spec
from conformance.language import execute
cases = [c for c in spec.load().cases if c.device is None and c.pending is None]
engine = engines.load(sys.argv[1], "cpu")
seconds = {}
for case in cases:
    start = time.process_time()
    execute(case, engine)
    seconds[case.chapter] = seconds.get(case.chapter, 0.0) + time.process_time() - start
print(json.dumps({"cases": len(cases), "seconds": seconds}))
"""
LIMIT = 2.5
ROUNDS = 3


def once(engine: str) -> tuple[int, dict[str, float]]:
    """(cases, processor seconds by chapter) of one engine in a fresh process."""
    import json

    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    output = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM, engine], env={**os.environ, **threads},
                            check=True, capture_output=True, text=True)  # fmt: skip
    found = json.loads(output.stdout.splitlines()[-1])
    return found["cases"], found["seconds"]


def main() -> None:
    """Measures and prints; exits 1 above the limit."""
    rounds = [(once("reference"), once("torch")) for _ in range(ROUNDS)]
    total = median(sum(ours.values()) / sum(theirs.values()) for (_, ours), (_, theirs) in rounds)
    (cases, ours), (_, theirs) = rounds[-1]
    print(f"{cases} cases: reference {sum(ours.values()):.2f} s, torch {sum(theirs.values()):.2f} s, ratio {total:.2f}")
    if "--chapters" in sys.argv:
        for chapter in sorted(ours, key=lambda c: theirs[c] - ours[c]):
            print(f"  {chapter:<24} {ours[chapter] * 1e3:9.1f} ms {theirs[chapter] * 1e3:9.1f} ms "
                  f"{ours[chapter] / theirs[chapter]:6.2f}")  # fmt: skip
    if total > LIMIT:
        sys.exit(f"the reference takes more than {LIMIT} times torch's time")


if __name__ == "__main__":
    main()
