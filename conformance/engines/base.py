"""What the kit asks of an engine. `torch_like.TorchLike` answers all of it for a namespace that spells torch's names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from conformance.arrays import Array
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


# What draws from an engine's generator: tells that a case did, where the generator's state cannot be read.
DRAWING = frozenset({
    "bernoulli", "binomial", "dropout", "multinomial", "normal", "poisson", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "rrelu", "nn.Conv1d", "nn.Conv2d", "nn.Conv3d", "nn.Dropout",
    "nn.Embedding", "nn.GRU", "nn.LSTM", "nn.Linear", "nn.RNN", "nn.functional.alpha_dropout", "nn.functional.dropout",
    "nn.functional.gumbel_softmax", "nn.functional.rrelu",
})  # fmt: skip


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
        """The attribute at a torch path ("autograd.grad"), `default` where the namespace does not have it.

        "autograd.gradcheck:get_numerical_jacobian" is what an import from a module gives, which no path reaches.
        """
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

    def explain(self, result: Any) -> list[tuple[str, list[str]]]:
        """(node, its derivative rules as text) of the operators that made `result`; empty where the engine tells none."""
        return []

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
