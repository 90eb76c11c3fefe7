"""Measuring: contenders interleaved round by round in one process, processor time, medians of per-round ratios.

Absolute times on a shared machine say little; the ratio to a floor measured in the same round says much.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median

Contender = Callable[[], object]


def one_thread() -> None:
    """Limits the numeric libraries to one thread. Call before NumPy or torch is imported."""
    import os

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def ratios(contenders: dict[str, Contender], floor: str, rounds: int = 31) -> dict[str, tuple[float, float]]:
    """Per contender (median ratio to `floor`, median seconds).

    The heap that imports left behind is frozen first: otherwise a big library's objects are walked by the garbage
    collector in the middle of everybody's measurement.
    """
    gc.collect()
    gc.freeze()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.process_time()
            contender()
            seconds[name].append(time.process_time() - start)
    gc.unfreeze()
    base = seconds[floor]
    return {name: (median(s / f for s, f in zip(own, base, strict=True)), median(own)) for name, own in seconds.items()}


def table(title: str, measured: dict[str, tuple[float, float]], floor: str) -> None:
    """Prints one group of contenders."""
    print(f"{title}  (ratio to {floor}: {measured[floor][1] * 1e3:.3f} ms)")
    for name, (ratio, seconds) in measured.items():
        print(f"  {name:<12} {ratio:8.2f}  {seconds * 1e3:10.3f} ms")
