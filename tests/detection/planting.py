"""Faults of derivatives, planted where the reference's node of one operator gives its gradients."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import reference_engine as engine
from conformance.case import Case
from conformance.drawing import draw
from reference_engine.tensor import Tensor
from tests.faulty_engines import FAULTS
from tests.faulty_engines.patching import Patch

from .samples import BROADCAST, SUBJECTS, TIES, Subject

READINGS = ("arrays", "tensors")  # a node's methods: of a plain backward pass, and of a recorded one
Results = tuple[Any, ...]
Change = Callable[[Results, Any], Results]  # (what the rules gave, the output's gradient) -> what the engine now gives


@dataclass(frozen=True)
class Planted:
    """A fault. subjects: the operators in which it can be planted."""

    name: str
    mistake: str
    subjects: list[Subject]
    plant: Callable[[Patch, type], None]


def function_of(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """(f, its arguments) of the case's program on the reference: the program up to f."""
    tree = ast.parse(case.program)
    end = next(i for i, node in enumerate(tree.body) if isinstance(node, ast.FunctionDef)) + 1
    names: dict[str, Any] = {"torch": engine}
    for given in case.given:
        tensor = engine.from_numpy(draw(given).copy())
        names[given.name] = tensor.requires_grad_() if given.requires_grad else tensor
    exec(compile(ast.Module(tree.body[:end], []), case.name, "exec"), names)
    function = tree.body[end - 1]
    assert isinstance(function, ast.FunctionDef)
    return names["f"], tuple(names[argument.arg] for argument in function.args.args)


def node_of(case: Case) -> type:
    """The class of the node that the case's operator records on the reference."""
    function, arguments = function_of(case)
    return type(function(*arguments).grad_fn)


def changing(change: Change) -> Callable[[Patch, type], None]:
    """Gradients are changed in both readings: over arrays and, where the backward pass is recorded, over tensors."""

    def changed(original: Callable[..., Results]) -> Callable[..., Results]:
        return lambda self, grads, needed: change(tuple(original(self, grads, needed)), grads[0])

    def plant(patch: Patch, node: type) -> None:
        for reading in READINGS:
            patch.wrap(node, reading, changed)

    return plant


def first(results: Results, change: Callable[[Any], Any]) -> Results:
    """The first gradient that there is, changed."""
    index = next(i for i, r in enumerate(results) if r is not None)
    return (*results[:index], change(results[index]), *results[index + 1 :])


def times(result: Any, factor: Callable[[np.ndarray], np.ndarray]) -> Any:
    """A gradient, array or tensor, times an array made for its values."""
    values = result._array if isinstance(result, Tensor) else np.asarray(result)
    array = np.asarray(factor(values), values.dtype)
    return result * engine.from_numpy(array) if isinstance(result, Tensor) else result * array


def one_of_all(values: np.ndarray) -> np.ndarray:
    factor = np.ones(values.shape)
    factor.reshape(-1)[int(np.argmax(np.abs(values)))] = 1.1
    return factor


def transposed(result: Any) -> Any:
    return result.transpose(0, 1) if isinstance(result, Tensor) else np.swapaxes(result, 0, 1)


def unconjugated(patch: Patch, node: type) -> None:
    """J^T g for J^H g."""

    def wrong(original: Callable[..., Results]) -> Callable[..., Results]:
        def wrapped(self: Any, grads: Results, needed: Any) -> Results:
            results = original(self, tuple(_conj(g) for g in grads), needed)
            return tuple(None if r is None else _conj(r) for r in results)

        return wrapped

    for reading in READINGS:
        patch.wrap(node, reading, wrong)


def _conj(value: Any) -> Any:
    return value.conj().resolve_conj() if isinstance(value, Tensor) else np.conj(value)


def constant(patch: Patch, node: type) -> None:
    """A recorded backward pass gives gradients without history."""
    original = node.tensors  # type: ignore[attr-defined]
    patch.set(node, "tensors", lambda self, grads, needed: tuple(_detached(r) for r in original(self, grads, needed)))


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def no_second(patch: Patch, node: type) -> None:
    """A recorded backward pass takes the partial derivatives for constants: zeros instead of the second derivative."""

    def tensors(self: Any, grads: Results, needed: Any) -> Results:
        partials = self.arrays((np.ones(grads[0].shape, grads[0]._array.dtype),), needed)
        return tuple(None if p is None else grads[0] * engine.from_numpy(np.array(p)) for p in partials)

    patch.set(node, "tensors", tensors)


def other_ties(results: Results, g: Any) -> Results:
    """The first of two equal elements takes the whole gradient; at 0 the slope from the right is taken."""
    if isinstance(results[0], Tensor):
        return results
    if len(results) == 2:
        return np.where(results[0] == 0.5, 1.0, results[0]), np.where(results[1] == 0.5, 0.0, results[1])
    [result] = results
    if not np.any(result):
        return (np.ones_like(result),)
    whole = np.zeros_like(result)
    whole.reshape(-1)[0] = result.sum()
    return (whole,)


def by_chapter(name: str) -> Callable[[Patch, type], None]:
    """A faulty engine of the specification's own."""
    return lambda patch, node: FAULTS[name].plant(patch)


def among(*families: str, **keys: bool) -> list[Subject]:
    """Subjects of some families, or with some keys."""
    return [
        s
        for s in SUBJECTS
        if (s.family in families or not families) and all(s.more.get(k) == v for k, v in keys.items())
    ]


# fmt: off
FAULTS_PLANTED = [
    Planted("one-element",  "one element is wrong by 1.1x", SUBJECTS,
            changing(lambda results, g: first(results, lambda r: times(r, one_of_all)))),
    Planted("all-elements", "all elements are wrong by 1.001x", SUBJECTS,
            changing(lambda results, g: first(results, lambda r: times(r, lambda v: np.full(v.shape, 1.001))))),
    Planted("transposed",   "a factor is transposed", among("matmul", "linalg", "shapes"),
            changing(lambda results, g: first(results, transposed))),
    Planted("one-copy",     "of a broadcast operand's copies one gives the gradient", BROADCAST, by_chapter("takes_one_copy")),
    Planted("mean-of-copies", "a broadcast operand's gradient is the mean over its copies", BROADCAST,
            by_chapter("averages_over_broadcast_dimensions")),
    Planted("conjugate",    "a conjugate is missing", [s for s in among(complex=True) if s.op != "mm"] + among("matmul"),
            unconjugated),
    Planted("ties",         "another tie rule", TIES, changing(other_ties)),
    Planted("constant",     "a recorded gradient has no history", SUBJECTS, constant),
    Planted("no-second",    "zeros instead of the second derivative",
            [s for s in among(elementwise=True) if "y" not in s.data], no_second),
]
# fmt: on


@contextlib.contextmanager
def applied(fault: Planted, node: type) -> Iterator[None]:
    """The reference with the fault, for the length of a block."""
    patch = Patch()
    try:
        fault.plant(patch, node)
        yield
    finally:
        patch.undo()
