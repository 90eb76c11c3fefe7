"""`python -m tests.detection [SIZE ...]`: the table of faults planted and caught, and of correct operators accused."""

from __future__ import annotations

import sys

from conformance.engines import available

from .planting import FAULTS_PLANTED
from .table import SIZES, accused, detection

DTYPES = ["float32", "float16", "bfloat16"]


def main() -> None:
    """Prints the table; exits 1 where a fault is missed or a correct operator accused."""
    bad = False
    mistakes = {fault.name: fault.mistake for fault in FAULTS_PLANTED}
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    print(f"{'mistake':60} {'n':>5} planted caught")
    for size in sizes:
        for found in detection(size):
            caught = len(found.planted) - len(found.missed)
            missed = f"  MISSED in {', '.join(found.missed)}" if found.missed else ""
            print(f"{mistakes[found.fault]:60} {size:5} {len(found.planted):7} {caught:6}{missed}")
            bad |= bool(found.missed)
    for size in sizes:
        for engine in filter(available, ("reference", "torch")):
            wrong = accused(size, engine, DTYPES)
            print(
                f"correct operators, {', '.join(DTYPES)}, on {engine:9} {size:5}: {len(wrong)} accused {', '.join(wrong)}"
            )
            bad |= bool(wrong)
    sys.exit(bad)


if __name__ == "__main__":
    main()
