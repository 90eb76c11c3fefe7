"""What the kit adds to a case: everything around the program and beyond reading its values.

    python benchmarks/kit_overhead.py [--engine torch] [--rounds 15]

In one process and one thread, run by run in turns:

    execute   conformance.language.execute, whole, as a worker calls it
    floor     the same program compiled as it is, its assertions reduced to evaluating their sides, then Engine.read of
              what they looked at and Engine.snapshot of the tensors left: what no kit can do without. As in a run, no
              code object is executed twice (Python specialises code that is), but making them is not counted
    overhead  execute - floor: at most 50 us

Prints the median of the rounds in microseconds. Exits 1 where an overhead is above the
limit by more than the noise of a shared machine.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import gc
import marshal
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from conformance import engines  # noqa: E402  (one thread per process is decided before NumPy is imported)
from conformance.case import Case  # noqa: E402
from conformance.engines.base import Engine  # noqa: E402
from conformance.language import execute  # noqa: E402
from conformance.language.lower import lower  # noqa: E402
from conformance.language.words import Mathematics  # noqa: E402

LIMIT = 50.0  # microseconds
ALLOWANCE = 1.25  # for the noise of a shared machine
REPEATS = 200

PROGRAMS = {
    "nothing": "pass\n",
    "one assertion": """
x = torch.tensor([2.0, 3.0], requires_grad=True)
y = x[0] * x[1]
y.backward()
assert x.grad == [3.0, 2.0]
""",
    "five assertions": """
x = torch.tensor([2.0, 3.0], requires_grad=True)
y = (x * x).sum()
assert y == 13.0
y.backward()
assert x.grad == [4.0, 6.0] and x.grad.dtype == torch.float32
assert x.is_leaf is True
assert y.grad_fn is not None
""",
}


def case_of(program: str) -> Case:
    """A case with that program, lowered and marshalled as the loader does."""
    code, sites = lower(ast.parse(program))
    return Case("benchmark", "case", "-", "-", program, "-", 1, 1, code=marshal.dumps(code), sites=sites)


class _Sides(ast.NodeTransformer):
    """Each assert becomes the tuple of its sides, and those sides are collected."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        links = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
        sides = [side for link in links if isinstance(link, ast.Compare) for side in (link.left, *link.comparators)]
        self.seen += map(ast.unparse, sides)
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(ast.Tuple(sides, ast.Load())), node))


def parts(program: str, engine: Engine) -> tuple[dict[str, Callable[[], Any]], Callable[[], None]]:
    """What is timed, by name, and what comes before each round."""
    case = case_of(program)
    sides = _Sides()
    bare = compile(sides.visit(ast.parse(program)), "<bare>", "exec")
    stored, fresh = marshal.dumps(bare), []
    known = {"torch": engine.namespace, "math": Mathematics(), "__builtins__": builtins}
    variables = dict(known)
    exec(bare, variables)
    looked_at = [text for text in sides.seen if engine.is_tensor(eval(text, variables))]
    reads = [compile(text, "<read>", "eval") for text in looked_at]
    left = [name for name, value in variables.items() if engine.is_tensor(value)]

    def floor() -> None:
        variables = dict(known)
        exec(fresh.pop(), variables)
        for read in reads:
            engine.read(eval(read, variables))
        for name in left:
            engine.snapshot(variables[name])

    def prepare() -> None:
        fresh[:] = [marshal.loads(stored) for _ in range(REPEATS)]

    return {"execute": lambda: execute(case, engine, alone=True), "floor": floor}, prepare


def measure(program: str, engine: Engine, rounds: int) -> dict[str, float]:
    """Microseconds per run of each part: the median of all runs, which take turns, so that caches serve them alike."""
    timed, prepare = parts(program, engine)
    found: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        prepare()
        for _ in range(REPEATS):
            for name, run in timed.items():
                start = time.perf_counter()
                run()
                found[name].append((time.perf_counter() - start) * 1e6)
    medians = {name: statistics.median(times) for name, times in found.items()}
    return medians | {"overhead": medians["execute"] - medians["floor"]}


def main() -> int:
    """Prints the table; the exit code says whether every overhead is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", default=[], help="torch, reference or package.module:factory")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    worst = 0.0
    print(f"{'engine':<12}{'program':<18}{'execute':>9}{'floor':>9}{'overhead':>10}   us, limit {LIMIT:.0f}")
    for name in options.engine or ["torch"]:
        engine = engines.load(name)
        gc.freeze()
        for title, program in PROGRAMS.items():
            found = measure(program, engine, options.rounds)
            worst = max(worst, found["overhead"])
            columns = "".join(f"{found[key]:9.1f}" for key in ("execute", "floor"))
            print(f"{name:<12}{title:<18}{columns}{found['overhead']:10.1f}")
    return 0 if worst <= LIMIT * ALLOWANCE else 1


if __name__ == "__main__":
    sys.exit(main())
