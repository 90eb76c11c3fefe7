"""The node of one application of a custom function: its rule is the user's backward. Source: torch.autograd.Function."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.tape.handle import SavedTensor
from reference_engine.tape.node import Node
from reference_engine.tape.saved import FREED, FREED_MESSAGE, Freed, read_tensor
from reference_engine.tensor import Tensor, held, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.autograd.function import Function
    from reference_engine.autograd.function_context import BackwardCFunction
    from reference_engine.tape.node import Edge

CLEARED = Freed()  # in place of what was saved, after its one reading

CLEARED_MESSAGE = (
    "saved_tensors can only be accessed once when clear_saved_tensors_on_access=True is set on the autograd.Function. "
    "Either access saved_tensors only once, or set clear_saved_tensors_on_access=False."
)


def _nothing() -> None:
    """A reference to what is not there."""


class FunctionNode(Node):
    """The node of one application of a custom function.

    state: what forward left on its context, by name; the context itself is made when somebody asks for it.
    results: per output of forward its shape and NumPy type, None where that is no tensor.
    kept: per saved tensor its entry and the edge of its history; FREED or CLEARED once dropped.
    """

    __slots__ = ("_context", "function", "is_tensor_input", "kept", "outputs", "results", "state")

    is_custom_function = True
    _context: Callable[[], BackwardCFunction | None]
    function: type[Function]
    is_tensor_input: tuple[bool, ...]
    kept: Any
    outputs: int
    results: tuple[tuple[tuple[int, ...], np.dtype] | None, ...]
    state: dict[str, Any]

    def __init__(self, function: type[Function]) -> None:
        self.function, self.state, self._context = function, {}, _nothing
        self.kept, self.outputs, self.results, self.is_tensor_input = (), 1, (None,), ()

    @property
    def context(self) -> BackwardCFunction:
        """The function's context: the one that somebody holds, or a new one with the same attributes."""
        context = self._context()
        if context is None:
            context = self.function._backward_cls()
            context._node, context.__dict__ = self, self.state
            self._context = weakref.ref(context)
        return context

    def face(self) -> BackwardCFunction:
        return self.context

    def name(self) -> str:
        return self.function._backward_cls.__name__

    def output_shape(self, nr: int) -> tuple[int, ...]:
        result = self.results[nr]
        return () if result is None else result[0]

    def output_dtype(self, nr: int) -> np.dtype:
        result = self.results[nr]
        return np.dtype(np.float32) if result is None else result[1]

    # --- what forward saved --------------------------------------------------------------------------------------

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What forward saved, with the history it had; an error after the graph was freed."""
        self._check_kept()
        found = tuple([read_tensor(entry, self, edge) for entry, edge in self.kept])
        if self.function.clear_saved_tensors_on_access:
            self.kept = CLEARED
        return found

    @property
    def _raw_saved_tensors(self) -> tuple[SavedTensor, ...]:
        """A handle per saved tensor, through which it gets hooks of its own."""
        self._check_kept()
        return tuple([SavedTensor.of(self, index) for index in range(len(self.kept))])

    def _check_kept(self) -> None:
        if self.kept is FREED:
            raise RuntimeError(FREED_MESSAGE)
        if self.kept is CLEARED:
            raise RuntimeError(CLEARED_MESSAGE)

    def entry_at(self, index: int) -> Any:
        """A saved entry as it is kept; FREED once it was dropped."""
        return FREED if isinstance(self.kept, Freed) else self.kept[index][0]

    def put_entry(self, index: int, entry: Any) -> None:
        """Puts another entry in the place of `index`."""
        edge: Edge | None = self.kept[index][1]
        self.kept = (*self.kept[:index], (entry, edge), *self.kept[index + 1 :])

    def free(self) -> None:
        if self.kept is not CLEARED:
            self.kept = FREED

    # --- the rule ------------------------------------------------------------------------------------------------

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        # Each gradient gets its tensor in the list that backward is given, so that nothing else keeps it alive.
        results = self._run([None if g is None else held(g) for g in grads])
        return tuple([None if r is None else r._array for r in results])

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        return self._run(list(grads))

    def _run(self, grads: list) -> tuple:
        """backward's results for gradients of the outputs, which it takes out of `grads`."""
        context = self.context
        if context.materialize_grads:
            for nr, result in enumerate(self.results):
                if grads[nr] is None and result is not None:
                    grads[nr] = wrap(np.zeros(*result))
        if not self.function.boxed_grads_call:
            grads, rest = [], tuple(grads)
            return self._checked(self._backward()(context, *rest))
        return self._checked(self._backward()(context, grads))

    def apply(self, *grads: Any) -> Any:
        """The user's backward as it is, on these gradients."""
        given = (list(grads),) if self.function.boxed_grads_call else grads
        return self._backward()(self.context, *given)

    def _backward(self) -> Any:
        """The user's rule, under either of its names."""
        from reference_engine.autograd.function import Function

        backward, vjp = self.function.backward, self.function.vjp
        if backward is not Function.backward and vjp is not Function.vjp:
            raise RuntimeError("Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should "
                               "only implement one of them.")  # fmt: skip
        return vjp if vjp is not Function.vjp else backward

    def _checked(self, returned: Any) -> tuple:
        """backward returns a gradient per argument of forward; edges exist for tensor arguments only."""
        results = returned if isinstance(returned, tuple) else (returned,)
        name, count = self.name(), len(self.is_tensor_input)
        if len(results) > count and all(r is None for r in results[count:]):
            results = results[:count]
        if len(results) != count:
            raise RuntimeError(f"function {name} returned an incorrect number of gradients (expected {count}, got "
                               f"{len(results)})")  # fmt: skip
        kept: list[Tensor | None] = []
        for i, (result, is_tensor) in enumerate(zip(results, self.is_tensor_input, strict=True)):
            if is_tensor:
                kept.append(self._fitting(result, len(kept)))
            elif result is not None:
                raise RuntimeError(f"function {name} returned a gradient different than None at position {i + 1}, "
                                   "but the corresponding forward input was not a Variable")  # fmt: skip
        return tuple(kept)

    def _fitting(self, gradient: Any, index: int) -> Tensor | None:
        """A gradient for tensor input `index`; raises where it is none. Broadcasting and the cast are the edge's."""
        if gradient is None:
            return None
        if not isinstance(gradient, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type(gradient).__name__})")
        edge = self.edges[index]
        if edge is None:
            return None
        shape, dtype = edge[0].output_shape(edge[1]), edge[0].output_dtype(edge[1])
        wrong = f"Function {self.name()} returned an invalid gradient at index {index} - got"
        if not _reduces_to(gradient._array.shape, shape):
            raise RuntimeError(
                f"{wrong} {list(gradient._array.shape)} but expected shape compatible with {list(shape)}"
            )
        if dtype is not None and gradient._array.dtype.kind == "c" != dtype.kind:
            raise RuntimeError(f"{wrong} a complex gradient but expected a real one, as the input is real")
        return gradient


def _reduces_to(larger: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether summing over what was broadcast brings `larger` to `shape`."""
    if larger == shape:
        return True
    tail = larger[len(larger) - len(shape) :]
    return len(larger) >= len(shape) and all(s in (1, t) for s, t in zip(shape, tail, strict=True))
