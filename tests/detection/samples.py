"""Operators of every family with a sample of n elements, as a table of operators has them."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import NamedTuple

import yaml

from conformance.case import Case
from conformance.spec import load
from conformance.spec.operators.checks import TRANSFORMS
from conformance.spec.root import find


class Subject(NamedTuple):
    """An operator of a family. data: by name the shape (n: elements, m: rows of a square matrix), drawn from a normal
    distribution, or a description. more: other keys of the operator."""

    family: str
    op: str
    data: dict[str, object]
    more: dict[str, object] = {}


ELEMENTWISE = {"elementwise": True}
COMPLEX = {"complex": True}
BESIDE_ZERO = {"distribution": "uniform", "low": 0.5, "high": 2.0, "shape": ["n"], "seed": 3}
# fmt: off
SUBJECTS = [
    Subject("elementwise_unary",  "exp",     {"x": ["n"]}, ELEMENTWISE | COMPLEX | {"analytic": True}),
    Subject("elementwise_unary",  "sin",     {"x": ["n"]}, ELEMENTWISE | COMPLEX),
    Subject("elementwise_unary",  "log",     {"x": BESIDE_ZERO}, ELEMENTWISE | COMPLEX),
    Subject("elementwise_binary", "mul",     {"x": ["n"], "y": ["n"]}, ELEMENTWISE | COMPLEX),
    Subject("elementwise_binary", "atan2",   {"x": ["n"], "y": ["n"]}, ELEMENTWISE),
    Subject("elementwise_binary", "div",     {"x": ["n"], "y": BESIDE_ZERO}, ELEMENTWISE | COMPLEX),
    Subject("special",            "erf",     {"x": ["n"]}, ELEMENTWISE),
    Subject("activations",        "softmax", {"x": ["n"]}, {"call": "torch.softmax(x, 0)"}),
    Subject("activations",        "tanh",    {"x": ["n"]}, ELEMENTWISE),
    Subject("losses",             "nn.functional.mse_loss", {"x": ["n"], "y": ["n"]}),
    Subject("reductions",         "logsumexp", {"x": ["n"]}, {"call": "torch.logsumexp(x, 0)"}),
    Subject("reductions",         "norm",    {"x": ["n"]}, {"call": "torch.norm(x)"}),
    Subject("reductions",         "var",     {"x": ["n"]}, {"call": "torch.var(x)"}),
    Subject("cumulative",         "cumsum",  {"x": ["n"]}, {"call": "torch.cumsum(x, 0)"}),
    Subject("shapes",             "transpose", {"x": ["m", "m"]}, {"call": "torch.transpose(x, 0, 1)"}),
    Subject("joining",            "cat",     {"x": ["n"], "y": ["n"]}, {"call": "torch.cat([x, y])"}),
    Subject("indexing",           "index_select", {"x": ["n"], "i": {"distribution": "integers", "low": 0, "high": 10,
                                                  "shape": ["n"], "seed": 5}}, {"call": "torch.index_select(x, 0, i)"}),
    Subject("sorting",            "sort",    {"x": "shuffled"}, {"outputs": ["values"]}),
    Subject("matmul",             "mm",      {"x": ["m", "m"], "y": ["m", "m"]}, COMPLEX),
    Subject("linalg",             "linalg.inv", {"x": ["m", "m"]},
            {"call": "torch.linalg.inv(x + 2 * m * torch.eye(m))", "dtypes": ["float32"]}),
    Subject("convolution",        "nn.functional.conv1d", {"x": [1, 1, "n"], "w": [1, 1, 3]}),
    Subject("normalization",      "nn.functional.layer_norm", {"x": ["n"]},
            {"call": "torch.nn.functional.layer_norm(x, x.shape)"}),
]
BROADCAST = [
    Subject("elementwise_binary", "mul",     {"x": ["n"], "y": [1]}, ELEMENTWISE),
    Subject("elementwise_binary", "add",     {"x": [2, "n"], "y": ["n"]}, ELEMENTWISE),
    Subject("elementwise_binary", "div",     {"x": [2, "n"], "y": {"data": 1.5}}, ELEMENTWISE),
    Subject("elementwise_binary", "where",   {"mask": {"distribution": "bernoulli", "shape": [2, "n"], "seed": 1},
                                              "x": ["n"], "y": [1]}, ELEMENTWISE),
]
# Every second element lies at the kink.
TIES = [
    Subject("elementwise_binary", "maximum", {"x": "steps", "y": "ones"}, {"gradient": {"x": "half", "y": "other"}}),
    Subject("elementwise_binary", "minimum", {"x": "steps", "y": "ones"}, {"gradient": {"x": "other", "y": "half"}}),
    Subject("elementwise_unary",  "abs",     {"x": "zeros"}, {"gradient": {"x": "none"}}),
    Subject("activations",        "relu",    {"x": "zeros"}, {"gradient": {"x": "none"}}),
    Subject("reductions",         "amax",    {"x": "ones"}, {"gradient": {"x": "shared"}}),
]
# fmt: on


def tie(name: str, n: int) -> list[float]:
    """The written data and gradients of TIES."""
    return {
        "steps": [1.0, 2.0] * (n // 2),
        "ones": [1.0] * n,
        # further apart than the steps of a difference
        "shuffled": [1.01 ** ((7 * i) % n) for i in range(n)],
        "zeros": [0.0, 0.0] * (n // 2),
        "half": [0.5, 1.0] * (n // 2),
        "other": [0.5, 0.0] * (n // 2),
        "none": [0.0] * n,
        "shared": [1.0 / n] * n,
    }[name]


def cases(root: Path, subjects: list[Subject], n: int, dtypes: list[str] | None = None) -> dict[str, list[Case]]:
    """The derived checks of the subjects at n elements, by operator. `root` is an empty folder."""
    for name in ("vocabulary.yaml", "schema.json", "ops/schema.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(find() / name, root / name)
    operators = [_operator(subject, n, dtypes) for subject in subjects]
    table = {"family": "made", "title": "Made", "operators": operators}
    (root / "ops" / "made.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    found: dict[str, list[Case]] = {}
    for case in load(root=root).cases:
        if case.id.rpartition(",")[2][:-1] in TRANSFORMS:
            continue  # whole Jacobians, which differ in size and not in what they notice
        found.setdefault(case.id.partition("[")[0], []).append(case)
    return found


def _operator(subject: Subject, n: int, dtypes: list[str] | None) -> dict[str, object]:
    m = max(2, math.isqrt(n))
    name = f"{subject.family}-{subject.op.rpartition('.')[2]}"
    operator = {"op": subject.op, "id": name, "claim": "It is so.", "entries": [], **subject.more}
    if dtypes is not None and "dtypes" not in operator:
        operator["dtypes"] = list(dtypes)
    if isinstance(call := operator.get("call"), str):
        operator["call"] = call.replace("(m)", f"({m}, dtype=x.dtype)").replace("* m *", f"* {m} *")
    sample: dict[str, object] = {"id": "a"}
    for seed, (key, value) in enumerate(subject.data.items(), start=1):
        if isinstance(value, list):
            sample[key] = {"distribution": "normal", "shape": _shape(value, n, m), "seed": seed}
        elif isinstance(value, dict):
            sample[key] = {**value, "shape": _shape(value["shape"], n, m)} if "shape" in value else value
        else:
            sample[key] = tie(str(value), n)
    if isinstance(gradient := operator.pop("gradient", None), dict):
        sample |= {"kind": "kink", "gradient": {key: tie(value, n) for key, value in gradient.items()}}
    operator["samples"] = [sample]
    return operator


def _shape(shape: list[object], n: int, m: int) -> list[object]:
    return [{"n": n, "m": m}.get(size, size) if isinstance(size, str) else size for size in shape]
