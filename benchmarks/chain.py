"""A chain of 1,000 operators (mul, add, relu, mul; three leaves used 250 times each): build and backward.

Goals: the reference at most 3.0x the hand-written NumPy floor at 0-d and 2.25x at (4, 4), and at least 5x faster than
HIPS autograd at 0-d. Run: python -m benchmarks.chain
"""

from __future__ import annotations

from typing import Any

from benchmarks.measure import Contender, one_thread, ratios, table

one_thread()

import numpy as np  # noqa: E402

LENGTH = 1_000
SHAPES: tuple[tuple[int, ...], ...] = ((), (4, 4), (32, 32))


def by_hand(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[Any, Any, Any]:
    """The floor: forward and backward written out in ufuncs, 0-d results kept as arrays."""
    x, saved = a, []
    for _ in range(LENGTH // 4):
        product = np.multiply(x, b, out=...)
        total = np.add(product, c, out=...)
        positive = np.maximum(total, 0.0, out=...)
        saved.append((x, total, positive))
        x = np.multiply(positive, a, out=...)
    g = np.ones_like(x)
    ga, gb, gc = np.zeros_like(a), np.zeros_like(b), np.zeros_like(c)
    for x, total, positive in reversed(saved):
        ga = np.add(ga, np.multiply(g, positive, out=...), out=...)
        g = np.multiply(g, a, out=...)
        g = np.multiply(g, np.greater(total, 0, out=...), out=...)
        gc = np.add(gc, g, out=...)
        gb = np.add(gb, np.multiply(g, x, out=...), out=...)
        g = np.multiply(g, b, out=...)
    return ga + g, gb, gc


def by_engine(torch: Any, arrays: list[np.ndarray]) -> Contender:
    """The same on a torch-spelled engine."""
    a, b, c = (torch.tensor(x, requires_grad=True) for x in arrays)

    def run() -> None:
        x = a
        for _ in range(LENGTH // 4):
            x = torch.relu(x * b + c) * a
        x.sum().backward()

    return run


def by_hips(arrays: list[np.ndarray]) -> Contender:
    """The same on HIPS autograd."""
    import autograd
    import autograd.numpy as anp

    def chain(a: Any, b: Any, c: Any) -> Any:
        x = a
        for _ in range(LENGTH // 4):
            x = anp.maximum(x * b + c, 0.0) * a
        return anp.sum(x)

    gradient = autograd.grad(chain, (0, 1, 2))
    return lambda: gradient(*arrays)


def main() -> None:
    """Measures and prints."""
    import torch

    import reference_engine

    torch.set_num_threads(1)
    for shape in SHAPES:
        rng = np.random.default_rng(0)
        arrays = [np.asarray(rng.uniform(0.5, 1.0, shape)) for _ in range(3)]
        contenders: dict[str, Contender] = {
            "by hand": lambda arrays=arrays: by_hand(*arrays),  # type: ignore[misc]
            "reference": by_engine(reference_engine, arrays),
            "torch": by_engine(torch, arrays),
            "HIPS": by_hips(arrays),
        }
        table(f"chain of {LENGTH} operators, {shape}", ratios(contenders, "by hand"), "by hand")


if __name__ == "__main__":
    main()
