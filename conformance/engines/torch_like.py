"""A torch-spelled namespace as an engine, whatever is behind it.

Everything has a default that works through torch's own spelling (`x.tolist()`, `x.grad`, `is_grad_enabled()` ...), so
that a namespace that spells torch's names needs no code: `TorchLike(namespace)`. An engine that differs in one point
overrides that one method. Nothing here computes with tensors, runs hooks, or changes what a program left behind.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from conformance.arrays import Array, count, stored_dtype
from conformance.outcome import TensorValue

from .base import Engine, Mode, Modes, Unsupported

# (getter, setter, default) below the namespace; a default that is text names an attribute of the namespace.
SPELLED_MODES: tuple[tuple[str, str, Any], ...] = (
    ("is_grad_enabled", "set_grad_enabled", True),
    ("get_default_dtype", "set_default_dtype", "float32"),
    ("is_anomaly_enabled", "autograd.set_detect_anomaly", False),
    ("is_warn_always_enabled", "set_warn_always", True),
)

# Other spellings of dtypes.
DTYPE_NAMES = {
    "float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16",
    "bool_": "bool", "cfloat": "complex64", "cdouble": "complex128", "chalf": "complex32",
}  # fmt: skip

TOLIST_LIMIT = 64  # elements; beyond it a copy in bulk is faster than a Python list


class TorchLike(Engine):
    """A namespace that spells its functions torch's way, whatever is behind it."""

    def __init__(self, namespace: Any, *, name: str | None = None, version: str | None = None, device: str = "cpu",
                 drop_in: bool = False) -> None:  # fmt: skip
        self.namespace = namespace
        self.name = name or str(getattr(namespace, "__name__", type(namespace).__name__))
        self.version = version or str(getattr(namespace, "__version__", "unknown"))
        self.device, self.drop_in = device, drop_in
        self.tensor_types = self.find_tensor_types()
        self.modes = self.find_modes()
        self._dtypes: dict[Any, tuple[str, np.dtype[Any]]] = {}
        self._spelled: dict[str, bool] = {}
        self._defaults: Modes | None = None

    # --- names ---

    def get(self, path: str, default: Any = None) -> Any:
        module, colon, name = path.partition(":")
        if colon:
            return getattr(self.module(module), name, default)
        found = self.namespace
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except (AttributeError, NotImplementedError):
                return default
        return found

    def module(self, path: str) -> Any:
        """What `import torch.path` finds: the namespace's own module where it is a package, else its attribute."""
        if isinstance(self.namespace, ModuleType):
            with contextlib.suppress(ImportError):
                return importlib.import_module(f"{self.namespace.__name__}.{path}")
        return self.get(path)

    def spells(self, path: str) -> bool:
        known = self._spelled.get(path)
        if known is None:
            missing = object()
            known = self._spelled[path] = self.get(path, missing) is not missing
        return known

    # --- tensors ---

    def find_tensor_types(self) -> tuple[type, ...]:
        """The classes whose instances are tensors: `Tensor`, else the type of what `tensor(...)` returns."""
        spelled = self.get("Tensor")
        return (spelled,) if isinstance(spelled, type) else (type(self.namespace.tensor([1.0])),)

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.tensor_types)

    def dtype_name(self, dtype: Any) -> str:
        """torch's name of a dtype without the prefix: "float32"."""
        name = str(dtype).rpartition(".")[2].strip("'>")
        return DTYPE_NAMES.get(name, name)

    def _dtype(self, dtype: Any) -> tuple[str, np.dtype[Any]]:
        name = self.dtype_name(dtype)
        known = (name, stored_dtype(name))
        with contextlib.suppress(TypeError):  # not hashable
            self._dtypes[dtype] = known
        return known

    def read(self, tensor: Any) -> TensorValue:
        dtype, shape = tensor.dtype, tuple(tensor.shape)
        try:
            name, stored = self._dtypes[dtype]
        except (KeyError, TypeError):
            name, stored = self._dtype(dtype)
        return TensorValue(name, shape, self.elements(tensor, shape, stored))

    def elements(self, tensor: Any, shape: tuple[int, ...], stored: np.dtype[Any]) -> bytes:
        """The tensor's elements in C order as `stored`. Raises ValueError if there are more or fewer than `shape`."""
        array = self.bulk(tensor) if count(shape) > TOLIST_LIMIT else None
        array = np.array(tensor.tolist(), stored) if array is None else array.astype(stored, copy=False)
        if array.shape != shape and not (array.size == 0 and count(shape) == 0):
            raise ValueError(f"the tensor's shape is {shape}, its elements have shape {array.shape}")
        return array.tobytes()

    def bulk(self, tensor: Any) -> Array | None:
        """The elements of a large tensor as an array, None where the engine has no such way."""
        try:
            tensor = tensor.detach().numpy()
        except Exception:  # no such way, or a view by conjugation, which numpy() refuses
            for step in ("detach", "resolve_conj", "resolve_neg", "numpy"):
                if callable(method := getattr(tensor, step, None)):
                    tensor = method()
                elif not step.startswith("resolve"):
                    return None
        return tensor if isinstance(tensor, np.ndarray) else None

    def snapshot(self, tensor: Any) -> TensorValue:
        value, flags = self.read(tensor), self.flags(tensor)
        grad = self.grad(tensor)
        read = None
        if grad is not None and grad is not tensor and self.is_tensor(grad):
            inner = self.read(grad)
            read = TensorValue(inner.dtype, inner.shape, inner.data, *self.flags(grad))
        return TensorValue(value.dtype, value.shape, value.data, *flags, read)

    def flags(self, tensor: Any) -> tuple[bool | None, bool | None]:
        """(requires_grad, is_leaf); None for a flag that the engine does not have."""
        requires_grad, is_leaf = getattr(tensor, "requires_grad", None), getattr(tensor, "is_leaf", None)
        return (
            None if requires_grad is None else bool(requires_grad),
            None if is_leaf is None else bool(is_leaf),
        )

    def grad(self, tensor: Any) -> Any:
        """The gradient, None where there is none. That of a plain non-leaf is not read: reading it warns."""
        if getattr(tensor, "is_leaf", True) or getattr(tensor, "retains_grad", False):
            return getattr(tensor, "grad", None)
        return None

    def module_state(self, value: Any) -> dict[str, Any] | None:
        module = self.get("nn.Module")
        if not isinstance(module, type) or not isinstance(value, module):
            return None
        state: dict[str, Any] = {}
        for walk in ("named_parameters", "named_buffers"):
            if callable(method := getattr(value, walk, None)):
                state.update(method())
        return state

    def make(self, array: Array, dtype: str, requires_grad: bool) -> Any:
        from_array = self.get("from_numpy")
        if array.size > TOLIST_LIMIT and array.dtype.name == dtype and callable(from_array):
            tensor = from_array(array.copy())  # ten million numbers as a list would take seconds
            return tensor.requires_grad_() if requires_grad else tensor
        options: dict[str, Any] = {"requires_grad": True} if requires_grad else {}
        if not array.size and self.spells("zeros"):  # a list cannot say how an empty tensor is shaped
            return self.namespace.zeros(array.shape, dtype=self.get(dtype), **options)
        return self.namespace.tensor(array.tolist(), dtype=self.get(dtype), **options)

    def same_storage(self, left: Any, right: Any) -> bool:
        addresses = []
        for tensor in (left, right):
            if not self.is_tensor(tensor):
                raise TypeError(f"same_storage compares tensors, not {type(tensor).__name__}")
            storage = getattr(tensor, "untyped_storage", None)
            pointer = getattr(storage() if callable(storage) else tensor, "data_ptr", None)
            if not callable(pointer):
                raise Unsupported("Tensor.untyped_storage")
            addresses.append(pointer())
        return bool(addresses[0] == addresses[1])

    # --- global settings ---

    def find_modes(self) -> tuple[Mode, ...]:
        """Those of SPELLED_MODES that the namespace spells."""
        modes = []
        inference = self.get("inference_mode")
        if callable(is_on := self.get("is_inference_mode_enabled")) and callable(inference):
            # First: leaving inference mode changes grad mode too.
            modes.append(Mode(is_on, lambda on: inference(on).__enter__(), False))
        for getter, setter, default in SPELLED_MODES:
            get, put = self.get(getter), self.get(setter)
            value = self.get(default) if isinstance(default, str) else default
            if callable(get) and callable(put) and value is not None:
                modes.append(
                    Mode(get, partial(self._set_grad_mode, put) if getter == "is_grad_enabled" else put, value)
                )
        return tuple(modes)

    def _set_grad_mode(self, put: Callable[[bool], Any], on: bool) -> None:
        """By `set_grad_enabled`; by entering a block where an engine's works as a block only, which is a fault of its
        own that must not make other cases fail."""
        put(on)
        block = self.get("enable_grad" if on else "no_grad")
        if callable(block) and self.namespace.is_grad_enabled() is not on:
            block().__enter__()

    def generator_state(self) -> Any:
        """The state of the engine's own generator, None where the engine does not show it."""
        get, put = self.get("get_rng_state"), self.get("set_rng_state")
        return get() if callable(get) and callable(put) else None

    def set_generator_state(self, state: Any) -> None:
        """Puts back what `generator_state` returned."""
        self.namespace.set_rng_state(state)

    def same_generator_state(self, left: Any, right: Any) -> bool:
        """Whether nothing was drawn between two states."""
        if isinstance(left, bytes | str | int | tuple):
            return bool(left == right)
        return self.read(left).data == self.read(right).data

    def settings(self) -> tuple[Any, ...]:
        return tuple([mode.get() for mode in self.modes])

    def capture(self) -> Modes:
        return Modes(self.settings(), self.generator_state())

    def defaults(self) -> Modes:
        if self._defaults is None:
            before = self.generator_state()
            if callable(seed := self.get("manual_seed")):
                seed(0)
            self._defaults = Modes(tuple(mode.default for mode in self.modes), self.generator_state())
            if before is not None:
                self.set_generator_state(before)
        return self._defaults

    def restore(self, modes: Modes, now: Modes | None = None) -> bool:
        now = now or self.capture()
        if now.values != modes.values:
            for mode, value in zip(self.modes, modes.values, strict=True):
                if mode.get() != value:
                    mode.set(value)
        if modes.generator is None:
            if callable(seed := self.get("manual_seed")):
                seed(0)
            return False
        moved = not self.same_generator_state(now.generator, modes.generator)
        if moved:
            self.set_generator_state(modes.generator)
        return moved


def is_namespace(value: Any) -> bool:
    """Whether `value` can stand in for torch: it has a callable `tensor`."""
    return callable(getattr(value, "tensor", None))
