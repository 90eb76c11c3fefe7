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


def keep_memory() -> bool:
    """Has the C library keep what is freed for what is allocated next; says whether it did (glibc only).

    A result of tens of megabytes is otherwise given back to the system and had anew in every round, page by page, at a price
    that changes from process to process and says nothing of the contenders. It holds for all of them alike.
    """
    import ctypes

    trim_threshold, mmap_threshold, most = -1, -3, 1 << 30
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(trim_threshold, most)) and bool(mallopt(mmap_threshold, most))


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
