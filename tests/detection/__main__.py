"""`python -m tests.detection [SIZE ...]`: the table of faults planted and caught, and of correct operators accused.

`python -m tests.detection --gradcheck [SIZE ...]`: what gradcheck notices of the same faults, fast and slow (slow up to 100
elements; minutes).
"""

from __future__ import annotations

import sys

from conformance.engines import available

from .planting import FAULTS_PLANTED
from .table import SIZES, accused, detection, gradchecked

DTYPES = ["float32", "float16", "bfloat16"]


MISTAKES = {fault.name: fault.mistake for fault in FAULTS_PLANTED}


def beside(sizes: list[int]) -> None:
    """Prints what gradcheck notices."""
    print(f"{'mistake':60} {'n':>5} planted  fast  slow")
    for size in sizes:
        for fault in FAULTS_PLANTED:
            caught, planted = [], 0
            for fast in (True, False):
                for found in gradchecked(size, fast, [fault]) if fast or size <= 100 else ():
                    planted = len(found.planted)
                    caught.append(planted - len(found.missed))
            if caught:
                print(
                    f"{fault.mistake:60} {size:5} {planted:7}" + "".join(f" {count:5}" for count in caught), flush=True
                )


def main() -> None:
    """Prints the table; exits 1 where a fault is missed or a correct operator accused."""
    bad = False
    arguments = [argument for argument in sys.argv[1:] if argument != "--gradcheck"]
    sizes = [int(size) for size in arguments] or list(SIZES)
    if "--gradcheck" in sys.argv:
        return beside(sizes)
    print(f"{'mistake':60} {'n':>5} planted caught")
    for size in sizes:
        for found in detection(size):
            caught = len(found.planted) - len(found.missed)
            missed = f"  MISSED in {', '.join(found.missed)}" if found.missed else ""
            print(f"{MISTAKES[found.fault]:60} {size:5} {len(found.planted):7} {caught:6}{missed}")
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
