"""How long the checks of operators take.

    python -m benchmarks.operators [PATTERN ...] [--rounds 9]

per check    every derived check on the reference, as a worker runs it: at most 2 ms each, the mean of a kind too
elementwise  the check `vjp` of the elementwise operators on the reference, beside torch.autograd.gradcheck (slow mode,
             its defaults) of the same functions at the same inputs, in turns in one process: at least 3 times faster

Prints the means, the slowest checks, and the ratio. Exits 1 where a limit is missed by more than the noise of a shared
machine.
"""

from __future__ import annotations

import argparse
import ast
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.measure import one_thread, ratios, table

one_thread()

from conformance import engines, spec  # noqa: E402  (one thread per process is decided before NumPy is imported)
from conformance.case import Case  # noqa: E402
from conformance.drawing import draw  # noqa: E402
from conformance.engines.base import Engine  # noqa: E402
from conformance.language import execute  # noqa: E402

LIMIT = 2.0  # milliseconds per check
FASTER = 3.0  # times, than gradcheck
ALLOWANCE = 1.25  # for the noise of a shared machine
SHOWN = 8
RUNS = 5

Sample = tuple[Case, Callable[..., Any], list[Any]]  # a check, its function and its inputs on torch


def kind(case: Case) -> str:
    """The check that a case is: the last word in its brackets."""
    return case.id.rpartition(",")[2].rstrip("]")


def milliseconds(case: Case, engine: Engine) -> float:
    """The best of some runs, whole: reading the state included."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.process_time()
        execute(case, engine, alone=True)
        best = min(best, time.process_time() - start)
    return best * 1e3


def per_check(cases: Iterable[Case], engine: Engine) -> bool:
    """Prints the times by kind and the slowest checks. Whether all keep the limit."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for case in cases:
        found[kind(case)].append((milliseconds(case, engine), case.name))
    print(f"{'check':16} {'number':>6} {'mean ms':>8} {'max ms':>8}")
    for name, times in found.items():
        mean = sum(t for t, _ in times) / len(times)
        print(f"{name:16} {len(times):6} {mean:8.2f} {max(times)[0]:8.2f}")
    above = sorted((pair for times in found.values() for pair in times if pair[0] > LIMIT), reverse=True)
    print(f"above {LIMIT} ms: {len(above)} of {sum(map(len, found.values()))}")
    for taken, name in above[:SHOWN]:
        print(f"  {taken:6.2f} ms  {name}")
    return not above or above[0][0] <= LIMIT * ALLOWANCE


def function(case: Case, torch: Any) -> tuple[Callable[..., Any], list[Any]]:
    """The function that a `vjp` differentiates and its inputs, on torch: everything before the program calls it."""
    tree = ast.parse(case.program)
    end = next(i for i, node in enumerate(tree.body) if isinstance(node, ast.FunctionDef)) + 1
    made = {g.name: torch.tensor(draw(g), dtype=getattr(torch, g.dtype)) for g in case.given}
    for given in case.given:
        made[given.name].requires_grad_(given.requires_grad)
    names: dict[str, Any] = {"torch": torch, **made}
    exec(compile(ast.Module(tree.body[:end], []), case.name, "exec"), names)
    arguments = [argument.arg for argument in tree.body[end - 1].args.args]  # type: ignore[attr-defined]
    return names["f"], [names[name] for name in arguments]


def accepted(gradcheck: Callable[..., Any], f: Callable[..., Any], inputs: list[Any]) -> bool:
    """Whether gradcheck takes a sample: it refuses some layouts, and some operators that it finds wrong."""
    try:
        return bool(gradcheck(f, inputs))
    except RuntimeError:
        return False


def beside_gradcheck(cases: list[Case], engine: Engine, rounds: int) -> bool:
    """Prints the ratios: of the samples of the size that is recommended, of those with fewer elements, whose cost is that
    of any case, and of all. Whether all keep the limit."""
    torch = engines.load("torch").namespace
    functions = [(case, *function(case, torch)) for case in cases]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        taken = [(case, f, inputs) for case, f, inputs in functions if accepted(torch.autograd.gradcheck, f, inputs)]
    print(f"gradcheck refuses {len(cases) - len(taken)} of {len(cases)} samples")
    groups: dict[str, list[Sample]] = {"of 6 elements and more": [], "of fewer": []}
    for sample in taken:
        size = sum(x.numel() for x in sample[2])
        groups["of 6 elements and more" if size >= 6 else "of fewer"].append(sample)
    found = [_measured(name, samples, engine, torch, rounds) for name, samples in groups.items() if samples]
    ratio = sum(other for _, other in found) / sum(own for own, _ in found) if found else FASTER
    print(f"all of them: {ratio:.2f} times faster than gradcheck")
    return ratio >= FASTER / ALLOWANCE


def _measured(name: str, samples: list[Sample], engine: Engine, torch: Any, rounds: int) -> tuple[float, float]:
    """(seconds of the kit, seconds of gradcheck)"""

    def kit() -> None:
        for case, _, _ in samples:
            execute(case, engine, alone=True)

    def gradcheck() -> None:
        for _, f, inputs in samples:
            torch.autograd.gradcheck(f, inputs)

    measured = ratios({"kit": kit, "gradcheck": gradcheck}, "kit", rounds)
    table(f"vjp of {len(samples)} elementwise samples {name}", measured, "kit")
    return measured["kit"][1], measured["gradcheck"][1]


def main() -> None:
    """Both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["ops.*/*"], metavar="PATTERN")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    cases = [case for case in spec.load(options.patterns).cases if case.chapter.startswith("ops.")]
    reference = engines.load("reference")
    kept = [per_check(cases, reference)]
    elementwise = [c for c in cases if kind(c) == "vjp" and "elementwise=True" in c.program and c.torch_departs is None]
    if elementwise and engines.available("torch"):
        kept.append(beside_gradcheck(elementwise, reference, options.rounds))
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
