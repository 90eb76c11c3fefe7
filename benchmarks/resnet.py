"""ResNet-18 and one convolution beside torch, one thread each: time as ratios in one run, peak memory in processes of
their own.

Goals: a training step (batch 1, 3 x 64 x 64, float32) at most 4x torch's time and 3x its memory; conv2d 3x3, forward
and backward, at most 1.5x torch at batch 1 and 3x at batch 8. Exits 1 above a goal. Run: python -m benchmarks.resnet
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, one_thread, ratios, table

one_thread()

import numpy as np  # noqa: E402

from tests.reference.networks import resnet18  # noqa: E402

ROUNDS = 15
CONVOLUTIONS = {  # (batch, channels, size): most that the reference may take, in torch's time
    (1, 64, 16): 1.5,
    (8, 64, 16): 3.0,
}


def training_step(engine: Any, batch: int, dtype: str = "float32") -> Contender:
    """One step of SGD on a ResNet-18 of `engine`, the same weights for every engine."""
    draw = np.random.default_rng(0)
    model = resnet18(engine).to(getattr(engine, dtype))
    with engine.no_grad():
        for p in model.parameters():
            scale = np.sqrt(2 / np.prod(p.shape[1:])) if p.dim() > 1 else 0.1
            p.copy_(engine.from_numpy((draw.standard_normal(tuple(p.shape)) * scale).astype(dtype)))
    images = engine.from_numpy(draw.standard_normal((batch, 3, 64, 64)).astype(dtype))
    labels = engine.from_numpy(draw.integers(0, 1000, batch))
    optimizer = engine.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)

    def run() -> float:
        optimizer.zero_grad()
        loss = engine.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return run


def convolution(engine: Any, batch: int, channels: int, size: int) -> Contender:
    """A 3x3 convolution, forward and backward to input and weight, in float32."""
    draw = np.random.default_rng(0)
    shapes = ((batch, channels, size, size), (channels, channels, 3, 3), (batch, channels, size, size))
    x, w, g = (engine.from_numpy(draw.standard_normal(shape).astype("float32")) for shape in shapes)
    x.requires_grad_()
    w.requires_grad_()

    def run() -> None:
        engine.autograd.grad(engine.nn.functional.conv2d(x, w, padding=1), (x, w), g)

    return run


def peak(engine: str, batch: int) -> float:
    """MiB that building a model and three steps add to the process's peak, in a process of its own."""
    program = f"from benchmarks.resnet import memory; memory({engine!r}, {batch})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def memory(name: str, batch: int) -> None:
    """Prints what peak() asks for."""
    engine = importlib.import_module(name)
    if name == "torch":
        engine.set_num_threads(1)
    before = resident()
    run = training_step(engine, batch)
    for _ in range(3):
        run()
    print(resident("VmHWM") - before)


def resident(what: str = "VmRSS") -> float:
    """MiB of this process in memory, now (VmRSS) or at most (VmHWM). Linux tells both in /proc."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {what}")


def report(what: str, value: float, limit: float) -> bool:
    """Prints a figure beside its limit; whether it is within."""
    print(f"  {what}: {value:.2f} of at most {limit}" + ("" if value <= limit else "   ABOVE THE LIMIT"))
    return value <= limit


def main() -> None:
    """Measures, prints, and exits 1 where a figure is above its goal."""
    import torch

    import reference_engine

    torch.set_num_threads(1)
    engines = {"torch": torch, "reference": reference_engine}
    within = []
    for batch in (1, 2, 8):
        measured = ratios({n: training_step(e, batch) for n, e in engines.items()}, "torch", rounds=ROUNDS)
        table(f"ResNet-18 training step, batch {batch}, float32", measured, "torch")
        if batch == 1:
            within.append(report("time", measured["reference"][0], 4.0))
    for (batch, channels, size), limit in CONVOLUTIONS.items():
        contenders = {n: convolution(e, batch, channels, size) for n, e in engines.items()}
        measured = ratios(contenders, "torch", rounds=4 * ROUNDS)
        table(f"conv2d 3x3 forward and backward, {batch}x{channels}x{size}x{size}, float32", measured, "torch")
        within.append(report("time", measured["reference"][0], limit))
    for batch in (1, 8):
        sizes = {name: peak(module, batch) for name, module in (("torch", "torch"), ("reference", "reference_engine"))}
        print(f"peak memory of three steps, batch {batch}: torch {sizes['torch']:.0f} MiB, "
              f"reference {sizes['reference']:.0f} MiB")  # fmt: skip
        within.append(report("memory", sizes["reference"] / sizes["torch"], 3.0))
    sys.exit(0 if all(within) else 1)


if __name__ == "__main__":
    main()
