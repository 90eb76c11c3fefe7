"""Loading the specification: from a warm cache (goal: at most 60 us per case) and from nothing.

Each load runs in a fresh process, as a user's does; imports are not counted. Run: python -m benchmarks.loading
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median

PROGRAM = """
import time
import conformance.spec
start = time.process_time()
cases = len(conformance.spec.load().cases)
print(time.process_time() - start, cases)
"""
LIMIT = 60.0  # microseconds per case


def once(cache: str) -> tuple[float, int]:
    """(seconds, cases) of one load in a fresh process."""
    environment = {**os.environ, "AUTOGRAD_CONFORMANCE_CACHE": cache}
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
    )
    seconds, cases = output.stdout.split()
    return float(seconds), int(cases)


def main() -> None:
    """Measures and prints; exits 1 where the warm load is above its limit."""
    with tempfile.TemporaryDirectory() as cache:
        cold, cases = once(cache)
        warm = median(once(cache)[0] for _ in range(7))
    print(
        f"loading {cases} cases: cold {cold / cases * 1e6:.0f} us per case, warm {warm / cases * 1e6:.1f} us per case"
    )
    if warm / cases * 1e6 > LIMIT:
        sys.exit(f"the warm load is above {LIMIT:.0f} us per case")


if __name__ == "__main__":
    main()
