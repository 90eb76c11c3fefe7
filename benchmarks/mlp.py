"""One SGD step of a 784-128-10 perceptron, batch 64: reference, torch and HIPS autograd beside NumPy written by hand.

Goals: the reference at most 1.35x the hand-written step in float32 and nowhere slower than HIPS autograd. Exits 1 above
a goal. Run: python -m benchmarks.mlp
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

from benchmarks.measure import Contender, one_thread, ratios, table

one_thread()

import numpy as np  # noqa: E402

BATCH, SIZES, RATE = 64, (784, 128, 10), 1e-2
LIMITS = {"float32": 1.35, "float64": 1.35}


def data(dtype: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """(weights and biases in turn, images, labels), the same for every contender."""
    draw = np.random.default_rng(0)
    parameters = []
    for inside, outside in pairwise(SIZES):
        parameters += [draw.standard_normal((inside, outside)) / np.sqrt(inside), np.zeros(outside)]
    images = draw.standard_normal((BATCH, SIZES[0]))
    return [p.astype(dtype) for p in parameters], images.astype(dtype), draw.integers(0, SIZES[-1], BATCH)


def by_hand(dtype: str) -> Contender:
    """The floor: the step written out."""
    (w1, b1, w2, b2), x, labels = data(dtype)
    rows = np.arange(BATCH)

    def step() -> None:
        h = x @ w1
        h += b1
        a = np.maximum(h, 0)
        z = a @ w2
        z += b2
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(1, keepdims=True)
        p[rows, labels] -= 1
        p /= BATCH
        gw2, gb2 = a.T @ p, p.sum(0)
        gh = p @ w2.T
        gh *= a > 0
        gw1, gb1 = x.T @ gh, gh.sum(0)
        for parameter, gradient in ((w1, gw1), (b1, gb1), (w2, gw2), (b2, gb2)):
            parameter -= RATE * gradient

    return step


def by_engine(torch: Any, dtype: str) -> Contender:
    """The same on a torch-spelled engine."""
    arrays, images, labels = data(dtype)
    w1, b1, w2, b2 = parameters = [torch.from_numpy(a).requires_grad_() for a in arrays]
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    cross_entropy = torch.nn.functional.cross_entropy

    def step() -> None:
        hidden = torch.relu(torch.addmm(b1, x, w1))
        loss = cross_entropy(torch.addmm(b2, hidden, w2), y)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=RATE)

    return step


def by_hips(dtype: str) -> Contender:
    """The same on HIPS autograd."""
    import autograd
    import autograd.numpy as anp

    parameters, x, labels = data(dtype)
    rows = np.arange(BATCH)

    def loss(parameters: list[Any]) -> Any:
        w1, b1, w2, b2 = parameters
        z = anp.dot(anp.maximum(anp.dot(x, w1) + b1, 0), w2) + b2
        z = z - anp.max(z, 1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(z), 1)) - z[rows, labels])

    gradient = autograd.grad(loss)

    def step() -> None:
        for parameter, g in zip(parameters, gradient(parameters), strict=True):
            parameter -= RATE * g

    return step


def main() -> None:
    """Measures and prints; exits 1 above a goal."""
    import torch

    import reference_engine

    torch.set_num_threads(1)
    missed = []
    for dtype, limit in LIMITS.items():
        contenders = {"by hand": by_hand(dtype), "reference": by_engine(reference_engine, dtype),
                      "torch": by_engine(torch, dtype), "HIPS": by_hips(dtype)}  # fmt: skip
        measured = ratios(contenders, "by hand", rounds=101)
        table(f"perceptron {SIZES}, batch {BATCH}, {dtype}", measured, "by hand")
        if measured["reference"][0] > limit:
            missed.append(f"{dtype}: {measured['reference'][0]:.2f} times the floor, goal {limit}")
        if measured["reference"][0] > measured["HIPS"][0]:
            missed.append(f"{dtype}: slower than HIPS autograd")
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
