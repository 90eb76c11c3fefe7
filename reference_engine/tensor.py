"""The tensor: an array, what autograd knows about it, and nothing else. Operators attach themselves (see ops/).

A tensor is a NumPy array (`_array`, always an ndarray, 0-d included) with its history: `_edge` leads to the node that
made it (None for a leaf), `_tracked` is a leaf's own requires_grad. Views share the array's memory and, with detached
aliases, one version counter, which is made when somebody first could notice it.
Source: torch.Tensor; torch notes/autograd.
"""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine import dtypes
from reference_engine.converted import Converted
from reference_engine.described import Described
from reference_engine.memory import CPU, Size, Storage, device, kinds
from reference_engine.state import process, state
from reference_engine.tape import grad_type
from reference_engine.tape.node import Node, RemovableHandle, edge_of, leaf_edge, register
from reference_engine.tape.saved import VersionCounter

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.tape.node import Edge

new = object.__new__
ndarray = np.ndarray

NON_LEAF_FLAG = "you can only change requires_grad flags of leaf variables."
NON_LEAF_GRAD = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
    "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, "
    "use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access "
    "the leaf Tensor instead."
)
IN_TRANSFORM = (
    "You are attempting to call Tensor.{method}() {aside}inside of a function being transformed by a functorch transform. "
    "This is unsupported, please attempt to use the functorch transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call "
    "{method}() outside of a function being transformed instead."
)
FLAG_IN_TRANSFORM = IN_TRANSFORM.format(
    method="requires_grad_", aside="(or perhaps using torch.autograd.functional.* APIs) "
)
RETAIN_IN_TRANSFORM = IN_TRANSFORM.format(method="retain_grad", aside="")


def wrap(array: Any) -> Tensor:
    """A tensor without history around an array, which it does not copy."""
    tensor: Any = new(Tensor if type(array) is ndarray else kinds.get(type(array), Tensor))
    tensor._array = array
    tensor._edge = tensor._counter = None
    tensor._tracked = False
    return tensor


def held(result: Any) -> Tensor:
    """A tensor around what a rule computed: a NumPy scalar becomes an array, a sparse array stays."""
    return wrap(result if type(result) is ndarray or type(result) in kinds else np.asarray(result))


def mark_inference(tensor: Tensor) -> None:
    """Makes a tensor an inference tensor. Its counter never stands at 0, so that no short path saves it unseen."""
    tensor._inference = True
    counter = tensor._counter = VersionCounter()
    counter.version = 1


