"""Custom functions: forward and backward written by the user. Source: torch.autograd.Function, notes/extending.

`apply` runs forward without recording, then makes the results outputs of a node whose rule is the user's backward. The
context is that node, as in torch: `y.grad_fn.saved_tensors` reads what forward saved.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from reference_engine.state import state
from reference_engine.tape.anomaly import remember
from reference_engine.tape.handle import SavedTensor
from reference_engine.tape.node import Node, edge_of, next_sequence_number
from reference_engine.tape.saved import FREED, FREED_MESSAGE, Packed, Saved, read_tensor
from reference_engine.tape.views import ViewInfo, check_inplace, link_views, rebase
from reference_engine.tensor import Tensor, wrap


class FunctionCtx:
    """What forward leaves for backward. Source: torch.autograd.function.FunctionCtx."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs or outputs, with the in-place check; call it once, in forward."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for jvp."""
        self._saved_for_forward = tensors

    def mark_dirty(self, *args: Tensor) -> None:
        """Names the inputs that forward changed in place."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Names the outputs that have no gradient."""
        self._non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward is given zeros (the default) or None where no gradient arrived."""
        self._materialize = value


class FunctionNode(Node, FunctionCtx):
    """The node of one application of a custom function; it is the context that forward and backward are given."""

    is_custom_function = True
    function: type[Function]
    needs_input_grad: tuple[bool, ...] = ()
    is_tensor_input: tuple[bool, ...] = ()
    _to_save: tuple = ()
    _saved: Any = ()
    _saved_for_forward: tuple = ()
    _dirty: tuple = ()
    _non_differentiable: tuple = ()
    _materialize = True

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What forward saved, with the history it had; an error after the graph was freed."""
        if self._saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        if not self._saved and self._to_save:
            return tuple(self._to_save)  # still inside apply
        return tuple(read_tensor(entry, self, edge) for entry, edge in self._saved)

    saved_variables = saved_tensors

    @property
    def _raw_saved_tensors(self) -> tuple[SavedTensor, ...]:
        """A handle per saved tensor, through which it gets hooks of its own."""
        if self._saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        return tuple(SavedTensor.of(self, index) for index in range(len(self._saved)))

    def entry_at(self, index: int) -> Any:
        """A saved entry as it is kept; FREED once the graph was freed."""
        return FREED if self._saved is FREED else self._saved[index][0]

    def put_entry(self, index: int, entry: Any) -> None:
        """Puts another entry in the place of `index`."""
        edge = self._saved[index][1]
        self._saved = (*self._saved[:index], (entry, edge), *self._saved[index + 1 :])

    def free(self) -> None:
        if self._saved:
            self._saved = FREED

    def arrays(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        results = self.tensors(tuple(None if g is None else wrap(np.asarray(g)) for g in grads), needed)
        return tuple(None if r is None else r._array for r in results)

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        if self._saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        if self._materialize:
            grads = tuple(self._zeros(i) if g is None else g for i, g in enumerate(grads))
        returned = self.function.backward(self, *grads)
        results = returned if isinstance(returned, tuple) else (returned,)
        return self._per_tensor_input(results)

    def _zeros(self, nr: int) -> Tensor:
        return wrap(np.zeros(self.output_shape(nr), self.output_dtype(nr)))

    def _per_tensor_input(self, results: tuple) -> tuple:
        """backward returns a gradient per argument of forward; edges exist for tensor arguments only."""
        name, count = self.name(), len(self.is_tensor_input)
        if len(results) > count and all(r is None for r in results[count:]):
            results = results[:count]
        if len(results) != count:
            raise RuntimeError(f"function {name} returned an incorrect number of gradients (expected {count}, got "
                               f"{len(results)})")  # fmt: skip
        kept = []
        for i, (result, is_tensor) in enumerate(zip(results, self.is_tensor_input, strict=True)):
            if not is_tensor:
                if result is not None:
                    raise RuntimeError(f"function {name} returned a gradient different from None at position {i + 1}, "
                                       "but the corresponding forward input was not a Variable")  # fmt: skip
                continue
            if result is not None and not isinstance(result, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(result).__name__})")
            kept.append(result)
        return tuple(kept)


