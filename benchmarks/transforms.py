"""torch.func: a Jacobian beside torch's, and per-sample gradients by vmap(grad) beside the loop.

Goals: jacrev of a function of 100 numbers with 100 results at most 2x torch's time; vmap(grad) over 64 samples of a
784-128-10 perceptron at least 8x faster than a loop of grad on the reference. Exits 1 above a goal.
Run: python -m benchmarks.transforms
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.measure import Contender, keep_memory, one_thread, ratios, table

one_thread()

import numpy as np  # noqa: E402

from benchmarks.mlp import BATCH, SIZES, data  # noqa: E402

WIDTH, JACOBIAN_LIMIT, SAMPLES_GAIN = 100, 2.0, 8.0


def jacobian(torch: Any) -> Contender:
    """jacrev of tanh(W tanh(V x)), 100 numbers in and out."""
    draw = np.random.default_rng(0)
    inner, outer = (torch.from_numpy(draw.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5) for _ in range(2))
    x = torch.from_numpy(draw.standard_normal(WIDTH))
    whole = torch.func.jacrev(lambda a: torch.tanh(outer @ torch.tanh(inner @ a)))
    return lambda: whole(x)


def per_sample(torch: Any, *, looped: bool) -> Contender:
    """One gradient of each parameter per sample, as torch's tutorial on per-sample gradients has them."""
    arrays, images, labels = data("float32")
    model = torch.nn.Sequential(torch.nn.Linear(*SIZES[:2]), torch.nn.ReLU(), torch.nn.Linear(*SIZES[1:]))
    values = [torch.from_numpy(np.ascontiguousarray(a.T)) for a in arrays]
    parameters = dict(zip(("0.weight", "0.bias", "2.weight", "2.bias"), values, strict=True))
    x, y = torch.from_numpy(images), torch.from_numpy(labels)

    def loss(p: dict[str, Any], image: Any, label: Any) -> Any:
        scores = torch.func.functional_call(model, p, (image.unsqueeze(0),))
        return torch.nn.functional.cross_entropy(scores, label.unsqueeze(0))

    gradient = torch.func.grad(loss)
    mapped = torch.func.vmap(gradient, in_dims=(None, 0, 0))

    def loop() -> dict[str, Any]:
        rows = [gradient(parameters, x[k], y[k]) for k in range(BATCH)]
        return {name: torch.stack([row[name] for row in rows]) for name in parameters}

    return loop if looped else lambda: mapped(parameters, x, y)


def main() -> None:
    """Measures and prints; exits 1 above a goal."""
    import torch

    import reference_engine

    torch.set_num_threads(1)
    missed = []
    print(f"freed memory is {'kept for all contenders' if keep_memory() else 'given back to the system each time'}")
    measured = ratios({"torch": jacobian(torch), "reference": jacobian(reference_engine)}, "torch", rounds=51)
    table(f"jacrev of {WIDTH} -> {WIDTH}", measured, "torch")
    if measured["reference"][0] > JACOBIAN_LIMIT:
        missed.append(f"jacrev: {measured['reference'][0]:.2f} times torch, goal {JACOBIAN_LIMIT}")
    contenders = {"vmap(grad)": per_sample(reference_engine, looped=False), "loop": per_sample(reference_engine, looped=True),
                  "torch": per_sample(torch, looped=False), "torch's loop": per_sample(torch, looped=True)}  # fmt: skip
    measured = ratios(contenders, "vmap(grad)", rounds=15)
    table(f"per-sample gradients of a perceptron {SIZES}, batch {BATCH}", measured, "vmap(grad)")
    if measured["loop"][0] < SAMPLES_GAIN:
        missed.append(f"vmap(grad): {measured['loop'][0]:.2f} times faster than the loop, goal {SAMPLES_GAIN}")
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
