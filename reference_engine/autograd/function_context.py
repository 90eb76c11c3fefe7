"""The context of a custom function: what forward leaves there for backward. Source: torch.autograd.function.FunctionCtx.

Law: the context is the node as users see it (`ctx is y.grad_fn`). The node itself is another object, so that names which
users choose (`ctx.shape`, `ctx.outputs`) meet none of the engine's. A context holds its node; the node holds only what
was left on the context, and gives it to a new one when nobody holds the old: no cycle, the graph is freed by counting.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from reference_engine.autograd.function import Function
    from reference_engine.autograd.function_node import FunctionNode

# What a context shows of its node.
OF_THE_NODE = frozenset({
    "_input_metadata", "_raw_saved_tensors", "_register_hook_dict", "_sequence_nr", "apply", "metadata", "name",
    "next_functions", "register_hook", "register_prehook",
})  # fmt: skip


class FunctionCtx:
    """What forward leaves for backward and jvp; any attribute may be set besides."""

    needs_input_grad: tuple[bool, ...] = ()
    to_save: tuple[Tensor | None, ...] | None = None
    saved_for_forward: tuple[Tensor | None, ...] | None = None
    dirty_tensors: tuple[Tensor, ...] | None = None
    non_differentiable: tuple[Tensor, ...] | None = None
    materialize_grads: bool = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for backward, with the check that nothing changes them meanwhile. The last call counts."""
        self.to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for jvp. The last call counts."""
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise AssertionError("save_for_forward expects all arguments to be tensors; you should save non-tensors as "
                                     "attributes on ctx.")  # fmt: skip
        self.saved_for_forward = tensors

    def mark_dirty(self, *args: Tensor) -> None:
        """Names the inputs that forward changes in place; each has to be returned."""
        self.dirty_tensors = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Names the outputs that have no gradient."""
        self.non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward is given zeros (the default) or None where no gradient arrived."""
        self.materialize_grads = value

    def mark_shared_storage(self, *pairs: Any) -> None:
        """Did once name outputs that share memory with inputs; that is seen without."""
        warnings.warn("`mark_shared_storage` is deprecated. Tensors with shared storages are automatically tracked. Note "
                      "that calls to `set_()` are not tracked", FutureWarning, stacklevel=2)  # fmt: skip

    def forget_marks(self) -> None:
        """Drops what apply has acted on, so that the context keeps none of those tensors."""
        for name in ("to_save", "dirty_tensors", "non_differentiable"):
            vars(self).pop(name, None)


class BackwardCFunction(FunctionCtx):
    """The context of one application, and its node as users see it; a class of them for each custom function."""

    __slots__ = ("_node",)

    _node: FunctionNode | None
    _forward_cls: type[Function]
    _shown: tuple[Tensor | None, ...] | None = None  # in the place of saved_tensors, while jvp runs or vmap maps

    def __init__(self) -> None:
        self._node = None

    def __repr__(self) -> str:
        return f"<torch.autograd.function.{type(self).__name__} object at {id(self):#x}>"

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was given to save_for_backward, with the history it had; nothing while forward runs. In jvp: what was given
        to save_for_forward.
        """
        if self._shown is not None:
            return self._shown
        return () if self._node is None else self._node.saved_tensors

    @property
    def saved_variables(self) -> tuple[Tensor | None, ...]:
        """The former name of saved_tensors."""
        warnings.warn("'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2)
        return self.saved_tensors

    def __getattr__(self, name: str) -> Any:
        if name not in OF_THE_NODE or self._node is None:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self._node, name)