class _FunctionMeta(type):
    """Gives each Function its node class, named after it."""

    def __init__(cls, name: str, bases: tuple, namespace: dict) -> None:
        super().__init__(name, bases, namespace)
        cls._backward_cls = type(f"{name}Backward", (FunctionNode,), {"function": cls})


class Function(metaclass=_FunctionMeta):
    """Base of custom functions: subclass with static forward(ctx, ...) and backward(ctx, *grads), or with
    forward(...) and setup_context(ctx, inputs, output); call `apply`. Source: torch.autograd.Function.
    """

    _backward_cls: type[FunctionNode]

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The value; the user's."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """What forward would do with ctx, apart from it; the user's."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The vector-Jacobian product; the user's."""
        raise NotImplementedError("You must implement either the backward or vjp method for your custom "
                                  "autograd.Function to use it with backward mode AD.")  # fmt: skip

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The Jacobian-vector product; the user's."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with "
                                  "forward mode AD.")  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Legacy autograd function with non-static forward method is deprecated. Please use new-style "
                           "autograd function with static forward method.")  # fmt: skip

    def __init_subclass__(cls) -> None:
        vjp = cls.__dict__.get("vjp")
        if vjp is not None and "backward" not in cls.__dict__:
            cls.backward = vjp  # type: ignore[method-assign]

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward and records one node. Keyword arguments are bound to forward's parameters."""
        separate = cls.setup_context is not Function.setup_context
        if separate and kwargs:
            bound = inspect.signature(cls.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, {}
        node = cls._start(args)
        before = state.set_grad_enabled(False)
        try:
            if separate:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(node, args, output)
            else:
                output = cls.forward(node, *args, **kwargs)
        finally:
            state.set_grad_enabled(before)
        return _finish(node, args, output)

    @classmethod
    def _start(cls, args: tuple) -> FunctionNode:
        node = cls._backward_cls()
        node.sequence_number = next_sequence_number()
        node.is_tensor_input = tuple(isinstance(a, Tensor) for a in args)
        node.edges = tuple(edge_of(a) for a in args if isinstance(a, Tensor)) if state.grad_enabled else ()
        tracked = [isinstance(a, Tensor) and a.requires_grad for a in args]
        node.needs_input_grad = tuple(tracked) if state.grad_enabled else (False,) * len(args)
        return node


def _finish(node: FunctionNode, args: tuple, output: Any) -> Any:
    """Turns what forward returned into outputs of the node."""
    single = not isinstance(output, (tuple, list))
    outputs = [output] if single else list(output)
    tensors = [o for o in outputs if isinstance(o, Tensor)]
    if not tensors:
        raise TypeError(f"{node.name()[:-8]}.forward: expected to return Tensors, got {type(output).__name__}")
    tracked = state.grad_enabled and any(edge is not None for edge in node.edges)
    inputs = [a for a in args if isinstance(a, Tensor)]
    dirty = _check_dirty(node, inputs, outputs, tracked)
    node.outputs = len(outputs)
    shapes = tuple(o._array.shape if isinstance(o, Tensor) else () for o in outputs)
    dtypes = tuple(o._array.dtype if isinstance(o, Tensor) else np.dtype(np.float32) for o in outputs)
    node.shape, node.dtype = (shapes[0], dtypes[0]) if len(outputs) == 1 else (shapes, dtypes)
    saved_as_output = {id(o): i for i, o in enumerate(outputs)}
    results = []
    for nr, out in enumerate(outputs):
        results.append(_as_output(node, nr, out, inputs, dirty, tracked) if isinstance(out, Tensor) else out)
    if tracked:
        node._saved = _save(node, inputs, saved_as_output, results)
        if state.anomaly:
            remember(node)
    else:
        node.edges = ()
    if node._saved or tracked:
        node._to_save = ()
    for name in ("_dirty", "_non_differentiable"):
        if name in node.__dict__:
            del node.__dict__[name]
    return results[0] if single else tuple(results)


def _check_dirty(node: FunctionNode, inputs: list[Tensor], outputs: list, tracked: bool) -> set[int]:
    dirty = {id(t) for t in node._dirty}
    for t in node._dirty:
        if not any(t is o for o in outputs):
            raise RuntimeError("Some elements marked as dirty during the forward method were not returned as output. The "
                               "inputs that are modified inplace must all be outputs of the Function.")  # fmt: skip
        if tracked:
            check_inplace(t)
    return dirty


def _as_output(
    node: FunctionNode, nr: int, out: Tensor, inputs: list[Tensor], dirty: set[int], tracked: bool
) -> Tensor:
    """One result with its history: the input itself when marked dirty, an alias when it was an input untouched."""
    differentiable = out._array.dtype.kind in "fc" and not any(out is t for t in node._non_differentiable)
    if id(out) in dirty:
        out._bump_version()
        if tracked:
            result = wrap(out._array)
            result._edge = (node, nr)
            rebase(out, result)
        return out
    if any(out is t for t in inputs):
        given, out = out, _plain_alias(out)
        if tracked or not state.grad_enabled:
            link_views(given, (out,))
    elif out._edge is not None or (out._tracked and tracked):
        out = _plain_alias(out)
    if tracked and differentiable:
        out._edge, out._tracked = (node, nr), False
        if out._base is not None:
            several = node.outputs - len(node._non_differentiable) > 1
            out._view = ViewInfo(no_grad=None, multi_output=several, in_function=not several)
    return out


def _plain_alias(tensor: Tensor) -> Tensor:
    return Tensor._alias(tensor)


def _save(node: FunctionNode, inputs: list[Tensor], outputs: dict[int, int], results: list) -> Any:
    """The saved entries: outputs by number, so that the node does not hold its own output; the rest with their edges."""
    entries: list[Any] = []
    hooks = state.saved_tensor_hooks
    for t in node._to_save:
        if t is None:
            entries.append((None, None))
            continue
        nr = outputs.get(id(t))
        as_output = nr is not None and isinstance(results[nr], Tensor) and results[nr]._edge is not None
        result = results[nr] if nr is not None and as_output else t
        number = nr if as_output and not any(t is i and result is not i for i in inputs) else None
        source = t if number is None else result
        entry = Packed(source, number, *hooks[-1]) if hooks else Saved(source, number)
        entries.append((entry, edge_of(t) if number is None else None))
    return tuple(entries)


def once_differentiable(backward: Any) -> Any:
    """Decorator for a backward that cannot be differentiated itself: using its result so is an error.

    Source: torch.autograd.function.once_differentiable.
    """

    @functools.wraps(backward)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        before = state.set_grad_enabled(False)
        try:
            outputs = backward(ctx, *grads)
        finally:
            state.set_grad_enabled(before)
        if not state.grad_enabled or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return outputs
        single = not isinstance(outputs, tuple)
        marked = tuple(_once(o) for o in ((outputs,) if single else outputs))
        return marked[0] if single else marked

    return wrapped


class _OnceNode(Node):
    """Refuses to be differentiated through."""

    def name(self) -> str:
        return "torch::autograd::Error"

    def tensors(self, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")

    arrays = tensors


def _once(output: Any) -> Any:
    if not isinstance(output, Tensor):
        return output
    result = output.detach()
    node = _OnceNode()
    node.sequence_number, node.edges = next_sequence_number(), ()
    node.shape, node.dtype = result._array.shape, result._array.dtype
    result._edge = (node, 0)
    return result


class NestedIOFunction(Function):
    """torch has it for old code; new code returns tuples."""


__all__ = ["Function", "FunctionCtx", "FunctionNode", "NestedIOFunction", "once_differentiable"]
