"""A module's state by name: parameters and persistent buffers, "child.weight" for a child's. Source: Module.state_dict."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import Any

from reference_engine.autograd.grad_mode import no_grad
from reference_engine.nn.parameter import Parameter
from reference_engine.tensor import Tensor


class _IncompatibleKeys(namedtuple("_IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What load_state_dict found missing and superfluous."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()


class StateDict(OrderedDict):
    """An ordered dict that also carries each module's version of the format."""

    _metadata: OrderedDict


class Loading:
    """One load_state_dict: where the values are and what went wrong."""

    def __init__(self, state: Mapping, *, strict: bool, assign: bool) -> None:
        self.state, self.strict, self.assign = state, strict, assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def load(self, module: Any, prefix: str = "") -> None:
        """Loads one module, then its children."""
        own = module._own_state()
        for name, present in own.items():
            key = prefix + name
            if key in self.state:
                self.load_one(module, name, key, present)
            else:
                self.missing.append(key)
        children = module._modules
        for key in self.state:
            if key.startswith(prefix):
                head, dot, _ = key[len(prefix) :].partition(".")
                if (dot and head not in children) or (not dot and head not in own):
                    self.unexpected.append(key)
        for name, child in children.items():
            if child is not None:
                self.load(child, f"{prefix}{name}.")

    def load_one(self, module: Any, name: str, key: str, present: Tensor) -> None:
        """Copies (or assigns) one tensor; a mismatch is noted."""
        value = self.state[key]
        if not isinstance(value, Tensor):
            self.errors.append(f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object '
                               f"from checkpoint but received {type(value)}")  # fmt: skip
            return
        if present.ndim == 0 and value.shape == (1,):
            value = value[0]
        if value.shape != present.shape:
            self.errors.append(f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the "
                               f"shape in current model is {present.shape}.")  # fmt: skip
            return
        with no_grad():
            if not self.assign:
                present.copy_(value)
            elif isinstance(present, Parameter) and not isinstance(value, Parameter):
                setattr(module, name, Parameter(value, requires_grad=present.requires_grad))
            else:
                if isinstance(present, Parameter):
                    value.requires_grad_(present.requires_grad)
                setattr(module, name, value)

    def finish(self, owner: str) -> _IncompatibleKeys:
        """The keys that did not match; an error where that matters."""
        errors = list(self.errors)
        if self.strict:
            for words, keys in (("Missing key(s)", self.missing), ("Unexpected key(s)", self.unexpected)):
                if keys:
                    named = ", ".join(f'"{k}"' for k in keys)
                    errors.insert(
                        0 if words.startswith("M") else bool(self.missing), f"{words} in state_dict: {named}. "
                    )
        if errors:
            text = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {owner}:\n\t{text}")
        return _IncompatibleKeys(self.missing, self.unexpected)


class Stateful:
    """The part of Module that gives and takes its state."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _version = 1

    def _own_state(self) -> dict[str, Tensor]:
        """This module's own parameters and persistent buffers."""
        hidden = self._non_persistent_buffers_set
        own = {**self._parameters, **{k: v for k, v in self._buffers.items() if k not in hidden}}
        return {name: value for name, value in own.items() if value is not None}

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """The state by name: aliases without history, or the tensors themselves with keep_vars."""
        if destination is None:
            destination = StateDict()
            destination._metadata = OrderedDict()
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = {"version": self._version}
        for name, value in self._own_state().items():
            destination[prefix + name] = value if keep_vars else value.detach()
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return destination

    def load_state_dict(self, state_dict: Mapping, strict: bool = True, assign: bool = False) -> _IncompatibleKeys:
        """Copies the values in. Missing or superfluous keys are an error where strict; a wrong shape always is."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        loading = Loading(state_dict, strict=strict, assign=assign)
        loading.load(self)
        return loading.finish(type(self).__name__)
