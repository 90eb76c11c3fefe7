"""What the kit asks of an engine, and how it asks a torch-spelled one.

Everything has a default that works through torch's own spelling (`x.tolist()`, `x.grad`, `is_grad_enabled()` ...), so
that a namespace that spells torch's names needs no code: `TorchLike(namespace)`. An engine that differs in one point
overrides that one method. Nothing here computes with tensors, runs hooks, or changes what a program left behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from conformance.arrays import Array, count, stored_dtype
from conformance.outcome import TensorValue


class Unsupported(NotImplementedError):
    """Raised by an adapter for what its engine does not do; the case is then `unsupported`, never failed or passed."""


class Mode(NamedTuple):
    """A global setting of an engine: how it is read, how it is set, and the value that every case starts with."""

    get: Callable[[], Any]
    set: Callable[[Any], Any]
    default: Any


class Modes(NamedTuple):
    """Global settings at one moment. `generator` is None where the engine does not show its generator's state."""

    values: tuple[Any, ...]
    generator: Any


# (getter, setter, default) below the namespace; a default that is text names an attribute of the namespace.
SPELLED_MODES: tuple[tuple[str, str, Any], ...] = (
    ("is_grad_enabled", "set_grad_enabled", True),
    ("get_default_dtype", "set_default_dtype", "float32"),
    ("is_anomaly_enabled", "autograd.set_detect_anomaly", False),
    ("is_warn_always_enabled", "set_warn_always", True),
)

# What draws from an engine's generator: tells that a case did, where the generator's state cannot be read.
DRAWING = frozenset({
    "bernoulli", "binomial", "dropout", "multinomial", "normal", "poisson", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "rrelu", "nn.Conv1d", "nn.Conv2d", "nn.Conv3d", "nn.Dropout",
    "nn.Embedding", "nn.GRU", "nn.LSTM", "nn.Linear", "nn.RNN", "nn.functional.alpha_dropout", "nn.functional.dropout",
    "nn.functional.gumbel_softmax", "nn.functional.rrelu",
})  # fmt: skip

# Other spellings of dtypes.
DTYPE_NAMES = {
    "float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16",
    "bool_": "bool", "cfloat": "complex64", "cdouble": "complex128", "chalf": "complex32",
}  # fmt: skip

TOLIST_LIMIT = 64  # elements; beyond it a copy in bulk is faster than a Python list


class Engine:
    """An engine as the kit sees it.

    namespace: what programs call `torch`. name, version, device: as reports show them. drop_in: the engine claims to
    be torch in every respect, so types and messages of errors are judged too.
    """

    name: str
    version: str
    device: str
    drop_in: bool
    namespace: Any
    settled = False  # the kit's own note that the global settings are at their defaults

    def get(self, path: str, default: Any = None) -> Any:
        """The attribute at a torch path ("autograd.grad"), `default` where the namespace does not have it."""
        raise NotImplementedError

    def spells(self, path: str) -> bool:
        """Whether the namespace has this torch path."""
        raise NotImplementedError

    def is_tensor(self, value: Any) -> bool:
        """Whether `value` is one of the engine's tensors."""
        raise NotImplementedError

    def read(self, tensor: Any) -> TensorValue:
        """dtype, shape and elements."""
        raise NotImplementedError

    def snapshot(self, tensor: Any) -> TensorValue:
        """As `read`, with requires_grad, is_leaf, and the gradient with its own flags."""
        raise NotImplementedError

    def module_state(self, value: Any) -> dict[str, Any] | None:
        """Parameters and buffers of a module by qualified name; None for what is no module."""
        raise NotImplementedError

    def make(self, array: Array, dtype: str, requires_grad: bool) -> Any:
        """A new leaf tensor with the elements of `array`."""
        raise NotImplementedError

    def same_storage(self, left: Any, right: Any) -> bool:
        """Whether two tensors share memory. Raises Unsupported where the engine does not say."""
        raise NotImplementedError

    def settings(self) -> tuple[Any, ...]:
        """The engine's global settings now, without its generator."""
        raise NotImplementedError

    def capture(self) -> Modes:
        """The engine's global settings now."""
        raise NotImplementedError

    def defaults(self) -> Modes:
        """The global settings that every case starts with."""
        raise NotImplementedError

    def restore(self, modes: Modes, now: Modes | None = None) -> bool:
        """Puts the global settings back. True if the generator's state had moved away from `modes`.

        now: the settings in effect, where the caller knows them; else they are read.
        """
        raise NotImplementedError


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
        found = self.namespace
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except (AttributeError, NotImplementedError):
                return default
        return found

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
        for step in ("detach", "numpy"):
            if not callable(method := getattr(tensor, step, None)):
                return None
            tensor = method()
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
        for getter, setter, default in SPELLED_MODES:
            get, put = self.get(getter), self.get(setter)
            value = self.get(default) if isinstance(default, str) else default
            if callable(get) and callable(put) and value is not None:
                modes.append(Mode(get, put, value))
        return tuple(modes)

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


def public_path(namespace: Any, owner: Any, name: str) -> str:
    """How a program would spell `name` of `owner`: "autograd.grad" for a module, "Tensor.sum" for a class or object."""
    if owner is namespace:
        return name
    if isinstance(owner, ModuleType):
        root = str(getattr(namespace, "__name__", ""))
        return f"{owner.__name__.removeprefix(root).lstrip('.')}.{name}".lstrip(".")
    return f"{(owner if isinstance(owner, type) else type(owner)).__name__}.{name}"


def missing_paths(engine: Engine, paths: Iterable[str]) -> Sequence[str]:
    """Those of the paths that the engine does not spell."""
    return [path for path in paths if not engine.spells(path)]