class Tensor(Described, Converted):
    """A multi-dimensional array that remembers how it was computed. Source: torch.Tensor."""

    _array: np.ndarray
    _edge: Edge | None
    _tracked: bool
    _counter: VersionCounter | None
    _accumulator: weakref.ref | None = None
    _grad: Tensor | None = None
    _hooks: OrderedDict | None = None
    _post_accumulate_hooks: OrderedDict | None = None
    _base: Tensor | None = None
    _view: Any = None
    _views: list[weakref.ref] | None = None
    _others: list[weakref.ref] | None = None  # of a tensor that stands in for another: what stands in for it in turn
    _retains: bool = False
    _grad_dtype: Any = grad_type.OWN
    _inference: bool = False
    _tangents: Any = None
    _transform: Any = None  # whose input it is
    _left: tuple[Any, ...] = ()  # the transforms that returned it

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        """torch.Tensor(data) or torch.Tensor(*sizes): the legacy constructor, in the default dtype."""
        if args and isinstance(args[0], Tensor) and len(args) == 1:
            return cls._adopt(args[0].detach())
        default = dtypes.get_default_dtype().numpy
        if all(isinstance(a, (int, np.integer)) for a in args) and args:
            return cls._adopt(wrap(np.zeros(args, default)))
        return cls._adopt(wrap(np.array(args[0] if args else [], default)))

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if process.equip is not None:
            process.equip(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Everything happens in __new__, as internal construction goes past both."""

    @classmethod
    def _adopt(cls, tensor: Tensor) -> Tensor:
        """An object of this class with the tensor's array, counter and no history."""
        result = new(cls)
        result._array, result._counter = tensor._array, tensor._counter
        result._edge, result._tracked = None, False
        if tensor._inference:
            mark_inference(result)
        return result

    @classmethod
    def _alias(cls, tensor: Tensor) -> Tensor:
        """A plain tensor on the same array and version counter, without history."""
        tensor._version_counter()
        return (Tensor if type(tensor._array) is ndarray else type(tensor))._adopt(tensor)

    @staticmethod
    def _make_subclass(cls: type[Tensor], data: Tensor, require_grad: bool = False) -> Tensor:
        """A leaf of a subclass on the memory of `data`. Source: notes/extending, of tensor subclasses."""
        result = cls._adopt(data.detach())
        result._set_tracked(require_grad)
        return result

    # --- autograd's view of it -----------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        return self._edge is not None or self._tracked

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError("requires_grad must be a bool")
        if self._edge is not None:
            raise RuntimeError(_non_leaf_flag(value))
        self._set_tracked(value, "only Tensors of floating point and complex dtype")

    @requires_grad.deleter
    def requires_grad(self) -> None:
        raise RuntimeError("requires_grad must be a bool")

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Switches recording of later operations on this leaf; returns itself. Not inside a transform.
        Source: Tensor.requires_grad_.
        """
        if not isinstance(requires_grad, bool):
            raise TypeError("requires_grad_(): argument 'requires_grad' (position 1) must be bool, not "
                            + type(requires_grad).__name__)  # fmt: skip
        if state.transforming:
            raise RuntimeError(FLAG_IN_TRANSFORM)
        if self._edge is not None:
            if not requires_grad:
                raise RuntimeError(_non_leaf_flag(requires_grad))
            return self
        self._set_tracked(requires_grad, "only Tensors of floating point dtype")
        return self

    def _set_tracked(self, value: bool, which: str = "Only Tensors of floating point and complex dtype") -> None:
        if value and not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise RuntimeError(f"{which} can require gradients")
        if value and self.is_inference() and not state.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        self._tracked = value

    @property
    def is_leaf(self) -> bool:
        return self._edge is None

    @property
    def grad_fn(self) -> Node | None:
        return self._edge[0].face() if self._edge is not None else None

    @property
    def output_nr(self) -> int:
        return self._edge[1] if self._edge is not None else 0

    @property
    def grad(self) -> Tensor | None:
        if self._grad is None and self._edge is not None and not self._retains:
            warnings.warn(NON_LEAF_GRAD, UserWarning, stacklevel=2)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            self._check_grad(value)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def grad_dtype(self) -> dtypes.dtype | None:
        """The dtype of this leaf's gradient; None where any goes. Source: Tensor.grad_dtype."""
        return grad_type.get(self)

    @grad_dtype.setter
    def grad_dtype(self, value: Any) -> None:
        grad_type.put(self, value)

    def _check_grad(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type "
                            f"{type(value).__name__}")  # fmt: skip
        if value is self:
            raise RuntimeError("can't assign Variable as its own grad")
        wanted = grad_type.expected(self)
        if wanted is not None and value.dtype is not wanted:
            raise RuntimeError(f"attempting to assign a gradient with dtype '{grad_type.legacy_name(value.dtype)}' to a "
                               f"tensor with grad_dtype '{dtypes.type_name(wanted)}'. The gradient must match the tensor's "
                               "grad_dtype (defaults to the tensor's dtype). You can set the tensor's grad_dtype attribute "
                               "with a specific dtype, or None to allow any dtype. Set grad_dtype with caution. Diverging "
                               "the dtypes of a tensor and its gradient may break downstream systems that assume they "
                               "match.")  # fmt: skip
        if value.shape != self.shape:
            raise RuntimeError(f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of size '"
                               f"{list(self.shape)}'. Please ensure that the gradient and the tensor are the same "
                               "size")  # fmt: skip

    def retain_grad(self) -> None:
        """Keeps this non-leaf's gradient in `.grad`; nothing to do for a leaf. Source: Tensor.retain_grad."""
        if state.transforming:
            raise RuntimeError(RETAIN_IN_TRANSFORM)
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self._edge is None or self._retains:
            return
        node, nr = self._edge
        node.hooks().retain[nr] = weakref.ref(self)
        self._retains = True

    @property
    def retains_grad(self) -> bool:
        return self._retains

    def _retain(self, gradient: Any, *, recorded: bool) -> None:
        """Receives the gradient of a retaining non-leaf from the backward pass."""
        if not recorded:
            gradient = wrap(np.array(gradient))
        self._grad = gradient if self._grad is None else self._grad + gradient

    @property
    def _version(self) -> int:
        if self.is_inference():
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._counter.version if self._counter is not None else 0

    def _version_counter(self) -> VersionCounter:
        counter = self._counter
        if counter is None:
            counter = self._counter = VersionCounter()
        return counter

    def _bump_version(self) -> None:
        self._version_counter().version += 1

    def _is_view(self) -> bool:
        return self._base is not None

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(grad) -> Tensor | None` runs when this tensor's gradient is known. Source: Tensor.register_hook."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._edge is None:
            if self._hooks is None:
                self._hooks = OrderedDict()
            return register(self._hooks, hook)
        node, nr = self._edge
        # The tensor knows its hooks too: they stay with it where it leaves its graph (detach_).
        self._hooks = node.hooks().tensor.setdefault(nr, OrderedDict())
        return register(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(tensor)` runs after this leaf's `.grad` was added to."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._edge is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._post_accumulate_hooks is None:
            self._post_accumulate_hooks = OrderedDict()
        return register(self._post_accumulate_hooks, hook)

    @property
    def _backward_hooks(self) -> OrderedDict | None:
        return self._hooks

    @_backward_hooks.deleter
    def _backward_hooks(self) -> None:
        raise RuntimeError("Deletion of _backwards_hooks not allowed!")

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
                 inputs: Any = None) -> None:  # fmt: skip
        """Adds d(self)/d(leaf) to every leaf's `.grad`. Source: torch.Tensor.backward."""
        from reference_engine.autograd.backward import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """The same memory without history; in-place changes through it are still counted. Source: Tensor.detach."""
        return Tensor._alias(self)

    def detach_(self) -> Tensor:
        """Cuts this tensor itself out of its graph. Source: Tensor.detach_."""
        if self._base is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead. If you are using "
                               "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
                               "True, gradients are views of DDP buckets, and hence detach_() cannot be called "
                               "on these gradients.")  # fmt: skip
        self._edge, self._tracked, self._retains, self._tangents = None, False, False, None
        return self

    @property
    def data(self) -> Tensor:
        """An alias without history whose changes are not counted. Source: docs, "Variable (deprecated)"."""
        alias = wrap(self._array)
        if self.is_inference():
            mark_inference(alias)
        return alias

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if self.requires_grad and not (value.is_floating_point() or value.is_complex()):
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        self._array = value._array
        accumulator = self._accumulator() if self._accumulator is not None else None
        if accumulator is not None:
            accumulator.shape, accumulator.dtype = self._array.shape, self._array.dtype

    @data.deleter
    def data(self) -> None:
        raise RuntimeError("Deleting tensor data is not allowed. Delete tensor instead!")


process.unasked.add(Tensor)


def _non_leaf_flag(value: bool) -> str:
    hint = "" if value else (" If you want to use a computed variable in a subgraph that doesn't require "
                             "differentiation use var_no_grad = var.detach().")  # fmt: skip
    return NON_LEAF_FLAG + hint


__all__ = ["CPU", "Size", "Storage", "Tensor", "device", "edge_of", "leaf_edge", "wrap"]
